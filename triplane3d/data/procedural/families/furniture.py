"""Furniture, in metres: tables, desks, shelves and beds."""

from __future__ import annotations

from math import pi

import numpy as np

from triplane3d.data.procedural.components.legs import four_legs, pedestal
from triplane3d.data.procedural.materials import any_material, contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import Part, box, capsule, cylinder, ellipsoid, prism, tube


def table(rng: np.random.Generator) -> list[Part]:
    """A table: a round, oval or rectangular top on four legs, a pedestal, trestles, slabs or crossed legs."""
    u = rng.uniform
    frame = (wood, metal, wood, plastic)[rng.integers(4)](rng)
    top_material = frame if rng.random() < 0.6 else any_material(rng)
    height, half_width, thickness = u(0.35, 0.8), u(0.35, 0.95), u(0.02, 0.045)
    half_depth = half_width * u(0.4, 1.0)
    shape = rng.choice(("rectangle", "round", "oval"), p=(0.5, 0.3, 0.2))
    if shape == "round":
        half_width = half_depth = min(half_width, 0.65)
        parts = [
            cylinder(half_width, thickness, round=thickness * u(0.1, 0.9), center=(0, height, 0), material=top_material)
        ]
    elif shape == "oval":
        angle = np.arange(16) * pi / 8
        corner = u(0.6, 1.0)
        outline = np.stack(
            [
                half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** corner,
                half_depth * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** corner,
            ],
            axis=1,
        )
        parts = [prism(outline, thickness, center=(0, height, 0), rotate=(90, 0, 0), material=top_material)]
    else:
        parts = [
            box(
                (half_width, thickness, half_depth),
                round=thickness * u(0.05, 0.8),
                center=(0, height, 0),
                material=top_material,
            )
        ]
    inset = u(0.55, 0.66) if shape != "rectangle" else u(0.8, 0.92)
    x, z, leg = half_width * inset, half_depth * inset, max(u(0.022, 0.045), 0.022 * half_width / 0.5)
    base = rng.choice(("legs", "pedestal", "trestle", "slab", "cross"), p=(0.45, 0.25, 0.1, 0.1, 0.1))
    if base == "pedestal":
        return parts + pedestal(rng, height, min(half_depth * u(0.6, 0.9), 0.5), leg * 1.4, frame)
    if base == "slab":
        beam = box((x, leg * u(1, 2.5), leg * 0.7), center=(0, height * u(0.4, 0.8), 0), material=frame)
        return parts + [
            beam,
            box((leg, height / 2, z), center=(x, height / 2, 0), mirror="x", taper=u(-0.1, 0.25), material=frame),
        ]
    if base == "trestle":
        level = u(0.25, 0.6)
        return parts + [
            capsule((x, height, z * 0.15), (x, leg, z), leg, mirror="xz", material=frame),
            box((leg * 0.8, leg, z * (1 - level) + leg), center=(x, height * level, 0), mirror="x", material=frame),
            box((x, leg * 0.8, leg * 0.6), center=(0, height * level + leg * 0.4, 0), material=frame),
        ]
    if base == "cross":
        return parts + [
            tube([(x, height, -z), (x, leg, z)], leg, mirror="x", material=frame),
            tube([(x, height, z), (x, leg, -z)], leg * 0.98, mirror="x", material=frame),
            box((x, leg * 0.8, leg * 0.8), center=(0, height / 2, 0), material=frame),
        ]
    if rng.random() < 0.5:
        apron = u(0.02, 0.06)
        parts.append(box((x + leg * 0.3, apron, z + leg * 0.3), center=(0, height - apron, 0), material=frame))
    if shape == "rectangle" and rng.random() < 0.2:  # a lower shelf, which needs straight legs
        return parts + [
            box((leg, height / 2, leg), center=(x, height / 2, z), mirror="xz", material=frame),
            box((x, thickness * 0.8, z), center=(0, height * u(0.25, 0.45), 0), material=top_material),
        ]
    return parts + four_legs(rng, height, x, z, leg, frame)


