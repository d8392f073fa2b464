"""Doughnuts, cakes, ice cream, burgers and hot dogs, in units of about ten centimetres."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import smooth, solid
from triplane3d.data.procedural.materials import any_material, contrasting, fabric, plastic, tinted, wood
from triplane3d.data.procedural.parts import (
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    prism,
    revolve,
    rotation_matrix,
    torus,
    tube,
)


def donuts(rng: np.random.Generator) -> list[Part]:
    """One to five doughnuts: one alone, two leaning on each other, a stack or a row."""
    u = rng.uniform
    dough = tinted(rng, (0.85, 0.62, 0.36))
    major, minor = u(0.5, 0.62), u(0.22, 0.33)
    arrangement = rng.choice(("one", "leaning", "stack", "side"), p=(0.25, 0.4, 0.15, 0.2))
    if arrangement == "one":
        poses = [((0.0, 0.0, 0.0), (u(-10, 80), 0.0, u(-40, 40)))]
    elif arrangement == "leaning":
        side, tilt = rng.choice((-1, 1)), u(25, 70)
        outer = major + minor
        offset = outer * u(0.75, 1.05)
        poses = [
            ((0.0, 0.0, 0.0), (0.0, 0.0, u(-6, 6))),
            ((side * offset, outer * sin(radians(tilt)) * 0.62, u(-0.2, 0.2)), (u(-10, 30), 0.0, side * tilt)),
        ]
    elif arrangement == "stack":
        poses = [
            ((u(-0.12, 0.12), level * minor * 1.6, u(-0.12, 0.12)), (u(-6, 6), 0.0, u(-6, 6)))
            for level in range(int(rng.choice((2, 4, 5))))
        ]
    else:
        step = 2 * (major + minor) * u(0.85, 0.94)
        poses = [((index * step, 0.0, 0.0), (u(-5, 20), 0.0, u(-8, 8))) for index in range(int(rng.integers(2, 4)))]
    parts, icing, iced = [], plastic(rng), rng.random() < 0.85
    for center, rotate in poses:
        up = rotation_matrix(rotate) @ np.array([0.0, 1.0, 0.0])
        parts.append(torus(major, minor, center=center, rotate=rotate, material=dough))
        if iced:
            raised = minor * u(0.16, 0.28)
            parts.append(
                torus(major, minor * u(0.93, 0.98), center=np.add(center, raised * up), rotate=rotate, material=icing)
            )
            icing = icing if rng.random() < 0.6 else plastic(rng)
    return parts


def cake_or_burger(rng: np.random.Generator) -> list[Part]:
    """A layer cake, a slice, a cupcake, an ice-cream cone, a burger or a hot dog."""
    return (_cake, _cake, _slice, _cupcake, _ice_cream, _burger, _hot_dog)[rng.integers(7)](rng)


def _cake(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    radius, y, parts = u(0.6, 0.9), 0.0, []
    if rng.random() < 0.5:
        parts.append(
            revolve(
                [
                    (0, -0.5),
                    (0.4, -0.5),
                    (0.12, -0.4),
                    (0.1, -0.1),
                    (radius * 1.2, -0.06),
                    (radius * 1.2, 0.03),
                    (0, 0.03),
                ],
                material=any_material(rng),
            )
        )
    for _ in range(int(rng.integers(1, 4))):
        half = u(0.15, 0.3)
        material = fabric(rng)
        parts.append(cylinder(radius, half, round=u(0.02, 0.1), center=(0, y + half - 0.03, 0), material=material))
        if rng.random() < 0.6:
            parts.append(
                torus(
                    radius * 0.98,
                    0.06,
                    center=(0, y + 2 * half * rng.integers(2), 0),
                    material=contrasting(rng, material),
                )
            )
        y += 2 * half - 0.03
        radius *= u(0.6, 0.8)
    top, spread = y, radius * 1.05
    dots = int(rng.integers(0, 4))
    for x, z, mirror in ((0, 0, ""), (0.6, 0, "x"), (0.4, 0.45, "xz"))[:dots]:
        if rng.random() < 0.5:
            parts.append(
                ellipsoid(
                    (0.09, 0.09, 0.09),
                    center=(x * spread, top + 0.02, z * spread),
                    mirror=mirror,
                    material=plastic(rng),
                )
            )
        else:
            parts.append(
                capsule(
                    (x * spread, top - 0.05, z * spread),
                    (x * spread, top + 0.3, z * spread),
                    0.04,
                    mirror=mirror,
                    material=plastic(rng),
                )
            )
    return parts


def _slice(rng: np.random.Generator) -> list[Part]:
    """A slice of a layer cake, its tip towards +z."""
    u = rng.uniform
    length, half_angle = u(0.9, 1.3), radians(u(14, 28))
    arc = [(length * sin(a), -length * cos(a)) for a in np.linspace(-half_angle, half_angle, 6)]
    outline = np.array([(0.0, 0.0), *arc])
    parts, y = [], 0.0
    layers = int(rng.integers(2, 6))
    colors = [fabric(rng), fabric(rng)]
    for index in range(layers):
        half = u(0.06, 0.14)
        # this rotation lays the outline flat: its y becomes z
        parts.append(
            prism(
                outline * (1.0 - 0.03 * (index % 2)),
                half,
                center=(0, y + half - 0.02, 0),
                rotate=(90, 0, 0),
                material=colors[index % 2],
            )
        )
        y += 2 * half - 0.02
    parts.append(prism(outline * 1.03, 0.05, round=0.02, center=(0, y, 0), rotate=(90, 0, 0), material=plastic(rng)))
    if rng.random() < 0.7:
        size = u(0.08, 0.14)
        parts.append(
            ellipsoid((size, size, size), center=(0, y + size * 0.8, -length * u(0.5, 0.85)), material=plastic(rng))
        )
    return parts


def _cupcake(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    cream, radius, y = fabric(rng), u(0.42, 0.55), u(0.45, 0.65)
    parts = [revolve(solid(np.array([(radius * u(0.65, 0.8), 0), (radius, y)])), material=fabric(rng))]
    for _ in range(int(rng.integers(2, 5))):
        height = u(0.12, 0.2)
        parts.append(torus(radius * 0.6, height, center=(0, y + height * 0.4, 0), blend=0.05, material=cream))
        parts.append(cylinder(radius * 0.6, height * 0.8, center=(0, y + height * 0.3, 0), material=cream))
        y += height * 1.2
        radius *= 0.72
    size = u(0.09, 0.14)
    return [*parts, ellipsoid((size, size, size), center=(0, y + size * 0.6, 0), material=plastic(rng))]


def _ice_cream(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    cone, scoop = u(0.8, 1.3), u(0.32, 0.42)
    parts = [revolve([(0, 0), (0.05, 0), (scoop * 0.85, cone), (0, cone)], material=tinted(rng, (0.82, 0.6, 0.32)))]
    if rng.random() < 0.4:
        parts.append(torus(scoop * 0.85, 0.06, center=(0, cone, 0), material=parts[0].material))
    if rng.random() < 0.3:  # soft ice, in a swirl
        cream = fabric(rng)
        return (
            parts
            + [
                torus(scoop * size, scoop * 0.45, center=(0, cone + scoop * lift, 0), blend=0.05, material=cream)
                for size, lift in ((0.6, 0.2), (0.42, 0.7), (0.2, 1.15))
            ]
            + [ellipsoid((scoop * 0.55, scoop * 1.9, scoop * 0.55), center=(0, cone, 0), material=cream)]
        )
    parts.append(ellipsoid((scoop,) * 3, center=(0, cone + scoop * 0.4, 0), material=fabric(rng)))
    if rng.random() < 0.5:
        side = u(-0.4, 0.4)
        parts.append(ellipsoid((scoop * 0.92,) * 3, center=(scoop * side, cone + scoop * 1.5, 0), material=fabric(rng)))
    if rng.random() < 0.4:
        parts.append(capsule((0.1, cone, 0), (scoop, cone + scoop * u(1.8, 2.6), 0.1), 0.05, material=wood(rng)))
    return parts


def _burger(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    radius, bun, y = u(0.85, 1.05), tinted(rng, (0.8, 0.52, 0.24)), 0.0
    half = u(0.1, 0.18)
    parts = [cylinder(radius, half, round=half * 0.7, center=(0, half, 0), material=bun)]
    y = 2 * half
    fillings = {
        "patty": (0.36, 0.2, 0.12),
        "salad": (0.35, 0.62, 0.2),
        "tomato": (0.8, 0.2, 0.15),
        "cheese": (0.95, 0.72, 0.2),
    }
    for name in ["patty", *rng.choice(list(fillings), size=int(rng.integers(1, 4)), replace=False)]:
        material, thickness = tinted(rng, fillings[name]), u(0.05, 0.09)
        if name == "cheese":
            parts.append(
                box(
                    (radius * 0.76, 0.04, radius * 0.76),
                    round=0.03,
                    center=(0, y, 0),
                    rotate=(0, u(0, 90), 0),
                    material=material,
                )
            )
            y += 0.04
            continue
        thickness = u(0.1, 0.14) if name == "patty" else thickness
        parts.append(
            cylinder(
                radius * u(0.94, 1.1),
                thickness,
                round=thickness * 0.7,
                center=(0, y + thickness * 0.7, 0),
                material=material,
            )
        )
        y += thickness * 1.5
    dome = u(0.35, 0.6) * radius
    parts.append(
        revolve(
            [
                (0, y - 0.05),
                *smooth(
                    [
                        (radius * 0.97, y - 0.05),
                        (radius * 1.03, y + dome * 0.3),
                        (radius * 0.75, y + dome * 0.95),
                        (0.0, y + dome),
                    ],
                    12,
                ),
            ],
            material=bun,
        )
    )
    if rng.random() < 0.2:
        parts.append(capsule((0, y, 0), (0, y + dome + 0.5, 0), 0.04, material=wood(rng)))
    return parts


def _hot_dog(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    length, thickness = u(0.8, 1.1), u(0.17, 0.24)
    bun, sausage = tinted(rng, (0.85, 0.6, 0.32)), tinted(rng, (0.62, 0.24, 0.14))
    zigzag = [(x * length * 0.8, thickness * 1.55, 0.07 * (-1) ** i) for i, x in enumerate(np.linspace(-1, 1, 8))]
    return [
        capsule(
            (-length, 0, thickness * 0.85), (length, 0, thickness * 0.85), thickness * 1.05, mirror="z", material=bun
        ),
        tube(
            bezier(
                (-length * 1.15, thickness * 0.7, 0),
                (0, thickness * u(0.5, 0.7), 0),
                (length * 1.15, thickness * 0.7, 0),
                6,
            ),
            thickness * 0.95,
            material=sausage,
        ),
        tube(zigzag, 0.045, material=tinted(rng, (0.9, 0.7, 0.1))),
    ]
