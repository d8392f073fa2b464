"""Things that drive, fly or float; the nose points to +z and lengths run from about -1 to 1."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.families import family
from triplane3d.data.procedural.paint import any_paint, contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import Paint, Part, box, capsule, cylinder, ellipsoid, prism, revolve, torus

# Turns an outline drawn as (z, y) into a prism that is extruded along x, and one drawn as (x, z) into a flat slab.
SIDE_VIEW = (0, -90, 0)
TOP_VIEW = (90, 0, 0)


def rubber(rng: np.random.Generator) -> Paint:
    """Tyre black."""
    return Paint((rng.uniform(0.01, 0.07),) * 3, gloss=0.1)


def window_glass(rng: np.random.Generator) -> Paint:
    """Opaque window: dark or sky-blue, shiny."""
    low, high = ((0.01, 0.02, 0.03), (0.1, 0.12, 0.15)) if rng.random() < 0.6 else ((0.2, 0.35, 0.5), (0.5, 0.7, 0.85))
    return Paint(tuple(rng.uniform(low, high)), gloss=0.8)


def lamp_light(rng: np.random.Generator) -> Paint:
    """Headlamp white or warm yellow."""
    return Paint((rng.uniform(0.75, 0.95), rng.uniform(0.7, 0.9), rng.uniform(0.3, 0.85)), gloss=0.7)


def wheels(rng: np.random.Generator, radius: float, width: float, x: float, z: float, *, mirror: str) -> list[Part]:
    """Wheels on the x axis with their outer face at `x`, repeated by `mirror`; sometimes with a hub."""
    center = (x - width, radius, z)
    parts = [
        cylinder(
            radius,
            width,
            round=min(radius, width) * rng.uniform(0.1, 0.5),
            center=center,
            rotate=(0, 0, 90),
            mirror=mirror,
            paint=rubber(rng),
        )
    ]
    if rng.random() < 0.7:
        hub = metal(rng) if rng.random() < 0.6 else plastic(rng)
        parts.append(
            cylinder(
                radius * rng.uniform(0.4, 0.65),
                width * 1.06,
                center=center,
                rotate=(0, 0, 90),
                mirror=mirror,
                paint=hub,
            )
        )
    return parts


@family
def car(rng: np.random.Generator) -> list[Part]:
    """Sedan, taxi, van, pickup or round toy car."""
    style = rng.choice(["sedan", "box", "van", "pickup", "toy"])
    paint, glass = plastic(rng), window_glass(rng)
    trim = contrasting(rng, paint)
    half_width = rng.uniform(0.38, 0.5) if style != "toy" else rng.uniform(0.48, 0.62)
    radius = rng.uniform(0.16, 0.24) if style != "toy" else rng.uniform(0.22, 0.32)
    floor = radius * rng.uniform(0.5, 0.9)
    waist = floor + rng.uniform(0.28, 0.4) * (1.3 if style == "toy" else 1.0)
    roof = waist + rng.uniform(0.26, 0.4) * (1.35 if style in ("van", "toy") else 1.0)
    side = {"rotate": SIDE_VIEW, "round": rng.uniform(0.01, 0.05)}
    front, back, rise = rng.uniform(0.15, 0.5), -rng.uniform(0.35, 0.8), rng.uniform(0.08, 0.3)
    if style == "sedan":
        bonnet = waist - rng.uniform(0.02, 0.12)
        outline = [
            (-1, floor),
            (1, floor),
            (1, bonnet - 0.08),
            (0.92, bonnet),
            (front, waist),
            (front - rise, roof),
            (back + rise, roof),
            (back, waist),
            (-0.95, waist - 0.02),
        ]
        parts = [prism(outline, half_width, paint=paint, **side)]
        pane = [
            (front - 0.07, waist + 0.01),
            (front - rise - 0.02, roof - 0.06),
            (back + rise + 0.02, roof - 0.06),
            (back + 0.07, waist + 0.01),
        ]
        parts.append(prism(pane, half_width + 0.008, rotate=SIDE_VIEW, paint=glass))
        lean = np.rad2deg(np.arctan2(rise, roof - waist))
        parts.append(
            box(
                (half_width * 0.85, np.hypot(rise, roof - waist) * 0.42, 0.02),
                center=(0, (waist + roof) / 2, front - rise / 2),
                rotate=(-lean, 0, 0),
                paint=glass,
            )
        )
    elif style == "van":
        snout, nose = rng.uniform(0.55, 0.95), waist - rng.uniform(0, 0.12)
        outline = [(-1, floor), (1, floor), (1, nose - 0.05), (snout, waist), (snout - rise, roof), (-0.97, roof)]
        parts = [prism(outline, half_width, paint=paint, **side)]
        pane = [
            (snout - 0.1, waist + 0.01),
            (snout - rise - 0.05, roof - 0.08),
            (rng.uniform(-0.9, 0.2), roof - 0.08),
            (rng.uniform(-0.9, 0.2), waist + 0.01),
        ]
        parts.append(prism(pane, half_width + 0.008, rotate=SIDE_VIEW, paint=glass))
        lean = np.rad2deg(np.arctan2(rise, roof - waist))
        parts.append(
            box(
                (half_width * 0.85, np.hypot(rise, roof - waist) * 0.4, 0.025),
                center=(0, (waist + roof) / 2, snout - rise / 2),
                rotate=(-lean, 0, 0),
                paint=glass,
            )
        )
    elif style == "toy":
        exponents = (rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.8))
        length = rng.uniform(0.8, 1.0)
        parts = [
            ellipsoid(
                (half_width, (waist - floor) * 0.62, length),
                exponents=exponents,
                center=(0, (waist + floor) / 2, 0),
                paint=paint,
            ),
            ellipsoid(
                (half_width * rng.uniform(0.8, 0.92), roof - waist + 0.1, rng.uniform(0.45, 0.6)),
                exponents=exponents,
                center=(0, waist - 0.1, rng.uniform(-0.25, 0)),
                blend=0.04,
                paint=paint,
            ),
        ]
        cabin = parts[1]
        wide, high, long = cabin.parameters[:3]
        parts.append(
            box(
                (wide * 0.96, high * 0.22, long * 0.5),
                round=0.04,
                center=(0, waist + high * 0.36, cabin.center[2]),
                paint=glass,
            )
        )
        parts.append(
            box(
                (wide * 0.5, high * 0.22, long * 0.96),
                round=0.04,
                center=(0, waist + high * 0.36, cabin.center[2]),
                paint=glass,
            )
        )
        parts.append(
            ellipsoid(
                (half_width * 0.3, 0.12, 0.1),
                center=(half_width * 0.62, waist - 0.15, length * 0.85),
                mirror="x",
                blend=0.03,
                paint=lamp_light(rng),
            )
        )
    else:
        rear = rng.uniform(0, 0.35) if style == "pickup" else 0
        depth = rng.uniform(0.36, 0.5) - rear * 0.3
        taper = -rng.uniform(0.05, 0.22)
        parts = [
            box(
                (half_width, (waist - floor) / 2, 1),
                round=rng.uniform(0.03, 0.1),
                center=(0, (waist + floor) / 2, 0),
                paint=paint,
            ),
            box(
                (half_width * 0.8, (roof - waist) / 2 + 0.03, depth),
                taper=taper,
                round=0.02,
                center=(0, (waist + roof) / 2 - 0.03, rear - 0.1),
                paint=glass,
            ),
            box(
                (half_width * 0.8 * (1 + taper) + 0.01, 0.03, depth * (1 + taper) + 0.01),
                round=0.02,
                center=(0, roof, rear - 0.1),
                paint=paint,
            ),
        ]
        if style == "pickup":
            parts.append(
                box(
                    (half_width * 0.85, 0.4, (rear - 0.15 - depth * (1 - taper) + 0.92) / 2),
                    op="subtract",
                    center=(0, floor + 0.1 + 0.4, (rear - 0.15 - depth * (1 - taper) - 0.92) / 2),
                )
            )
    if rng.random() < 0.75:
        spread = rng.uniform(0.52, 0.66)
        inset = 0.1 if style == "toy" else 0.0
        parts += wheels(
            rng,
            radius,
            rng.uniform(0.07, 0.12),
            half_width - inset + rng.uniform(0.0, 0.05),
            spread - inset,
            mirror="xz",
        )
    else:
        for z in (rng.uniform(0.55, 0.7), -rng.uniform(0.5, 0.7)):
            parts += wheels(rng, radius, 0.09, half_width + 0.02, z, mirror="x")
    if rng.random() < 0.6:
        parts.append(
            box(
                (half_width * 0.95, rng.uniform(0.035, 0.06), 1.04),
                round=0.03,
                center=(0, floor + rng.uniform(0.06, 0.14), 0),
                paint=trim,
            )
        )
    if style != "toy" and rng.random() < 0.7:
        parts.append(
            cylinder(
                rng.uniform(0.05, 0.08),
                0.05,
                center=(half_width * 0.68, waist - 0.17, 0.98),
                rotate=(90, 0, 0),
                mirror="x",
                paint=lamp_light(rng),
            )
        )
    if rng.random() < 0.4:
        sign = ellipsoid if rng.random() < 0.4 else box
        z = (front + back) / 2 if style in ("sedan", "van") else (parts[1].center[2] if style != "toy" else -0.1)
        parts.append(
            sign(
                (rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.1), rng.uniform(0.05, 0.1)),
                center=(0, roof + 0.03, z),
                paint=trim,
            )
        )
    return parts


@family
def truck_or_bus(rng: np.random.Generator) -> list[Part]:
    """Bus with a window band, or a lorry with a box, a tank or an open bed."""
    paint, glass = plastic(rng), window_glass(rng)
    half_width, radius = rng.uniform(0.28, 0.4), rng.uniform(0.13, 0.19)
    floor = radius * rng.uniform(0.9, 1.3)
    if rng.random() < 0.45:
        height = rng.uniform(0.55, 1.0)
        middle = floor + height / 2
        band = rng.uniform(0.08, 0.14)
        parts = [box((half_width, height / 2, 1), round=rng.uniform(0.02, 0.12), center=(0, middle, 0), paint=paint)]
        levels = (0.2,) if height < 0.75 else (-0.05, 0.3)
        for level in levels:
            parts.append(box((half_width + 0.008, band, 0.9), center=(0, middle + level * height, -0.04), paint=glass))
        parts.append(
            box(
                (half_width * 0.85, band * 1.3, 0.05), center=(0, middle + levels[0] * height - 0.02, 0.96), paint=glass
            )
        )
        if rng.random() < 0.5:
            parts.append(
                box(
                    (half_width + 0.012, 0.025, 1.01),
                    center=(0, middle - 0.25 * height, 0),
                    paint=contrasting(rng, paint),
                )
            )
        if rng.random() < 0.4:
            parts.append(
                box(
                    (half_width * 0.6, 0.05, rng.uniform(0.15, 0.4)),
                    round=0.02,
                    center=(0, floor + height + 0.01, rng.uniform(-0.4, 0.4)),
                    paint=contrasting(rng, paint),
                )
            )
        parts += wheels(rng, radius, 0.06, half_width + 0.01, 0.62, mirror="xz")
    else:
        cab = rng.uniform(0.2, 0.3)
        cab_height = rng.uniform(0.4, 0.65)
        parts = [
            box((half_width * 0.7, 0.07, 0.95), center=(0, floor, 0), paint=metal(rng)),
            box(
                (half_width, cab_height / 2, cab),
                round=rng.uniform(0.02, 0.08),
                taper=-rng.uniform(0, 0.12),
                center=(0, floor + cab_height / 2 - 0.04, 0.98 - cab),
                paint=paint,
            ),
            box(
                (half_width * 0.82, cab_height * 0.17, 0.05), center=(0, floor + cab_height * 0.68, 0.965), paint=glass
            ),
        ]
        load, start = any_paint(rng), 0.98 - 2 * cab - rng.uniform(0.02, 0.1)
        middle, half = (start - 1) / 2, (start + 1) / 2
        kind = rng.choice(["box", "tank", "bed", "mixer"])
        if kind == "box":
            height = rng.uniform(0.3, 0.5)
            parts.append(
                box(
                    (half_width * rng.uniform(0.98, 1.1), height, half),
                    round=0.02,
                    center=(0, floor + height + 0.03, middle),
                    paint=load,
                )
            )
        elif kind == "tank":
            size = half_width * rng.uniform(0.85, 1.05)
            parts.append(
                cylinder(size, half, round=0.08, center=(0, floor + size * 0.95, middle), rotate=(90, 0, 0), paint=load)
            )
        elif kind == "bed":
            height = rng.uniform(0.12, 0.28)
            parts.append(box((half_width * 1.02, height, half), center=(0, floor + height + 0.02, middle), paint=load))
            parts.append(
                box(
                    (half_width * 0.88, height, half - 0.06),
                    op="subtract",
                    center=(0, floor + height + 0.13, middle),
                    paint=load,
                )
            )
            if rng.random() < 0.5:
                parts.append(
                    ellipsoid(
                        (half_width * 0.7, height * 1.6, half * 0.7),
                        center=(0, floor + height * 0.8, middle),
                        paint=any_paint(rng),
                    )
                )
        else:
            size = half_width * 0.95
            parts.append(
                revolve(
                    [
                        (0, -half),
                        (size * 0.6, -half),
                        (size, -half * 0.1),
                        (size * 0.9, half * 0.3),
                        (size * 0.45, half),
                        (0, half),
                    ],
                    center=(0, floor + size * 0.95, middle),
                    rotate=(-80, 0, 0),
                    paint=load,
                )
            )
        parts += wheels(rng, radius, 0.06, half_width + 0.01, 0.98 - cab, mirror="x")
        for z in (-0.72, -0.72 + 2.2 * radius)[: rng.integers(1, 3)]:
            parts += wheels(rng, radius, 0.07, half_width + 0.01, z, mirror="x")
        if rng.random() < 0.4:
            parts.append(
                cylinder(
                    0.035,
                    0.25,
                    center=(half_width * 0.8, floor + cab_height - 0.05, 0.98 - 2 * cab + 0.04),
                    mirror="x",
                    paint=metal(rng),
                )
            )
    if rng.random() < 0.5:
        parts.append(box((half_width * 0.98, 0.05, 0.06), round=0.02, center=(0, floor, 0.97), paint=metal(rng)))
    if rng.random() < 0.5:
        parts.append(
            ellipsoid(
                (0.05, 0.05, 0.03), center=(half_width * 0.65, floor + 0.12, 0.99), mirror="x", paint=lamp_light(rng)
            )
        )
    return parts


@family
def train_or_tram(rng: np.random.Generator) -> list[Part]:
    """Steam engine, or a tram or express unit with a window band."""
    paint, glass = plastic(rng), window_glass(rng)
    trim = contrasting(rng, paint)
    if rng.random() < 0.55:
        size, radius = rng.uniform(0.2, 0.3), rng.uniform(0.12, 0.2)
        deck = radius * 1.5
        axis, nose = deck + size * 0.95, rng.uniform(0.75, 0.92)
        cab, cab_top = rng.uniform(0.22, 0.35), axis + size + rng.uniform(0.05, 0.25)
        funnel = rng.uniform(0.05, 0.09)
        parts = [
            box((size * 1.05, 0.07, 0.98), center=(0, deck, 0), paint=trim),
            cylinder(
                size, (nose + 0.6) / 2, round=0.02, center=(0, axis, (nose - 0.6) / 2), rotate=(90, 0, 0), paint=paint
            ),
            box(
                (size * 1.1, (cab_top - deck) / 2, cab),
                center=(0, (cab_top + deck) / 2, -0.93 + cab),
                paint=plastic(rng),
            ),
            box((size * 1.25, 0.04, cab + 0.07), round=0.02, center=(0, cab_top, -0.93 + cab), paint=trim),
            box(
                (size * 1.12, (cab_top - axis) * 0.3, cab * 0.5),
                center=(0, (cab_top + axis) / 2, -0.93 + cab),
                paint=glass,
            ),
            cylinder(
                funnel,
                0.16,
                top_radius=funnel * rng.uniform(0.9, 2.0),
                center=(0, axis + size + 0.1, nose - rng.uniform(0.1, 0.2)),
                paint=trim,
            ),
        ]
        for z in np.linspace(nose - 0.45, -0.3, rng.integers(0, 3)):
            parts.append(ellipsoid((0.09, 0.12, 0.09), center=(0, axis + size * 0.97, z), paint=metal(rng)))
        if rng.random() < 0.5:
            parts.append(
                prism(
                    [(-size, 0), (size, 0), (size * 0.6, 0.16), (-size * 0.6, 0.16)],
                    0.06,
                    center=(0, deck - 0.14, 0.95),
                    rotate=(-20, 0, 0),
                    paint=metal(rng),
                )
            )
        if rng.random() < 0.6:
            parts.append(cylinder(0.08, 0.05, center=(0, axis, nose), rotate=(90, 0, 0), paint=lamp_light(rng)))
        count = rng.integers(2, 5)
        for z in np.linspace(-0.68, 0.62, count):
            parts.append(
                cylinder(
                    min(radius, 0.6 / count),
                    0.05,
                    center=(size * 0.98, min(radius, 0.6 / count) + 0.02, z),
                    rotate=(0, 0, 90),
                    mirror="x",
                    paint=metal(rng),
                )
            )
        parts.append(box((0.05, radius * 0.8, 0.75), center=(size * 0.8, radius * 0.95, 0), mirror="x", paint=trim))
        return parts
    half_width, height, floor = rng.uniform(0.22, 0.32), rng.uniform(0.45, 0.65), rng.uniform(0.08, 0.16)
    middle = floor + height / 2
    length = rng.uniform(0.7, 0.92)
    parts = [
        box((half_width, height / 2, length), round=rng.uniform(0.03, 0.12), center=(0, middle, 0), paint=paint),
        box((half_width + 0.007, height * 0.14, length * 0.93), center=(0, middle + height * 0.16, 0), paint=glass),
        ellipsoid(
            (half_width * 0.97, height * 0.47, 1.02),
            exponents=(0.6, 0.6),
            center=(0, middle - 0.01, 0),
            paint=trim if rng.random() < 0.5 else paint,
        ),
        ellipsoid(
            (half_width * 0.8, height * 0.2, 1.03),
            exponents=(0.6, 0.6),
            center=(0, middle + height * 0.12, 0),
            paint=glass,
        ),
        box((half_width * 0.8, 0.08, 0.2), center=(0, floor - 0.02, length * 0.6), mirror="z", paint=rubber(rng)),
    ]
    parts += wheels(rng, floor * 0.9, 0.04, half_width * 0.9, length * 0.6, mirror="xz")
    if rng.random() < 0.7:
        parts.append(box((half_width + 0.01, 0.025, length * 0.98), center=(0, middle - height * 0.22, 0), paint=trim))
    if rng.random() < 0.6:
        top = floor + height
        parts.append(box((half_width * 0.6, 0.06, length * 0.5), round=0.02, center=(0, top, 0), paint=metal(rng)))
        parts.append(capsule((0, top, -0.1), (0, top + 0.2, 0.15), 0.025, paint=metal(rng)))
        parts.append(capsule((0, top + 0.2, 0.15), (0, top + 0.38, -0.08), 0.025, paint=metal(rng)))
        parts.append(capsule((-0.2, top + 0.38, -0.08), (0.2, top + 0.38, -0.08), 0.025, paint=metal(rng)))
    return parts


@family
def airplane(rng: np.random.Generator) -> list[Part]:
    """Airliner, propeller plane, biplane or jet fighter."""
    style = rng.choice(["airliner", "propeller", "biplane", "jet"])
    paint, glass = plastic(rng), window_glass(rng)
    trim = contrasting(rng, paint) if rng.random() < 0.6 else paint
    size = rng.uniform(0.11, 0.16) if style in ("airliner", "jet") else rng.uniform(0.14, 0.2)
    span, chord = rng.uniform(0.75, 1.1), rng.uniform(0.16, 0.26)
    sweep = {"airliner": rng.uniform(0.2, 0.5), "jet": rng.uniform(0.4, 0.8)}.get(style, rng.uniform(-0.03, 0.1))
    if style == "jet":
        span *= 0.75
        chord *= 1.6
    tip, thick = rng.uniform(0.35, 0.9), rng.uniform(0.025, 0.04)
    tail = -0.82
    body = [
        (0, -1),
        (size * 0.25, -0.97),
        (size * 0.7, -0.55),
        (size, -0.1),
        (size, 0.5),
        (size * 0.85, 0.8),
        (size * 0.5, 0.95),
        (0, 1),
    ]
    parts = [revolve(body, rotate=(90, 0, 0), paint=paint)]
    wing = [(0, chord), (span, chord * tip - sweep), (span, -chord * tip - sweep), (0, -chord)]
    lift = rng.uniform(-0.5, 0.6) * size if style != "biplane" else -0.5 * size
    dihedral = rng.uniform(0, 6)
    at = rng.uniform(0, 0.25) + sweep * 0.3
    parts.append(prism(wing, thick, center=(0, lift, at), rotate=(90, 0, dihedral), round=0.01, mirror="x", paint=trim))
    rear = [(0, 0.12), (0.36, 0.06 - sweep * 0.3), (0.36, -0.08 - sweep * 0.3), (0, -0.12)]
    up = rng.uniform(0.3, 0.42)
    fin = [(0.16, 0), (-0.02 - sweep * 0.2, up), (-0.16 - sweep * 0.2, up), (-0.14, 0)]
    parts.append(prism(fin, thick, center=(0, size * 0.1, tail), rotate=SIDE_VIEW, round=0.01, paint=trim))
    height = up * 0.92 if rng.random() < 0.2 else 0.02
    shift = tail - sweep * 0.15 if height > 0.1 else tail
    parts.append(
        prism(rear, thick * 0.9, center=(0, height, shift), rotate=TOP_VIEW, round=0.01, mirror="x", paint=trim)
    )
    parts.append(
        ellipsoid(
            (size * 0.7, size * 0.7, rng.uniform(0.14, 0.3)),
            center=(0, size * rng.uniform(0.55, 0.75), 0.62 if style == "airliner" else 0.3),
            paint=glass,
        )
    )
    if style == "airliner":
        x = span * rng.uniform(0.3, 0.45)
        drop = lift + np.tan(np.deg2rad(dihedral)) * x
        parts.append(
            cylinder(
                0.075,
                0.16,
                round=0.02,
                center=(x, drop - 0.07, at + chord * 0.6 - sweep * x / span),
                rotate=(90, 0, 0),
                mirror="x",
                paint=metal(rng),
            )
        )
    elif style == "jet":
        parts.append(
            cylinder(
                size * 0.6, 0.35, center=(size * 0.9, -0.02, -0.4), rotate=(90, 0, 0), mirror="x", paint=metal(rng)
            )
        )
    else:
        turn, blade = rng.uniform(0, 180), rng.uniform(0.25, 0.4)
        parts.append(ellipsoid((size * 0.45, size * 0.45, 0.14), center=(0, 0, 0.98), paint=metal(rng)))
        for extra in (0, 90)[: rng.integers(1, 3)]:
            parts.append(
                box((blade, 0.04, 0.025), round=0.02, center=(0, 0, 1.03), rotate=(0, 0, turn + extra), paint=wood(rng))
            )
    if style == "biplane":
        gap = rng.uniform(0.32, 0.45)
        parts.append(
            prism(wing, thick, center=(0, lift + gap, at), rotate=(90, 0, dihedral), round=0.01, mirror="x", paint=trim)
        )
        for x in (0.08, span * 0.65):
            y = lift + np.tan(np.deg2rad(dihedral)) * x
            parts.append(
                capsule(
                    (x, y, at - sweep * x / span),
                    (x, y + gap, at - sweep * x / span),
                    0.025,
                    mirror="x",
                    paint=wood(rng),
                )
            )
    if style in ("propeller", "biplane") and rng.random() < 0.7:
        parts.append(
            capsule((size * 0.4, -size * 0.5, 0.4), (size * 1.5, -0.4, 0.45), 0.025, mirror="x", paint=metal(rng))
        )
        parts.append(
            cylinder(
                0.09, 0.035, center=(size * 1.5 + 0.02, -0.4, 0.45), rotate=(0, 0, 90), mirror="x", paint=rubber(rng)
            )
        )
    return parts


@family
def helicopter(rng: np.random.Generator) -> list[Part]:
    """Cabin, tail boom, rotors and skids or wheels."""
    paint, glass = plastic(rng), window_glass(rng)
    radii = (rng.uniform(0.2, 0.3), rng.uniform(0.22, 0.32), rng.uniform(0.38, 0.52))
    nose, top = 0.35, radii[1]
    bend = rng.uniform(0.5, 1.0)
    tail = (0, rng.uniform(0.02, 0.15), -1.0)
    parts = [
        ellipsoid(radii, exponents=(bend, bend), center=(0, 0, nose), paint=paint),
        ellipsoid(
            (radii[0] * 0.94, radii[1] * 0.8, radii[2] * 0.75), center=(0, 0.04, nose + radii[2] * 0.3), paint=glass
        ),
        capsule(
            (0, 0.05, nose - 0.1),
            tail,
            radii[1] * rng.uniform(0.35, 0.6),
            end_radius=rng.uniform(0.04, 0.06),
            blend=0.06,
            paint=paint,
        ),
        prism(
            [(0.1, -0.12), (-0.02, 0.3), (-0.14, 0.3), (-0.1, -0.12)],
            0.03,
            center=tail,
            rotate=SIDE_VIEW,
            paint=contrasting(rng, paint),
        ),
        cylinder(0.05, 0.14, center=(0, top + 0.06, nose - 0.05), paint=metal(rng)),
        ellipsoid((0.14, 0.07, 0.22), center=(0, top * 0.98, nose - 0.1), blend=0.03, paint=paint),
    ]
    blade, turn, steel = rng.uniform(0.75, 1.05), rng.uniform(0, 180), metal(rng)
    for k in range(crossing := int(rng.integers(1, 3))):
        parts.append(
            box(
                (blade, 0.026, rng.uniform(0.04, 0.07)),
                round=0.01,
                center=(0, top + 0.19, nose - 0.05),
                rotate=(0, turn + 180 * k / crossing, 0),
                paint=steel,
            )
        )
    parts.append(
        box(
            (0.03, rng.uniform(0.14, 0.22), 0.035),
            round=0.01,
            center=(0.05, tail[1] + 0.08, tail[2] + 0.01),
            rotate=(rng.uniform(0, 180), 0, 0),
            paint=steel,
        )
    )
    if rng.random() < 0.75:
        x, y = radii[0] * rng.uniform(0.95, 1.2), -radii[1] - rng.uniform(0.08, 0.16)
        parts.append(capsule((x, y, nose - 0.4), (x, y, nose + 0.42), 0.028, mirror="x", paint=steel))
        for z in (nose - 0.15, nose + 0.15):
            parts.append(capsule((radii[0] * 0.4, -radii[1] * 0.6, z), (x, y, z), 0.026, mirror="x", paint=steel))
    else:
        parts.append(
            cylinder(
                0.1,
                0.05,
                center=(radii[0] * 0.75, -radii[1] * 0.85, nose - 0.1),
                rotate=(0, 0, 90),
                mirror="x",
                paint=rubber(rng),
            )
        )
        parts.append(
            cylinder(0.08, 0.06, center=(0, -radii[1] * 0.95, nose + 0.2), rotate=(0, 0, 90), paint=rubber(rng))
        )
    return parts


@family
def boat(rng: np.random.Generator) -> list[Part]:
    """Rowing boat, sailing boat, steamer, tug or submarine."""
    style = rng.choice(["row", "sail", "ship", "submarine"], p=[0.25, 0.35, 0.3, 0.1])
    paint = plastic(rng) if rng.random() < 0.5 else wood(rng)
    trim = contrasting(rng, paint)
    if style == "submarine":
        size = rng.uniform(0.18, 0.3)
        return [
            ellipsoid((size, size, 1), exponents=(1, rng.uniform(0.6, 1)), paint=paint),
            box((size * 0.35, 0.18, 0.2), round=0.05, center=(0, size + 0.04, 0.1), paint=paint),
            capsule((0, size, 0.12), (0, size + 0.42, 0.12), 0.03, paint=trim),
            box((size * 1.5, 0.03, 0.1), center=(0, 0, -0.8), round=0.01, paint=trim),
            box((0.03, size * 1.4, 0.1), center=(0, 0, -0.8), round=0.01, paint=trim),
            ellipsoid((0.07, 0.07, 0.07), center=(size * 0.9, 0.03, 0.3), mirror="x", paint=window_glass(rng)),
        ]
    half_width, depth = rng.uniform(0.26, 0.42), rng.uniform(0.3, 0.5)
    bend = (rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.1))
    parts = [
        ellipsoid((half_width, depth, 1), exponents=bend, paint=paint),
        box((2, depth, 2), center=(0, -depth, 0), op="intersect", paint=paint),
    ]
    if rng.random() < 0.4:
        parts.append(box((2, 0.6, 1.0 + rng.uniform(0.7, 0.9)), center=(0, 0, 1.0), op="intersect", paint=paint))
    rail = rng.uniform(0.05, 0.08)
    if style == "row" or rng.random() < 0.3:
        parts.append(
            ellipsoid(
                (half_width - rail, depth - rail, 0.9),
                exponents=bend,
                center=(0, 0.02, 0.04),
                op="subtract",
                paint=wood(rng),
            )
        )
    if style == "row":
        for z in np.linspace(-0.4, 0.4, rng.integers(1, 4)):
            parts.append(
                box((half_width * (1 - 0.5 * z * z), 0.03, 0.08), center=(0, -depth * 0.35, z), paint=wood(rng))
            )
        if rng.random() < 0.5:
            parts.append(
                capsule(
                    (half_width * 0.75, -depth * 0.12, 0.05),
                    (half_width + 0.45, -depth * 0.5, -0.15),
                    0.03,
                    mirror="x",
                    paint=wood(rng),
                )
            )
    elif style == "sail":
        mast, foot, at = rng.uniform(1.0, 1.9), -depth * 0.8, rng.uniform(0, 0.3)
        cloth = fabric(rng)
        parts.append(capsule((0, foot - 0.02, at), (0, mast, at), 0.035, paint=wood(rng)))
        parts.append(
            prism(
                [(at + 0.01, mast * 0.96), (at + 0.01, 0.15), (at - rng.uniform(0.5, 0.85), 0.15)],
                0.03,
                rotate=SIDE_VIEW,
                paint=cloth,
            )
        )
        if rng.random() < 0.6:
            parts.append(
                prism(
                    [(at - 0.01, mast * 0.85), (at - 0.01, 0.15), (rng.uniform(0.75, 0.95), 0.02)],
                    0.03,
                    rotate=SIDE_VIEW,
                    paint=cloth,
                )
            )
        if rng.random() < 0.5:
            parts.append(box((half_width * 0.45, 0.12, 0.2), round=0.04, center=(0, -0.02, -0.35), paint=trim))
            parts.append(box((0.05, depth * 0.4, 0.2), center=(0, -depth * 0.5, -0.35), paint=wood(rng)))
    else:
        level, width, length, z = -depth * 0.85, half_width * 0.62, rng.uniform(0.35, 0.6), rng.uniform(-0.25, 0.1)
        for _ in range(rng.integers(1, 4)):
            height = rng.uniform(0.14, 0.26) + max(0.0, -level)
            parts.append(
                box((width, height / 2, length), round=0.02, center=(0, level + height / 2, z), paint=any_paint(rng))
            )
            parts.append(
                box((width + 0.01, 0.045, length * 0.8), center=(0, level + height - 0.09, z), paint=window_glass(rng))
            )
            level, width, length, z = level + height - 0.03, width * 0.8, length * rng.uniform(0.6, 0.85), z - 0.04
        for k in range(rng.integers(0, 3)):
            parts.append(
                cylinder(
                    0.08,
                    0.2,
                    round=0.01,
                    center=(0, level + 0.12, z - length * 0.5 + 0.24 * k),
                    rotate=(-rng.uniform(0, 15), 0, 0),
                    paint=trim,
                )
            )
            length = max(length, 0.3)
    return parts


@family
def rocket(rng: np.random.Generator) -> list[Part]:
    """Upright rocket with fins, sometimes boosters and a porthole."""
    paint = plastic(rng)
    trim = contrasting(rng, paint)
    size = rng.uniform(0.16, 0.32)
    base, shoulder = size * rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.45)
    nose = [(size * (1 - t ** rng.uniform(1.5, 2.5)), shoulder + t * (0.98 - shoulder)) for t in (0.25, 0.5, 0.75)]
    parts = [
        revolve(
            [(0, -0.85), (base, -0.85), (size, rng.uniform(-0.6, -0.1)), (size, shoulder), *nose, (0, 1.0)], paint=paint
        ),
        cylinder(base * 0.75, 0.12, top_radius=base * 0.55, center=(0, -0.9, 0), paint=metal(rng)),
    ]
    out, drop, root = rng.uniform(0.2, 0.4), rng.uniform(0.0, 0.15), rng.uniform(0.25, 0.5)
    fin = [
        (base * 0.5, -0.85 + root),
        (base + out, -0.85 + root * 0.3 - drop),
        (base + out, -0.9 - drop),
        (base * 0.5, -0.8),
    ]
    thick = rng.uniform(0.03, 0.05)
    if rng.random() < 0.5:
        parts.append(prism(fin, thick, mirror="x", round=0.01, paint=trim))
        parts.append(prism(fin, thick, mirror="z", rotate=SIDE_VIEW, round=0.01, paint=trim))
    else:
        parts += [prism(fin, thick, rotate=(0, 90 + turn, 0), round=0.01, paint=trim) for turn in (0, 120, 240)]
    if rng.random() < 0.5:
        parts.append(
            ellipsoid((size * 0.4, size * 0.4, 0.1), center=(0, shoulder - 0.1, size * 0.92), paint=window_glass(rng))
        )
        parts.append(
            torus(size * 0.42, 0.035, center=(0, shoulder - 0.1, size * 0.95), rotate=(90, 0, 0), paint=metal(rng))
        )
    if rng.random() < 0.3:
        booster = size * rng.uniform(0.4, 0.6)
        parts.append(
            capsule(
                (size + booster * 0.5, -0.8, 0),
                (size + booster * 0.5, rng.uniform(-0.2, 0.2), 0),
                booster,
                end_radius=booster * 0.8,
                mirror="x",
                paint=trim,
            )
        )
        parts.append(box((size + 0.02, 0.04, 0.05), center=(0, -0.5, 0), paint=metal(rng)))
    if rng.random() < 0.4:
        parts.append(
            cylinder(
                size * 1.015, rng.uniform(0.03, 0.08), center=(0, shoulder - rng.uniform(0.0, 0.08), 0), paint=trim
            )
        )
    return parts
