"""Food, in units of about ten centimetres: doughnuts, burgers, cakes, ice cream and fruit."""

from __future__ import annotations

from math import cos, pi, radians, sin

import numpy as np

from triplane3d.data.procedural.families import family
from triplane3d.data.procedural.families.turning import smooth, solid
from triplane3d.data.procedural.paint import any_paint, contrasting, fabric, foliage, plastic, tinted, wood
from triplane3d.data.procedural.parts import (
    Paint,
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


@family
def donuts(rng: np.random.Generator) -> list[Part]:
    """One to four iced rings, alone, leaning on one another or stacked."""
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
        parts.append(torus(major, minor, center=center, rotate=rotate, paint=dough))
        if iced:
            raised = minor * u(0.16, 0.28)
            parts.append(
                torus(major, minor * u(0.93, 0.98), center=np.add(center, raised * up), rotate=rotate, paint=icing)
            )
            icing = icing if rng.random() < 0.6 else plastic(rng)
    return parts


@family
def cake_or_burger(rng: np.random.Generator) -> list[Part]:
    """A layer cake, a slice, a cupcake, an ice-cream cone, a burger, a hot dog or a sandwich."""
    return (_cake, _cake, _slice, _cupcake, _ice_cream, _burger, _hot_dog)[rng.integers(7)](rng)


@family
def fruit(rng: np.random.Generator) -> list[Part]:
    """Fruit and vegetables: apple, pear, banana, pineapple, melon slice, strawberry, carrot, pumpkin, mushroom…"""
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
                paint=any_paint(rng),
            )
        )
    for _ in range(int(rng.integers(1, 4))):
        half = u(0.15, 0.3)
        paint = fabric(rng)
        parts.append(cylinder(radius, half, round=u(0.02, 0.1), center=(0, y + half - 0.03, 0), paint=paint))
        if rng.random() < 0.6:
            parts.append(
                torus(radius * 0.98, 0.06, center=(0, y + 2 * half * rng.integers(2), 0), paint=contrasting(rng, paint))
            )
        y += 2 * half - 0.03
        radius *= u(0.6, 0.8)
    top, spread = y, radius * 1.05
    dots = int(rng.integers(0, 4))
    for x, z, mirror in ((0, 0, ""), (0.6, 0, "x"), (0.4, 0.45, "xz"))[:dots]:
        if rng.random() < 0.5:
            parts.append(
                ellipsoid(
                    (0.09, 0.09, 0.09), center=(x * spread, top + 0.02, z * spread), mirror=mirror, paint=plastic(rng)
                )
            )
        else:
            parts.append(
                capsule(
                    (x * spread, top - 0.05, z * spread),
                    (x * spread, top + 0.3, z * spread),
                    0.04,
                    mirror=mirror,
                    paint=plastic(rng),
                )
            )
    return parts


def _slice(rng: np.random.Generator) -> list[Part]:
    """A wedge in layers, its tip towards +z and the icing outside."""
    u = rng.uniform
    length, half_angle = u(0.9, 1.3), radians(u(14, 28))
    arc = [(length * sin(a), -length * cos(a)) for a in np.linspace(-half_angle, half_angle, 6)]
    outline = np.array([(0.0, 0.0), *arc])
    parts, y = [], 0.0
    layers = int(rng.integers(2, 6))
    colors = [fabric(rng), fabric(rng)]
    for index in range(layers):
        half = u(0.06, 0.14)
        # rotate=(90, 0, 0) lays the outline flat: its y becomes z
        parts.append(
            prism(
                outline * (1.0 - 0.03 * (index % 2)),
                half,
                center=(0, y + half - 0.02, 0),
                rotate=(90, 0, 0),
                paint=colors[index % 2],
            )
        )
        y += 2 * half - 0.02
    parts.append(prism(outline * 1.03, 0.05, round=0.02, center=(0, y, 0), rotate=(90, 0, 0), paint=plastic(rng)))
    if rng.random() < 0.7:
        size = u(0.08, 0.14)
        parts.append(
            ellipsoid((size, size, size), center=(0, y + size * 0.8, -length * u(0.5, 0.85)), paint=plastic(rng))
        )
    return parts


