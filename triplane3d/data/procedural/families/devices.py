"""Electric and clockwork devices: cameras, radios, loudspeakers, televisions, clocks, game pads; front towards +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.posing import posed
from triplane3d.data.procedural.materials import DARK, contrasting, metal, plastic, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    rotation_matrix,
    torus,
    tube,
)


def camera_or_gadget(rng: np.random.Generator) -> list[Part]:
    """Camera (also on a tripod), radio, loudspeaker, old television, game pad or alarm clock."""
    style = rng.choice(["camera", "camera", "radio", "speaker", "television", "clock", "pad"])
    material = plastic(rng) if rng.random() < 0.8 else wood(rng)
    trim, steel = contrasting(rng, material), metal(rng)
    if style == "camera":
        width, height, depth = rng.uniform(0.6, 0.85), rng.uniform(0.38, 0.55), rng.uniform(0.18, 0.3)
        lens, reach, aside = height * rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.7), rng.uniform(-0.15, 0.15)
        parts = [
            box((width, height, depth), round=rng.uniform(0.02, 0.1), material=material),
            cylinder(
                lens,
                reach / 2 + 0.05,
                round=0.02,
                center=(aside, -0.04, depth + reach / 2 - 0.02),
                rotate=(90, 0, 0),
                material=DARK if rng.random() < 0.5 else steel,
            ),
            cylinder(
                lens * rng.uniform(0.7, 0.9),
                0.06,
                center=(aside, -0.04, depth + reach),
                rotate=(90, 0, 0),
                material=trim,
            ),
        ]
        if rng.random() < 0.7:
            parts.append(
                cylinder(
                    lens * 0.65, 0.1, center=(aside, -0.04, depth + reach + 0.06), rotate=(90, 0, 0), op="subtract"
                )
            )
            parts.append(
                ellipsoid((lens * 0.66, lens * 0.66, 0.06), center=(aside, -0.04, depth + reach - 0.04), material=DARK)
            )
        if rng.random() < 0.7:
            parts.append(
                box(
                    (rng.uniform(0.18, 0.3), 0.14, depth * 0.7),
                    taper=-rng.uniform(0, 0.3),
                    round=0.02,
                    center=(aside, height + 0.06, 0.02),
                    material=material,
                )
            )
        parts.append(cylinder(0.07, 0.07, center=(width * 0.7, height + 0.02, 0), material=steel))
        if rng.random() < 0.5:
            parts.append(cylinder(0.12, 0.05, center=(-width * 0.7, height + 0.02, 0), material=steel))
        if rng.random() < 0.4:
            parts.append(
                box(
                    (0.14, height * 0.9, depth * 0.6),
                    round=0.06,
                    center=(-width * 0.85, -0.02, depth * 0.75),
                    material=DARK,
                )
            )
        if rng.random() < 0.25:
            parts.append(box((0.15, 0.1, 0.15), center=(0, -height - 0.05, 0), material=DARK))
            for turn in (0, 120, 240):
                foot = rotation_matrix((0, turn, 0)) @ (0.0, 0.0, rng.uniform(0.7, 0.8))
                parts.append(
                    capsule((0, -height - 0.08, 0), foot - (0, height + 1.4, 0), 0.06, end_radius=0.045, material=steel)
                )
        return parts
    if style == "radio":
        width, height, depth = rng.uniform(0.7, 0.9), rng.uniform(0.35, 0.5), rng.uniform(0.18, 0.3)
        speaker = height * rng.uniform(0.6, 0.75)
        parts = [
            box((width, height, depth), round=rng.uniform(0.03, 0.12), material=material),
            cylinder(
                speaker, 0.05, round=0.02, center=(-width + speaker + 0.1, 0, depth), rotate=(90, 0, 0), material=DARK
            ),
        ]
        if rng.random() < 0.4:
            parts.append(
                cylinder(
                    speaker,
                    0.05,
                    round=0.02,
                    center=(width - speaker - 0.1, 0, depth),
                    rotate=(90, 0, 0),
                    material=DARK,
                )
            )
        parts.append(cylinder(0.09, 0.07, center=(0.14, -height * 0.45, depth), rotate=(90, 0, 0), material=steel))
        parts.append(box((width * 0.25, height * 0.2, 0.03), center=(width * 0.3, height * 0.5, depth), material=trim))
        if rng.random() < 0.5:
            parts.append(
                capsule(
                    (width * 0.8, height * 0.8, -0.05),
                    (width * rng.uniform(0.2, 1.1), height + rng.uniform(0.4, 0.9), -0.08),
                    0.035,
                    end_radius=0.028,
                    material=steel,
                )
            )
        if rng.random() < 0.5:
            side = width * 0.6
            parts.append(
                tube(
                    [
                        (-side, height * 0.9, 0),
                        (-side, height + 0.22, 0),
                        (side, height + 0.22, 0),
                        (side, height * 0.9, 0),
                    ],
                    0.05,
                    material=trim,
                )
            )
        return parts
    if style == "speaker":
        width, height, depth = rng.uniform(0.4, 0.6), rng.uniform(0.85, 1.0), rng.uniform(0.35, 0.5)
        low = width * rng.uniform(0.6, 0.8)
        return [
            box((width, height, depth), round=rng.uniform(0.01, 0.08), material=material),
            torus(low, 0.06, center=(0, -height * 0.35, depth), rotate=(90, 0, 0), material=trim),
            ellipsoid((low, low, 0.12), center=(0, -height * 0.35, depth + 0.02), op="subtract"),
            ellipsoid((low * 0.35, low * 0.35, 0.12), center=(0, -height * 0.35, depth - 0.08), material=DARK),
            cylinder(low * 0.45, 0.05, round=0.02, center=(0, height * 0.5, depth), rotate=(90, 0, 0), material=DARK),
            box((0.07, 0.06, 0.07), center=(width * 0.75, -height - 0.03, depth * 0.7), mirror="xz", material=DARK),
        ]
    if style == "television":
        width, height, depth = rng.uniform(0.7, 0.9), rng.uniform(0.5, 0.65), rng.uniform(0.25, 0.45)
        parts = [
            box((width, height, depth), round=0.06, material=material),
            box((width * 0.72, height * 0.8, 0.1), center=(-width * 0.15, 0, depth + 0.04), round=0.02, op="subtract"),
            ellipsoid(
                (width * 0.75, height * 0.83, 0.1),
                exponents=(0.5, 0.5),
                center=(-width * 0.15, 0, depth - 0.09),
                material=DARK,
            ),
            cylinder(0.07, 0.06, center=(width * 0.79, height * 0.4, depth), rotate=(90, 0, 0), material=steel),
            cylinder(0.07, 0.06, center=(width * 0.79, height * 0.05, depth), rotate=(90, 0, 0), material=steel),
            capsule(
                (width * 0.7, -height * 0.9, depth * 0.5),
                (width * 0.85, -height - rng.uniform(0.15, 0.4), depth * 0.6),
                0.06,
                end_radius=0.045,
                mirror="xz",
                material=wood(rng),
            ),
        ]
        if rng.random() < 0.6:
            parts.append(
                capsule(
                    (0.02, height * 0.9, 0),
                    (rng.uniform(0.2, 0.5), height + rng.uniform(0.4, 0.6), 0),
                    0.035,
                    mirror="x",
                    material=steel,
                )
            )
        return parts
    if style == "clock":
        radius, depth = rng.uniform(0.6, 0.8), rng.uniform(0.18, 0.3)
        turn = rng.uniform(0, 2 * np.pi, 2)
        parts = [
            cylinder(radius, depth, round=0.05, rotate=(90, 0, 0), material=material),
            cylinder(radius * 0.85, 0.04, center=(0, 0, depth), rotate=(90, 0, 0), material=Material((0.9, 0.9, 0.87))),
        ]
        for angle, reach in zip(turn, (0.4, 0.65)):
            tip = radius * reach * np.array([np.sin(angle), np.cos(angle), 0])
            parts.append(capsule((0, 0, depth + 0.04), tip + (0, 0, depth + 0.04), 0.035, material=DARK))
        parts.append(
            capsule(
                (radius * 0.5, -radius * 0.6, 0), (radius * 0.75, -radius - 0.15, 0.1), 0.06, mirror="x", material=steel
            )
        )
        if rng.random() < 0.8:
            bell = np.array([radius * 0.55, radius * 0.95, 0])
            parts.append(ellipsoid((0.25, 0.18, 0.2), center=bell, rotate=(0, 0, -30), mirror="x", material=steel))
            parts.append(tube(bezier(bell, (0, radius * 1.9, 0), bell * (-1, 1, 1)), 0.045, material=steel))
        return parts
    width, grip_radius = rng.uniform(0.6, 0.75), rng.uniform(0.26, 0.34)
    parts = [
        box((width, 0.26, 0.14), round=0.1, material=material),
        capsule(
            (width * 0.85, 0, 0),
            (width, -rng.uniform(0.3, 0.5), -0.05),
            grip_radius,
            end_radius=0.16,
            mirror="x",
            blend=0.1,
            material=material,
        ),
        box((0.16, 0.05, 0.05), center=(-width * 0.75, 0.08, grip_radius + 0.01), round=0.01, material=DARK),
        box((0.05, 0.16, 0.05), center=(-width * 0.75, 0.08, grip_radius + 0.01), round=0.01, material=DARK),
        cylinder(0.1, 0.12, center=(width * 0.35, -0.12, 0.15), rotate=(90, 0, 0), mirror="x", material=DARK),
    ]
    parts += [
        ellipsoid((0.055, 0.055, 0.06), center=(width * 0.75 + x, 0.08 + y, grip_radius), material=plastic(rng))
        for x, y in ((0.11, 0), (-0.11, 0), (0, 0.11), (0, -0.11))
    ]
    return posed(rng, parts, upright=0.4)
