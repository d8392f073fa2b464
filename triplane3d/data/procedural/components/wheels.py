"""Wheels, and the rotations that lay a vehicle's outlines into its side view and its top view."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.materials import metal, plastic, rubber
from triplane3d.data.procedural.parts import Part, cylinder

# Turns an outline drawn as (z, y) into a prism that is extruded along x, and one drawn as (x, z) into a flat slab.
SIDE_VIEW = (0, -90, 0)


TOP_VIEW = (90, 0, 0)


def wheels(rng: np.random.Generator, radius: float, width: float, x: float, z: float, *, mirror: str) -> list[Part]:
    """Wheels on the x axis with their outer face at `x`, repeated by `mirror`; sometimes with a hub."""
    center = (x - width, radius, z)
    parts = [
        cylinder(
            radius,
            width,
            round=min(radius, width) * rng.uniform(0.1, 0.5),
            center=center,
            rotate=(0, 0, 90),
            mirror=mirror,
            material=rubber(rng),
        )
    ]
    if rng.random() < 0.7:
        hub = metal(rng) if rng.random() < 0.6 else plastic(rng)
        parts.append(
            cylinder(
                radius * rng.uniform(0.4, 0.65),
                width * 1.06,
                center=center,
                rotate=(0, 0, 90),
                mirror=mirror,
                material=hub,
            )
        )
    return parts
