"""Wheels of vehicles, and rotations for outlines that are given in side view or top view."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.materials import metal, plastic, rubber
from triplane3d.data.procedural.parts import Part, cylinder

SIDE_VIEW = (0, -90, 0)
"""Rotation for a prism whose outline has points (z, y): it is extruded along x."""
TOP_VIEW = (90, 0, 0)
"""Rotation for a prism whose outline has points (x, z): it is a flat slab."""


def wheels(rng: np.random.Generator, radius: float, width: float, x: float, z: float, *, mirror: str) -> list[Part]:
    """A wheel about the x axis with its outer face at `x`, repeated by `mirror`, sometimes with a hub."""
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
