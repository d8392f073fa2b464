"""Seats, in metres: chairs, armchairs, sofas and stools."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from triplane3d.data.procedural.components.legs import cantilever, four_legs, pedestal
from triplane3d.data.procedural.materials import contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    prism,
    torus,
    tube,
)


def chair(rng: np.random.Generator) -> list[Part]:
    """A dining, office or café chair on four legs, a pedestal or a cantilever, sometimes with arms."""
    u = rng.uniform
    frame = (wood, metal, plastic, wood)[rng.integers(4)](rng)
    cover = frame if rng.random() < 0.5 else fabric(rng)
    half_width, half_depth, seat, thickness = u(0.18, 0.27), u(0.18, 0.26), u(0.38, 0.52), u(0.015, 0.04)
    leg, back, lean = u(0.0165, 0.027), u(0.25, 0.6), u(0.0, 0.14)
    round_seat = rng.random() < 0.25
    if round_seat:
        half_depth = half_width
    parts = _seat(rng, half_width, half_depth, seat, thickness, round_seat, cover)
    inset = 0.68 if round_seat else u(0.82, 0.92)
    style = rng.integers(6)
    if style < 4:
        parts += four_legs(rng, seat, half_width * inset - leg * 0.5, half_depth * inset - leg * 0.5, leg, frame)
    elif style == 4:
        parts += pedestal(rng, seat, u(0.8, 1.1) * half_width, leg * 1.3, frame)
    else:
        parts += cantilever(seat, half_width * inset, half_depth, leg, frame, closed=rng.random() < 0.5)
    return parts + _chair_back(rng, half_width, half_depth, seat, back, lean, leg, round_seat, frame, cover)


def armchair(rng: np.random.Generator) -> list[Part]:
    """An upholstered armchair, a tub chair, a wooden frame with cushions, or a bentwood chair."""
    style = rng.choice(("upholstered", "tub", "frame", "bentwood"), p=(0.45, 0.2, 0.15, 0.2))
    if style == "upholstered":
        return _upholstery(rng, rng.uniform(0.27, 0.36), seats=1)
    if style == "tub":
        return _tub(rng)
    return _frame_chair(rng) if style == "frame" else _bentwood(rng)


def sofa(rng: np.random.Generator) -> list[Part]:
    """A sofa of two to four seats, sometimes with a chaise longue, or a daybed without a back or with one arm."""
    seats = int(rng.integers(2, 5))
    return _upholstery(rng, seats * rng.uniform(0.26, 0.34), seats)


def stool(rng: np.random.Generator) -> list[Part]:
    """A stool with three or four legs, a bar stool with a ring, a piano stool, a block or a pouf."""
    u = rng.uniform
    frame = (wood, metal, plastic)[rng.integers(3)](rng)
    cover = frame if rng.random() < 0.4 else fabric(rng)
    radius, height, thickness, leg = u(0.15, 0.23), u(0.32, 0.8), u(0.018, 0.05), u(0.015, 0.028)
    style = rng.choice(("four", "three", "pedestal", "pouf", "panel"), p=(0.35, 0.2, 0.2, 0.15, 0.1))
    if style == "pouf":
        exponents = (u(0.25, 0.8), 1.0 if rng.random() < 0.6 else u(0.3, 0.6))
        body = ellipsoid((u(0.27, 0.36), u(0.13, 0.18), u(0.27, 0.36)), exponents=exponents, material=fabric(rng))
        base = cylinder(0.17, 0.05, center=(0, -0.13, 0), round=0.01, material=contrasting(rng, body.material))
        return [body, base]
    round_seat = style == "three" or rng.random() < 0.6
    parts = _seat(rng, radius, radius if round_seat else radius * u(0.7, 1.2), height, thickness, round_seat, cover)
    if style == "pedestal":
        parts += pedestal(rng, height, radius * u(0.8, 1.15), leg * 1.4, frame)
    elif style == "panel":
        reach = radius * 0.62
        parts += [
            box((leg * 0.8, height / 2, reach), center=(reach, height / 2, 0), mirror="x", material=frame),
            box((reach, leg, leg * 0.8), center=(0, height * u(0.3, 0.7), 0), material=frame),
        ]
    elif style == "three":
        foot, top = radius * u(0.75, 1.15), radius * 0.6
        parts += [
            capsule((0, height, -top), (0, leg, -foot), leg * 1.1, end_radius=leg * 0.9, material=frame),
            capsule(
                (top * 0.87, height, top * 0.5),
                (foot * 0.87, leg, foot * 0.5),
                leg * 1.1,
                end_radius=leg * 0.9,
                mirror="x",
                material=frame,
            ),
        ]
    else:
        reach = radius * 0.62
        return parts + four_legs(rng, height, reach, reach, leg, frame)
    if style in ("three", "pedestal") and rng.random() < 0.5:
        level = u(0.3, 0.5)
        ring = (radius * u(0.75, 1.15) * (1 - level) + radius * 0.6 * level) if style == "three" else radius * 0.75
        if style == "pedestal":
            parts.append(capsule((-ring, height * level, 0), (ring, height * level, 0), leg * 0.8, material=frame))
        parts.append(torus(ring, leg * 0.9, center=(0, height * level, 0), material=frame))
    return parts


def _seat(
    rng: np.random.Generator,
    half_width: float,
    half_depth: float,
    height: float,
    thickness: float,
    round_seat: bool,
    material: Material,
) -> list[Part]:
    """A seat, a board or a cushion, with its middle plane at `height`."""
    center = (0, height, 0)
    cushion = rng.random() < 0.3
    if round_seat:
        if cushion:
            return [
                ellipsoid(
                    (half_width, thickness * 1.6, half_depth), exponents=(0.5, 1.0), center=center, material=material
                )
            ]
        return [
            cylinder(half_width, thickness, round=thickness * rng.uniform(0.2, 0.9), center=center, material=material)
        ]
    if cushion:
        return [
            ellipsoid(
                (half_width, thickness * 1.6, half_depth),
                exponents=(0.5, rng.uniform(0.25, 0.5)),
                center=center,
                material=material,
            )
        ]
    return [
        box(
            (half_width, thickness, half_depth),
            round=thickness * rng.uniform(0.1, 0.9),
            center=center,
            material=material,
        )
    ]


def _chair_back(
    rng: np.random.Generator,
    half_width: float,
    half_depth: float,
    seat: float,
    back: float,
    lean: float,
    post: float,
    round_seat: bool,
    frame: Material,
    cover: Material,
) -> list[Part]:
    """The back of a chair, `back` high above the seat and leaning backwards by `lean`, with or without arms."""
    u = rng.uniform
    width = half_width * (0.6 if round_seat else u(0.8, 0.95))
    foot_z = -half_depth * (0.78 if round_seat else 0.9)
    tilt = -np.degrees(np.arctan2(lean, back))

    def at(x: float, level: float) -> tuple[float, float, float]:
        """The point of the back's plane at half-width x and at a fraction `level` of its height."""
        return (x, seat + level * back, foot_z - level * lean)

    style = rng.choice(("panel", "slats", "spindles", "hoop", "splat"))
    posts = capsule(at(width, 0), at(width, 1), post, mirror="x", material=frame)
    top = box(
        (width + post * u(0.3, 2), post * u(1.2, 3), post * u(0.7, 1.0)),
        round=post * 0.5,
        center=at(0, 0.95),
        rotate=(tilt, 0, 0),
        material=frame,
    )
    if style == "panel":
        thickness = u(0.015, 0.04)
        if rng.random() < 0.5:
            parts = [
                box(
                    (width, back / 2, thickness),
                    round=thickness * u(0.2, 0.95),
                    taper=u(-0.25, 0.15),
                    center=at(0, 0.5),
                    rotate=(tilt, 0, 0),
                    blend=0.05 * rng.integers(2),
                    material=cover,
                )
            ]
        else:
            parts = [
                posts,
                ellipsoid(
                    (width * 1.05, back * 0.32, thickness * 1.2),
                    exponents=(0.4, 0.4),
                    center=at(0, 0.72),
                    rotate=(tilt, 0, 0),
                    material=cover,
                ),
            ]
    elif style == "slats":
        count = int(rng.integers(1, 4))
        half = back * u(0.15, 0.35) / count
        parts = [posts, top] + [
            box((width, half, post * 0.8), round=post * 0.3, center=at(0, level), rotate=(tilt, 0, 0), material=frame)
            for level in np.linspace(0.3, 0.7, count)
        ]
    elif style == "spindles":
        count = int(rng.integers(1, 4))
        parts = [posts, top] + [
            capsule(at(width * place, 0), at(width * place, 0.95), post * 0.75, mirror="x", material=frame)
            for place in (np.arange(count) + 0.5) / count * 0.85
        ]
    elif style == "splat":
        parts = [
            posts,
            top,
            box(
                (width * u(0.2, 0.45), back / 2, post * 0.8),
                taper=u(-0.4, 0.4),
                center=at(0, 0.48),
                rotate=(tilt, 0, 0),
                material=cover,
            ),
        ]
    else:
        angle = np.linspace(0, pi, 8)
        bend = u(0.5, 0.9)
        arch = [
            at(-width * np.sign(cos(a)) * abs(cos(a)) ** bend, sin(a) ** bend if 0 < a < pi - 1e-6 else 0.0)
            for a in angle
        ]
        parts = [tube(arch, post * 1.05, material=frame)]
        if rng.random() < 0.5:
            parts.append(
                tube([np.array(at(p[0] * 0.55, 0.72 * (p[1] - seat) / back)) for p in arch], post * 0.8, material=frame)
            )
        else:
            parts += [
                capsule(at(0, 0), at(0, 0.97), post * 0.85, material=frame),
                capsule(at(width * 0.45, 0), at(width * 0.45, 0.87), post * 0.8, mirror="x", material=frame),
            ]
    if rng.random() < 0.25 and style != "hoop" and not round_seat:
        level = u(0.3, 0.55) * min(0.45 / back, 1)
        start, front = at(width, level), half_depth * u(0.4, 0.85)
        out = half_width * u(0.95, 1.1)
        parts.append(
            tube(
                [start, (out, start[1], start[2] + 0.08), (out, start[1], front), (half_width * 0.9, seat, front)],
                max(post, 0.018),
                mirror="x",
                material=frame,
            )
        )
    return parts


