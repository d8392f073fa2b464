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
    wide, high, deep = u(0.5, 0.75), u(0.75, 1.05), u(0.25, 0.4)
    parts = [box((wide, high, deep), round=u(0.03, 0.2), material=shell)]
    if rng.random() < 0.6:
        parts.append(box((wide * 1.012, high * 1.01, 0.05), round=0.04, material=trim))
    if rng.random() < 0.5:
        bars = 0.04 + 0.03 * rng.integers(3)
        parts.append(
            box((bars, high * 0.9, 0.05), round=0.03, center=(wide * u(0.3, 0.6), 0, deep), mirror="xz", material=shell)
        )
    if rng.random() < 0.7:
        rise, grip = u(0.25, 0.8), wide * 0.4
        parts.append(
            tube(
                [(grip, high - 0.08, -deep * 0.7), (grip, high + rise, -deep * 0.7), (0, high + rise, -deep * 0.7)],
                0.045,
                mirror="x",
                material=trim,
            )
        )
        parts.append(
            ellipsoid((0.09, 0.13, 0.11), center=(wide * 0.8, -high - 0.02, deep * 0.65), mirror="xz", material=trim)
        )
    else:
        parts.append(
            torus(wide * 0.28, 0.05, arc=pi / 2, center=(0, high - 0.04, 0), rotate=(-90, 0, 0), material=trim)
        )
    return parts


def _briefcase(rng: np.random.Generator) -> list[Part]:
    """A briefcase, handbag or toolbox: wider than high, with a handle and clasps."""
    u = rng.uniform
    hide = fabric(rng) if rng.random() < 0.6 else metal(rng)
    trim = contrasting(rng, hide)
    wide, high, deep = u(0.8, 1.0), u(0.35, 0.7), u(0.18, 0.4)
    rise, grip = u(0.14, 0.5), wide * u(0.25, 0.5)
    parts = [
        box((wide, high, deep), round=u(0.02, 0.15), taper=u(-0.2, 0.05), material=hide),
        tube(
            [(grip, high - 0.06, 0), (grip * 0.95, high + rise, 0), (0, high + rise * 1.05, 0)],
            0.055,
            mirror="x",
            material=trim,
        ),
        box((0.09, 0.1, 0.05), round=0.02, center=(wide * 0.5, high * 0.4, deep * 0.96), mirror="x", material=trim),
    ]
    if rng.random() < 0.5:
        parts.append(
            box((wide * 0.96, high * 0.45, deep * 0.35), round=0.05, center=(0, high * 0.5, deep * 0.7), material=hide)
        )
    return parts


