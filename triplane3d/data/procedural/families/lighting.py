"""Lamps, in metres, and candles and lanterns, in units of about ten centimetres."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import smooth, solid
from triplane3d.data.procedural.materials import ceramic, contrasting, fabric, metal, plastic, tinted, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    revolve,
    torus,
    tube,
)


def lamp(rng: np.random.Generator) -> list[Part]:
    """A table lamp on a turned base, a floor lamp, or a jointed or gooseneck desk lamp."""
    u = rng.uniform
    base_material, shade_material = (ceramic, wood, metal, metal)[rng.integers(4)](rng), fabric(rng)
    style = rng.choice(("table", "floor", "desk"), p=(0.55, 0.2, 0.25))
    if style == "desk":
        return _desk_lamp(rng, base_material)
    rod = u(0.016, 0.024) if style == "table" else u(0.024, 0.034)
    base_height = u(0.18, 0.5) if style == "table" else u(0.9, 1.4)
    shade_half, shade_wide = u(0.08, 0.18), u(0.12, 0.26) if style == "table" else u(0.17, 0.3)
    top = base_height + 2 * shade_half * u(0.7, 1.0)
    parts = (
        [_turned_base(rng, base_height, u(0.06, 0.14), rod, base_material)]
        if style == "table"
        else [
            revolve(
                [(0, 0), (0.17, 0), (0.16, 0.03), (rod * 1.5, 0.07), (rod, 0.12), (rod, base_height), (0, base_height)],
                material=base_material,
            )
        ]
    )
    if style == "floor" and rng.random() < 0.3:  # a tripod instead of a foot
        foot = u(0.22, 0.35)
        parts = [
            capsule((0, base_height * 0.85, 0), (0, rod, -foot), rod * 1.2, material=base_material),
            capsule(
                (0, base_height * 0.85, 0),
                (foot * 0.87, rod, foot * 0.5),
                rod * 1.2,
                mirror="x",
                material=base_material,
            ),
        ]
    parts.append(capsule((0, base_height * 0.8, 0), (0, top - rod, 0), rod, material=metal(rng)))
    return parts + [_shade(rng, shade_wide, shade_half, top, shade_material)]


def candle(rng: np.random.Generator) -> list[Part]:
    """A candle on a dish, a candlestick or a candelabrum, a pillar candle, or a torch on a stand."""
    u = rng.uniform
    holder, wax = metal(rng) if rng.random() < 0.6 else wood(rng), plastic(rng)
    flame = tinted(rng, (0.98, 0.75, 0.25))
    thickness, height = u(0.07, 0.12), u(0.4, 1.0)
    style = rng.choice(("stick", "dish", "arms", "pillar"), p=(0.35, 0.25, 0.25, 0.15))

    def lit(x: float, y: float, mirror: str = "") -> list[Part]:
        parts = [
            cylinder(
                thickness, height / 2 + 0.03, round=0.02, center=(x, y + height / 2, 0), mirror=mirror, material=wax
            )
        ]
        if rng.random() < 0.7:
            parts.append(
                ellipsoid(
                    (thickness * 0.75, thickness * u(1.5, 2.2), thickness * 0.75),
                    exponents=(1.2, 1.0),
                    mirror=mirror,
                    center=(x, y + height + thickness * 1.2, 0),
                    material=flame,
                )
            )
        return parts

    if style == "pillar":
        thickness, height = u(0.25, 0.45), u(0.6, 1.3)
        dish = thickness * u(1.2, 1.7)
        wick = capsule((0, height - 0.05, 0), (0, height + 0.2, 0), 0.045, end_radius=0.035, material=flame)
        return [
            cylinder(thickness, height / 2, round=u(0.01, 0.1), center=(0, height / 2, 0), material=wax),
            wick,
            cylinder(dish, 0.06, top_radius=dish * u(1.0, 1.15), center=(0, 0, 0), material=holder),
        ]
    foot = u(0.28, 0.45)
    if style == "dish":
        parts = [
            revolve(
                [
                    (0, -0.04),
                    (foot * 0.8, -0.04),
                    (foot * 1.2, 0.1),
                    (foot * 1.1, 0.12),
                    (foot * 0.75, 0.06),
                    (thickness * 1.8, 0.07),
                    (thickness * 1.6, 0.2),
                    (0, 0.2),
                ],
                material=holder,
            )
        ]
        if rng.random() < 0.7:
            parts.append(torus(0.15, 0.045, center=(foot * 1.2 + 0.1, 0.1, 0), rotate=(90, 0, 0), material=holder))
        return parts + lit(0, 0.15)
    rise = u(0.4, 1.3)
    knots = int(rng.integers(2, 6))
    y = np.sort(u(0.1, 0.9, knots)) * rise
    profile = np.array([(foot, 0), (foot, 0.05), *zip(u(0.06, 0.2, knots), y, strict=True), (thickness * 1.7, rise)])
    parts = [revolve(solid(smooth(profile, 13)), material=holder)]
    if style == "stick":
        return parts + [cylinder(thickness * u(1.6, 2.4), 0.05, center=(0, rise, 0), material=holder)] + lit(0, rise)
    out, drop = u(0.35, 0.6), u(0.1, 0.35)
    for reach in (out, 2 * out)[: rng.integers(1, 3)]:
        arm = bezier((0, rise * 0.8, 0), (reach, rise * 0.8 - drop, 0), (reach, rise, 0), 6)
        parts += [
            tube(arm, 0.05, mirror="x", material=holder),
            cylinder(
                thickness * 1.7, 0.06, top_radius=thickness * 2.1, center=(reach, rise, 0), mirror="x", material=holder
            ),
        ]
        parts += lit(reach, rise, "x")
    return parts + (lit(0, rise) if rng.random() < 0.7 else [])


def lantern(rng: np.random.Generator) -> list[Part]:
    """A lantern: storm lamp, caged glass with a roof, ribbed paper globe or a street lamp on its post."""
    u = rng.uniform
    frame, glass = metal(rng), tinted(rng, (0.95, 0.85, 0.55))
    width, height, bar = u(0.3, 0.45), u(0.35, 0.65), u(0.035, 0.06)
    style = rng.choice(("cage", "storm", "paper", "street"), p=(0.35, 0.3, 0.15, 0.2))
    if style == "paper":
        radius, squash = u(0.5, 0.7), u(0.7, 1.4)
        parts = [
            ellipsoid((radius, radius * squash * 0.9, radius), exponents=(u(0.7, 1.1), 1.0), material=plastic(rng)),
            cylinder(radius * 0.4, radius * squash * 0.96, round=0.03, material=frame),
            torus(radius * 0.35, bar, center=(0, radius * squash * 1.2, 0), rotate=(90, 0, 0), material=frame),
        ]
        if rng.random() < 0.5:
            parts.append(
                capsule((0, -radius * squash * 0.8, 0), (0, -radius * squash - u(0.3, 0.6), 0), 0.07, material=frame)
            )
        return parts
    if style == "storm":
        globe = smooth([(width * 0.6, 0.3), (width, 0.3 + height * 0.4), (width * 0.55, 0.3 + height)], 8)
        top, rise = 0.3 + height, u(0.5, 0.9)
        return [
            revolve([(0, 0), (width * 1.15, 0), (width * 1.2, 0.18), (width * 0.6, 0.32), (0, 0.32)], material=frame),
            revolve(solid(globe), material=glass),
            revolve(
                [
                    (0, top - 0.03),
                    (width * 0.75, top - 0.03),
                    (width * 0.6, top + 0.12),
                    (width * 0.35, top + 0.15),
                    (width * 0.35, top + 0.3),
                    (0, top + 0.33),
                ],
                material=frame,
            ),
            tube(
                [
                    (width * 1.05, 0.1, 0),
                    (width * 1.35, 0.3, 0),
                    (width * 1.35, top - 0.1, 0),
                    (width * 0.5, top + 0.07, 0),
                ],
                bar * 1.2,
                mirror="x",
                material=frame,
            ),
            tube(
                [(width * 1.3 * -cos(a), top + rise * sin(a) - 0.1, 0) for a in np.linspace(0, pi, 8)],
                bar,
                material=frame,
            ),
        ]
    square = rng.random() < 0.6
    flare = u(0.0, 0.3)
    if square:
        body = box((width, height, width), taper=flare, center=(0, height, 0), material=glass)
        plate = box((width * 1.1, 0.06, width * 1.1), round=0.02, center=(0, 0, 0), material=frame)
        lid = cylinder(
            width * (1 + flare) * 1.5,
            width * u(0.35, 0.7),
            top_radius=width * 0.25,
            material=frame,
            center=(0, 2 * height + width * 0.3, 0),
        )
    else:
        body = cylinder(
            width * (1 - flare), height, top_radius=width * (1 + flare), center=(0, height, 0), material=glass
        )
        plate = cylinder(width * 1.1, 0.06, round=0.02, center=(0, 0, 0), material=frame)
        lid = revolve(
            [
                (0, 2 * height - 0.03),
                (width * (1 + flare) * 1.2, 2 * height - 0.03),
                (width * 0.5, 2 * height + width * 0.6),
                (0, 2 * height + width * u(0.7, 1.0)),
            ],
            material=frame,
        )
    corner = width * (0.98 if square else 0.71)
    posts = capsule(
        (corner * (1 - flare), 0, corner * (1 - flare)),
        (corner * (1 + flare), 2 * height, corner * (1 + flare)),
        bar,
        mirror="xz",
        material=frame,
    )
    parts = [body, plate, lid, posts]
    top = 2 * height + width * 0.9
    if style == "street":
        pole = u(1.6, 3.2)
        bulb = ellipsoid((width * 0.25, width * 0.3, width * 0.25), center=(0, top, 0), material=frame)
        post = revolve(
            solid(
                smooth(
                    [
                        (width * 1.0, -pole),
                        (width * 0.9, -pole * 0.88),
                        (0.1, -pole * 0.8),
                        (0.075, -0.3),
                        (width * 0.5, 0.0),
                    ],
                    13,
                )
            ),
            material=frame,
        )
        return [*parts, bulb, post]
    return [
        *parts,
        torus(width * u(0.4, 0.8), bar, center=(0, top + width * 0.25, 0), rotate=(90, 0, 0), material=frame),
    ]


def _turned_base(rng: np.random.Generator, height: float, width: float, rod: float, material: Material) -> Part:
    """The foot of a lamp, up to the radius of its rod: a gourd, column, cone or candlestick."""
    u = rng.uniform
    knots = int(rng.integers(2, 6))
    y = np.sort(u(0.06, 0.92, knots)) * height
    foot = width * u(0.6, 1.1)
    kind = rng.integers(3)
    radius = (
        width * u(0.35, 1.0, knots),
        np.linspace(foot, rod * 1.6, knots),
        width * np.sin(np.linspace(0.6, 2.6, knots)),
    )[kind]
    profile = np.array(
        [(foot, 0), (foot, height * 0.03), *zip(np.maximum(radius, rod * 1.2), y, strict=True), (rod * 1.2, height)]
    )
    return revolve([(0, 0), *smooth(profile, 13), (0, height)], material=material)


def _shade(rng: np.random.Generator, width: float, half_height: float, top: float, material: Material) -> Part:
    """A lampshade with its top at the height `top`: a drum, cone, bell or globe, solid or hollow from below."""
    u = rng.uniform
    narrow = width * u(0.35, 1.0)
    bottom = top - 2 * half_height
    outline = np.array([(width, bottom), (width * 0.5 + narrow * 0.5, bottom + half_height), (narrow, top + 0.01)])
    kind = rng.random()
    if kind < 0.2:
        outline[1, 0] = narrow * u(0.9, 1.1)
    elif kind < 0.4:
        outline = np.array(
            [
                (width * u(0.5, 0.9), bottom),
                (width, bottom + half_height * 0.7),
                (width * 0.95, bottom + half_height * 1.4),
                (width * u(0.2, 0.6), top + 0.01),
            ]
        )
    outline = smooth(outline, 6) if kind < 0.4 else outline
    lid = [(outline[-1, 0], top + 0.01), (0, top + 0.01)]
    if rng.random() < 0.5:
        return revolve([(0, bottom), *outline[:-1], *lid], material=material)
    wall = max(0.02, 0.08 * width)
    inside = [(max(r - wall, wall), min(y, top - 0.03)) for r, y in outline[::-1]]
    inside[-1] = (inside[-1][0], bottom)
    return revolve([(0, top + 0.01), *outline[::-1], *inside[::-1], (0, top - 0.03)], material=material)


def _desk_lamp(rng: np.random.Generator, material: Material) -> list[Part]:
    """A desk lamp: a foot, a jointed or curved arm, and a head that points down and forwards."""
    u = rng.uniform
    reach, height, rod, foot = u(0.1, 0.25), u(0.3, 0.5), u(0.012, 0.02), u(0.08, 0.12)
    parts = [cylinder(foot, u(0.014, 0.03), round=0.008, center=(0, 0.015, 0), material=material)]
    head_at = (0.0, height * u(0.8, 1.0), reach)
    if rng.random() < 0.5:
        path = bezier((0, 0.01, -foot * 0.4), (0, height * u(1.5, 2.0), -reach * u(0.0, 0.6)), head_at, 8)
    else:
        path = np.array([(0, 0.01, 0), (0, height * 0.55, -reach * u(0.3, 1.0)), head_at])
        parts.append(ellipsoid((rod * 2, rod * 2, rod * 2), center=path[1], material=material))
    parts.append(tube(path, rod, material=material))
    width, length = u(0.06, 0.1), u(0.08, 0.15)
    tilt = u(-70, -10)
    outline = [
        (0, 0.02),
        (width * 0.35, 0.02),
        (width * 0.5, -length * 0.3),
        (width, -length),
        (0, -length * u(0.75, 1.05)),
    ]
    parts.append(
        revolve(
            outline,
            center=head_at,
            rotate=(tilt, 0, 0),
            material=material if rng.random() < 0.6 else contrasting(rng, material),
        )
    )
    return parts
