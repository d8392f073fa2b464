"""Boxes and bags: suitcases, briefcases, chests, rucksacks, gifts and cartons."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from triplane3d.data.procedural.materials import contrasting, fabric, metal, plastic, tinted, wood
from triplane3d.data.procedural.parts import Part, bezier, box, cylinder, ellipsoid, torus, tube


def box_or_case(rng: np.random.Generator) -> list[Part]:
    """A suitcase, briefcase, toolbox, treasure chest, rucksack, gift box or an open carton."""
    kinds = (_suitcase, _suitcase, _briefcase, _chest, _rucksack, _gift, _carton)
    return kinds[rng.integers(len(kinds))](rng)


def _suitcase(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    shell = fabric(rng) if rng.random() < 0.5 else plastic(rng)
    trim = contrasting(rng, shell)
    width, height, depth = u(0.5, 0.75), u(0.75, 1.05), u(0.25, 0.4)
    parts = [box((width, height, depth), round=u(0.03, 0.2), material=shell)]
    if rng.random() < 0.6:
        parts.append(box((width * 1.012, height * 1.01, 0.05), round=0.04, material=trim))
    if rng.random() < 0.5:
        bars = 0.04 + 0.03 * rng.integers(3)
        parts.append(
            box(
                (bars, height * 0.9, 0.05),
                round=0.03,
                center=(width * u(0.3, 0.6), 0, depth),
                mirror="xz",
                material=shell,
            )
        )
    if rng.random() < 0.7:
        rise, grip = u(0.25, 0.8), width * 0.4
        parts.append(
            tube(
                [
                    (grip, height - 0.08, -depth * 0.7),
                    (grip, height + rise, -depth * 0.7),
                    (0, height + rise, -depth * 0.7),
                ],
                0.045,
                mirror="x",
                material=trim,
            )
        )
        parts.append(
            ellipsoid(
                (0.09, 0.13, 0.11), center=(width * 0.8, -height - 0.02, depth * 0.65), mirror="xz", material=trim
            )
        )
    else:
        parts.append(
            torus(width * 0.28, 0.05, arc=pi / 2, center=(0, height - 0.04, 0), rotate=(-90, 0, 0), material=trim)
        )
    return parts


def _briefcase(rng: np.random.Generator) -> list[Part]:
    """A briefcase, handbag or toolbox: wider than high, with a handle and clasps."""
    u = rng.uniform
    hide = fabric(rng) if rng.random() < 0.6 else metal(rng)
    trim = contrasting(rng, hide)
    width, height, depth = u(0.8, 1.0), u(0.35, 0.7), u(0.18, 0.4)
    rise, grip = u(0.14, 0.5), width * u(0.25, 0.5)
    parts = [
        box((width, height, depth), round=u(0.02, 0.15), taper=u(-0.2, 0.05), material=hide),
        tube(
            [(grip, height - 0.06, 0), (grip * 0.95, height + rise, 0), (0, height + rise * 1.05, 0)],
            0.055,
            mirror="x",
            material=trim,
        ),
        box((0.09, 0.1, 0.05), round=0.02, center=(width * 0.5, height * 0.4, depth * 0.96), mirror="x", material=trim),
    ]
    if rng.random() < 0.5:
        parts.append(
            box(
                (width * 0.96, height * 0.45, depth * 0.35),
                round=0.05,
                center=(0, height * 0.5, depth * 0.7),
                material=hide,
            )
        )
    return parts


def _chest(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    timber, iron = wood(rng), metal(rng)
    width, height, depth = u(0.85, 1.05), u(0.25, 0.42), u(0.35, 0.48)
    strap = width * u(0.4, 0.75)
    lid = cylinder(depth, width, center=(0, height, 0), rotate=(0, 0, 90), material=timber)
    parts = [
        lid,
        box((width * 1.5, depth, depth * 1.5), center=(0, height - depth, 0), op="subtract"),
        box((width * 0.98, height, depth * 0.98), round=0.03, material=timber),
        box((0.08, height * 1.01, depth * 1.03), center=(strap, 0, 0), mirror="x", material=iron),
        torus(
            depth * 0.98, 0.06, arc=pi / 2, center=(strap, height, 0), rotate=(-90, 90, 0), mirror="x", material=iron
        ),
        box((0.12, 0.14, 0.08), round=0.02, center=(0, height * 0.9, depth), material=iron),
    ]
    if rng.random() < 0.5:
        parts.append(torus(0.16, 0.05, center=(width, 0, 0), rotate=(90, 90, 0), mirror="x", material=iron))
    return parts


def _rucksack(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    cloth = fabric(rng)
    trim = contrasting(rng, cloth)
    width, height, depth = u(0.5, 0.65), u(0.75, 0.95), u(0.26, 0.36)
    return [
        box((width, height, depth), round=depth * u(0.5, 0.9), taper=u(-0.2, 0.0), material=cloth),
        box(
            (width * 0.72, height * u(0.3, 0.42), depth * 0.5),
            round=0.12,
            center=(0, -height * 0.4, depth * 0.85),
            material=cloth if rng.random() < 0.5 else trim,
        ),
        ellipsoid(
            (width * 0.95, height * 0.22, depth * 1.05),
            exponents=(0.6, 0.6),
            center=(0, height * 0.75, 0.03),
            material=trim,
        ),
        torus(0.16, 0.05, arc=pi / 2, center=(0, height * 0.93, -depth * 0.4), rotate=(-90, 0, 0), material=trim),
        tube(
            bezier(
                (width * 0.5, height * 0.75, -depth * 0.8),
                (width * 0.55, 0.1, -depth * 2.0),
                (width * 0.6, -height * 0.7, -depth * 0.8),
                6,
            ),
            0.07,
            mirror="x",
            material=trim,
        ),
        ellipsoid(
            (0.14, height * 0.3, depth * 0.6), center=(width * 0.95, -height * 0.45, 0), mirror="x", material=cloth
        ),
    ][: rng.integers(5, 7)]


def _gift(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    wrap, ribbon = fabric(rng), plastic(rng)
    width, height, depth = u(0.65, 0.85), u(0.22, 0.36), u(0.42, 0.58)
    loop = u(0.2, 0.3)
    parts = [
        box((width, height, depth), material=wrap),
        box((0.1, height * 1.02, depth * 1.02), material=ribbon),
        box((width * 1.02, height * 1.01, 0.1), material=ribbon),
        torus(loop, 0.07, center=(loop * 0.9, height + loop * 0.6, 0), rotate=(-90, 0, 0), mirror="x", material=ribbon),
        ellipsoid((0.12, 0.12, 0.12), center=(0, height + 0.08, 0), material=ribbon),
    ]
    if rng.random() < 0.6:
        parts.insert(1, box((width * 1.05, 0.1, depth * 1.05), center=(0, height * 0.9, 0), material=wrap))
    return parts


def _carton(rng: np.random.Generator) -> list[Part]:
    """An open cardboard box or a slatted crate."""
    u = rng.uniform
    board = tinted(rng, (0.72, 0.55, 0.36)) if rng.random() < 0.7 else plastic(rng)
    width, height, depth, wall = u(0.75, 1.0), u(0.3, 0.5), u(0.45, 0.65), u(0.04, 0.06)
    floor = wall * 1.5 if rng.random() < 0.7 else height * 0.8
    parts = [
        box((width, height, depth), material=board),
        box((width - 2 * wall, height, depth - 2 * wall), center=(0, floor, 0), op="subtract", material=board),
    ]
    flap, tilt = u(0.2, 0.35), u(15, 80)
    if rng.random() < 0.55:
        drop = radians(tilt)
        parts += [
            box(
                (flap, wall * 0.8, depth * 0.96),
                rotate=(0, 0, -tilt),
                mirror="x",
                material=board,
                center=(width - wall + flap * 0.95 * cos(drop), height - wall - flap * 0.95 * sin(drop) + 0.03, 0),
            ),
            box(
                (width * 0.96, wall * 0.8, flap),
                rotate=(tilt * 0.7, 0, 0),
                mirror="z",
                material=board,
                center=(
                    0,
                    height - wall - flap * 0.95 * sin(drop * 0.7) + 0.03,
                    depth - wall + flap * 0.95 * cos(drop * 0.7),
                ),
            ),
        ]
    elif rng.random() < 0.6:
        for y in np.linspace(-height * 0.75, height * 0.85, int(rng.integers(2, 5))):
            parts.append(box((width + 0.03, height * 0.12, depth * 0.98), center=(0, y, 0), material=board))
        parts[1], parts[-1] = parts[-1], parts[1]
        parts = [part for part in parts if part.op == "union"] + [part for part in parts if part.op == "subtract"]
    return parts