def _chest(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    timber, iron = wood(rng), metal(rng)
    wide, high, deep = u(0.85, 1.05), u(0.25, 0.42), u(0.35, 0.48)
    strap = wide * u(0.4, 0.75)
    lid = cylinder(deep, wide, center=(0, high, 0), rotate=(0, 0, 90), material=timber)
    parts = [
        lid,
        box((wide * 1.5, deep, deep * 1.5), center=(0, high - deep, 0), op="subtract"),
        box((wide * 0.98, high, deep * 0.98), round=0.03, material=timber),
        box((0.08, high * 1.01, deep * 1.03), center=(strap, 0, 0), mirror="x", material=iron),
        torus(deep * 0.98, 0.06, arc=pi / 2, center=(strap, high, 0), rotate=(-90, 90, 0), mirror="x", material=iron),
        box((0.12, 0.14, 0.08), round=0.02, center=(0, high * 0.9, deep), material=iron),
    ]
    if rng.random() < 0.5:
        parts.append(torus(0.16, 0.05, center=(wide, 0, 0), rotate=(90, 90, 0), mirror="x", material=iron))
    return parts


def _rucksack(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    cloth = fabric(rng)
    trim = contrasting(rng, cloth)
    wide, high, deep = u(0.5, 0.65), u(0.75, 0.95), u(0.26, 0.36)
    return [
        box((wide, high, deep), round=deep * u(0.5, 0.9), taper=u(-0.2, 0.0), material=cloth),
        box(
            (wide * 0.72, high * u(0.3, 0.42), deep * 0.5),
            round=0.12,
            center=(0, -high * 0.4, deep * 0.85),
            material=cloth if rng.random() < 0.5 else trim,
        ),
        ellipsoid(
            (wide * 0.95, high * 0.22, deep * 1.05), exponents=(0.6, 0.6), center=(0, high * 0.75, 0.03), material=trim
        ),
        torus(0.16, 0.05, arc=pi / 2, center=(0, high * 0.93, -deep * 0.4), rotate=(-90, 0, 0), material=trim),
        tube(
            bezier(
                (wide * 0.5, high * 0.75, -deep * 0.8),
                (wide * 0.55, 0.1, -deep * 2.0),
                (wide * 0.6, -high * 0.7, -deep * 0.8),
                6,
            ),
            0.07,
            mirror="x",
            material=trim,
        ),
        ellipsoid((0.14, high * 0.3, deep * 0.6), center=(wide * 0.95, -high * 0.45, 0), mirror="x", material=cloth),
    ][: rng.integers(5, 7)]


def _gift(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    wrap, ribbon = fabric(rng), plastic(rng)
    wide, high, deep = u(0.65, 0.85), u(0.22, 0.36), u(0.42, 0.58)
    loop = u(0.2, 0.3)
    parts = [
        box((wide, high, deep), material=wrap),
        box((0.1, high * 1.02, deep * 1.02), material=ribbon),
        box((wide * 1.02, high * 1.01, 0.1), material=ribbon),
        torus(loop, 0.07, center=(loop * 0.9, high + loop * 0.6, 0), rotate=(-90, 0, 0), mirror="x", material=ribbon),
        ellipsoid((0.12, 0.12, 0.12), center=(0, high + 0.08, 0), material=ribbon),
    ]
    if rng.random() < 0.6:
        parts.insert(1, box((wide * 1.05, 0.1, deep * 1.05), center=(0, high * 0.9, 0), material=wrap))
    return parts


def _carton(rng: np.random.Generator) -> list[Part]:
    """An open cardboard box or a slatted crate."""
    u = rng.uniform
    board = tinted(rng, (0.72, 0.55, 0.36)) if rng.random() < 0.7 else plastic(rng)
    wide, high, deep, wall = u(0.75, 1.0), u(0.3, 0.5), u(0.45, 0.65), u(0.04, 0.06)
    floor = wall * 1.5 if rng.random() < 0.7 else high * 0.8
    parts = [
        box((wide, high, deep), material=board),
        box((wide - 2 * wall, high, deep - 2 * wall), center=(0, floor, 0), op="subtract", material=board),
    ]
    flap, tilt = u(0.2, 0.35), u(15, 80)
    if rng.random() < 0.55:
        drop = radians(tilt)
        parts += [
            box(
                (flap, wall * 0.8, deep * 0.96),
                rotate=(0, 0, -tilt),
                mirror="x",
                material=board,
                center=(wide - wall + flap * 0.95 * cos(drop), high - wall - flap * 0.95 * sin(drop) + 0.03, 0),
            ),
            box(
                (wide * 0.96, wall * 0.8, flap),
                rotate=(tilt * 0.7, 0, 0),
                mirror="z",
                material=board,
                center=(
                    0,
                    high - wall - flap * 0.95 * sin(drop * 0.7) + 0.03,
                    deep - wall + flap * 0.95 * cos(drop * 0.7),
                ),
            ),
        ]
    elif rng.random() < 0.6:
        for y in np.linspace(-high * 0.75, high * 0.85, int(rng.integers(2, 5))):
            parts.append(box((wide + 0.03, high * 0.12, deep * 0.98), center=(0, y, 0), material=board))
        parts[1], parts[-1] = parts[-1], parts[1]
        parts = [part for part in parts if part.op == "union"] + [part for part in parts if part.op == "subtract"]
    return parts
