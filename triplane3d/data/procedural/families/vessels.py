"""Vessels, in units of about ten centimetres: cups, bowls, bottles, vases, kettles, jugs, glasses and baskets."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import hollow, radius_at, smooth, solid
from triplane3d.data.procedural.materials import (
    any_material,
    ceramic,
    contrasting,
    fabric,
    foliage,
    metal,
    plastic,
    wood,
)
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


def mug(rng: np.random.Generator) -> list[Part]:
    """A mug, cup, beer stein or beaker with a round, square or ear-shaped handle, sometimes on a saucer."""
    u = rng.uniform
    material = (ceramic, ceramic, metal, plastic)[rng.integers(4)](rng)
    height, foot, wall = u(0.6, 1.3), u(0.28, 0.5), u(0.05, 0.09)
    belly, rim = foot * u(0.9, 1.25), foot * u(0.9, 1.4)
    if rng.random() < 0.35:
        outline = np.array([(foot, 0), (foot * u(0.9, 1.3), height)])
    else:
        outline = smooth(
            [(foot * u(0.6, 1.0), 0), (foot, height * 0.05), (belly, height * u(0.3, 0.6)), (rim, height)], 6
        )
    parts = [
        revolve(
            hollow(outline, wall, height * (u(0.08, 0.15) if rng.random() < 0.7 else u(0.4, 0.65))), material=material
        )
    ]
    if rng.random() < 0.9:
        handle = material if rng.random() < 0.8 else contrasting(rng, material)
        high, low = height * u(0.72, 0.92), height * u(0.1, 0.35)
        parts.append(_handle(outline, high, low, height * u(0.2, 0.4), u(0.04, 0.075), u(0.4, 1.0), wall, handle))
    if rng.random() < 0.15:
        width, dish = max(belly, rim) * u(1.3, 1.7), u(0.06, 0.14)
        parts.append(
            revolve(
                [
                    (0, -0.05),
                    (width * 0.6, -0.05),
                    (width, dish),
                    (width * 0.97, dish + 0.06),
                    (width * 0.55, 0.04),
                    (0, 0.04),
                ],
                material=material,
            )
        )
    return parts


def bowl_or_plate(rng: np.random.Generator) -> list[Part]:
    """A bowl, dish or plate, from flat to deep, with or without a foot ring, empty or filled with fruit or soup."""
    u = rng.uniform
    material = (ceramic, ceramic, wood, metal)[rng.integers(4)](rng)
    height = u(0.12, 0.9)
    foot, wall = u(0.3, 0.6), u(0.05, 0.09)
    profile = [
        (foot, 0),
        (foot * u(0.95, 1.05) + 0.05, height * 0.1),
        (u(0.75, 1.0), height * u(0.2, 0.6)),
        (1.0, height),
    ]
    if rng.random() < 0.3:
        profile[-1:] = [(0.9, height * 0.95), (u(1.05, 1.2), height * u(1.0, 1.1))]
    outline = smooth(profile, 7)
    outline[0, 1] = 0
    outline[:, 1] = np.maximum.accumulate(outline[:, 1] + np.arange(7) * 1e-3)
    floor = wall * 1.2 if rng.random() < 0.75 else max(wall * 1.2, height * u(0.4, 0.7))
    parts = [revolve(hollow(outline, wall, floor), material=material)]
    if rng.random() < 0.3:
        parts.append(cylinder(foot * 0.9, 0.12, top_radius=foot * 0.8, center=(0, -0.02, 0), material=material))
    if rng.random() < 0.3 and height > 0.25:
        color = any_material(rng)
        size = u(0.2, 0.32)
        spots = [(0.0, 0.0), *[(0.42 * cos(a), 0.42 * sin(a)) for a in np.arange(4) * pi / 2 + u(0, 1.5)]]
        level = max(floor + size * 0.75, height * 0.75)
        parts += [
            revolve(
                solid([(foot * 0.9, floor - 0.03), (radius_at(outline, level) - wall * 0.6, level)]), material=color
            )
        ]
        parts += [
            ellipsoid((size, size * u(0.8, 1.1), size), center=(x, level + size * 0.4, z), material=color)
            for x, z in spots[: rng.integers(1, 6)]
        ]
    return parts


def bottle(rng: np.random.Generator) -> list[Part]:
    """A wine, beer, soda, medicine, spray or squeeze bottle, a flask, jar or can, with cap, cork or pump."""
    u = rng.uniform
    material = (plastic, plastic, ceramic, metal)[rng.integers(4)](rng)
    cap = contrasting(rng, material) if rng.random() < 0.7 else material
    height, belly = u(1.2, 2.4), u(0.25, 0.5)
    neck = belly * u(0.3, 0.6)
    style = rng.choice(("bottle", "flat", "jar"), p=(0.7, 0.15, 0.15))
    if style == "jar":
        neck, height = belly * u(0.8, 1.1), belly * u(2.8, 4.0)
    shoulder, throat = height * u(0.4, 0.7), height * u(0.72, 0.88)
    if style == "flat":  # a flask, box-shaped or oval
        depth = belly * u(0.35, 0.6)
        parts = [
            ellipsoid(
                (belly, throat / 2, depth),
                exponents=(u(0.2, 0.5), u(0.3, 1.0)),
                center=(0, throat / 2, 0),
                material=material,
            ),
            revolve(solid([(neck * 0.7, throat * 0.8), (neck * 0.7, height)]), material=material),
        ]
        neck *= 0.7
    else:
        waist = u(0.8, 1.0) if rng.random() < 0.3 else 1.0
        body = smooth(
            [
                (belly * 0.9, 0),
                (belly, 0.04),
                (belly * waist, shoulder * 0.5),
                (belly, shoulder),
                (neck * u(1.0, 1.4), throat),
                (neck, height),
            ],
            14,
        )
        parts = [revolve(solid(body), material=material)]
    if rng.random() < 0.45 and style != "flat":
        band = shoulder * u(0.18, 0.35)
        label = radius_at(body, shoulder * 0.5) + 0.012
        parts.append(
            cylinder(
                max(label, belly * waist + 0.012),
                band,
                center=(0, shoulder * 0.5, 0),
                material=contrasting(rng, material),
            )
        )
    top = rng.choice(("cap", "cork", "pump", "trigger", "none"), p=(0.45, 0.15, 0.12, 0.08, 0.2))
    if top == "none":
        parts.append(torus(neck, 0.04, center=(0, height - 0.05, 0), material=material))
    elif top == "cork":
        parts.append(
            cylinder(neck * 0.7, 0.14, top_radius=neck * 0.85, center=(0, height + 0.05, 0), material=wood(rng))
        )
    else:
        parts.append(cylinder(neck * u(1.05, 1.3), u(0.08, 0.16), round=0.02, center=(0, height, 0), material=cap))
    if top == "pump":
        parts += [
            capsule((0, height, 0), (0, height + 0.35, 0), 0.055, material=cap),
            capsule((-0.08, height + 0.35, 0), (u(0.2, 0.35), height + u(0.3, 0.36), 0), 0.06, material=cap),
        ]
    elif top == "trigger":
        parts += [
            box((0.2, 0.09, 0.08), round=0.03, center=(0.08, height + 0.2, 0), material=cap),
            cylinder(neck * 0.8, 0.12, center=(0, height + 0.1, 0), material=cap),
            capsule((0.12, height + 0.15, 0), (0.22, height - 0.12, 0), 0.045, material=cap),
        ]
    return parts


def vase(rng: np.random.Generator) -> list[Part]:
    """A vase, urn or amphora, sometimes with two handles, sometimes with flowers."""
    u = rng.uniform
    material = ceramic(rng) if rng.random() < 0.8 else metal(rng)
    height, wall = u(1.15, 2.3), u(0.05, 0.08)
    knots = int(rng.integers(2, 5))
    foot, rim = u(0.18, 0.45), u(0.2, 0.5)
    inner = np.stack([u(0.18, 0.65, knots), np.sort(u(0.12, 0.88, knots)) * height], axis=1)
    outline = smooth([(foot, 0), (foot, 0.04), *inner, (rim, height)], 7)
    floor = wall * 1.2 if outline[:, 0].min() > 2.5 * wall and rng.random() < 0.6 else height * u(0.75, 0.92)
    parts = [revolve(hollow(outline, wall, floor), material=material)]
    if rng.random() < 0.25:
        high, low = height * u(0.75, 0.92), height * u(0.4, 0.6)
        parts.append(_handle(outline, high, low, u(0.15, 0.3), 0.055, u(0.6, 1.0), wall, material, mirror="x"))
    if rng.random() < 0.3:
        leaf, bloom = foliage(rng), any_material(rng)
        count = int(rng.integers(1, 5))
        for angle in (np.arange(count) + u(0, 1)) * 2 * pi / count:
            spread, rise = u(0.1, 0.5), height * u(1.25, 1.7)
            tip = (spread * cos(angle), rise, spread * sin(angle))
            size = u(0.12, 0.2)
            parts += [
                tube(bezier((0, floor - 0.03, 0), (0, height * 1.1, 0), tip, 5), 0.052, material=leaf),
                ellipsoid(
                    (size, size * u(0.5, 1.2), size),
                    center=tip,
                    material=bloom,
                    rotate=(30 * sin(angle), 0, -30 * cos(angle)),
                ),
            ]
    return parts


def kettle(rng: np.random.Generator) -> list[Part]:
    """A kettle with an arched handle, a tall electric kettle or coffee pot with a side handle, or a watering can."""
    u = rng.uniform
    material = metal(rng) if rng.random() < 0.75 else plastic(rng)
    grip = contrasting(rng, material) if rng.random() < 0.7 else material
    tall = rng.random() < 0.5
    width = u(0.4, 0.52)
    height = width * (u(1.9, 2.7) if tall else u(1.0, 1.5))
    lid = width * (u(0.45, 0.75) if tall else u(0.3, 0.5))
    body = smooth(
        [
            (width * u(0.85, 1.0), 0),
            (width, 0.05),
            (width, height * u(0.15, 0.5)),
            (width * u(0.75, 1.0) if tall else width * u(0.8, 1.0), height * 0.7),
            (lid, height),
        ],
        11,
    )
    dome = height + lid * u(0.15, 0.5)
    parts = [revolve([(0, 0), *body, (lid * 0.6, dome - 0.03), (0, dome)], material=material)]
    if rng.random() < 0.5:
        parts.append(cylinder(width * u(1.0, 1.05), 0.05, round=0.02, center=(0, 0.03, 0), material=grip))
    if rng.random() < 0.85:
        knob = u(0.06, 0.1)
        parts.append(ellipsoid((knob, knob * u(0.7, 1.2), knob), center=(0, dome + knob * 0.5, 0), material=grip))
    # The spout points to -x; the handle is above the lid or on the other side.
    root = height * (u(0.15, 0.55) if rng.random() < 0.6 else u(0.55, 0.75))
    reach, lift = u(0.2, 0.5), height * u(0.85, 1.15)
    start = (-radius_at(body, root) + 0.06, root, 0)
    tip = (start[0] - reach, max(lift, root + 0.2), 0)
    bend = (tip[0] + reach * u(0.0, 0.5), root + u(0.0, 0.3) * (tip[1] - root), 0)
    thickness = u(0.08, 0.13)
    parts.append(
        tube(bezier(start, bend, tip, 6), thickness, end_radius=thickness * u(0.4, 0.65), blend=0.05, material=material)
    )
    if not tall or rng.random() < 0.2:
        span, rise = width * u(0.55, 0.85), u(0.35, 0.7)
        root = float(np.interp(-span, -body[:, 0], body[:, 1])) if body[-1, 0] < span else height
        root = min(root, height * 0.93) - 0.04
        angle = np.linspace(0, pi, 8)
        square = u(0.4, 1.0)
        arch = [
            (-span * np.sign(cos(a)) * abs(cos(a)) ** square, root + rise * max(sin(a), 0.0) ** square, 0)
            for a in angle
        ]
        radius = u(0.04, 0.055)
        parts.append(tube(arch, radius, material=material if rng.random() < 0.4 else grip))
        if rng.random() < 0.5:
            parts.append(
                capsule(
                    (-span * 0.45, root + rise * 0.98, 0),
                    (span * 0.45, root + rise * 0.98, 0),
                    radius * 1.6,
                    material=grip,
                )
            )
    else:
        high, low = height * u(0.78, 0.95), height * u(0.1, 0.4)
        parts.append(_handle(body, high, low, u(0.2, 0.4), u(0.045, 0.075), u(0.4, 1.0), 0.1, grip))
    return parts


def jug(rng: np.random.Generator) -> list[Part]:
    """An open pitcher, measuring jug or milk can, with a lip towards -x and a handle towards +x."""
    u = rng.uniform
    material = ceramic(rng) if rng.random() < 0.6 else metal(rng)
    height, wall, width = u(0.9, 1.6), u(0.05, 0.08), u(0.32, 0.5)
    neck = width * u(0.6, 0.95)
    rim = neck * u(1.0, 1.3)
    outline = smooth(
        [(width * u(0.6, 0.9), 0), (width, height * u(0.2, 0.4)), (neck, height * u(0.65, 0.8)), (rim, height)], 7
    )
    lip = u(0.12, 0.25)
    lean = u(25, 45)
    spout = ellipsoid(
        (lip * 0.75, lip * 1.5, lip * 0.75),
        center=(-rim * 0.97, height - lip * 0.6, 0),
        rotate=(0, 0, lean),
        blend=0.06,
        material=material,
    )
    floor = wall * 1.3 if rng.random() < 0.5 else height * u(0.5, 0.85)
    inside = hollow(outline, wall, floor)[len(outline) + 1 :]
    mouth = [(0, height + 0.4), (inside[0][0], height + 0.4), *inside]
    hole = ellipsoid(
        (lip * 0.75 - wall * 0.8, lip * 1.4, lip * 0.75 - wall * 0.8),
        rotate=(0, 0, lean),
        op="subtract",
        center=(-rim * 0.97 + wall * 0.3, height - lip * 0.4, 0),
        material=material,
    )
    trim = box((3, 0.5, 3), center=(0, height + 0.5, 0), op="subtract", material=material)
    parts = [
        revolve(solid(outline), material=material),
        spout,
        revolve(mouth, op="subtract", material=material),
        hole,
        trim,
    ]
    high, low = height * u(0.8, 0.94), height * u(0.2, 0.4)
    grip = material if rng.random() < 0.75 else contrasting(rng, material)
    return [*parts, _handle(outline, high, low, u(0.2, 0.4), u(0.045, 0.07), u(0.45, 1.0), wall, grip)]


def goblet(rng: np.random.Generator) -> list[Part]:
    """A wine, cocktail or champagne glass, a chalice or an egg cup: bowl, stem and foot in one piece."""
    u = rng.uniform
    material = (plastic, metal, ceramic)[rng.integers(3)](rng)
    stem, bowl, width, wall = u(0.25, 1.0), u(0.4, 1.0), u(0.25, 0.55), u(0.035, 0.06)
    thin, foot = u(0.035, 0.06), width * u(0.7, 1.1)
    rim = width * u(0.7, 1.15)
    if rng.random() < 0.25:
        cup = np.array([(thin, stem), (rim, stem + bowl * 0.6)])
    else:
        cup = smooth(
            [(thin, stem), (width * u(0.6, 1.0), stem + 0.02), (width, stem + bowl * u(0.3, 0.6)), (rim, stem + bowl)],
            4,
        )
    filled = rng.random() < 0.35
    floor = stem + bowl * u(0.3, 0.55) if filled else stem + max(2 * wall, 0.15 * bowl)
    profile = hollow(cup, wall, floor)[1:]
    parts = [
        revolve(
            [(0, 0), (foot, 0), (foot, 0.04), (foot * 0.4, 0.09), (thin, 0.09 + foot * u(0.1, 0.4)), *profile],
            material=material,
        )
    ]
    if filled:
        level = floor + 0.02
        parts.append(
            cylinder(
                max(radius_at(cup, floor) - wall * 0.7, wall),
                0.05,
                center=(0, level - 0.05, 0),
                material=contrasting(rng, material),
            )
        )
    if rng.random() < 0.3:
        knot = thin * u(1.6, 2.6)
        parts.append(ellipsoid((knot, knot * u(0.5, 1.2), knot), center=(0, stem * u(0.4, 0.8), 0), material=material))
    return parts


def bucket_or_basket(rng: np.random.Generator) -> list[Part]:
    """A pail, laundry or picnic basket, waste bin or planter: round or square, open, often with a handle."""
    u = rng.uniform
    material = (plastic, metal, wood, fabric)[rng.integers(4)](rng)
    rim, height, wall = u(0.5, 0.8), u(0.5, 1.3), u(0.045, 0.075)
    foot = rim * u(0.65, 1.0)
    floor = wall * 1.3 if rng.random() < 0.7 else height * u(0.5, 0.9)
    depth = rim
    if rng.random() < 0.65:
        bulge = (rim + foot) / 2 * u(0.98, 1.15)
        parts = [
            revolve(hollow(smooth([(foot, 0), (bulge, height / 2), (rim, height)], 5), wall, floor), material=material)
        ]
        if rng.random() < 0.6:
            parts.append(
                torus(
                    rim - wall * 0.4,
                    wall * 0.7,
                    center=(0, height - wall * 0.3, 0),
                    material=material if rng.random() < 0.5 else contrasting(rng, material),
                )
            )
    else:
        depth = rim * u(0.5, 1.0)
        taper = (rim - foot) / (rim + foot)
        middle, half = (rim + foot) / 2, height / 2
        parts = [
            box((middle, half, depth * middle / rim), round=0.06, taper=taper, center=(0, half, 0), material=material),
            box(
                (middle - wall, half, depth * middle / rim - wall),
                round=0.04,
                taper=taper,
                center=(0, half + floor, 0),
                op="subtract",
                material=material,
            ),
        ]
        if rng.random() < 0.4:
            parts.append(
                capsule(
                    (-rim * 0.97, height * 0.98, depth * 0.96),
                    (rim * 0.97, height * 0.98, depth * 0.96),
                    wall * 0.7,
                    mirror="z",
                    material=material,
                )
            )
    handle = rng.choice(("bail", "ears", "none"), p=(0.5, 0.25, 0.25))
    grip = material if rng.random() < 0.4 else contrasting(rng, material)
    if handle == "bail":
        rise, thickness = u(0.3, 0.9), u(0.035, 0.055)
        arch = [((rim - wall * 0.5) * -cos(a), height - 0.1 + rise * sin(a), 0) for a in np.linspace(0, pi, 8)]
        parts.append(tube(arch, thickness, material=grip))
    elif handle == "ears":
        parts.append(
            torus(
                u(0.13, 0.2),
                0.05,
                center=(rim * 0.97, height * 0.88, 0),
                rotate=(u(0, 90), 0, 0),
                mirror="x",
                material=grip,
            )
        )
    return parts


def _handle(
    outline: np.ndarray,
    high: float,
    low: float,
    reach: float,
    thickness: float,
    square: float,
    wall: float,
    material: Material,
    mirror: str = "",
) -> Part:
    """A handle towards +x from the height `high` to `low`: half an ellipse for `square` 1, angular for less."""
    sink = min(wall, 0.8 * thickness)
    top, bottom = (radius_at(outline, high) - sink, high), (radius_at(outline, low) - sink, low)
    points = []
    for angle in np.linspace(0, pi, 8):
        share = 0.5 + 0.5 * np.sign(cos(angle)) * abs(cos(angle)) ** square
        out = max(sin(angle), 0.0) ** square if 0 < angle < pi - 1e-6 else 0.0
        points.append(
            (share * top[0] + (1 - share) * bottom[0] + reach * out, share * top[1] + (1 - share) * bottom[1], 0)
        )
    return tube(points, thickness, end_radius=thickness * 0.9, mirror=mirror, material=material)
