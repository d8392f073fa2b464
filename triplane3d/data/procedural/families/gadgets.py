"""Instruments, devices and small belongings, upright or laid down; they face +z."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triplane3d.data.procedural.families import family
from triplane3d.data.procedural.families.posing import posed, turned
from triplane3d.data.procedural.families.tools import grip
from triplane3d.data.procedural.paint import any_paint, ceramic, contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import (
    Paint,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    prism,
    revolve,
    rotation_matrix,
    torus,
    tube,
)

DARK = Paint((0.02, 0.02, 0.022), gloss=0.6)


@family
def guitar_or_violin(rng: np.random.Generator) -> list[Part]:
    """Acoustic or electric guitar, violin, ukulele or banjo."""
    style = rng.choice(["acoustic", "electric", "violin", "banjo"])
    paint, dark = (wood if rng.random() < 0.7 else plastic)(rng), wood(rng)
    deep = {"acoustic": rng.uniform(0.1, 0.17), "electric": 0.06, "violin": 0.08, "banjo": 0.11}[style]
    low, high = rng.uniform(0.32, 0.42), rng.uniform(0.24, 0.32)
    shoulder = -0.08
    if style == "banjo":
        shoulder = -0.25
        parts = [
            cylinder(low, deep, round=0.02, center=(0, -0.58, 0), rotate=(90, 0, 0), paint=Paint((0.85, 0.82, 0.75))),
            torus(low, 0.05, center=(0, -0.58, 0), rotate=(90, 0, 0), paint=metal(rng)),
        ]
    elif style == "electric":
        horn = rng.uniform(0.05, 0.2)
        body = [
            (-low * 0.9, -0.95),
            (low * 0.9, -0.95),
            (low, -0.7),
            (high * 0.75, -0.45),
            (high * 1.1, -0.2 + horn),
            (high * 0.7, -0.15),
            (0.08, -0.3),
            (-0.08, -0.3),
            (-high * 0.7, -0.1 + horn),
            (-high * 1.2, -0.1 + horn),
            (-high * 0.8, -0.45),
            (-low, -0.7),
        ]
        parts = [prism(body, deep, round=0.04, paint=paint)]
        parts += [box((0.12, 0.035, 0.02), center=(0, y, deep), paint=DARK) for y in (-0.45, -0.6)]
        shoulder = -0.3
    else:
        parts = [
            cylinder(low, deep, round=0.03, center=(0, -0.98 + low, 0), rotate=(90, 0, 0), paint=paint),
            cylinder(
                high,
                deep * 0.97,
                round=0.03,
                center=(0, shoulder - high * 0.9, 0),
                rotate=(90, 0, 0),
                blend=0.12,
                paint=paint,
            ),
        ]
        if style == "acoustic":
            parts.append(
                cylinder(
                    0.1,
                    0.03,
                    center=(0, -0.42, deep),
                    rotate=(90, 0, 0),
                    op="subtract" if deep > 0.12 else "union",
                    paint=DARK,
                )
            )
        else:
            parts.append(
                cylinder(0.1, 0.4, center=(high * 1.12, -0.5, 0), rotate=(90, 0, 0), mirror="x", op="subtract")
            )
            parts.append(
                box((0.03, 0.1, 0.02), center=(high * 0.5, -0.58, deep), rotate=(0, 0, 12), mirror="x", paint=DARK)
            )
    parts.append(box((low * 0.3, 0.035, 0.04), round=0.01, center=(0, -0.72, deep + 0.01), paint=dark))
    width, top = rng.uniform(0.045, 0.06), rng.uniform(0.6, 0.75)
    parts.append(
        box(
            (width, (top - shoulder + 0.2) / 2, 0.05),
            round=0.02,
            center=(0, (top + shoulder - 0.2) / 2, deep * 0.6),
            paint=paint if rng.random() < 0.5 else dark,
        )
    )
    parts.append(
        box(
            (width * 0.9, (top - shoulder + 0.3) / 2, 0.03),
            center=(0, (top + shoulder - 0.3) / 2, deep * 0.6 + 0.045),
            paint=DARK,
        )
    )
    head = deep * 0.6 - 0.03
    if style == "violin":
        parts.append(cylinder(0.075, 0.06, center=(0, top + 0.13, head), rotate=(0, 0, 90), paint=dark))
        parts.append(box((0.045, 0.12, 0.045), center=(0, top, head), paint=dark))
    else:
        parts.append(
            box(
                (width * 1.6, 0.15, 0.035),
                round=0.01,
                taper=rng.uniform(-0.2, 0.3),
                center=(0, top + 0.12, head),
                rotate=(-8, 0, 0),
                paint=dark,
            )
        )
    for y in (0.05, 0.15)[: rng.integers(1, 3)]:
        parts.append(
            capsule((0, top + y, head), (width * 1.6 + 0.06, top + y, head), 0.028, mirror="x", paint=metal(rng))
        )
    return posed(rng, parts, upright=0.6)


@family
def drum_or_trumpet(rng: np.random.Generator) -> list[Part]:
    """Drum, goblet drum, hand bell, trumpet or saxophone-like horn."""
    style = rng.choice(["drum", "goblet", "bell", "trumpet", "horn"])
    paint, trim = any_paint(rng), metal(rng)
    if style == "drum":
        radius = rng.uniform(0.5, 0.9)
        half = radius * (rng.uniform(0.25, 0.55) if rng.random() < 0.6 else rng.uniform(1.35, 1.9))
        parts = [
            cylinder(radius, half, paint=paint),
            cylinder(radius * 0.94, half + 0.02, paint=Paint((0.85, 0.82, 0.76))),
            torus(radius, rng.uniform(0.045, 0.08), center=(0, half * 0.93, 0), paint=trim),
            torus(radius, 0.05, center=(0, -half * 0.93, 0), paint=trim),
        ]
        for turn in np.arange(rng.integers(0, 4)) * 45:
            bar = rotation_matrix((0, turn, 0)) @ (radius + 0.01, 0, 0)
            parts.append(capsule(bar - (0, half * 0.9, 0), bar + (0, half * 0.9, 0), 0.035, mirror="xz", paint=trim))
        if rng.random() < 0.4:
            parts.append(
                capsule(
                    (radius * 0.6, -half * 0.9, radius * 0.6),
                    (radius * 0.8, -half - 0.45, radius * 0.8),
                    0.045,
                    mirror="xz",
                    paint=trim,
                )
            )
        if rng.random() < 0.4:
            parts.append(capsule((-0.5, half + 0.05, 0.1), (0.6, half + 0.08, -0.1), 0.045, paint=wood(rng)))
        return parts
    if style == "goblet":
        wide, waist, foot = rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.25), rng.uniform(0.28, 0.45)
        parts = [
            revolve(
                [
                    (0, -1),
                    (foot, -1),
                    (foot * 0.8, -0.6),
                    (waist, -0.2),
                    (wide, rng.uniform(0.2, 0.5)),
                    (wide * 0.95, 0.9),
                    (wide * 0.85, 0.9),
                    (wide * 0.85, 0.85),
                    (0, 0.85),
                ],
                paint=paint,
            ),
            torus(wide * 0.97, 0.05, center=(0, 0.82, 0), paint=trim),
        ]
        return parts
    if style == "bell":
        wide, wall, top = rng.uniform(0.5, 0.7), rng.uniform(0.05, 0.08), rng.uniform(0.2, 0.35)
        outer = [(wide, -0.8), (wide * 0.8, -0.6), (wide * 0.62, -0.2), (wide * 0.5, top * 0.6), (wide * 0.25, top)]
        inner = [(max(r - wall, 0.05), y - wall * 0.6) for r, y in outer[:0:-1]] + [(wide - wall * 1.3, -0.8)]
        parts = [
            revolve([(0, top + 0.02), *outer[::-1], *inner[::-1], (0, top - wall * 1.2)], paint=trim),
            grip(rng, 0.1, top - 0.05, 1.0, wood(rng)),
            capsule((0, top - 0.08, 0), (0, -0.7, 0), 0.04, end_radius=0.09, paint=metal(rng)),
        ]
        return posed(rng, parts, upright=0.8)
    bell, tip, wall = rng.uniform(0.26, 0.4), 0.07, 0.05
    flare = [(tip, -0.35), (tip * 1.1, 0.0), (tip * 1.6, 0.25), (bell * 0.55, 0.42), (bell, 0.52)]
    inner = [(bell - wall * 0.6, 0.54), (bell * 0.55 - wall, 0.46), (0, 0.3)]
    horn = [(0, -0.35), *flare, *inner]
    if style == "trumpet":
        wide, drop = rng.uniform(0.12, 0.16), rng.uniform(0.26, 0.36)
        loop = [
            (0, 0, -0.7),
            (0, -drop * 0.3, -0.85),
            (0, -drop * 0.7, -0.85),
            (0, -drop, -0.7),
            (0, -drop, 0.3),
            (0, -drop * 0.8, 0.42),
        ]
        parts = [
            revolve(horn, center=(0, 0, 0.45), rotate=(90, 0, 0), paint=trim),
            tube([(0, 0, 0.3), *loop], 0.05, paint=trim),
            tube(
                [(0, -drop * 0.8, 0.42), (0, -drop * 0.3, 0.42), (0.1, -drop * 0.1, 0.3), (0.12, 0.02, -1.0)],
                0.045,
                paint=trim,
            ),
            cylinder(0.05, 0.05, top_radius=0.09, center=(0.12, 0.02, -1.03), rotate=(-90, 0, 0), paint=trim),
        ]
        for z in (-0.3, -0.3 + wide, -0.3 + 2 * wide):
            parts.append(cylinder(0.06, drop * 0.75, round=0.01, center=(0.03, -drop / 2, z), paint=trim))
        parts.append(capsule((0.03, 0, -0.3 + wide), (0.03, drop * 0.45, -0.3 + wide), 0.035, paint=trim))
        return parts if rng.random() < 0.6 else turned(parts, rotation_matrix((0, rng.uniform(0, 360), 90)))
    parts = [
        revolve(horn, center=(0, 0.15, 0.32), rotate=(15, 0, 0), paint=trim),
        tube(bezier((0, -0.2, 0.25), (0, -1.35, 0.25), (0, -0.5, -0.1), 7), 0.11, end_radius=0.085, paint=trim),
        capsule((0, -0.5, -0.1), (0, 0.75, -0.2), 0.085, end_radius=0.05, paint=trim),
        tube(bezier((0, 0.72, -0.2), (0, 1.05, -0.2), (0, 0.8, -0.55)), 0.05, end_radius=0.04, paint=trim),
        capsule((0, 0.85, -0.45), (0, 0.74, -0.65), 0.05, paint=DARK),
    ]
    for y in np.linspace(-0.4, 0.5, rng.integers(3, 6)):
        parts.append(
            cylinder(
                0.06, 0.05, center=(0, y, -0.08 - 0.1 * (y + 0.5) / 1.25 + 0.075), rotate=(90, 0, 0), paint=metal(rng)
            )
        )
    return posed(rng, parts, upright=0.7)


@family
def camera_or_gadget(rng: np.random.Generator) -> list[Part]:
    """Camera (also on a tripod), radio, loudspeaker, old television, game pad or alarm clock."""
    style = rng.choice(["camera", "camera", "radio", "speaker", "television", "clock", "pad"])
    paint = plastic(rng) if rng.random() < 0.8 else wood(rng)
    trim, steel = contrasting(rng, paint), metal(rng)
    if style == "camera":
        wide, high, deep = rng.uniform(0.6, 0.85), rng.uniform(0.38, 0.55), rng.uniform(0.18, 0.3)
        lens, reach, aside = high * rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.7), rng.uniform(-0.15, 0.15)
        parts = [
            box((wide, high, deep), round=rng.uniform(0.02, 0.1), paint=paint),
            cylinder(
                lens,
                reach / 2 + 0.05,
                round=0.02,
                center=(aside, -0.04, deep + reach / 2 - 0.02),
                rotate=(90, 0, 0),
                paint=DARK if rng.random() < 0.5 else steel,
            ),
            cylinder(
                lens * rng.uniform(0.7, 0.9), 0.06, center=(aside, -0.04, deep + reach), rotate=(90, 0, 0), paint=trim
            ),
        ]
        if rng.random() < 0.7:
            parts.append(
                cylinder(lens * 0.65, 0.1, center=(aside, -0.04, deep + reach + 0.06), rotate=(90, 0, 0), op="subtract")
            )
            parts.append(
                ellipsoid((lens * 0.66, lens * 0.66, 0.06), center=(aside, -0.04, deep + reach - 0.04), paint=DARK)
            )
        if rng.random() < 0.7:
            parts.append(
                box(
                    (rng.uniform(0.18, 0.3), 0.14, deep * 0.7),
                    taper=-rng.uniform(0, 0.3),
                    round=0.02,
                    center=(aside, high + 0.06, 0.02),
                    paint=paint,
                )
            )
        parts.append(cylinder(0.07, 0.07, center=(wide * 0.7, high + 0.02, 0), paint=steel))
        if rng.random() < 0.5:
            parts.append(cylinder(0.12, 0.05, center=(-wide * 0.7, high + 0.02, 0), paint=steel))
        if rng.random() < 0.4:
            parts.append(
                box((0.14, high * 0.9, deep * 0.6), round=0.06, center=(-wide * 0.85, -0.02, deep * 0.75), paint=DARK)
            )
        if rng.random() < 0.25:
            parts.append(box((0.15, 0.1, 0.15), center=(0, -high - 0.05, 0), paint=DARK))
            for turn in (0, 120, 240):
                foot = rotation_matrix((0, turn, 0)) @ (0.0, 0.0, rng.uniform(0.7, 0.8))
                parts.append(
                    capsule((0, -high - 0.08, 0), foot - (0, high + 1.4, 0), 0.06, end_radius=0.045, paint=steel)
                )
        return parts
    if style == "radio":
        wide, high, deep = rng.uniform(0.7, 0.9), rng.uniform(0.35, 0.5), rng.uniform(0.18, 0.3)
        speaker = high * rng.uniform(0.6, 0.75)
        parts = [
            box((wide, high, deep), round=rng.uniform(0.03, 0.12), paint=paint),
            cylinder(speaker, 0.05, round=0.02, center=(-wide + speaker + 0.1, 0, deep), rotate=(90, 0, 0), paint=DARK),
        ]
        if rng.random() < 0.4:
            parts.append(
                cylinder(
                    speaker, 0.05, round=0.02, center=(wide - speaker - 0.1, 0, deep), rotate=(90, 0, 0), paint=DARK
                )
            )
        parts.append(cylinder(0.09, 0.07, center=(0.14, -high * 0.45, deep), rotate=(90, 0, 0), paint=steel))
        parts.append(box((wide * 0.25, high * 0.2, 0.03), center=(wide * 0.3, high * 0.5, deep), paint=trim))
        if rng.random() < 0.5:
            parts.append(
                capsule(
                    (wide * 0.8, high * 0.8, -0.05),
                    (wide * rng.uniform(0.2, 1.1), high + rng.uniform(0.4, 0.9), -0.08),
                    0.035,
                    end_radius=0.028,
                    paint=steel,
                )
            )
        if rng.random() < 0.5:
            side = wide * 0.6
            parts.append(
                tube(
                    [(-side, high * 0.9, 0), (-side, high + 0.22, 0), (side, high + 0.22, 0), (side, high * 0.9, 0)],
                    0.05,
                    paint=trim,
                )
            )
        return parts
    if style == "speaker":
        wide, high, deep = rng.uniform(0.4, 0.6), rng.uniform(0.85, 1.0), rng.uniform(0.35, 0.5)
        low = wide * rng.uniform(0.6, 0.8)
        return [
            box((wide, high, deep), round=rng.uniform(0.01, 0.08), paint=paint),
            torus(low, 0.06, center=(0, -high * 0.35, deep), rotate=(90, 0, 0), paint=trim),
            ellipsoid((low, low, 0.12), center=(0, -high * 0.35, deep + 0.02), op="subtract"),
            ellipsoid((low * 0.35, low * 0.35, 0.12), center=(0, -high * 0.35, deep - 0.08), paint=DARK),
            cylinder(low * 0.45, 0.05, round=0.02, center=(0, high * 0.5, deep), rotate=(90, 0, 0), paint=DARK),
            box((0.07, 0.06, 0.07), center=(wide * 0.75, -high - 0.03, deep * 0.7), mirror="xz", paint=DARK),
        ]
    if style == "television":
        wide, high, deep = rng.uniform(0.7, 0.9), rng.uniform(0.5, 0.65), rng.uniform(0.25, 0.45)
        parts = [
            box((wide, high, deep), round=0.06, paint=paint),
            box((wide * 0.72, high * 0.8, 0.1), center=(-wide * 0.15, 0, deep + 0.04), round=0.02, op="subtract"),
            ellipsoid(
                (wide * 0.75, high * 0.83, 0.1), exponents=(0.5, 0.5), center=(-wide * 0.15, 0, deep - 0.09), paint=DARK
            ),
            cylinder(0.07, 0.06, center=(wide * 0.79, high * 0.4, deep), rotate=(90, 0, 0), paint=steel),
            cylinder(0.07, 0.06, center=(wide * 0.79, high * 0.05, deep), rotate=(90, 0, 0), paint=steel),
            capsule(
                (wide * 0.7, -high * 0.9, deep * 0.5),
                (wide * 0.85, -high - rng.uniform(0.15, 0.4), deep * 0.6),
                0.06,
                end_radius=0.045,
                mirror="xz",
                paint=wood(rng),
            ),
        ]
        if rng.random() < 0.6:
            parts.append(
                capsule(
                    (0.02, high * 0.9, 0),
                    (rng.uniform(0.2, 0.5), high + rng.uniform(0.4, 0.6), 0),
                    0.035,
                    mirror="x",
                    paint=steel,
                )
            )
        return parts
    if style == "clock":
        radius, deep = rng.uniform(0.6, 0.8), rng.uniform(0.18, 0.3)
        turn = rng.uniform(0, 2 * np.pi, 2)
        parts = [
            cylinder(radius, deep, round=0.05, rotate=(90, 0, 0), paint=paint),
            cylinder(radius * 0.85, 0.04, center=(0, 0, deep), rotate=(90, 0, 0), paint=Paint((0.9, 0.9, 0.87))),
        ]
        for angle, reach in zip(turn, (0.4, 0.65)):
            tip = radius * reach * np.array([np.sin(angle), np.cos(angle), 0])
            parts.append(capsule((0, 0, deep + 0.04), tip + (0, 0, deep + 0.04), 0.035, paint=DARK))
        parts.append(
            capsule(
                (radius * 0.5, -radius * 0.6, 0), (radius * 0.75, -radius - 0.15, 0.1), 0.06, mirror="x", paint=steel
            )
        )
        if rng.random() < 0.8:
            bell = np.array([radius * 0.55, radius * 0.95, 0])
            parts.append(ellipsoid((0.25, 0.18, 0.2), center=bell, rotate=(0, 0, -30), mirror="x", paint=steel))
            parts.append(tube(bezier(bell, (0, radius * 1.9, 0), bell * (-1, 1, 1)), 0.045, paint=steel))
        return parts
    wide, paw = rng.uniform(0.6, 0.75), rng.uniform(0.26, 0.34)
    parts = [
        box((wide, 0.26, 0.14), round=0.1, paint=paint),
        capsule(
            (wide * 0.85, 0, 0),
            (wide, -rng.uniform(0.3, 0.5), -0.05),
            paw,
            end_radius=0.16,
            mirror="x",
            blend=0.1,
            paint=paint,
        ),
        box((0.16, 0.05, 0.05), center=(-wide * 0.75, 0.08, paw + 0.01), round=0.01, paint=DARK),
        box((0.05, 0.16, 0.05), center=(-wide * 0.75, 0.08, paw + 0.01), round=0.01, paint=DARK),
        cylinder(0.1, 0.12, center=(wide * 0.35, -0.12, 0.15), rotate=(90, 0, 0), mirror="x", paint=DARK),
    ]
    parts += [
        ellipsoid((0.055, 0.055, 0.06), center=(wide * 0.75 + x, 0.08 + y, paw), paint=plastic(rng))
        for x, y in ((0.11, 0), (-0.11, 0), (0, 0.11), (0, -0.11))
    ]
    return posed(rng, parts, upright=0.4)


@family
def umbrella_or_mushroom(rng: np.random.Generator) -> list[Part]:
    """Open umbrella, parasol on a foot, mushroom or toadstool."""
    if rng.random() < 0.5:
        wide, rise, wall = rng.uniform(0.75, 1.0), rng.uniform(0.3, 0.55), rng.uniform(0.035, 0.05)
        cover, stick = fabric(rng), wood(rng) if rng.random() < 0.5 else metal(rng)
        angles = np.linspace(0, np.pi / 2, 6)
        bend = rng.uniform(0.7, 1.2)
        outer = np.stack([wide * np.sin(angles), 0.5 + rise * np.cos(angles) ** bend], 1)
        inner = outer[::-1] - (wall, wall)
        inner[0] = outer[-1] - (wall * 1.6, 0.0)
        inner[-1, 0] = 0
        inner[:, 0] = inner[:, 0].clip(0)
        parts = [revolve(np.concatenate([outer, inner]), paint=cover)]
        low = -rng.uniform(0.5, 0.95)
        parts.append(capsule((0, low, 0), (0, 0.5 + rise + rng.uniform(0.0, 0.12), 0), 0.04, paint=stick))
        foot = rng.random()
        if foot < 0.5:
            hook = rng.uniform(0.1, 0.18)
            parts.append(
                tube(
                    [
                        (0, low, 0),
                        (0, low - hook, 0),
                        (hook * 0.35, low - hook * 1.7, 0),
                        (hook, low - hook * 2, 0),
                        (hook * 1.65, low - hook * 1.7, 0),
                        (hook * 2, low - hook, 0),
                    ],
                    0.05,
                    paint=plastic(rng),
                )
            )
        elif foot < 0.85:
            parts.append(cylinder(rng.uniform(0.25, 0.4), 0.07, top_radius=0.15, center=(0, low, 0), paint=metal(rng)))
        if foot < 0.5:
            return posed(rng, parts, upright=0.6)
        return parts
    wide, rise, stem = rng.uniform(0.5, 0.85), rng.uniform(0.35, 0.8), rng.uniform(0.14, 0.3)
    cap, flesh = any_paint(rng), ceramic(rng)
    under = rng.uniform(-0.05, 0.15)
    angles = np.linspace(0, np.pi / 2, 7)
    dome = np.stack([wide * np.sin(angles) ** rng.uniform(0.8, 1.1), rise * np.cos(angles)], 1)
    dome[0, 0] = 0
    parts = [
        revolve(
            np.concatenate([dome, [(wide * 0.92, -0.08), (stem, under), (0, under)]]), center=(0, 0.3, 0), paint=cap
        ),
        revolve(
            [
                (0, -0.9),
                (stem * rng.uniform(1.0, 1.6), -0.88),
                (stem, -0.45),
                (stem * 0.85, 0.32 + under),
                (0, 0.4 + under),
            ],
            paint=flesh,
        ),
    ]
    if rng.random() < 0.3:
        parts.append(torus(stem * 1.1, 0.06, center=(0, -0.1, 0), paint=flesh))
    if rng.random() < 0.6:
        spot = contrasting(rng, cap)
        for _ in range(rng.integers(3, 9)):
            turn, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 1.2)
            at = np.array([wide * np.sin(lift) * np.sin(turn), rise * np.cos(lift), wide * np.sin(lift) * np.cos(turn)])
            size = rng.uniform(0.06, 0.14)
            parts.append(ellipsoid((size, size * 0.6, size), center=at * 0.97 + (0, 0.3, 0), paint=spot))
    if rng.random() < 0.3:
        parts.append(ellipsoid((0.5, 0.1, 0.5), center=(0, -0.9, 0), paint=any_paint(rng)))
    if rng.random() < 0.25:
        side = rng.uniform(0.25, 0.35)
        parts.append(capsule((stem * 0.6, -0.82, 0.1), (0.5, -0.35, 0.15), 0.1, paint=flesh))
        parts.append(ellipsoid((side, side * 0.7, side), center=(0.5, -0.28, 0.15), paint=cap))
    return parts


@family
def key_or_ring(rng: np.random.Generator) -> list[Part]:
    """Key, finger ring with a stone, padlock, horseshoe, medal, pretzel-like rings or iced doughnuts."""
    style = rng.choice(["key", "ring", "padlock", "horseshoe", "doughnut", "medal"])
    paint = metal(rng)
    if style == "key":
        bow, hole, thick = rng.uniform(0.26, 0.36), rng.uniform(0.4, 0.65), rng.uniform(0.05, 0.08)
        parts = [cylinder(bow, thick, round=0.02, center=(0, 0.65, 0), rotate=(90, 0, 0), paint=paint)]
        if rng.random() < 0.4:
            parts = [torus(bow * 0.8, thick * 1.3, center=(0, 0.65, 0), rotate=(90, 0, 0), paint=paint)]
            lobes = rng.random() < 0.5
            if lobes:
                parts = [
                    torus(bow * 0.55, thick, center=(dx, dy, 0), rotate=(90, 0, 0), paint=paint)
                    for dx, dy in ((bow * 0.55, 0.6), (-bow * 0.55, 0.6), (0, 0.6 + bow * 0.8))
                ]
        else:
            parts.append(
                cylinder(bow * hole, 1, center=(0, 0.65 + bow * (1 - hole) * 0.3, 0), rotate=(90, 0, 0), op="subtract")
            )
        parts.append(cylinder(thick * 1.3, 0.75, round=0.02, center=(0, -0.25, 0), paint=paint))
        if rng.random() < 0.5:
            parts.append(torus(thick * 1.5, 0.045, center=(0, 0.3, 0), paint=paint))
        for y in np.linspace(-0.9, -0.6, rng.integers(2, 5)):
            reach = rng.uniform(0.1, 0.28)
            parts.append(box((reach / 2 + 0.03, 0.045, thick), center=(reach / 2, y, 0), paint=paint))
        return posed(rng, parts, upright=0.5)
    if style == "ring":
        thick = rng.uniform(0.06, 0.14)
        parts = [torus(0.75, thick, rotate=(90, 0, 0), paint=paint)]
        if rng.random() < 0.5:
            parts = [
                cylinder(0.85, thick * rng.uniform(1.0, 3.0), round=0.03, rotate=(90, 0, 0), paint=paint),
                cylinder(0.72, 1, rotate=(90, 0, 0), op="subtract"),
            ]
        if rng.random() < 0.75:
            size, cut = rng.uniform(0.16, 0.36), rng.uniform(0.4, 1.7)
            parts.append(cylinder(size * 0.7, 0.1, top_radius=size * 0.9, center=(0, 0.86, 0), paint=paint))
            parts.append(
                ellipsoid(
                    (size, size * rng.uniform(0.7, 1.0), size),
                    exponents=(cut, rng.uniform(0.5, 1.6)),
                    center=(0, 0.86 + size * 0.6, 0),
                    paint=plastic(rng),
                )
            )
        return posed(rng, parts, upright=0.6)
    if style == "padlock":
        wide, high, deep = rng.uniform(0.45, 0.65), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.28)
        bar, open_by = rng.uniform(0.07, 0.11), rng.uniform(0, 0.2) if rng.random() < 0.3 else 0.0
        side, top = wide * 0.62, high + rng.uniform(0.25, 0.5)
        arch = [(side * np.cos(t), top + side * np.sin(t), 0) for t in np.linspace(0, np.pi, 6)]
        parts = [
            box((wide, high, deep), round=rng.uniform(0.03, 0.12), paint=paint),
            tube(
                [(side, high * (0.7 if not open_by else 1.15), 0), *arch, (-side, high * 0.7, 0)], bar, paint=metal(rng)
            ),
            cylinder(0.09, 0.04, center=(0, -0.02, deep), rotate=(90, 0, 0), paint=DARK),
            box((0.04, 0.12, 0.035), center=(0, -0.12, deep), paint=DARK),
        ]
        return posed(rng, parts, upright=0.6)
    if style == "horseshoe":
        arc, minor = rng.uniform(1.9, 2.5), rng.uniform(0.12, 0.2)
        parts = [
            torus(0.8, minor, arc=arc, rotate=(-90, 0, 0), paint=paint),
            box((2, 2, rng.uniform(0.08, minor)), op="intersect"),
        ]
        if rng.random() < 0.5:
            tip = 0.8 * np.array([np.sin(arc), np.cos(arc), 0])
            parts.append(
                cylinder(
                    minor * 1.15,
                    0.12,
                    center=np.abs(tip) * (1, np.sign(tip[1]), 1),
                    rotate=(90, 0, 0),
                    mirror="x",
                    paint=plastic(rng),
                )
            )
        return posed(rng, parts, upright=0.5)
    if style == "medal":
        size, thick = rng.uniform(0.45, 0.6), rng.uniform(0.06, 0.1)
        ribbon = fabric(rng)
        return [
            cylinder(size, thick, round=0.02, center=(0, -0.45, 0), rotate=(90, 0, 0), paint=paint),
            torus(size * 0.85, thick * 0.7, center=(0, -0.45, thick), rotate=(90, 0, 0), paint=paint),
            ellipsoid(
                (size * 0.35, size * 0.35, 0.06), exponents=(1.5, 1.5), center=(0, -0.45, thick), paint=metal(rng)
            ),
            prism([(-0.1, 0.0), (0.1, 0.0), (0.55, 1.0), (0.2, 1.0)], 0.035, mirror="x", paint=ribbon),
            box((0.12, 0.1, 0.06), center=(0, 0.04, 0), paint=paint),
        ]
    dough, icing = Paint((rng.uniform(0.45, 0.7), rng.uniform(0.2, 0.32), 0.06)), plastic(rng)
    major, minor = rng.uniform(0.5, 0.62), rng.uniform(0.24, 0.36)
    one = [torus(major, minor, paint=dough), torus(major, minor * 0.96, center=(0, minor * 0.12, 0), paint=icing)]
    parts = list(one)
    if rng.random() < 0.6:
        tilt, aside = rng.uniform(30, 70), rng.uniform(0.6, 0.95)
        lean = turned(one, rotation_matrix((rng.uniform(-20, 20), 0, tilt)))
        lift = major * np.sin(np.deg2rad(tilt)) * rng.uniform(0.7, 0.95)
        parts += [replace(part, center=tuple(np.add(part.center, (aside, lift, 0)).tolist())) for part in lean]
    elif rng.random() < 0.4:
        parts += [
            replace(part, center=tuple(np.add(part.center, (rng.normal(0, 0.05), minor * 1.6, 0)).tolist()))
            for part in one
        ]
    elif rng.random() < 0.5:
        return posed(rng, parts, upright=0.3)
    return parts
