"""Things around the house and the street: clocks, books, extinguishers and hydrants."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import smooth, solid
from triplane3d.data.procedural.materials import any_material, contrasting, fabric, metal, plastic, tinted, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    prism,
    revolve,
    torus,
    tube,
)


def clock(rng: np.random.Generator) -> list[Part]:
    """An alarm clock with bells, a mantel, wall or long-case clock, or an hourglass."""
    u = rng.uniform
    material = (metal, plastic, wood)[rng.integers(3)](rng)
    face = contrasting(rng, material)
    style = rng.choice(("alarm", "mantel", "wall", "long", "hourglass"), p=(0.35, 0.2, 0.2, 0.1, 0.15))
    if style == "hourglass":
        height, width, waist = u(0.7, 1.1), u(0.35, 0.5), u(0.06, 0.12)
        outline = smooth(
            [
                (width * 0.8, 0),
                (width, height * 0.4),
                (waist, height),
                (width, height * 1.6),
                (width * 0.8, height * 2),
            ],
            13,
        )
        return [
            revolve(solid(outline), material=face),
            cylinder(width * 1.25, 0.08, round=0.02, center=(0, 0, 0), material=material),
            cylinder(width * 1.25, 0.08, round=0.02, center=(0, 2 * height, 0), material=material),
            capsule(
                (width * 0.78, 0, width * 0.78),
                (width * 0.78, 2 * height, width * 0.78),
                0.05,
                mirror="xz",
                material=material,
            ),
        ]
    radius, depth = u(0.5, 0.75), u(0.12, 0.35)
    front = depth + 0.02
    dial = [cylinder(radius * 0.88, 0.05, center=(0, 0, front - 0.03), rotate=(90, 0, 0), material=face)]
    angle, minute = u(0, 2 * pi), u(0, 2 * pi)
    hand = contrasting(rng, face)
    dial += [
        capsule((0, 0, front), (length * radius * sin(a), length * radius * cos(a), front), 0.035, material=hand)
        for length, a in ((0.45, angle), (0.7, minute))
    ]
    body = cylinder(radius, depth, round=u(0.01, 0.1), rotate=(90, 0, 0), material=material)
    rim = torus(radius * 0.96, u(0.05, 0.09), center=(0, 0, depth * 0.9), rotate=(90, 0, 0), material=material)
    if style == "wall":
        square = rng.random() < 0.3
        case = box((radius * 1.1, radius * 1.1, depth * 0.8), round=0.08, material=material)
        return [case, *dial] if square else [body, rim, *dial]
    if style == "alarm":
        parts = [
            body,
            rim,
            *dial,
            capsule(
                (radius * 0.5, -radius * 0.7, 0), (radius * 0.75, -radius * 1.2, 0), 0.07, mirror="x", material=material
            ),
        ]
        if rng.random() < 0.75:
            bell = metal(rng)
            parts += [
                ellipsoid(
                    (0.3, 0.2, 0.28),
                    center=(radius * 0.55, radius * 1.0, 0),
                    rotate=(0, 0, -30),
                    mirror="x",
                    material=bell,
                ),
                capsule((0, radius * 0.9, 0), (0, radius * 1.25, 0), 0.055, material=bell),
            ]
            if rng.random() < 0.6:
                parts.append(
                    torus(
                        radius * 0.55, 0.05, arc=pi / 2, center=(0, radius * 1.1, 0), rotate=(-90, 0, 0), material=bell
                    )
                )
        return parts
    if style == "mantel":
        width, foot = radius * u(1.15, 1.8), radius * u(1.15, 1.4)
        arch = [(-width, -foot), (width, -foot), (width * u(0.8, 1.0), 0)]
        arch += [(radius * 1.2 * cos(a), radius * 1.2 * sin(a)) for a in np.linspace(0.5, pi - 0.5, 7)]
        arch.append((-arch[2][0], 0))
        return [
            prism(arch, depth, round=0.02, material=material),
            *dial,
            box((width * 1.1, 0.09, depth * 1.3), round=0.02, center=(0, -foot, 0), material=material),
        ]
    tall = radius * u(4.0, 6.0)
    head, waist = radius * 1.15, radius * u(0.7, 0.95)
    parts = [
        box((head, head, depth * 0.95), round=0.02, material=material),
        *dial,
        box((waist, tall / 2, depth * 0.85), center=(0, -tall / 2, 0), material=material),
        box((head * 1.02, radius * u(0.4, 0.8), depth), center=(0, -tall, 0), material=material),
    ]
    if rng.random() < 0.6:
        parts.append(
            prism(
                [(-head * 1.15, 0), (head * 1.15, 0), (0, head * u(0.3, 0.7))],
                depth,
                center=(0, head * 0.93, 0),
                material=material,
            )
        )
    if rng.random() < 0.6:
        parts.append(box((waist * 0.7, tall * 0.28, 0.03), center=(0, -tall * 0.5, depth * 0.85), material=face))
    return parts


def book_stack(rng: np.random.Generator) -> list[Part]:
    """Books: a pile, a row between bookends, one standing, or one lying open."""
    u = rng.uniform
    paper = tinted(rng, (0.93, 0.9, 0.82))
    style = rng.choice(("pile", "row", "open"), p=(0.6, 0.25, 0.15))
    parts: list[Part] = []
    if style == "open":
        width, height, tilt, thickness = u(0.6, 0.8), u(0.8, 1.1), u(4, 25), u(0.07, 0.13)
        rise = width * sin(radians(tilt))
        return [
            box(
                (width, thickness, height),
                round=thickness * 0.5,
                center=(width * 0.97, rise, 0),
                rotate=(0, 0, tilt),
                mirror="x",
                material=paper,
            ),
            box(
                (width * 1.04, 0.04, height * 1.04),
                center=(width * 0.98, rise - thickness * 0.9, 0),
                rotate=(0, 0, tilt),
                mirror="x",
                material=fabric(rng),
            ),
            capsule((0, 0, -height), (0, 0, height), thickness * 0.6, material=paper),
        ]
    if style == "row":
        x, depth = 0.0, u(0.5, 0.65)
        for _ in range(int(rng.integers(1, 7))):
            thickness, height = u(0.07, 0.2), u(0.75, 1.15)
            inset = depth * u(0.9, 1.0)
            parts += [
                box((thickness, height, inset), round=0.02, center=(x + thickness, height, 0), material=fabric(rng)),
                box(
                    (thickness * 0.75, height * 0.98, inset),
                    center=(x + thickness, height + 0.035, -0.035),
                    material=paper,
                ),
            ]
            x += 2 * thickness - 0.03
        if rng.random() < 0.5 or len(parts) < 4:
            end = any_material(rng)
            parts += [
                box((x / 2 + 0.5, 0.05, depth * 0.9), center=(x / 2, 0.02, 0), material=end),
                box((0.05, 0.45, depth * 0.85), center=(-0.03, 0.45, 0), material=end),
            ]
        return parts
    y = 0.0
    for _ in range(int(rng.integers(2, 7))):
        thickness, width, depth, yaw = u(0.06, 0.2), u(0.55, 0.8), u(0.75, 1.1), u(-25, 25)
        shift = (u(-0.1, 0.1), y + thickness, u(-0.1, 0.1))
        parts += [
            box((width, thickness, depth), round=0.02, center=shift, rotate=(0, yaw, 0), material=fabric(rng)),
            box(
                (width * 0.97, thickness * 0.72, depth * 1.015),
                center=np.add(shift, (0.04, 0, 0)),
                rotate=(0, yaw, 0),
                material=paper,
            ),
        ]
        y += 2 * thickness - 0.04
    if rng.random() < 0.2:
        parts.append(ellipsoid((0.28, 0.26, 0.28), center=(0, y + 0.18, 0), material=tinted(rng, (0.75, 0.15, 0.12))))
    return parts


def tank(rng: np.random.Generator) -> list[Part]:
    """A fire extinguisher with valve, levers, gauge and hose; a gas bottle; a vacuum flask; a spray can."""
    u = rng.uniform
    material = tinted(rng, (0.8, 0.1, 0.08)) if rng.random() < 0.4 else (metal if rng.random() < 0.6 else plastic)(rng)
    dark = Material(tuple(np.full(3, u(0.01, 0.05))), gloss=0.4) if rng.random() < 0.6 else contrasting(rng, material)
    radius, height = u(0.3, 0.5), u(1.3, 2.4)
    neck, shoulder = radius * u(0.25, 0.45), height - radius * u(0.5, 1.0)
    outline = smooth(
        [
            (radius * u(0.8, 1.0), 0),
            (radius, 0.06),
            (radius, shoulder),
            (radius * 0.95, (shoulder + height) / 2),
            (neck, height * 0.99),
            (neck, height + 0.1),
        ],
        14,
    )
    parts = [revolve(solid(outline), material=material)]
    if rng.random() < 0.4:
        parts.append(cylinder(radius * u(1.03, 1.12), u(0.06, 0.15), round=0.02, center=(0, 0.08, 0), material=dark))
    if rng.random() < 0.6:
        middle = shoulder * u(0.45, 0.6)
        parts.append(
            cylinder(
                radius + 0.015, shoulder * u(0.15, 0.3), center=(0, middle, 0), material=contrasting(rng, material)
            )
        )
    top = height + 0.1
    style = rng.choice(("extinguisher", "gas", "flask"), p=(0.65, 0.2, 0.15))
    if style == "gas":
        collar = radius * u(0.5, 0.8)
        post = capsule(
            (collar * 0.71, height - radius * 0.45, collar * 0.71),
            (collar * 0.71, top + 0.15, collar * 0.71),
            0.05,
            mirror="xz",
            material=material,
        )
        return [
            *parts,
            post,
            torus(collar, 0.065, center=(0, top + 0.15, 0), material=material),
            cylinder(neck * 0.9, 0.16, center=(0, top, 0), material=dark),
            capsule((0, top + 0.05, 0), (0, top + 0.05, neck * 1.6), 0.07, material=dark),
        ]
    if style == "flask":
        cap = radius * u(0.65, 0.95)
        return [
            *parts,
            cylinder(cap, u(0.12, 0.22), top_radius=cap * u(0.8, 1.0), round=0.04, center=(0, top, 0), material=dark),
            tube(
                [
                    (radius * 0.95, height * 0.7, 0),
                    (radius * 1.45, height * 0.65, 0),
                    (radius * 1.45, height * 0.35, 0),
                    (radius * 0.95, height * 0.3, 0),
                ],
                0.07,
                material=dark,
            ),
        ][: rng.integers(len(parts) + 1, len(parts) + 3)]
    parts.append(cylinder(neck * 1.15, 0.14, round=0.02, center=(0, top, 0), material=dark))
    side = rng.choice((-1, 1))
    reach, spread = u(0.35, 0.65), u(0.05, 0.35)
    parts += [
        capsule(
            (-side * neck, top + 0.12, 0), (side * reach, top + 0.15 + spread, 0), 0.075, end_radius=0.06, material=dark
        ),
        capsule((0, top + 0.05, 0), (side * reach * 0.9, top - u(0.0, 0.15), 0), 0.06, material=dark),
    ]
    if rng.random() < 0.6:
        parts.append(cylinder(u(0.1, 0.15), 0.12, center=(0, top + 0.02, neck), rotate=(90, 0, 0), material=metal(rng)))
    kind = rng.random()
    if kind < 0.4:
        parts.append(
            capsule(
                (0, top + 0.05, 0),
                (-side * u(0.35, 0.55), top + u(0, 0.1), 0),
                0.085,
                end_radius=u(0.07, 0.1),
                material=contrasting(rng, dark),
            )
        )
    elif kind < 0.8:
        low = height * u(0.2, 0.5)
        out = radius + u(0.06, 0.15)
        hose = [
            (0, top, 0),
            (-side * neck * 1.5, top + 0.02, 0),
            (-side * out, height * 0.95, 0),
            (-side * out * 1.03, height * 0.7, 0),
            (-side * (radius + 0.03), low, 0),
        ]
        parts.append(tube(hose, 0.06, end_radius=0.085, material=dark))
    return parts


def hydrant(rng: np.random.Generator) -> list[Part]:
    """A fire hydrant, pillar box, bollard or standpipe: flanges, bonnet, side outlets, chains."""
    u = rng.uniform
    material = tinted(rng, ((0.75, 0.12, 0.1), (0.85, 0.65, 0.1), (0.2, 0.3, 0.55), (0.6, 0.62, 0.6))[rng.integers(4)])
    trim = material if rng.random() < 0.6 else contrasting(rng, material)
    radius, height = u(0.3, 0.42), u(1.3, 1.9)
    flange, lip = radius * u(1.25, 1.6), u(0.05, 0.09)
    belly = radius * u(1.0, 1.15)
    parts = [
        revolve(
            [
                (0, 0),
                (flange, 0),
                (flange, lip * 2),
                (radius * 1.05, lip * 2.5),
                (radius, height * 0.3),
                (radius, height * 0.55),
                (belly, height * 0.6),
                (belly, height * 0.85),
                (radius, height * 0.9),
                (flange * 0.92, height * 0.93),
                (flange * 0.92, height),
                (0, height),
            ],
            material=material,
        )
    ]
    dome = radius * u(0.6, 1.1)
    crown = smooth(
        [
            (belly * 1.02, height - 0.03),
            (belly * 0.95, height + dome * 0.6),
            (radius * 0.4, height + dome),
            (radius * 0.28, height + dome * 1.1),
        ],
        10,
    )
    parts += [
        revolve(solid(crown), material=trim),
        cylinder(radius * u(0.18, 0.3), 0.12, round=0.02, center=(0, height + dome * 1.1, 0), material=trim),
    ]
    if rng.random() < 0.4:
        parts.append(cylinder(flange * 0.95, lip, round=0.02, center=(0, height * u(0.25, 0.4), 0), material=material))
    level, nozzle, out = height * u(0.66, 0.78), radius * u(0.35, 0.5), belly * u(1.3, 1.6)
    sides = rng.choice(("both", "one", "none"), p=(0.8, 0.1, 0.1))
    if sides != "none":
        place = dict(mirror="x") if sides == "both" else {}
        parts += [
            cylinder(nozzle, out / 2, center=(out / 2, level, 0), rotate=(0, 0, -90), material=material, **place),
            cylinder(
                nozzle * 1.25,
                0.09,
                round=0.02,
                center=(out * 0.93, level, 0),
                rotate=(0, 0, -90),
                material=trim,
                **place,
            ),
            cylinder(
                nozzle * 0.4, 0.12, center=(out * 0.93 + 0.12, level, 0), rotate=(0, 0, -90), material=trim, **place
            ),
        ]
    if rng.random() < 0.75:
        width, ahead = nozzle * u(1.0, 1.4), belly * u(1.15, 1.4)
        parts += [
            cylinder(
                width, ahead / 2, center=(0, level - height * 0.02, ahead / 2), rotate=(90, 0, 0), material=material
            ),
            cylinder(
                width * 1.2,
                0.07,
                round=0.02,
                center=(0, level - height * 0.02, ahead * 0.96),
                rotate=(90, 0, 0),
                material=trim,
            ),
            box(
                (width * 0.35, width * 0.35, 0.1), center=(0, level - height * 0.02, ahead * 0.96 + 0.1), material=trim
            ),
        ]
    if rng.random() < 0.35 and sides == "both":
        sag = height * u(0.25, 0.4)
        parts.append(
            tube(
                bezier(
                    (out * 0.93, level, nozzle * 0.5),
                    (out * 0.8, level - 2 * sag, radius * 1.4),
                    (0, level - sag * 0.3, belly * 0.98),
                    7,
                ),
                0.045,
                mirror="x",
                material=metal(rng),
            )
        )
    return parts
