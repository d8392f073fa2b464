"""Boats, ships and submarines; from about -1 to 1, with the bow towards +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.wheels import SIDE_VIEW
from triplane3d.data.procedural.materials import any_material, contrasting, fabric, plastic, window_glass, wood
from triplane3d.data.procedural.parts import Part, box, capsule, cylinder, ellipsoid, prism


def boat(rng: np.random.Generator) -> list[Part]:
    """Rowing boat, sailing boat, steamer, tug or submarine."""
    style = rng.choice(["row", "sail", "ship", "submarine"], p=[0.25, 0.35, 0.3, 0.1])
    material = plastic(rng) if rng.random() < 0.5 else wood(rng)
    trim = contrasting(rng, material)
    if style == "submarine":
        size = rng.uniform(0.18, 0.3)
        return [
            ellipsoid((size, size, 1), exponents=(1, rng.uniform(0.6, 1)), material=material),
            box((size * 0.35, 0.18, 0.2), round=0.05, center=(0, size + 0.04, 0.1), material=material),
            capsule((0, size, 0.12), (0, size + 0.42, 0.12), 0.03, material=trim),
            box((size * 1.5, 0.03, 0.1), center=(0, 0, -0.8), round=0.01, material=trim),
            box((0.03, size * 1.4, 0.1), center=(0, 0, -0.8), round=0.01, material=trim),
            ellipsoid((0.07, 0.07, 0.07), center=(size * 0.9, 0.03, 0.3), mirror="x", material=window_glass(rng)),
        ]
    half_width, depth = rng.uniform(0.26, 0.42), rng.uniform(0.3, 0.5)
    bend = (rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.1))
    parts = [
        ellipsoid((half_width, depth, 1), exponents=bend, material=material),
        box((2, depth, 2), center=(0, -depth, 0), op="intersect", material=material),
    ]
    if rng.random() < 0.4:
        parts.append(box((2, 0.6, 1.0 + rng.uniform(0.7, 0.9)), center=(0, 0, 1.0), op="intersect", material=material))
    rail = rng.uniform(0.05, 0.08)
    if style == "row" or rng.random() < 0.3:
        parts.append(
            ellipsoid(
                (half_width - rail, depth - rail, 0.9),
                exponents=bend,
                center=(0, 0.02, 0.04),
                op="subtract",
                material=wood(rng),
            )
        )
    if style == "row":
        for z in np.linspace(-0.4, 0.4, rng.integers(1, 4)):
            parts.append(
                box((half_width * (1 - 0.5 * z * z), 0.03, 0.08), center=(0, -depth * 0.35, z), material=wood(rng))
            )
        if rng.random() < 0.5:
            parts.append(
                capsule(
                    (half_width * 0.75, -depth * 0.12, 0.05),
                    (half_width + 0.45, -depth * 0.5, -0.15),
                    0.03,
                    mirror="x",
                    material=wood(rng),
                )
            )
    elif style == "sail":
        mast, foot, at = rng.uniform(1.0, 1.9), -depth * 0.8, rng.uniform(0, 0.3)
        cloth = fabric(rng)
        parts.append(capsule((0, foot - 0.02, at), (0, mast, at), 0.035, material=wood(rng)))
        parts.append(
            prism(
                [(at + 0.01, mast * 0.96), (at + 0.01, 0.15), (at - rng.uniform(0.5, 0.85), 0.15)],
                0.03,
                rotate=SIDE_VIEW,
                material=cloth,
            )
        )
        if rng.random() < 0.6:
            parts.append(
                prism(
                    [(at - 0.01, mast * 0.85), (at - 0.01, 0.15), (rng.uniform(0.75, 0.95), 0.02)],
                    0.03,
                    rotate=SIDE_VIEW,
                    material=cloth,
                )
            )
        if rng.random() < 0.5:
            parts.append(box((half_width * 0.45, 0.12, 0.2), round=0.04, center=(0, -0.02, -0.35), material=trim))
            parts.append(box((0.05, depth * 0.4, 0.2), center=(0, -depth * 0.5, -0.35), material=wood(rng)))
    else:
        level, width, length, z = -depth * 0.85, half_width * 0.62, rng.uniform(0.35, 0.6), rng.uniform(-0.25, 0.1)
        for _ in range(rng.integers(1, 4)):
            height = rng.uniform(0.14, 0.26) + max(0.0, -level)
            parts.append(
                box(
                    (width, height / 2, length),
                    round=0.02,
                    center=(0, level + height / 2, z),
                    material=any_material(rng),
                )
            )
            parts.append(
                box(
                    (width + 0.01, 0.045, length * 0.8),
                    center=(0, level + height - 0.09, z),
                    material=window_glass(rng),
                )
            )
            level, width, length, z = level + height - 0.03, width * 0.8, length * rng.uniform(0.6, 0.85), z - 0.04
        for k in range(rng.integers(0, 3)):
            parts.append(
                cylinder(
                    0.08,
                    0.2,
                    round=0.01,
                    center=(0, level + 0.12, z - length * 0.5 + 0.24 * k),
                    rotate=(-rng.uniform(0, 15), 0, 0),
                    material=trim,
                )
            )
            length = max(length, 0.3)
    return parts
