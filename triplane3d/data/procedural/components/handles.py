"""Handles of hand tools."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.parts import Material, Part, box, cylinder, revolve


def grip(rng: np.random.Generator, radius: float, low: float, high: float, material: Material) -> Part:
    """A handle along y from `low` to `high`: turned on a lathe, a rounded box or a cylinder."""
    middle, half = (low + high) / 2, (high - low) / 2
    style = rng.integers(3)
    if style == 0:
        bulge = radius * rng.uniform(0.7, 1.0)
        profile = [
            (0, low),
            (radius * 0.8, low),
            (radius * 1.1, low + half * 0.25),
            (bulge, middle - half * 0.1),
            (radius, middle + half * 0.4),
            (radius * 0.7, high),
            (0, high),
        ]
        return revolve(profile, material=material)
    if style == 1:
        return box(
            (radius * 1.2, half, radius * 0.8),
            round=radius * rng.uniform(0.2, 0.7),
            center=(0, middle, 0),
            taper=rng.uniform(-0.15, 0.15),
            material=material,
        )
    return cylinder(
        radius,
        half,
        top_radius=radius * rng.uniform(0.7, 1.0),
        round=radius * 0.3,
        center=(0, middle, 0),
        material=material,
    )
