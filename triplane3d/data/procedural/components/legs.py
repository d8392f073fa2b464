"""Supports of furniture: four legs, a pedestal or a cantilever frame."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import smooth
from triplane3d.data.procedural.parts import Material, Part, bezier, box, capsule, revolve, tube


def four_legs(
    rng: np.random.Generator, top: float, x: float, z: float, thickness: float, material: Material, *, low: bool = False
) -> list[Part]:
    """Four legs from the floor to (±x, top, ±z), of half-width `thickness`, sometimes joined by bars near the floor.

    With `low` they are never joined and never turned on a lathe.
    """
    u = rng.uniform
    place = dict(mirror="xz", material=material)
    splay = u(0.0, 0.16) * top if rng.random() < 0.6 else 0.0
    style = rng.integers(3 if low else 4)
    if style == 0:
        splay = 0.0
        parts = [
            box(
                (thickness, top / 2, thickness),
                round=thickness * u(0.05, 0.5),
                taper=u(0.0, 0.25),
                center=(x, top / 2, z),
                **place,
            )
        ]
    elif style == 1:
        parts = [
            capsule(
                (x, top, z), (x + splay, thickness, z + splay), thickness, end_radius=thickness * u(0.78, 1.1), **place
            )
        ]
    elif style == 2:
        bow, splay = u(-0.12, 0.12) * top, abs(splay)
        curve = bezier((x, top, z), (x + bow, top * 0.5, z + bow), (x + splay, thickness, z + splay), 5)
        return [tube(curve, thickness * 1.05, end_radius=thickness * u(0.8, 1.0), **place)]
    else:
        splay = 0.0
        height = np.array((0.0, 0.0, 0.05, 0.12, 0.3, 0.5, 0.62, 0.7, 0.74, 0.8, 1.0, 1.0)) * top
        radius = np.array((0.0, 0.8, 1.0, u(0.7, 0.9), u(0.8, 1.2), u(0.9, 1.4), u(0.7, 1.1), 1.2, 0.8, 1.2, 1.2, 0.0))
        parts = [revolve(np.stack([radius * thickness, height], axis=1), center=(x, 0, z), **place)]
    if not low and rng.random() < 0.4:
        level = u(0.2, 0.5)
        reach, depth = x + splay * (1 - level), z + splay * (1 - level)
        bar = thickness * u(0.65, 0.85)
        parts.append(box((bar, bar, depth), center=(reach, top * level, 0), mirror="x", material=material))
        if rng.random() < 0.6:
            parts.append(box((reach, bar * 0.9, bar), center=(0, top * level, 0), material=material))
        else:
            parts.append(box((reach, bar, bar * 0.9), center=(0, top * level, depth), mirror="z", material=material))
    return parts


def pedestal(rng: np.random.Generator, top: float, foot: float, column: float, material: Material) -> list[Part]:
    """A central column of radius `column` up to the height `top`. Its foot of radius `foot` is a dish, a bell or a star
    of four or five feet."""
    u = rng.uniform
    style = rng.choice(("dish", "bell", "four", "five"))
    if style == "dish":
        edge = max(0.02, 0.045 * foot)
        return [
            revolve(
                [
                    (0, 0),
                    (foot, 0),
                    (foot, edge),
                    (foot * 0.4, edge * u(1.5, 3)),
                    (column, edge * 4),
                    (column, top),
                    (0, top),
                ],
                material=material,
            )
        ]
    if style == "bell":
        profile = np.array(
            [
                (foot, 0),
                (foot * u(0.5, 0.95), top * 0.08),
                (column * u(1, 2), top * u(0.15, 0.3)),
                (column * u(0.8, 1.4), top * 0.5),
                (column * u(0.9, 2.5), top * u(0.65, 0.8)),
                (column * u(1.2, 3.0), top),
            ]
        )
        return [revolve([(0, 0), *smooth(profile, 12), (0, top)], material=material)]
    hub, thickness = top * u(0.12, 0.3), max(column * 0.75, 0.016)
    parts = [capsule((0, hub * 0.6, 0), (0, top, 0), column, material=material)]
    if style == "four":
        tip = (foot * 0.75, thickness, foot * 0.75)
        return parts + [
            tube(
                bezier((0, hub, 0), (foot * 0.4, hub, foot * 0.4), tip, 5),
                thickness * 1.1,
                end_radius=thickness,
                mirror="xz",
                material=material,
            )
        ]
    parts.append(capsule((0, hub, 0), (0, thickness, foot), thickness * 1.1, end_radius=thickness, material=material))
    for angle in (72, 144):
        tip = (foot * sin(radians(angle)), thickness, foot * cos(radians(angle)))
        parts.append(capsule((0, hub, 0), tip, thickness * 1.1, end_radius=thickness, mirror="x", material=material))
    return parts


def cantilever(
    seat: float, x: float, half_depth: float, thickness: float, material: Material, *, closed: bool
) -> list[Part]:
    """A frame of bent tube on both sides: under the seat, down the front, along the floor to the back. With `closed` it
    rises to the seat again."""
    z = half_depth * 0.85
    path = [(x, seat, -z), (x, seat, z), (x, thickness, z), (x, thickness, -z)]
    if closed:
        path.append((x, seat, -z))
    return [
        tube(path, thickness, mirror="x", material=material),
        capsule((-x, thickness * 1.02, -z), (x, thickness * 1.02, -z), thickness * 0.95, material=material),
    ]
