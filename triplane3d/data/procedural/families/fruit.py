"""Fruit and vegetables, in units of about ten centimetres."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from triplane3d.data.procedural.components.profiles import smooth, solid
from triplane3d.data.procedural.materials import foliage, plastic, tinted, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    ellipsoid,
    revolve,
    rotation_matrix,
    tube,
)


def fruit(rng: np.random.Generator) -> list[Part]:
    """Fruit and vegetables: apple, pear, banana, pineapple, melon slice, carrot, pumpkin, mushroom and others."""
    kinds = (
        _apple,
        _apple,
        _pear,
        _pear,
        _banana,
        _banana,
        _pineapple,
        _slice_of_melon,
        _carrot,
        _pumpkin,
        _mushroom,
        _cherries,
    )
    return kinds[rng.integers(len(kinds))](rng)


def _apple(rng: np.random.Generator) -> list[Part]:
    """An apple, tomato, orange, peach or plum: a round body with dimples, a stalk and sometimes a leaf."""
    u = rng.uniform
    skin = tinted(rng, ((0.75, 0.12, 0.1), (0.5, 0.68, 0.2), (0.95, 0.55, 0.1), (0.4, 0.15, 0.35))[rng.integers(4)])
    dimple, waist = u(0.02, 0.18), u(-0.12, 0.04)
    squash = u(0.68, 0.79) if rng.random() < 0.7 else u(1.1, 1.3)
    profile = smooth(
        [
            (0.0, -0.85 + dimple),
            (0.45, -0.92),
            (0.85, -0.5),
            (1.0 + waist, 0.1),
            (0.8, 0.75),
            (0.3, 0.85),
            (0.0, 0.8 - dimple * 1.5),
        ],
        16,
    ) * (1, squash)
    top = (0.8 - dimple * 1.5) * squash
    parts = [
        revolve(profile, material=skin),
        tube(
            bezier((0, top - 0.1, 0), (0, top + 0.25, 0), (u(-0.15, 0.15), top + u(0.35, 0.55), 0), 4),
            0.06,
            material=tinted(rng, (0.35, 0.25, 0.15)),
        ),
    ]
    if rng.random() < 0.5:
        parts.append(
            ellipsoid((0.32, 0.06, 0.16), center=(0.26, top + 0.25, 0), rotate=(0, 0, u(0, 40)), material=foliage(rng))
        )
    if rng.random() < 0.15:  # a bite
        parts.append(
            ellipsoid(
                (0.45, 0.4, 0.5),
                center=(u(0.95, 1.1), u(-0.2, 0.2), 0.2),
                op="subtract",
                material=tinted(rng, (0.95, 0.9, 0.7)),
            )
        )
    return parts


def _pear(rng: np.random.Generator) -> list[Part]:
    """A pear, aubergine, avocado or lemon."""
    u = rng.uniform
    skin = tinted(rng, ((0.75, 0.75, 0.25), (0.25, 0.1, 0.3), (0.25, 0.35, 0.12), (0.95, 0.8, 0.2))[rng.integers(4)])
    height, neck = u(1.7, 2.6), u(0.2, 0.45)
    profile = smooth(
        [
            (0, 0),
            (0.5, -0.02),
            (0.72, height * 0.2),
            (u(0.55, 0.72), height * 0.45),
            (neck, height * u(0.7, 0.85)),
            (neck * 0.7, height),
            (0, height),
        ],
        16,
    )
    lean = u(-20, 20) if rng.random() < 0.6 else u(70, 95)
    tip = rotation_matrix((0, 0, lean)) @ np.array([0, height, 0])
    parts = [
        revolve(profile, rotate=(0, 0, lean), material=skin),
        tube([tip * 0.96, tip * 1.1, tip * 1.18 + (0.06, 0, 0)], 0.06, material=tinted(rng, (0.35, 0.25, 0.15))),
    ]
    if rng.random() < 0.4:
        parts.append(
            ellipsoid(
                (0.3, 0.06, 0.14), center=tip * 1.08 + (0.22, 0, 0), rotate=(0, 0, u(-20, 40)), material=foliage(rng)
            )
        )
    return parts


def _banana(rng: np.random.Generator) -> list[Part]:
    """One to four bananas on one stalk, lying or standing."""
    u = rng.uniform
    skin, thickness, sag = tinted(rng, (0.92, 0.78, 0.18)), u(0.2, 0.28), u(0.35, 0.75)
    dark = tinted(rng, (0.3, 0.22, 0.1))
    flat = u(-90, 0)
    parts = []
    for index in range(int(rng.choice((1, 1, 2, 3, 4)))):
        turn = (flat + index * u(12, 20), 0, 0)
        half = bezier((0, -sag, 0), (0.6, -sag, 0), (1.1, u(0.0, 0.15), 0), 6)
        rest = bezier((0, -sag, 0), (-0.6, -sag, 0), (-1.05, 0.05, 0), 6)
        parts += [
            tube(half, thickness, end_radius=thickness * 0.5, rotate=turn, material=skin),
            tube(rest, thickness, end_radius=thickness * 0.35, rotate=turn, material=skin),
        ]
    parts.append(capsule((-1.0, 0.0, 0), (-1.25, 0.22, 0), 0.11, end_radius=0.09, rotate=(flat, 0, 0), material=dark))
    return parts


def _pineapple(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    height = u(0.6, 0.9)
    skin = Material(tinted(rng, (0.75, 0.5, 0.15)).color, tinted(rng, (0.45, 0.3, 0.1)).color, "checker", 1, 0.15, 0.2)
    leaf = foliage(rng)
    parts = [ellipsoid((0.45, height, 0.45), exponents=(0.75, 1.0), material=skin)]
    for lean, length in ((12, 0.5), (35, 0.45), (58, 0.38)):
        for turn in (lean, lean + 90, 45 + lean / 2)[: 2 if lean > 12 else 3]:
            up = np.array(
                [sin(radians(lean)) * sin(radians(turn)), cos(radians(lean)), sin(radians(lean)) * cos(radians(turn))]
            )
            parts.append(
                ellipsoid(
                    (0.11, length, 0.06),
                    center=np.array([0, height * 0.9, 0]) + up * length * 0.8,
                    rotate=(lean, turn, 0),
                    mirror="xz" if lean > 12 else "x",
                    material=leaf,
                )
            )
    return parts


def _slice_of_melon(rng: np.random.Generator) -> list[Part]:
    """Half or a quarter of a melon, the cut face upwards or to the front."""
    u = rng.uniform
    rind, flesh = foliage(rng), tinted(rng, ((0.85, 0.2, 0.2), (0.95, 0.65, 0.35), (0.6, 0.75, 0.4))[rng.integers(3)])
    length, cut = u(0.8, 1.3), box((3, 2, 3), center=(0, 2, 0), op="subtract")
    parts = [
        ellipsoid((length, 0.8, 0.8), material=rind),
        ellipsoid((length * 0.93, 0.72, 0.72), center=(0, 0.05, 0), material=flesh),
        cut,
    ]
    if rng.random() < 0.6:
        angle = u(35, 75)
        parts.append(
            box(
                (3, 2, 3),
                center=(0, -2 * sin(radians(angle)), 2 * cos(radians(angle))),
                rotate=(angle - 90, 0, 0),
                op="subtract",
            )
        )
        return parts
    seed = Material((0.01, 0.01, 0.01))
    parts += [ellipsoid((0.09, 0.06, 0.06), center=(length * 0.4, 0, 0.25), mirror="xz", material=seed)]
    return parts


def _carrot(rng: np.random.Generator) -> list[Part]:
    """A carrot, radish, strawberry or chilli: a pointed body with leaves."""
    u = rng.uniform
    skin = tinted(rng, ((0.9, 0.45, 0.1), (0.8, 0.1, 0.15), (0.85, 0.8, 0.7))[rng.integers(3)])
    length, width = u(0.7, 2.0), u(0.3, 0.45)
    profile = smooth(
        [
            (0, 0),
            (0.06, 0),
            (width * u(0.5, 0.8), length * 0.45),
            (width, length * 0.85),
            (width * 0.4, length),
            (0, length),
        ],
        14,
    )
    leaf, count = foliage(rng), int(rng.integers(2, 6))
    lean = (u(-20, 20), 0, u(60, 100) if rng.random() < 0.5 else u(-15, 15))
    matrix = rotation_matrix(lean)
    parts = [revolve(profile, rotate=lean, material=skin)]
    for turn in np.arange(count) * 2 * pi / count:
        spread = u(0.12, 0.4)
        tip = (spread * cos(turn), length + u(0.25, 0.6), spread * sin(turn))
        parts.append(
            capsule(
                matrix @ np.array([0, length - 0.08, 0]),
                matrix @ np.array(tip),
                0.06,
                end_radius=u(0.05, 0.13),
                material=leaf,
            )
        )
    return parts


def _pumpkin(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    skin, height, stalk = tinted(rng, (0.9, 0.45, 0.08)), u(0.5, 0.75), u(0.15, 0.35)
    parts = []
    for turn in (0.0, 45.0, 90.0, 135.0):
        c, s = 0.45 * cos(radians(turn)), 0.45 * sin(radians(turn))
        for side in (-1, 1):
            parts.append(
                ellipsoid((0.5, height, 0.36), center=(side * c, 0, -side * s), rotate=(0, turn, 0), material=skin)
            )
    stem = tinted(rng, (0.4, 0.42, 0.2))
    parts.append(
        tube(
            bezier((0, height * 0.7, 0), (0, height + stalk, 0), (u(-0.3, 0.3), height + stalk, 0), 4),
            0.12,
            end_radius=0.09,
            material=stem,
        )
    )
    if rng.random() < 0.3:  # a face
        dark = Material((0.02, 0.01, 0.0))
        parts += [
            ellipsoid((0.12, 0.14, 0.1), center=(0.3, 0.15, 0.86), mirror="x", material=dark),
            ellipsoid((0.35, 0.08, 0.1), center=(0, -0.22, 0.86), material=dark),
        ]
    return parts


def _mushroom(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    width, height, stem = u(0.5, 0.9), u(0.6, 1.2), u(0.14, 0.3)
    cap = plastic(rng)
    rise = width * u(0.4, 0.9)
    profile = smooth(
        [
            (0, height - 0.1),
            (width * 0.5, height - 0.05),
            (width, height - 0.1),
            (width * 0.9, height + rise * 0.5),
            (width * 0.4, height + rise),
            (0, height + rise),
        ],
        16,
    )
    return [
        revolve(
            solid(smooth([(stem * u(1.0, 1.6), 0), (stem, height * 0.4), (stem * 0.9, height)], 8)),
            material=tinted(rng, (0.9, 0.85, 0.75)),
        ),
        revolve(profile, material=cap),
    ]


def _cherries(rng: np.random.Generator) -> list[Part]:
    """A pair of cherries on joined stalks, or grapes in a bunch."""
    u = rng.uniform
    skin = tinted(rng, ((0.6, 0.05, 0.1), (0.35, 0.12, 0.4), (0.55, 0.65, 0.25))[rng.integers(3)])
    size, apart = u(0.3, 0.4), u(0.0, 0.25)
    if rng.random() < 0.5:
        top = u(1.0, 1.5)
        return [
            ellipsoid((size, size * 0.95, size), center=(size * 0.93 + apart, 0, 0), mirror="x", material=skin),
            tube(
                bezier((size * 0.93 + apart, size * 0.8, 0), (size * 0.6, top * 0.8, 0), (0, top, 0), 5),
                0.05,
                mirror="x",
                material=tinted(rng, (0.35, 0.45, 0.15)),
            ),
            ellipsoid((0.35, 0.055, 0.17), center=(0.25, top, 0), rotate=(0, 0, u(-30, 20)), material=foliage(rng)),
        ]
    parts = [capsule((0, 0.2, 0), (0, 1.5, 0), 0.07, material=wood(rng))]
    for level, count in ((0.0, 1), (0.35, 3), (0.75, 5), (1.1, 4)):
        for turn in np.arange(count) * 2 * pi / count + level * 3:
            ring = 0.0 if count == 1 else size * (0.55 + 0.1 * count)
            parts.append(ellipsoid((size,) * 3, center=(ring * cos(turn), level, ring * sin(turn)), material=skin))
    return parts
