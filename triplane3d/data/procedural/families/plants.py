"""Cacti and house plants in their pots, in units of about fifteen centimetres."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import hollow, radius_at, smooth
from triplane3d.data.procedural.materials import any_material, ceramic, contrasting, foliage, wood
from triplane3d.data.procedural.parts import Material, Part, bezier, capsule, cylinder, ellipsoid, revolve, tube


def cactus(rng: np.random.Generator) -> list[Part]:
    """A cactus in a pot: a column with arms, a ribbed barrel, a cluster of balls or pads of a prickly pear."""
    u = rng.uniform
    green = foliage(rng)
    style = rng.choice(("column", "barrel", "cluster", "pads"), p=(0.45, 0.2, 0.2, 0.15))
    parts, soil, mouth = _pot(rng)
    if style == "column":
        radius, rise = mouth * u(0.35, 0.7), u(0.5, 1.5)
        top = soil + rise
        if rng.random() < 0.5:
            parts.append(capsule((0, soil, 0), (0, top, 0), radius, end_radius=radius * u(0.7, 1.0), material=green))
        else:  # ribs: bars around the axis
            rib, ring = radius * 0.42, radius * 0.62
            for x, z, mirror in ((ring, 0, "x"), (0, ring, "z"), (ring * 0.71, ring * 0.71, "xz")):
                parts.append(capsule((x, soil, z), (x * 0.7, top, z * 0.7), rib, mirror=mirror, material=green))
            parts.append(capsule((0, soil, 0), (0, top, 0), radius * 0.7, material=green))
        for side in (1, -1)[: rng.choice((0, 0, 1, 2))]:
            level, out = soil + rise * u(0.35, 0.65), radius + u(0.15, 0.3)
            up, thickness = u(0.2, 0.6), radius * u(0.4, 0.65)
            angle = u(-0.7, 0.7)
            direction = np.array([side * cos(angle), 0, sin(angle)])
            elbow = np.array([0, level, 0]) + out * direction
            parts.append(
                tube(
                    [(0, level - 0.05, 0), elbow, elbow + (0, up * 0.3, 0) + 0.05 * direction, elbow + (0, up, 0)],
                    thickness,
                    end_radius=thickness * 0.9,
                    blend=0.05,
                    material=green,
                )
            )
    elif style == "barrel":
        radius = mouth * u(0.8, 1.1)
        height = radius * u(0.8, 1.3)
        middle = soil + height * 0.75
        parts.append(ellipsoid((radius * 0.93, height * 0.97, radius * 0.93), center=(0, middle, 0), material=green))
        for angle in np.arange(4) * pi / 4 + 0.01:
            parts.append(
                ellipsoid(
                    (radius * 1.02, height, radius * 0.17),
                    center=(0, middle, 0),
                    rotate=(0, np.degrees(angle), 0),
                    material=green,
                )
            )
    elif style == "cluster":
        for angle in np.arange(int(rng.integers(2, 6))) * 1.3 + u(0, 6):
            size = mouth * u(0.35, 0.6)
            parts.append(
                ellipsoid(
                    (size, size * u(1.2, 2.2), size),
                    material=green,
                    center=(mouth * 0.45 * cos(angle), soil + size * 0.5, mouth * 0.45 * sin(angle)),
                )
            )
    else:
        width, height = mouth * u(0.6, 0.9), u(0.35, 0.5)
        parts.append(ellipsoid((width, height, 0.09), center=(0, soil + height * 0.85, 0), material=green))
        for side in (-1, 1, u(-0.4, 0.4)):
            lean = side * u(20, 45)
            size = u(0.5, 0.8)
            root = np.array([side * width * 0.55, soil + height * 1.45, 0])
            up = np.array([sin(radians(lean)), cos(radians(lean)), 0])
            parts.append(
                ellipsoid(
                    (width * size, height * size, 0.075),
                    center=root + up * height * size * 0.7,
                    rotate=(u(-15, 15), 0, -lean),
                    material=green,
                )
            )
    if rng.random() < 0.3 and style in ("column", "barrel"):
        top = soil + rise + radius * 0.8 if style == "column" else middle + height
        parts.append(ellipsoid((0.1, 0.08, 0.1), center=(0, top, 0), material=contrasting(rng, green)))
    return parts


def potted_plant(rng: np.random.Generator) -> list[Part]:
    """A plant in a pot: a bush, a small clipped tree, broad leaves on stalks, long leaves, a rosette or a palm."""
    u = rng.uniform
    green, bark = foliage(rng), wood(rng)
    parts, soil, mouth = _pot(rng)
    style = rng.choice(("bush", "tree", "broad", "blades", "rosette"))
    if style == "bush":
        size = mouth * u(0.55, 0.8)
        parts.append(
            ellipsoid((size * 1.2, size * u(1.3, 1.8), size * 1.2), center=(0, soil + size * 1.1, 0), material=green)
        )
        for angle in np.arange(int(rng.integers(4, 9))) * 2.4:
            ball = size * u(0.4, 0.7)
            parts.append(
                ellipsoid(
                    (ball, ball * u(0.8, 1.1), ball),
                    material=green,
                    center=(size * cos(angle), soil + size * u(0.6, 2.2), size * sin(angle)),
                )
            )
    elif style == "tree":
        trunk, crown = u(0.3, 0.9), u(0.28, 0.55)
        parts += [capsule((0, soil - 0.05, 0), (0, soil + trunk + crown * 0.5, 0), u(0.05, 0.09), material=bark)]
        kind = rng.integers(3)
        if kind == 0:
            parts.append(
                ellipsoid(
                    (crown, crown * u(0.8, 1.3), crown), center=(0, soil + trunk + crown * 0.7, 0), material=green
                )
            )
        elif kind == 1:
            parts += [
                cylinder(
                    crown * s,
                    crown * 0.45,
                    top_radius=crown * s * 0.25,
                    material=green,
                    center=(0, soil + trunk + crown * y, 0),
                )
                for s, y in ((1.0, 0.3), (0.8, 0.8), (0.55, 1.3))
            ]
        else:
            parts += [
                ellipsoid(
                    (crown * 0.7,) * 3,
                    material=green,
                    center=(crown * 0.5 * cos(a), soil + trunk + crown * u(0.4, 0.9), crown * 0.5 * sin(a)),
                )
                for a in np.arange(4) * 1.7
            ]
    else:
        count = int(rng.integers(4, 9))
        for index in range(count):
            turn = index * 137.5 + u(-20, 20)
            if style == "broad":
                rise, out, length = u(0.4, 1.1), u(0.15, 0.5), u(0.22, 0.4)
                tip = np.array([out * cos(radians(turn)), soil + rise, out * sin(radians(turn))])
                parts += [
                    tube(bezier((0, soil - 0.04, 0), (0, soil + rise * 0.6, 0), tip, 4), 0.038, material=green),
                    ellipsoid(
                        (length, 0.055, length * u(0.5, 0.7)),
                        material=green,
                        rotate=(0, -turn, 0),
                        center=tip + 0.5 * length * np.array([cos(radians(turn)), 0, sin(radians(turn))]),
                    ),
                ]
            else:
                blade = style == "blades"
                lean, long, width = (
                    (u(2, 30), u(0.5, 1.0), u(0.08, 0.13)) if blade else (u(35, 75), u(0.3, 0.5), u(0.12, 0.18))
                )
                direction = np.array(
                    [
                        sin(radians(lean)) * sin(radians(turn)),
                        cos(radians(lean)),
                        sin(radians(lean)) * cos(radians(turn)),
                    ]
                )
                parts.append(
                    ellipsoid(
                        (width, long, 0.06),
                        rotate=(lean, turn, 0),
                        material=green,
                        center=np.array([0, soil - 0.05, 0]) + direction * long * 0.85,
                    )
                )
    return parts


def _pot(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    """A flower pot filled with soil. Returns its parts, the height of the soil and the radius of the opening."""
    u = rng.uniform
    material = ceramic(rng) if rng.random() < 0.7 else any_material(rng)
    rim, height, wall = u(0.35, 0.6), u(0.35, 0.75), 0.06
    foot = rim * u(0.55, 0.9)
    if rng.random() < 0.5:
        outline = np.array([(foot, 0), (rim, height)])
    else:
        outline = smooth([(foot, 0), (rim * u(0.9, 1.1), height * u(0.3, 0.6)), (rim, height)], 6)
    soil = height * u(0.8, 0.92)
    parts = [
        revolve(hollow(outline, wall, soil - 0.05), material=material),
        cylinder(
            radius_at(outline, soil) - wall * 0.6,
            0.06,
            center=(0, soil - 0.06, 0),
            material=Material(tuple(u(0.02, 0.12) * np.array([1.0, 0.7, 0.5])), gloss=0.0),
        ),
    ]
    if rng.random() < 0.45:
        band = height * u(0.06, 0.14)
        parts.append(
            revolve(
                [
                    (0, soil - 0.08),
                    (rim * 1.06, height - band * 2),
                    (rim * 1.1, height),
                    (rim - wall, height),
                    (rim - wall, soil - 0.04),
                    (0, soil - 0.04),
                ],
                material=material,
            )
        )
    if rng.random() < 0.25:
        parts.append(cylinder(foot * 1.25, 0.05, top_radius=foot * 1.4, center=(0, 0.02, 0), material=material))
    return parts, soil, rim - wall
