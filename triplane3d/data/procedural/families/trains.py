"""Steam engines, trams and express trains; from about -1 to 1, with the front towards +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.wheels import wheels
from triplane3d.data.procedural.materials import contrasting, lamp_light, metal, plastic, rubber, window_glass
from triplane3d.data.procedural.parts import Part, box, capsule, cylinder, ellipsoid, prism


def train_or_tram(rng: np.random.Generator) -> list[Part]:
    """Steam engine, or a tram or express train with a row of windows."""
    material, glass = plastic(rng), window_glass(rng)
    trim = contrasting(rng, material)
    if rng.random() < 0.55:
        size, radius = rng.uniform(0.2, 0.3), rng.uniform(0.12, 0.2)
        deck = radius * 1.5
        axis, nose = deck + size * 0.95, rng.uniform(0.75, 0.92)
        cab, cab_top = rng.uniform(0.22, 0.35), axis + size + rng.uniform(0.05, 0.25)
        funnel = rng.uniform(0.05, 0.09)
        parts = [
            box((size * 1.05, 0.07, 0.98), center=(0, deck, 0), material=trim),
            cylinder(
                size,
                (nose + 0.6) / 2,
                round=0.02,
                center=(0, axis, (nose - 0.6) / 2),
                rotate=(90, 0, 0),
                material=material,
            ),
            box(
                (size * 1.1, (cab_top - deck) / 2, cab),
                center=(0, (cab_top + deck) / 2, -0.93 + cab),
                material=plastic(rng),
            ),
            box((size * 1.25, 0.04, cab + 0.07), round=0.02, center=(0, cab_top, -0.93 + cab), material=trim),
            box(
                (size * 1.12, (cab_top - axis) * 0.3, cab * 0.5),
                center=(0, (cab_top + axis) / 2, -0.93 + cab),
                material=glass,
            ),
            cylinder(
                funnel,
                0.16,
                top_radius=funnel * rng.uniform(0.9, 2.0),
                center=(0, axis + size + 0.1, nose - rng.uniform(0.1, 0.2)),
                material=trim,
            ),
        ]
        for z in np.linspace(nose - 0.45, -0.3, rng.integers(0, 3)):
            parts.append(ellipsoid((0.09, 0.12, 0.09), center=(0, axis + size * 0.97, z), material=metal(rng)))
        if rng.random() < 0.5:
            parts.append(
                prism(
                    [(-size, 0), (size, 0), (size * 0.6, 0.16), (-size * 0.6, 0.16)],
                    0.06,
                    center=(0, deck - 0.14, 0.95),
                    rotate=(-20, 0, 0),
                    material=metal(rng),
                )
            )
        if rng.random() < 0.6:
            parts.append(cylinder(0.08, 0.05, center=(0, axis, nose), rotate=(90, 0, 0), material=lamp_light(rng)))
        count = rng.integers(2, 5)
        for z in np.linspace(-0.68, 0.62, count):
            parts.append(
                cylinder(
                    min(radius, 0.6 / count),
                    0.05,
                    center=(size * 0.98, min(radius, 0.6 / count) + 0.02, z),
                    rotate=(0, 0, 90),
                    mirror="x",
                    material=metal(rng),
                )
            )
        parts.append(box((0.05, radius * 0.8, 0.75), center=(size * 0.8, radius * 0.95, 0), mirror="x", material=trim))
        return parts
    half_width, height, floor = rng.uniform(0.22, 0.32), rng.uniform(0.45, 0.65), rng.uniform(0.08, 0.16)
    middle = floor + height / 2
    length = rng.uniform(0.7, 0.92)
    parts = [
        box((half_width, height / 2, length), round=rng.uniform(0.03, 0.12), center=(0, middle, 0), material=material),
        box((half_width + 0.007, height * 0.14, length * 0.93), center=(0, middle + height * 0.16, 0), material=glass),
        ellipsoid(
            (half_width * 0.97, height * 0.47, 1.02),
            exponents=(0.6, 0.6),
            center=(0, middle - 0.01, 0),
            material=trim if rng.random() < 0.5 else material,
        ),
        ellipsoid(
            (half_width * 0.8, height * 0.2, 1.03),
            exponents=(0.6, 0.6),
            center=(0, middle + height * 0.12, 0),
            material=glass,
        ),
        box((half_width * 0.8, 0.08, 0.2), center=(0, floor - 0.02, length * 0.6), mirror="z", material=rubber(rng)),
    ]
    parts += wheels(rng, floor * 0.9, 0.04, half_width * 0.9, length * 0.6, mirror="xz")
    if rng.random() < 0.7:
        parts.append(
            box((half_width + 0.01, 0.025, length * 0.98), center=(0, middle - height * 0.22, 0), material=trim)
        )
    if rng.random() < 0.6:
        top = floor + height
        parts.append(box((half_width * 0.6, 0.06, length * 0.5), round=0.02, center=(0, top, 0), material=metal(rng)))
        parts.append(capsule((0, top, -0.1), (0, top + 0.2, 0.15), 0.025, material=metal(rng)))
        parts.append(capsule((0, top + 0.2, 0.15), (0, top + 0.38, -0.08), 0.025, material=metal(rng)))
        parts.append(capsule((-0.2, top + 0.38, -0.08), (0.2, top + 0.38, -0.08), 0.025, material=metal(rng)))
    return parts