def desk(rng: np.random.Generator) -> list[Part]:
    """A writing desk: legs or panels, drawers on one or both sides, sometimes a hutch or a screen."""
    u = rng.uniform
    body, height, half_width, half_depth, thickness = (
        wood(rng),
        u(0.68, 0.8),
        u(0.45, 0.8),
        u(0.26, 0.4),
        u(0.018, 0.035),
    )
    front = body if rng.random() < 0.4 else contrasting(rng, body)
    knob = metal(rng)
    parts = [
        box((half_width, thickness, half_depth), round=thickness * u(0.1, 0.6), center=(0, height, 0), material=body)
    ]
    chest = half_width * u(0.2, 0.32)
    sides = ("left", "right", "both", "none")[rng.integers(4)]
    place = dict(mirror="x") if sides == "both" else {}
    sign = -1 if sides == "left" else 1
    x = half_width * 0.96 - chest
    if sides != "none":
        half_height, count = height * (0.5 if rng.random() < 0.6 else u(0.2, 0.35)), int(rng.integers(2, 5))
        middle = height - half_height
        parts.append(box((chest, half_height, half_depth * 0.9), center=(sign * x, middle, 0), material=body, **place))
        for level in (np.arange(count) + 0.5) / count * 1.9 - 0.95:
            y = middle + level * half_height
            parts.append(
                box(
                    (chest * 0.88, half_height * 0.8 / count, 0.02),
                    round=0.006,
                    center=(sign * x, y, half_depth * 0.9),
                    material=front,
                    **place,
                )
            )
            parts.append(
                capsule(
                    (-0.04, 0, 0),
                    (0.04, 0, 0),
                    0.014,
                    center=(sign * x, y, half_depth * 0.9 + 0.025),
                    material=knob,
                    **place,
                )
            )
    leg = u(0.022, 0.035)
    parts += four_legs(rng, height, half_width * 0.92 - leg, half_depth * 0.85 - leg, leg, body)
    if rng.random() < 0.5:
        panel = u(0.1, 0.28)
        parts.append(
            box((half_width * 0.88, panel, 0.018), center=(0, height - panel, -half_depth * 0.78), material=body)
        )
    extra = rng.random()
    if extra < 0.25:
        rise, shelf = u(0.15, 0.3), half_depth * 0.4
        parts += [
            box(
                (0.022, rise, shelf),
                center=(half_width * 0.93, height + rise, -half_depth * 0.5),
                mirror="x",
                material=body,
            ),
            box(
                (half_width * 0.95, 0.02, shelf * 1.03), center=(0, height + 2 * rise, -half_depth * 0.5), material=body
            ),
        ]
    elif extra < 0.45:
        screen, rise = plastic(rng), u(0.16, 0.24)
        parts += [
            box(
                (rise * 1.5, rise, 0.022),
                round=0.008,
                center=(0, height + rise + 0.1, -half_depth * 0.4),
                material=screen,
            ),
            box((0.035, 0.12, 0.02), center=(0, height + 0.1, -half_depth * 0.46), material=screen),
            cylinder(0.1, 0.02, center=(0, height + thickness + 0.01, -half_depth * 0.4), material=screen),
        ]
    return parts


def shelf(rng: np.random.Generator) -> list[Part]:
    """A bookcase, open rack, chest of drawers or cupboard."""
    u = rng.uniform
    body, half_width, half_height, half_depth = wood(rng), u(0.25, 0.7), u(0.35, 1.0), u(0.13, 0.25)
    board = max(half_width, half_height) * u(0.021, 0.035)
    style = rng.choice(("bookcase", "rack", "chest"), p=(0.5, 0.25, 0.25))
    count = int(rng.integers(2, 6))
    levels = np.linspace(-half_height + board * 2, half_height - board, count)
    foot = u(0.03, 0.12)
    if style == "chest":
        half_width, half_height = u(0.3, 0.6), u(0.3, 0.7)
        half_depth = min(half_width, half_height, 0.7 * max(half_width, half_height)) * u(0.45, 0.8)
        middle = half_height + foot * 0.6
        front, knob = (body if rng.random() < 0.4 else contrasting(rng, body)), metal(rng)
        parts = [
            box((half_width, half_height, half_depth), round=0.01, center=(0, middle, 0), material=body),
            box((half_width * 1.05, 0.02, half_depth * 1.06), center=(0, middle + half_height, 0), material=body),
        ]
        pair = rng.random() < 0.4
        drawer = half_height / count
        for level in np.arange(count):
            y = middle + half_height * 0.97 - (2 * level + 1) * drawer * 0.97
            x, width = (half_width * 0.48, half_width * 0.43) if pair else (0.0, half_width * 0.92)
            place = dict(mirror="x") if pair else {}
            parts += [
                box((width, drawer * 0.84, 0.02), round=0.006, center=(x, y, half_depth), material=front, **place),
                ellipsoid(
                    (0.022, 0.022, 0.03),
                    center=(x if pair else half_width * 0.5, y, half_depth + 0.03),
                    mirror="x",
                    material=knob,
                ),
            ]
        return parts + four_legs(rng, foot, half_width * 0.85, half_depth * 0.8, 0.03, body, low=True)
    wall = board * u(0.8, 1.2)
    if style == "rack":
        post = capsule(
            (half_width, -half_height - foot, half_depth * 0.85),
            (half_width, half_height, half_depth * 0.85),
            board * 1.25,
            mirror="xz",
            material=metal(rng),
        )
        return [post] + [
            box((half_width * 1.02, board * 0.9, half_depth), round=board * 0.2, center=(0, y, 0), material=body)
            for y in levels
        ]
    parts = [box((wall, half_height, half_depth), center=(half_width, 0, 0), mirror="x", material=body)]
    parts += [box((half_width, board, half_depth * 0.97), center=(0, y, 0), material=body) for y in levels]
    if rng.random() < 0.7:
        parts.append(
            box(
                (half_width * 0.99, half_height * 0.98, board * 0.8),
                center=(0, 0, -half_depth + board),
                material=body if rng.random() < 0.6 else any_material(rng),
            )
        )
    if rng.random() < 0.35 and half_width > 0.4:
        parts.append(box((wall * 0.8, half_height * 0.97, half_depth * 0.95), material=body))
    for y in levels[:-1]:
        if rng.random() < 0.45:  # a row of books or a box standing on the board
            gap = (levels[1] - levels[0]) / 2
            width, height = half_width * u(0.12, 0.4), gap * u(0.45, 0.8)
            x = u(-1, 1) * (half_width * 0.95 - width)
            parts.append(
                box(
                    (width, height, half_depth * u(0.5, 0.8)),
                    center=(x, y + board * 0.5 + height, 0),
                    material=fabric(rng),
                )
            )
    return parts


