"""Eyes and ears for heads that are given as ellipsoids."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.materials import contrasting, eye_black
from triplane3d.data.procedural.parts import Material, Part, cylinder, ellipsoid


def eyes(rng: np.random.Generator, center: np.ndarray, radii: np.ndarray, *, size: float) -> Part:
    """A pair of eyes half sunk into the front of a head, which is an ellipsoid with `center` and `radii`."""
    aside, up = rng.uniform(0.35, 0.5), rng.uniform(0.05, 0.3)
    ahead = np.sqrt(1 - aside**2 - up**2)
    at = center + radii * (aside, up, ahead * 0.97)
    return ellipsoid((size, size * rng.uniform(0.9, 1.3), size), center=at, mirror="x", material=eye_black(rng))


def ears(rng: np.random.Generator, kind: str, center: np.ndarray, radii: np.ndarray, material: Material) -> list[Part]:
    """Ears on a head that is an ellipsoid with `center` and `radii`.

    `kind` is "round", "pointed", "hanging", "upright" (a rabbit's) or "fan" (an elephant's).
    """
    size = float(radii[0])
    if kind == "round":
        at = center + radii * (0.72, 0.72, 0)
        ear = size * rng.uniform(0.32, 0.5)
        return [
            ellipsoid((ear, ear, ear * 0.45), center=at, rotate=(0, 0, -40), mirror="x", blend=0.03, material=material),
            ellipsoid(
                (ear * 0.65, ear * 0.65, ear * 0.25),
                center=at + (0, 0, ear * 0.3),
                rotate=(0, 0, -40),
                mirror="x",
                material=contrasting(rng, material),
            ),
        ]
    if kind == "pointed":
        ear = size * rng.uniform(0.3, 0.45)
        return [
            cylinder(
                ear,
                ear * rng.uniform(1.0, 1.6),
                top_radius=0.02,
                center=center + radii * (0.55, 1.0, -0.05),
                rotate=(0, 0, -rng.uniform(8, 25)),
                mirror="x",
                blend=0.02,
                material=material,
            )
        ]
    if kind == "hanging":
        return [
            ellipsoid(
                (size * 0.22, size * rng.uniform(0.5, 0.8), size * 0.4),
                center=center + radii * (0.9, 0.1, -0.1),
                rotate=(0, 0, rng.uniform(8, 25)),
                mirror="x",
                blend=0.02,
                material=material,
            )
        ]
    if kind == "upright":
        tall = size * rng.uniform(0.7, 1.3)
        return [
            ellipsoid(
                (size * 0.24, tall, size * 0.16),
                center=center + (size * 0.42, radii[1] * 0.75 + tall * 0.75, 0),
                rotate=(0, 0, -rng.uniform(0, 25)),
                mirror="x",
                blend=0.03,
                material=material,
            )
        ]
    return [
        ellipsoid(
            (size * 0.75, size * 0.8, size * 0.13),
            center=center + radii * (1.3, 0.1, -0.1),
            rotate=(0, rng.uniform(10, 40), 0),
            mirror="x",
            blend=0.03,
            material=material,
        )
    ]