def _upholstery(rng: np.random.Generator, half_width: float, seats: int) -> list[Part]:
    """Base, arms, back and cushions of an upholstered seat; `half_width` is measured between the arms."""
    u = rng.uniform
    cover = fabric(rng)
    cushion = cover if rng.random() < 0.6 else contrasting(rng, cover)
    half_depth, seat, back, foot = u(0.3, 0.42), u(0.32, 0.44), u(0.36, 0.62), u(0.07, 0.17)
    arm, arm_height, thickness, soft = u(0.05, 0.11), u(0.12, 0.28), u(0.07, 0.12), u(0.015, 0.05)
    blend = u(0.0, 0.06) if rng.random() < 0.7 else 0.0
    base = (seat - foot) / 2
    outer = half_width + arm
    parts = [box((outer, base, half_depth), round=soft, center=(0, foot + base, 0), material=cover)]
    lean = u(-14, -2)
    parts.append(
        box(
            (half_width + arm * u(0, 1), (back + base) / 2 + 0.05, thickness),
            round=min(soft * 1.6, thickness * 0.95),
            taper=u(-0.12, 0.08),
            center=(0, seat + back / 2 - base / 2, -half_depth + thickness * 0.8),
            rotate=(lean, 0, 0),
            blend=blend,
            material=cover,
        )
    )
    arms = rng.choice(("box", "roll", "slope", "none"), p=(0.4, 0.3, 0.2, 0.1))
    side = dict(mirror="x", blend=blend, material=cover)
    if arms in ("box", "roll"):
        rise = (arm_height + seat - foot) / 2
        parts.append(
            box(
                (arm, rise, half_depth * u(0.85, 1.0)),
                round=min(soft, arm * 0.9),
                center=(outer, foot + rise, 0),
                **side,
            )
        )
        if arms == "roll":
            parts.append(
                capsule(
                    (outer + arm * 0.2, seat + arm_height, -half_depth * 0.85),
                    (outer + arm * 0.2, seat + arm_height, half_depth * 0.9),
                    arm * u(1.1, 1.5),
                    **side,
                )
            )
    elif arms == "slope":
        outline = [
            (-half_depth, foot),
            (half_depth * 0.95, foot),
            (half_depth * 0.95, seat + arm_height * u(0.3, 0.9)),
            (-half_depth * 0.6, seat + back * u(0.5, 0.85)),
            (-half_depth, seat + back * 0.85),
        ]
        # this rotation turns the outline's x to the depth of the chair
        parts.append(prism(outline, arm, round=min(soft, arm * 0.6), center=(outer, 0, 0), rotate=(0, -90, 0), **side))
    plump = u(0.05, 0.08)
    count = seats if rng.random() < 0.75 else 1
    for index in range((count + 1) // 2):
        x = (index + 0.5 * (1 - count % 2)) * 2 * half_width / count
        parts.append(
            ellipsoid(
                (half_width / count * 1.02, plump * 1.2, half_depth * 0.85),
                exponents=(u(0.35, 0.6), u(0.2, 0.35)),
                center=(x, seat + plump * 0.4, half_depth * 0.18),
                mirror="x" if x > 0 else "",
                material=cushion,
            )
        )
        if count > 1 or rng.random() < 0.4:
            parts.append(
                ellipsoid(
                    (half_width / count * 0.98, back * 0.46, plump * 1.4),
                    exponents=(0.45, 0.4),
                    center=(x, seat + back * 0.5, -half_depth + thickness * 1.8),
                    rotate=(lean, 0, 0),
                    mirror="x" if x > 0 else "",
                    material=cushion,
                )
            )
    if seats > 1 and rng.random() < 0.2:
        parts.append(
            box(
                (half_width / seats, base, half_depth * 0.6),
                round=soft,
                material=cover,
                center=((half_width - half_width / seats) * rng.choice((-1, 1)), foot + base, half_depth * 1.3),
            )
        )
    leg = max(u(0.022, 0.035), 0.026 * outer)
    return parts + four_legs(rng, foot + base, outer * 0.88, half_depth * 0.82, leg, wood(rng), low=True)


def _tub(rng: np.random.Generator) -> list[Part]:
    """A tub chair: a drum that is hollow above the seat and open to the front."""
    u = rng.uniform
    cover, radius, height, wall, seat = fabric(rng), u(0.32, 0.4), u(0.6, 0.8), u(0.06, 0.1), u(0.2, 0.3)
    foot = u(0.05, 0.15)
    cut = radius * u(0.2, 0.8)
    parts = [
        cylinder(
            radius * u(0.85, 1.0),
            height / 2,
            top_radius=radius * u(1.0, 1.08),
            round=0.03,
            material=cover,
            center=(0, foot + height / 2, 0),
        ),
        cylinder(radius - wall, height / 2, center=(0, foot + seat + height / 2, 0.02), op="subtract", material=cover),
        box(
            (radius * 2, height, radius),
            center=(0, foot + seat + height * u(1.0, 1.3), cut + radius),
            op="subtract",
            rotate=(u(0, 35), 0, 0),
            material=cover,
            blend=0.03,
        ),
        ellipsoid(
            (radius * 0.93, 0.09, radius * 0.93),
            exponents=(0.5, 1.0),
            center=(0, foot + seat + 0.02, 0.01),
            material=cover if rng.random() < 0.5 else contrasting(rng, cover),
        ),
    ]
    if rng.random() < 0.7:
        return parts + four_legs(rng, foot + 0.06, radius * 0.55, radius * 0.55, 0.026, wood(rng), low=True)
    return parts + pedestal(rng, foot + 0.12, radius * 0.7, 0.035, metal(rng))


def _frame_chair(rng: np.random.Generator) -> list[Part]:
    """Two cushions in a frame of bars with open armrests."""
    u = rng.uniform
    frame, cover = (wood if rng.random() < 0.7 else metal)(rng), fabric(rng)
    x, half_depth, seat, bar, plump = u(0.27, 0.34), u(0.3, 0.38), u(0.3, 0.4), u(0.02, 0.03), u(0.05, 0.09)
    back, lean, arm = u(0.35, 0.6), u(10, 30), u(0.16, 0.24)
    swing = back * sin(radians(lean))
    back_z = -half_depth * 0.75
    return [
        box((x, plump, half_depth), round=plump * 0.6, center=(0, seat, 0), rotate=(-u(0, 8), 0, 0), material=cover),
        box(
            (x * 0.98, back * 0.52 + 0.04, plump * 0.9),
            round=plump * 0.6,
            rotate=(-lean, 0, 0),
            material=cover,
            center=(0, seat + back / 2 * cos(radians(lean)), back_z - swing / 2),
        ),
        box((x + bar, bar, bar), center=(0, seat - plump * 0.6, half_depth * 0.7), material=frame),
        box((x + bar, bar, bar), center=(0, seat - plump * 0.6, back_z * 0.8), material=frame),
        box((bar, bar, half_depth * 0.95), center=(x + bar, seat - plump * 0.6, 0), mirror="x", material=frame),
        capsule(
            (x + bar, seat + arm, half_depth * 0.85), (x + bar * 1.2, bar, half_depth), bar, mirror="x", material=frame
        ),
        capsule(
            (x + bar, seat + arm, back_z), (x + bar * 1.2, bar, back_z * u(0.9, 1.4)), bar, mirror="x", material=frame
        ),
        box(
            (bar * u(1, 2), bar * 0.8, half_depth),
            round=bar * 0.4,
            center=(x + bar, seat + arm, 0.02),
            mirror="x",
            material=frame,
        ),
    ]


def _bentwood(rng: np.random.Generator) -> list[Part]:
    """A bentwood armchair: a round seat, thin legs with a ring, and one bent rod for back and arms."""
    u = rng.uniform
    frame = wood(rng) if rng.random() < 0.7 else metal(rng)
    seat_material = frame if rng.random() < 0.5 else fabric(rng)
    radius, seat, rod, arm = u(0.2, 0.25), u(0.42, 0.48), u(0.016, 0.022), u(0.2, 0.3)
    hoop, top = radius * u(1.0, 1.2), seat + arm
    front = radius * u(0.0, 0.5)
    around = np.linspace(-0.5 * pi, 0.5 * pi, 6)
    bend = [(-hoop, top, front), *[(hoop * sin(a), top, -hoop * cos(a)) for a in around], (hoop, top, front)]
    post = 0.6 * hoop
    spread = radius * u(0.65, 0.8)
    parts = [
        cylinder(radius, 0.025, round=u(0.005, 0.02), center=(0, seat, 0), material=seat_material),
        tube(bend, rod * 1.15, material=frame),
        tube(
            [(post, top, -0.8 * hoop), (spread * 0.85, seat, -spread * 0.85), (spread, rod, -spread * 1.15)],
            rod * 1.1,
            mirror="x",
            material=frame,
        ),
        tube([(spread * 0.8, seat, spread * 0.8), (spread, rod, spread)], rod * 1.1, mirror="x", material=frame),
        tube(
            bezier(
                (hoop, top, front * 0.8),
                (hoop * 1.05, seat + arm * 0.3, front + 0.04),
                (radius * 0.85, seat, front * 0.5),
                5,
            ),
            rod,
            mirror="x",
            material=frame,
        ),
    ]
    if rng.random() < 0.7:
        level = u(0.35, 0.6)
        parts.append(
            torus(spread * 1.414 * (0.8 + 0.22 * (1 - level)), rod * 0.95, center=(0, seat * level, 0), material=frame)
        )
    extra = rng.random()
    if extra < 0.4:  # a second, higher rail behind
        rise = u(0.06, 0.16)
        parts.append(
            tube(
                [
                    (post * 0.95, top, -0.8 * hoop),
                    (post * 0.7, top + rise, -hoop * 1.0),
                    (0, top + rise * 1.1, -hoop * 1.08),
                ],
                rod,
                mirror="x",
                material=frame,
            )
        )
    elif extra < 0.8:
        parts.append(
            tube(
                bezier(
                    (hoop * 0.3, top, -hoop * 0.95),
                    (hoop * 0.3, seat + arm * 0.5, -hoop),
                    (radius * 0.35, seat, -radius * 0.88),
                    4,
                ),
                rod * 0.9,
                mirror="x",
                material=frame,
            )
        )
    return parts
