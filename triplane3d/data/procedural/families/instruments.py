"""Musical instruments, upright or lying, with the front towards +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.handles import grip
from triplane3d.data.procedural.components.posing import posed, turned
from triplane3d.data.procedural.materials import DARK, any_material, metal, plastic, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    prism,
    revolve,
    rotation_matrix,
    torus,
    tube,
)


def guitar_or_violin(rng: np.random.Generator) -> list[Part]:
    """Acoustic or electric guitar, violin, ukulele or banjo."""
    style = rng.choice(["acoustic", "electric", "violin", "banjo"])
    material, dark = (wood if rng.random() < 0.7 else plastic)(rng), wood(rng)
    depth = {"acoustic": rng.uniform(0.1, 0.17), "electric": 0.06, "violin": 0.08, "banjo": 0.11}[style]
    low, high = rng.uniform(0.32, 0.42), rng.uniform(0.24, 0.32)
    shoulder = -0.08
    if style == "banjo":
        shoulder = -0.25
        parts = [
            cylinder(
                low, depth, round=0.02, center=(0, -0.58, 0), rotate=(90, 0, 0), material=Material((0.85, 0.82, 0.75))
            ),
            torus(low, 0.05, center=(0, -0.58, 0), rotate=(90, 0, 0), material=metal(rng)),
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
        parts = [prism(body, depth, round=0.04, material=material)]
        parts += [box((0.12, 0.035, 0.02), center=(0, y, depth), material=DARK) for y in (-0.45, -0.6)]
        shoulder = -0.3
    else:
        parts = [
            cylinder(low, depth, round=0.03, center=(0, -0.98 + low, 0), rotate=(90, 0, 0), material=material),
            cylinder(
                high,
                depth * 0.97,
                round=0.03,
                center=(0, shoulder - high * 0.9, 0),
                rotate=(90, 0, 0),
                blend=0.12,
                material=material,
            ),
        ]
        if style == "acoustic":
            parts.append(
                cylinder(
                    0.1,
                    0.03,
                    center=(0, -0.42, depth),
                    rotate=(90, 0, 0),
                    op="subtract" if depth > 0.12 else "union",
                    material=DARK,
                )
            )
        else:
            parts.append(
                cylinder(0.1, 0.4, center=(high * 1.12, -0.5, 0), rotate=(90, 0, 0), mirror="x", op="subtract")
            )
            parts.append(
                box((0.03, 0.1, 0.02), center=(high * 0.5, -0.58, depth), rotate=(0, 0, 12), mirror="x", material=DARK)
            )
    parts.append(box((low * 0.3, 0.035, 0.04), round=0.01, center=(0, -0.72, depth + 0.01), material=dark))
    width, top = rng.uniform(0.045, 0.06), rng.uniform(0.6, 0.75)
    parts.append(
        box(
            (width, (top - shoulder + 0.2) / 2, 0.05),
            round=0.02,
            center=(0, (top + shoulder - 0.2) / 2, depth * 0.6),
            material=material if rng.random() < 0.5 else dark,
        )
    )
    parts.append(
        box(
            (width * 0.9, (top - shoulder + 0.3) / 2, 0.03),
            center=(0, (top + shoulder - 0.3) / 2, depth * 0.6 + 0.045),
            material=DARK,
        )
    )
    head = depth * 0.6 - 0.03
    if style == "violin":
        parts.append(cylinder(0.075, 0.06, center=(0, top + 0.13, head), rotate=(0, 0, 90), material=dark))
        parts.append(box((0.045, 0.12, 0.045), center=(0, top, head), material=dark))
    else:
        parts.append(
            box(
                (width * 1.6, 0.15, 0.035),
                round=0.01,
                taper=rng.uniform(-0.2, 0.3),
                center=(0, top + 0.12, head),
                rotate=(-8, 0, 0),
                material=dark,
            )
        )
    for y in (0.05, 0.15)[: rng.integers(1, 3)]:
        parts.append(
            capsule((0, top + y, head), (width * 1.6 + 0.06, top + y, head), 0.028, mirror="x", material=metal(rng))
        )
    return posed(rng, parts, upright=0.6)


def drum_or_trumpet(rng: np.random.Generator) -> list[Part]:
    """Drum, goblet drum, hand bell, trumpet or saxophone."""
    style = rng.choice(["drum", "goblet", "bell", "trumpet", "horn"])
    material, trim = any_material(rng), metal(rng)
    if style == "drum":
        radius = rng.uniform(0.5, 0.9)
        half = radius * (rng.uniform(0.25, 0.55) if rng.random() < 0.6 else rng.uniform(1.35, 1.9))
        parts = [
            cylinder(radius, half, material=material),
            cylinder(radius * 0.94, half + 0.02, material=Material((0.85, 0.82, 0.76))),
            torus(radius, rng.uniform(0.045, 0.08), center=(0, half * 0.93, 0), material=trim),
            torus(radius, 0.05, center=(0, -half * 0.93, 0), material=trim),
        ]
        for turn in np.arange(rng.integers(0, 4)) * 45:
            bar = rotation_matrix((0, turn, 0)) @ (radius + 0.01, 0, 0)
            parts.append(capsule(bar - (0, half * 0.9, 0), bar + (0, half * 0.9, 0), 0.035, mirror="xz", material=trim))
        if rng.random() < 0.4:
            parts.append(
                capsule(
                    (radius * 0.6, -half * 0.9, radius * 0.6),
                    (radius * 0.8, -half - 0.45, radius * 0.8),
                    0.045,
                    mirror="xz",
                    material=trim,
                )
            )
        if rng.random() < 0.4:
            parts.append(capsule((-0.5, half + 0.05, 0.1), (0.6, half + 0.08, -0.1), 0.045, material=wood(rng)))
        return parts
    if style == "goblet":
        width, waist, foot = rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.25), rng.uniform(0.28, 0.45)
        parts = [
            revolve(
                [
                    (0, -1),
                    (foot, -1),
                    (foot * 0.8, -0.6),
                    (waist, -0.2),
                    (width, rng.uniform(0.2, 0.5)),
                    (width * 0.95, 0.9),
                    (width * 0.85, 0.9),
                    (width * 0.85, 0.85),
                    (0, 0.85),
                ],
                material=material,
            ),
            torus(width * 0.97, 0.05, center=(0, 0.82, 0), material=trim),
        ]
        return parts
    if style == "bell":
        width, wall, top = rng.uniform(0.5, 0.7), rng.uniform(0.05, 0.08), rng.uniform(0.2, 0.35)
        outer = [
            (width, -0.8),
            (width * 0.8, -0.6),
            (width * 0.62, -0.2),
            (width * 0.5, top * 0.6),
            (width * 0.25, top),
        ]
        inner = [(max(r - wall, 0.05), y - wall * 0.6) for r, y in outer[:0:-1]] + [(width - wall * 1.3, -0.8)]
        parts = [
            revolve([(0, top + 0.02), *outer[::-1], *inner[::-1], (0, top - wall * 1.2)], material=trim),
            grip(rng, 0.1, top - 0.05, 1.0, wood(rng)),
            capsule((0, top - 0.08, 0), (0, -0.7, 0), 0.04, end_radius=0.09, material=metal(rng)),
        ]
        return posed(rng, parts, upright=0.8)
    bell, tip, wall = rng.uniform(0.26, 0.4), 0.07, 0.05
    flare = [(tip, -0.35), (tip * 1.1, 0.0), (tip * 1.6, 0.25), (bell * 0.55, 0.42), (bell, 0.52)]
    inner = [(bell - wall * 0.6, 0.54), (bell * 0.55 - wall, 0.46), (0, 0.3)]
    horn = [(0, -0.35), *flare, *inner]
    if style == "trumpet":
        width, drop = rng.uniform(0.12, 0.16), rng.uniform(0.26, 0.36)
        loop = [
            (0, 0, -0.7),
            (0, -drop * 0.3, -0.85),
            (0, -drop * 0.7, -0.85),
            (0, -drop, -0.7),
            (0, -drop, 0.3),
            (0, -drop * 0.8, 0.42),
        ]
        parts = [
            revolve(horn, center=(0, 0, 0.45), rotate=(90, 0, 0), material=trim),
            tube([(0, 0, 0.3), *loop], 0.05, material=trim),
            tube(
                [(0, -drop * 0.8, 0.42), (0, -drop * 0.3, 0.42), (0.1, -drop * 0.1, 0.3), (0.12, 0.02, -1.0)],
                0.045,
                material=trim,
            ),
            cylinder(0.05, 0.05, top_radius=0.09, center=(0.12, 0.02, -1.03), rotate=(-90, 0, 0), material=trim),
        ]
        for z in (-0.3, -0.3 + width, -0.3 + 2 * width):
            parts.append(cylinder(0.06, drop * 0.75, round=0.01, center=(0.03, -drop / 2, z), material=trim))
        parts.append(capsule((0.03, 0, -0.3 + width), (0.03, drop * 0.45, -0.3 + width), 0.035, material=trim))
        return parts if rng.random() < 0.6 else turned(parts, rotation_matrix((0, rng.uniform(0, 360), 90)))
    parts = [
        revolve(horn, center=(0, 0.15, 0.32), rotate=(15, 0, 0), material=trim),
        tube(bezier((0, -0.2, 0.25), (0, -1.35, 0.25), (0, -0.5, -0.1), 7), 0.11, end_radius=0.085, material=trim),
        capsule((0, -0.5, -0.1), (0, 0.75, -0.2), 0.085, end_radius=0.05, material=trim),
        tube(bezier((0, 0.72, -0.2), (0, 1.05, -0.2), (0, 0.8, -0.55)), 0.05, end_radius=0.04, material=trim),
        capsule((0, 0.85, -0.45), (0, 0.74, -0.65), 0.05, material=DARK),
    ]
    for y in np.linspace(-0.4, 0.5, rng.integers(3, 6)):
        parts.append(
            cylinder(
                0.06,
                0.05,
                center=(0, y, -0.08 - 0.1 * (y + 0.5) / 1.25 + 0.075),
                rotate=(90, 0, 0),
                material=metal(rng),
            )
        )
    return posed(rng, parts, upright=0.7)