def _cupcake(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    cream, radius, y = fabric(rng), u(0.42, 0.55), u(0.45, 0.65)
    parts = [revolve(solid(np.array([(radius * u(0.65, 0.8), 0), (radius, y)])), paint=fabric(rng))]
    for _ in range(int(rng.integers(2, 5))):
        high = u(0.12, 0.2)
        parts.append(torus(radius * 0.6, high, center=(0, y + high * 0.4, 0), blend=0.05, paint=cream))
        parts.append(cylinder(radius * 0.6, high * 0.8, center=(0, y + high * 0.3, 0), paint=cream))
        y += high * 1.2
        radius *= 0.72
    size = u(0.09, 0.14)
    return [*parts, ellipsoid((size, size, size), center=(0, y + size * 0.6, 0), paint=plastic(rng))]


def _ice_cream(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    cone, scoop = u(0.8, 1.3), u(0.32, 0.42)
    parts = [revolve([(0, 0), (0.05, 0), (scoop * 0.85, cone), (0, cone)], paint=tinted(rng, (0.82, 0.6, 0.32)))]
    if rng.random() < 0.4:
        parts.append(torus(scoop * 0.85, 0.06, center=(0, cone, 0), paint=parts[0].paint))
    if rng.random() < 0.3:  # soft ice, in a swirl
        cream = fabric(rng)
        return (
            parts
            + [
                torus(scoop * size, scoop * 0.45, center=(0, cone + scoop * lift, 0), blend=0.05, paint=cream)
                for size, lift in ((0.6, 0.2), (0.42, 0.7), (0.2, 1.15))
            ]
            + [ellipsoid((scoop * 0.55, scoop * 1.9, scoop * 0.55), center=(0, cone, 0), paint=cream)]
        )
    parts.append(ellipsoid((scoop,) * 3, center=(0, cone + scoop * 0.4, 0), paint=fabric(rng)))
    if rng.random() < 0.5:
        side = u(-0.4, 0.4)
        parts.append(ellipsoid((scoop * 0.92,) * 3, center=(scoop * side, cone + scoop * 1.5, 0), paint=fabric(rng)))
    if rng.random() < 0.4:
        parts.append(capsule((0.1, cone, 0), (scoop, cone + scoop * u(1.8, 2.6), 0.1), 0.05, paint=wood(rng)))
    return parts


def _burger(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    radius, bun, y = u(0.85, 1.05), tinted(rng, (0.8, 0.52, 0.24)), 0.0
    half = u(0.1, 0.18)
    parts = [cylinder(radius, half, round=half * 0.7, center=(0, half, 0), paint=bun)]
    y = 2 * half
    fillings = {
        "patty": (0.36, 0.2, 0.12),
        "salad": (0.35, 0.62, 0.2),
        "tomato": (0.8, 0.2, 0.15),
        "cheese": (0.95, 0.72, 0.2),
    }
    for name in ["patty", *rng.choice(list(fillings), size=int(rng.integers(1, 4)), replace=False)]:
        paint, thick = tinted(rng, fillings[name]), u(0.05, 0.09)
        if name == "cheese":
            parts.append(
                box(
                    (radius * 0.76, 0.04, radius * 0.76),
                    round=0.03,
                    center=(0, y, 0),
                    rotate=(0, u(0, 90), 0),
                    paint=paint,
                )
            )
            y += 0.04
            continue
        thick = u(0.1, 0.14) if name == "patty" else thick
        parts.append(
            cylinder(radius * u(0.94, 1.1), thick, round=thick * 0.7, center=(0, y + thick * 0.7, 0), paint=paint)
        )
        y += thick * 1.5
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
            paint=bun,
        )
    )
    if rng.random() < 0.2:
        parts.append(capsule((0, y, 0), (0, y + dome + 0.5, 0), 0.04, paint=wood(rng)))
    return parts


def _hot_dog(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    long, thick = u(0.8, 1.1), u(0.17, 0.24)
    bun, sausage = tinted(rng, (0.85, 0.6, 0.32)), tinted(rng, (0.62, 0.24, 0.14))
    zigzag = [(x * long * 0.8, thick * 1.55, 0.07 * (-1) ** i) for i, x in enumerate(np.linspace(-1, 1, 8))]
    return [
        capsule((-long, 0, thick * 0.85), (long, 0, thick * 0.85), thick * 1.05, mirror="z", paint=bun),
        tube(
            bezier((-long * 1.15, thick * 0.7, 0), (0, thick * u(0.5, 0.7), 0), (long * 1.15, thick * 0.7, 0), 6),
            thick * 0.95,
            paint=sausage,
        ),
        tube(zigzag, 0.045, paint=tinted(rng, (0.9, 0.7, 0.1))),
    ]


def _apple(rng: np.random.Generator) -> list[Part]:
    """An apple, tomato, orange, peach or plum: a turned body with dimples, a stalk and perhaps a leaf."""
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
        revolve(profile, paint=skin),
        tube(
            bezier((0, top - 0.1, 0), (0, top + 0.25, 0), (u(-0.15, 0.15), top + u(0.35, 0.55), 0), 4),
            0.06,
            paint=tinted(rng, (0.35, 0.25, 0.15)),
        ),
    ]
    if rng.random() < 0.5:
        parts.append(
            ellipsoid((0.32, 0.06, 0.16), center=(0.26, top + 0.25, 0), rotate=(0, 0, u(0, 40)), paint=foliage(rng))
        )
    if rng.random() < 0.15:  # a bite
        parts.append(
            ellipsoid(
                (0.45, 0.4, 0.5),
                center=(u(0.95, 1.1), u(-0.2, 0.2), 0.2),
                op="subtract",
                paint=tinted(rng, (0.95, 0.9, 0.7)),
            )
        )
    return parts


def _pear(rng: np.random.Generator) -> list[Part]:
    """A pear, aubergine, avocado or lemon."""
    u = rng.uniform
    skin = tinted(rng, ((0.75, 0.75, 0.25), (0.25, 0.1, 0.3), (0.25, 0.35, 0.12), (0.95, 0.8, 0.2))[rng.integers(4)])
    tall, neck = u(1.7, 2.6), u(0.2, 0.45)
    profile = smooth(
        [
            (0, 0),
            (0.5, -0.02),
            (0.72, tall * 0.2),
            (u(0.55, 0.72), tall * 0.45),
            (neck, tall * u(0.7, 0.85)),
            (neck * 0.7, tall),
            (0, tall),
        ],
        16,
    )
    lean = u(-20, 20) if rng.random() < 0.6 else u(70, 95)
    tip = rotation_matrix((0, 0, lean)) @ np.array([0, tall, 0])
    parts = [
        revolve(profile, rotate=(0, 0, lean), paint=skin),
        tube([tip * 0.96, tip * 1.1, tip * 1.18 + (0.06, 0, 0)], 0.06, paint=tinted(rng, (0.35, 0.25, 0.15))),
    ]
    if rng.random() < 0.4:
        parts.append(
            ellipsoid(
                (0.3, 0.06, 0.14), center=tip * 1.08 + (0.22, 0, 0), rotate=(0, 0, u(-20, 40)), paint=foliage(rng)
            )
        )
    return parts


def _banana(rng: np.random.Generator) -> list[Part]:
    """One to four bananas from one stalk, lying on their side or standing on it."""
    u = rng.uniform
    skin, thick, sag = tinted(rng, (0.92, 0.78, 0.18)), u(0.2, 0.28), u(0.35, 0.75)
    dark = tinted(rng, (0.3, 0.22, 0.1))
    flat = u(-90, 0)
    parts = []
    for index in range(int(rng.choice((1, 1, 2, 3, 4)))):
        turn = (flat + index * u(12, 20), 0, 0)
        half = bezier((0, -sag, 0), (0.6, -sag, 0), (1.1, u(0.0, 0.15), 0), 6)
        rest = bezier((0, -sag, 0), (-0.6, -sag, 0), (-1.05, 0.05, 0), 6)
        parts += [
            tube(half, thick, end_radius=thick * 0.5, rotate=turn, paint=skin),
            tube(rest, thick, end_radius=thick * 0.35, rotate=turn, paint=skin),
        ]
    parts.append(capsule((-1.0, 0.0, 0), (-1.25, 0.22, 0), 0.11, end_radius=0.09, rotate=(flat, 0, 0), paint=dark))
    return parts


def _pineapple(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    tall = u(0.6, 0.9)
    skin = Paint(tinted(rng, (0.75, 0.5, 0.15)).color, tinted(rng, (0.45, 0.3, 0.1)).color, "checker", 1, 0.15, 0.2)
    leaf = foliage(rng)
    parts = [ellipsoid((0.45, tall, 0.45), exponents=(0.75, 1.0), paint=skin)]
    for lean, long in ((12, 0.5), (35, 0.45), (58, 0.38)):
        for turn in (lean, lean + 90, 45 + lean / 2)[: 2 if lean > 12 else 3]:
            up = np.array(
                [sin(radians(lean)) * sin(radians(turn)), cos(radians(lean)), sin(radians(lean)) * cos(radians(turn))]
            )
            parts.append(
                ellipsoid(
                    (0.11, long, 0.06),
                    center=np.array([0, tall * 0.9, 0]) + up * long * 0.8,
                    rotate=(lean, turn, 0),
                    mirror="xz" if lean > 12 else "x",
                    paint=leaf,
                )
            )
    return parts


def _slice_of_melon(rng: np.random.Generator) -> list[Part]:
    """Half or a quarter of a melon, its flesh up or to the front."""
    u = rng.uniform
    rind, flesh = foliage(rng), tinted(rng, ((0.85, 0.2, 0.2), (0.95, 0.65, 0.35), (0.6, 0.75, 0.4))[rng.integers(3)])
    long, cut = u(0.8, 1.3), box((3, 2, 3), center=(0, 2, 0), op="subtract")
    parts = [
        ellipsoid((long, 0.8, 0.8), paint=rind),
        ellipsoid((long * 0.93, 0.72, 0.72), center=(0, 0.05, 0), paint=flesh),
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
    seed = Paint((0.01, 0.01, 0.01))
    parts += [ellipsoid((0.09, 0.06, 0.06), center=(long * 0.4, 0, 0.25), mirror="xz", paint=seed)]
    return parts


def _carrot(rng: np.random.Generator) -> list[Part]:
    """A carrot, radish, strawberry or chilli: a pointed body with leaves."""
    u = rng.uniform
    skin = tinted(rng, ((0.9, 0.45, 0.1), (0.8, 0.1, 0.15), (0.85, 0.8, 0.7))[rng.integers(3)])
    long, wide = u(0.7, 2.0), u(0.3, 0.45)
    profile = smooth(
        [(0, 0), (0.06, 0), (wide * u(0.5, 0.8), long * 0.45), (wide, long * 0.85), (wide * 0.4, long), (0, long)], 14
    )
    leaf, count = foliage(rng), int(rng.integers(2, 6))
    lean = (u(-20, 20), 0, u(60, 100) if rng.random() < 0.5 else u(-15, 15))
    matrix = rotation_matrix(lean)
    parts = [revolve(profile, rotate=lean, paint=skin)]
    for turn in np.arange(count) * 2 * pi / count:
        spread = u(0.12, 0.4)
        tip = (spread * cos(turn), long + u(0.25, 0.6), spread * sin(turn))
        parts.append(
            capsule(
                matrix @ np.array([0, long - 0.08, 0]),
                matrix @ np.array(tip),
                0.06,
                end_radius=u(0.05, 0.13),
                paint=leaf,
            )
        )
    return parts


def _pumpkin(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    skin, high, stalk = tinted(rng, (0.9, 0.45, 0.08)), u(0.5, 0.75), u(0.15, 0.35)
    parts = []
    for turn in (0.0, 45.0, 90.0, 135.0):
        c, s = 0.45 * cos(radians(turn)), 0.45 * sin(radians(turn))
        for side in (-1, 1):
            parts.append(ellipsoid((0.5, high, 0.36), center=(side * c, 0, -side * s), rotate=(0, turn, 0), paint=skin))
    stem = tinted(rng, (0.4, 0.42, 0.2))
    parts.append(
        tube(
            bezier((0, high * 0.7, 0), (0, high + stalk, 0), (u(-0.3, 0.3), high + stalk, 0), 4),
            0.12,
            end_radius=0.09,
            paint=stem,
        )
    )
    if rng.random() < 0.3:  # a face
        dark = Paint((0.02, 0.01, 0.0))
        parts += [
            ellipsoid((0.12, 0.14, 0.1), center=(0.3, 0.15, 0.86), mirror="x", paint=dark),
            ellipsoid((0.35, 0.08, 0.1), center=(0, -0.22, 0.86), paint=dark),
        ]
    return parts


def _mushroom(rng: np.random.Generator) -> list[Part]:
    u = rng.uniform
    wide, tall, stem = u(0.5, 0.9), u(0.6, 1.2), u(0.14, 0.3)
    cap = plastic(rng)
    rise = wide * u(0.4, 0.9)
    profile = smooth(
        [
            (0, tall - 0.1),
            (wide * 0.5, tall - 0.05),
            (wide, tall - 0.1),
            (wide * 0.9, tall + rise * 0.5),
            (wide * 0.4, tall + rise),
            (0, tall + rise),
        ],
        16,
    )
    return [
        revolve(
            solid(smooth([(stem * u(1.0, 1.6), 0), (stem, tall * 0.4), (stem * 0.9, tall)], 8)),
            paint=tinted(rng, (0.9, 0.85, 0.75)),
        ),
        revolve(profile, paint=cap),
    ]


def _cherries(rng: np.random.Generator) -> list[Part]:
    """A pair of cherries on joined stalks, or grapes in a bunch."""
    u = rng.uniform
    skin = tinted(rng, ((0.6, 0.05, 0.1), (0.35, 0.12, 0.4), (0.55, 0.65, 0.25))[rng.integers(3)])
    size, apart = u(0.3, 0.4), u(0.0, 0.25)
    if rng.random() < 0.5:
        top = u(1.0, 1.5)
        return [
            ellipsoid((size, size * 0.95, size), center=(size * 0.93 + apart, 0, 0), mirror="x", paint=skin),
            tube(
                bezier((size * 0.93 + apart, size * 0.8, 0), (size * 0.6, top * 0.8, 0), (0, top, 0), 5),
                0.05,
                mirror="x",
                paint=tinted(rng, (0.35, 0.45, 0.15)),
            ),
            ellipsoid((0.35, 0.055, 0.17), center=(0.25, top, 0), rotate=(0, 0, u(-30, 20)), paint=foliage(rng)),
        ]
    parts = [capsule((0, 0.2, 0), (0, 1.5, 0), 0.07, paint=wood(rng))]
    for level, count in ((0.0, 1), (0.35, 3), (0.75, 5), (1.1, 4)):
        for turn in np.arange(count) * 2 * pi / count + level * 3:
            ring = 0.0 if count == 1 else size * (0.55 + 0.1 * count)
            parts.append(ellipsoid((size,) * 3, center=(ring * cos(turn), level, ring * sin(turn)), paint=skin))
    return parts