def bed(rng: np.random.Generator) -> list[Part]:
    """A bed with headboard, footboard, mattress, pillows and blanket; sometimes a bunk bed or a cot."""
    u = rng.uniform
    frame, half_width, half_depth, base = (wood if rng.random() < 0.7 else metal)(rng), u(0.42, 0.9), u(0.9, 1.05), 0.28
    linen, thickness, leg = fabric(rng), u(0.08, 0.14), u(0.035, 0.05)
    head, foot = base + u(0.25, 0.8), base + u(0.0, 0.4)

    def deck(level: float) -> list[Part]:
        parts = [
            box((half_width, 0.06, half_depth), round=0.02, center=(0, level, 0), material=frame),
            box(
                (half_width * 0.95, thickness, half_depth * 0.96),
                round=0.05,
                center=(0, level + 0.03 + thickness, 0),
                material=linen,
            ),
        ]
        top = level + 0.03 + 2 * thickness
        pair = half_width > 0.6
        parts.append(
            ellipsoid(
                (half_width * (0.36 if pair else 0.6), 0.075, 0.2),
                exponents=(0.7, 0.45),
                center=(half_width * 0.45 if pair else 0, top + 0.02, -half_depth * 0.72),
                mirror="x" if pair else "",
                material=fabric(rng),
            )
        )
        if rng.random() < 0.6:
            length = half_depth * u(0.4, 0.7)
            parts.append(
                box(
                    (half_width * 0.99, thickness * 0.8, length),
                    round=0.05,
                    center=(0, top - thickness * 0.62, half_depth * 0.98 - length),
                    material=fabric(rng),
                )
            )
        return parts

    parts = deck(base)
    if rng.random() < 0.15:
        rise = u(0.75, 0.95)
        half_width = min(half_width, 0.6)
        parts = deck(base) + deck(base + rise)
        posts = base + rise + 0.35
        parts += [
            box((leg, posts / 2, leg), center=(half_width, posts / 2, half_depth), mirror="xz", material=frame),
            box((half_width, 0.035, 0.035), center=(0, posts - 0.1, half_depth), mirror="z", material=frame),
            capsule(
                (half_width * 0.4, 0.1, half_depth * 1.03),
                (half_width * 0.4, posts - 0.1, half_depth * 1.03),
                0.03,
                material=frame,
            ),
        ]
        parts += [
            box((half_width * 0.3, 0.03, 0.03), center=(half_width * 0.7, y, half_depth * 1.02), material=frame)
            for y in (0.55, 0.8)
        ]
        return parts
    for height, z in ((head, -half_depth), (foot, half_depth)):
        if height < base + 0.1:
            parts.append(
                box((leg, 0.5 * base, leg), center=(half_width * 0.9, 0.5 * base, z * 0.92), mirror="x", material=frame)
            )
            continue
        if rng.random() < 0.55:
            parts.append(
                box(
                    (half_width * 1.03, (height - 0.12) / 2, leg),
                    round=leg * u(0.2, 0.9),
                    center=(0, 0.12 + (height - 0.12) / 2, z),
                    material=frame,
                )
            )
        else:
            parts += [
                capsule((half_width, leg, z), (half_width, height, z), leg, mirror="x", material=frame),
                capsule((-half_width, height * 0.94, z), (half_width, height * 0.94, z), leg * 0.8, material=frame),
                box(
                    (half_width, (height - base) * 0.18, leg * 0.6), center=(0, (height + base) / 2, z), material=frame
                ),
            ]
            continue
        parts.append(box((leg, 0.1, leg), center=(half_width * 0.9, 0.1, z), mirror="x", material=frame))
    return parts
