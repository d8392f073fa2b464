"""Plush toys, dolls and figures, mostly smooth unions of ellipsoids and limbs; they face +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.families import family
from triplane3d.data.procedural.paint import any_paint, ceramic, contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import (
    Paint,
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


def dark(rng: np.random.Generator) -> Paint:
    """Eyes and noses."""
    return Paint((rng.uniform(0.005, 0.04),) * 3, gloss=0.7)


def hide(rng: np.random.Generator) -> Paint:
    """Fur or skin: browns, greys, white, black, or any toy's colour."""
    if rng.random() < 0.3:
        return any_paint(rng)
    tone = rng.uniform(0.03, 0.8)
    warm = rng.uniform(0, 0.7)
    color = (tone, tone * (1 - 0.5 * warm), tone * (1 - 0.85 * warm))
    if rng.random() < 0.25:
        second = tuple(np.clip(np.array(color) * rng.choice([0.3, 2.5]), 0.01, 0.9))
        return Paint(
            color, second, str(rng.choice(["spots", "stripes"])), int(rng.integers(3)), rng.uniform(0.2, 0.5), 0.1
        )
    return Paint(color, gloss=rng.uniform(0, 0.3))


def eyes(rng: np.random.Generator, center: np.ndarray, radii: np.ndarray, *, size: float) -> Part:
    """A pair of eyes half sunk into the front of a head, given as an ellipsoid."""
    aside, up = rng.uniform(0.35, 0.5), rng.uniform(0.05, 0.3)
    ahead = np.sqrt(1 - aside**2 - up**2)
    at = center + radii * (aside, up, ahead * 0.97)
    return ellipsoid((size, size * rng.uniform(0.9, 1.3), size), center=at, mirror="x", paint=dark(rng))


def ears(rng: np.random.Generator, kind: str, center: np.ndarray, radii: np.ndarray, paint: Paint) -> list[Part]:
    """Round, pointed, hanging, upright (rabbit) or fan-shaped (elephant) ears on a head given as an ellipsoid."""
    size = float(radii[0])
    if kind == "round":
        at = center + radii * (0.72, 0.72, 0)
        ear = size * rng.uniform(0.32, 0.5)
        return [
            ellipsoid((ear, ear, ear * 0.45), center=at, rotate=(0, 0, -40), mirror="x", blend=0.03, paint=paint),
            ellipsoid(
                (ear * 0.65, ear * 0.65, ear * 0.25),
                center=at + (0, 0, ear * 0.3),
                rotate=(0, 0, -40),
                mirror="x",
                paint=contrasting(rng, paint),
            ),
        ]
    if kind == "pointed":
        ear = size * rng.uniform(0.3, 0.45)
        return [
            cylinder(
                ear,
                ear * rng.uniform(1.0, 1.6),
                top_radius=0.02,
                center=center + radii * (0.55, 1.0, -0.05),
                rotate=(0, 0, -rng.uniform(8, 25)),
                mirror="x",
                blend=0.02,
                paint=paint,
            )
        ]
    if kind == "hanging":
        return [
            ellipsoid(
                (size * 0.22, size * rng.uniform(0.5, 0.8), size * 0.4),
                center=center + radii * (0.9, 0.1, -0.1),
                rotate=(0, 0, rng.uniform(8, 25)),
                mirror="x",
                blend=0.02,
                paint=paint,
            )
        ]
    if kind == "upright":
        tall = size * rng.uniform(0.7, 1.3)
        return [
            ellipsoid(
                (size * 0.24, tall, size * 0.16),
                center=center + (size * 0.42, radii[1] * 0.75 + tall * 0.75, 0),
                rotate=(0, 0, -rng.uniform(0, 25)),
                mirror="x",
                blend=0.03,
                paint=paint,
            )
        ]
    return [
        ellipsoid(
            (size * 0.75, size * 0.8, size * 0.13),
            center=center + radii * (1.3, 0.1, -0.1),
            rotate=(0, rng.uniform(10, 40), 0),
            mirror="x",
            blend=0.03,
            paint=paint,
        )
    ]


@family
def teddy_or_plush(rng: np.random.Generator) -> list[Part]:
    """Sitting or standing plush toy: bear, rabbit, cat, elephant or frog-like."""
    fur = hide(rng)
    light = contrasting(rng, fur) if rng.random() < 0.7 else fur
    body = np.array([rng.uniform(0.28, 0.42), rng.uniform(0.34, 0.48), rng.uniform(0.24, 0.36)])
    skull = rng.uniform(0.27, 0.42)
    head = skull * np.array([rng.uniform(1.0, 1.2), rng.uniform(0.85, 1.0), rng.uniform(0.85, 1.0)])
    sitting = rng.random() < 0.7
    seat = body[1] * 0.9 if sitting else body[1] + rng.uniform(0.15, 0.3)
    middle = np.array([0, seat, 0])
    top = np.array([0, seat + body[1] * 0.8 + head[1] * 0.8, rng.uniform(0, 0.08)])
    soft = rng.uniform(0.02, 0.07)
    parts = [ellipsoid(body, center=middle, paint=fur), ellipsoid(head, center=top, blend=soft, paint=fur)]
    if rng.random() < 0.6:
        parts.append(ellipsoid(body * (0.65, 0.65, 0.35), center=middle + body * (0, 0, 0.7), paint=light))
    kind = rng.choice(["round", "round", "upright", "pointed", "hanging", "fan"])
    parts += ears(rng, kind, top, head, fur)
    if kind == "fan":
        nose = top + head * (0, -0.1, 0.8)
        parts.append(
            tube(
                bezier(nose, nose + (0, -0.1, skull * 0.7), nose + (rng.normal(0, 0.05), -skull * 0.9, skull * 0.6)),
                skull * 0.28,
                end_radius=skull * 0.14,
                blend=soft,
                paint=fur,
            )
        )
    else:
        muzzle = head * (rng.uniform(0.35, 0.55), rng.uniform(0.3, 0.42), 0.4)
        at = top + head * (0, -0.28, 0.8)
        parts.append(ellipsoid(muzzle, center=at, blend=0.02, paint=light))
        parts.append(ellipsoid((0.06, 0.045, 0.045), center=at + muzzle * (0, 0.55, 0.8), paint=dark(rng)))
    parts.append(eyes(rng, top, head, size=rng.uniform(0.035, 0.06)))
    arm = rng.uniform(0.1, 0.14)
    shoulder = middle + body * (0.65, 0.6, 0)
    swing = np.deg2rad(rng.uniform(-80, 40))
    reach = rng.uniform(0.3, 0.45)
    hand = shoulder + reach * np.array([np.cos(swing) * 0.7, np.sin(swing), rng.uniform(0.1, 0.6)])
    parts.append(
        capsule(shoulder, hand, arm * 0.95, end_radius=arm * rng.uniform(0.9, 1.2), mirror="x", blend=soft, paint=fur)
    )
    leg = rng.uniform(0.11, 0.16)
    hip = np.array([body[0] * 0.6, leg * 1.05 if sitting else seat - body[1] * 0.6, body[2] * 0.2])
    if sitting:
        foot = hip + (rng.uniform(0.12, 0.3), 0, rng.uniform(0.35, 0.5))
    else:
        foot = np.array([hip[0] + rng.uniform(0, 0.1), leg, rng.uniform(0, 0.08)])
    parts.append(capsule(hip, foot, leg, end_radius=leg * rng.uniform(0.85, 1.1), mirror="x", blend=soft, paint=fur))
    if sitting:
        sole = np.array([leg * 1.1, leg * 1.4, leg * 0.7])
        parts.append(ellipsoid(sole, center=foot + (0, leg * 0.35, 0.04), mirror="x", blend=0.03, paint=fur))
        parts.append(
            ellipsoid(
                sole * (0.7, 0.7, 0.3), center=foot + (0, leg * 0.35, 0.04 + sole[2] * 0.85), mirror="x", paint=light
            )
        )
    else:
        parts.append(
            ellipsoid(
                (leg * 1.0, leg * 0.7, leg * 1.4),
                center=foot + (0, -leg * 0.3, leg * 0.5),
                mirror="x",
                blend=0.03,
                paint=light,
            )
        )
    if rng.random() < 0.4:
        neck = np.array([0, seat + body[1] * 0.86, 0.02])
        if rng.random() < 0.5:
            parts.append(torus(body[0] * 0.55, 0.07, center=neck, paint=contrasting(rng, fur)))
        else:
            bow = neck + (0, 0, body[2] * 0.75)
            parts.append(
                ellipsoid(
                    (0.12, 0.08, 0.06),
                    center=bow + (0.09, 0, 0),
                    rotate=(0, 0, 20),
                    mirror="x",
                    paint=contrasting(rng, fur),
                )
            )
    return parts


@family
def humanoid_figure(rng: np.random.Generator) -> list[Part]:
    """Standing doll, person or robot in a varied pose."""
    robot = rng.random() < 0.3
    skin = metal(rng) if robot else Paint(tuple(np.array([0.75, 0.45, 0.3]) * rng.uniform(0.15, 1.1)))
    shirt = metal(rng) if robot else fabric(rng)
    trousers = contrasting(rng, shirt)
    hip = 0.85 * rng.uniform(0.75, 1.1)
    shoulder = hip + rng.uniform(0.4, 0.6)
    half, waist = rng.uniform(0.17, 0.27), rng.uniform(0.13, 0.22)
    deep = rng.uniform(0.11, 0.16)
    skull = rng.uniform(0.13, 0.27)
    top = np.array([0, shoulder + skull * 1.05 + 0.04, 0.02])
    limb = rng.uniform(0.06, 0.1)
    if robot:
        parts = [
            box(
                (half, (shoulder - hip) / 2 + 0.08, deep),
                round=0.03,
                taper=rng.uniform(-0.1, 0.25),
                center=(0, (hip + shoulder) / 2, 0),
                paint=shirt,
            ),
            box((skull, skull * rng.uniform(0.7, 1.0), skull * 0.9), round=0.03, center=top, paint=skin),
        ]
    else:
        profile = [
            (0, hip - 0.08),
            (waist, hip - 0.05),
            (waist * 0.95, (hip + shoulder) / 2),
            (half, shoulder - 0.06),
            (half * 0.7, shoulder + 0.02),
            (0, shoulder + 0.04),
        ]
        parts = [
            revolve(profile, paint=shirt)
            if rng.random() < 0.4
            else box(
                (half * 0.85, (shoulder - hip) / 2 + 0.06, deep),
                round=0.09,
                taper=rng.uniform(0, 0.25),
                center=(0, (hip + shoulder) / 2, 0),
                paint=shirt,
            ),
            ellipsoid((skull * 0.9, skull, skull * 0.95), center=top, paint=skin),
        ]
    parts.append(cylinder(limb * 0.95, 0.12, center=(0, shoulder + 0.06, 0.0), paint=skin))
    parts.append(eyes(rng, top, np.array([skull, skull, skull * (1.0 if robot else 0.93)]), size=skull * 0.17))
    same = rng.random() < 0.45
    upper, lower = rng.uniform(0.2, 0.3), rng.uniform(0.2, 0.3)
    for side in (1,) if same else (1, -1):
        raised, forward = np.deg2rad(rng.uniform(-85, 60)), rng.uniform(-0.2, 0.5)
        bend = raised + np.deg2rad(rng.uniform(-30, 70))
        start = np.array([side * half * 0.75, shoulder - limb * 1.1, 0])
        elbow = start + upper * np.array([side * np.cos(raised), np.sin(raised), forward * 0.5])
        wrist = elbow + lower * np.array([side * np.cos(bend) * 0.8, np.sin(bend), forward])
        mirror = "x" if same else ""
        parts.append(
            tube([start, elbow, wrist], limb * 0.95, end_radius=limb * 0.8, mirror=mirror, blend=0.02, paint=shirt)
        )
        parts.append(ellipsoid((limb * 1.1,) * 3, center=wrist, mirror=mirror, paint=skin))
    foot, stand = limb * 0.8, rng.uniform(0.3, 0.9)
    skirt = not robot and rng.random() < 0.25
    stride = 0.0 if rng.random() < 0.5 else rng.uniform(0.05, 0.25)
    shoes = dark(rng)
    for side in (1, -1) if stride else (1,):
        mirror = "" if stride else "x"
        start = np.array([side * waist * 0.5, hip, 0])
        ankle = np.array([side * waist * (0.5 + stand * 0.7), foot, side * stride])
        knee = (start + ankle) / 2 + (0, 0, rng.uniform(0, 0.1))
        parts.append(
            tube([start, knee, ankle], limb * 1.15, end_radius=limb, mirror=mirror, blend=0.02, paint=trousers)
        )
        parts.append(
            ellipsoid(
                (limb * 1.05, limb * 0.8, limb * 1.8),
                center=ankle + (0, -limb * 0.1, limb * 0.6),
                mirror=mirror,
                paint=shoes,
            )
        )
    if skirt:
        parts.append(
            cylinder(
                waist * rng.uniform(1.6, 2.4),
                rng.uniform(0.2, 0.35),
                top_radius=waist * 0.9,
                center=(0, hip - 0.14, 0),
                paint=trousers,
            )
        )
    crown = rng.random()
    if robot:
        if crown < 0.6:
            parts.append(capsule(top, top + (0, skull * 1.6, 0), 0.03, paint=metal(rng)))
            parts.append(ellipsoid((0.06, 0.06, 0.06), center=top + (0, skull * 1.6, 0), paint=plastic(rng)))
    elif crown < 0.5:
        parts.append(
            ellipsoid(
                (skull * 1.02, skull * 0.95, skull * 1.02),
                center=top + (0, skull * 0.22, -skull * 0.2),
                paint=Paint(tuple(rng.uniform((0.01, 0.005, 0.003), (0.5, 0.3, 0.1)))),
            )
        )
    elif crown < 0.8:
        parts.append(cylinder(skull * rng.uniform(1.0, 1.7), 0.03, center=top + (0, skull * 0.55, 0), paint=trousers))
        parts.append(
            cylinder(
                skull * 0.95,
                skull * rng.uniform(0.3, 0.6),
                top_radius=skull * rng.uniform(0.3, 0.9),
                center=top + (0, skull * 0.85, 0),
                round=0.02,
                paint=trousers,
            )
        )
    return parts


@family
def snowman_or_blob(rng: np.random.Generator) -> list[Part]:
    """Snowman, skittle figure, ghost or one-eyed monster."""
    paint = Paint((0.88, 0.9, 0.93)) if rng.random() < 0.5 else any_paint(rng)
    trim = contrasting(rng, paint)
    if rng.random() < 0.55:
        count, radius, y = int(rng.integers(2, 4)), rng.uniform(0.38, 0.55), 0.0
        parts = []
        for i in range(count):
            y += 0 if i == 0 else radius * rng.uniform(0.75, 0.9)
            parts.append(
                ellipsoid(
                    (radius, radius * rng.uniform(0.85, 1.0), radius),
                    center=(0, y, 0),
                    blend=0.05 if i else 0,
                    paint=paint,
                )
            )
            y, last, radius = y + radius * 0.75, (y, radius), radius * rng.uniform(0.68, 0.82)
        top, head = np.array([0, last[0], 0]), last[1]
        parts.append(
            cylinder(
                0.06,
                rng.uniform(0.1, 0.2),
                top_radius=0.015,
                center=top + (0, 0, head * 0.9 + 0.08),
                rotate=(90, 0, 0),
                paint=Paint((0.8, 0.25, 0.02)),
            )
        )
        parts.append(eyes(rng, top, np.full(3, head), size=0.05))
        if rng.random() < 0.7:
            parts.append(cylinder(head * rng.uniform(1.0, 1.35), 0.035, center=top + (0, head * 0.75, 0), paint=trim))
            parts.append(
                cylinder(
                    head * 0.75,
                    head * rng.uniform(0.4, 0.8),
                    top_radius=head * rng.uniform(0.4, 0.8),
                    center=top + (0, head * 1.2, 0),
                    paint=trim,
                )
            )
        if rng.random() < 0.6:
            parts.append(torus(head * 0.85, 0.07, center=top - (0, head * 0.75, 0), paint=contrasting(rng, paint)))
        if rng.random() < 0.6:
            start = np.array([0.2, last[0] - head * 1.3, 0])
            end = start + (rng.uniform(0.45, 0.7), rng.uniform(-0.1, 0.45), rng.uniform(-0.1, 0.3))
            parts.append(capsule(start, end, 0.04, end_radius=0.03, mirror="x", paint=wood(rng)))
        if rng.random() < 0.5:
            parts.append(ellipsoid((0.05, 0.05, 0.04), center=(0, 0.1, parts[0].parameters[2] * 0.98), paint=dark(rng)))
        return parts
    wide, bulge = rng.uniform(0.35, 0.6), rng.uniform(0.7, 1.15)
    tall = wide * max(1.0, bulge) * rng.uniform(1.3, 2.1)
    profile = [
        (0, -tall),
        (wide * bulge * 0.9, -tall),
        (wide * bulge, -tall * 0.8),
        (wide, 0),
        (wide * 0.9, tall * 0.5),
        (wide * 0.55, tall * 0.88),
        (0, tall),
    ]
    parts = [revolve(profile, paint=paint)]
    head = np.array([wide * 0.97, tall * 0.8, wide * 0.97])
    if rng.random() < 0.3:
        parts.append(
            ellipsoid(
                (wide * 0.45, wide * 0.45, 0.2), center=(0, tall * 0.3, wide * 0.75), paint=Paint((0.9, 0.9, 0.9))
            )
        )
        parts.append(
            ellipsoid((wide * 0.2, wide * 0.2, 0.12), center=(0, tall * 0.3, wide * 0.75 + 0.12), paint=dark(rng))
        )
    else:
        parts.append(eyes(rng, np.zeros(3), head, size=rng.uniform(0.06, 0.14)))
    if rng.random() < 0.6:
        parts.append(
            capsule(
                (wide * 0.7, -0.05, 0),
                (wide + rng.uniform(0.1, 0.35), rng.uniform(-0.4, 0.4), 0.15),
                0.13,
                end_radius=0.1,
                mirror="x",
                blend=0.1,
                paint=paint,
            )
        )
    if rng.random() < 0.5:
        parts.append(
            cylinder(
                0.1,
                0.2,
                top_radius=0.02,
                center=(wide * 0.4, tall * 0.95, 0),
                rotate=(0, 0, -20),
                mirror="x",
                blend=0.04,
                paint=trim,
            )
        )
    if rng.random() < 0.6:
        parts.append(ellipsoid((0.2, 0.1, 0.28), center=(wide * 0.5, -tall, 0.15), mirror="x", blend=0.04, paint=trim))
    return parts


@family
def head_or_bust(rng: np.random.Generator) -> list[Part]:
    """Head on a neck or shoulders, sometimes on a plinth."""
    paint = ceramic(rng) if rng.random() < 0.6 else Paint(tuple(np.array([0.75, 0.45, 0.3]) * rng.uniform(0.15, 1.1)))
    statue = rng.random() < 0.5
    hair = paint if statue else Paint(tuple(rng.uniform((0.01, 0.005, 0.003), (0.6, 0.4, 0.2))))
    radii = np.array([rng.uniform(0.36, 0.44), rng.uniform(0.46, 0.58), rng.uniform(0.42, 0.52)])
    jaw = np.array([0, -radii[1] * 0.5, radii[2] * 0.3])
    parts = [
        ellipsoid(radii, paint=paint),
        ellipsoid((radii[0] * 0.72, radii[1] * 0.5, radii[2] * 0.62), center=jaw, blend=0.12, paint=paint),
        capsule(
            (0, 0.02, radii[2] * 0.97),
            (0, -0.13, radii[2] * 1.05),
            0.045,
            end_radius=rng.uniform(0.06, 0.09),
            blend=0.05,
            paint=paint,
        ),
        ellipsoid((0.05, 0.11, 0.08), center=(radii[0] * 0.97, -0.05, 0), rotate=(0, -15, 0), mirror="x", paint=paint),
        capsule((0, -0.2, -0.06), (0, -radii[1] - 0.3, -0.08), rng.uniform(0.17, 0.24), blend=0.06, paint=paint),
    ]
    if statue:
        parts.append(
            ellipsoid((0.08, 0.06, 0.08), center=(0.16, 0.05, radii[2] * 0.97), mirror="x", op="subtract", blend=0.05)
        )
    parts.append(
        ellipsoid(
            (0.06, 0.05, 0.06), center=(0.16, 0.04, radii[2] * 0.87), mirror="x", paint=paint if statue else dark(rng)
        )
    )
    parts.append(
        capsule(
            (0, -0.27, radii[2] * 0.88),
            (0.09, -0.26, radii[2] * 0.84),
            0.035,
            mirror="x",
            blend=0.01,
            paint=paint if statue else Paint((0.5, 0.1, 0.08)),
        )
    )
    style = rng.choice(["hair", "cap", "helmet", "bald", "long"])
    if style in ("hair", "long"):
        parts.append(ellipsoid(radii * rng.uniform(1.03, 1.12), center=(0, 0.09, -0.09), blend=0.02, paint=hair))
        if style == "long":
            parts.append(
                ellipsoid(
                    (radii[0] * 1.05, rng.uniform(0.5, 0.8), radii[2] * 0.55),
                    center=(0, -0.25, -0.25),
                    blend=0.06,
                    paint=hair,
                )
            )
    elif style == "cap":
        parts.append(
            ellipsoid(
                (radii[0] * 1.07, radii[1] * 0.7, radii[2] * 1.07), center=(0, radii[1] * 0.45, 0), paint=fabric(rng)
            )
        )
        parts.append(
            ellipsoid(
                (radii[0] * 0.9, 0.05, 0.4),
                center=(0, radii[1] * 0.38, radii[2] * 0.85),
                rotate=(8, 0, 0),
                paint=fabric(rng),
            )
        )
    elif style == "helmet":
        parts.append(
            ellipsoid(
                (radii[0] * 1.12, radii[1] * 0.85, radii[2] * 1.12),
                center=(0, radii[1] * 0.35, -0.05),
                paint=metal(rng),
            )
        )
        parts.append(box((0.05, 0.2, radii[2] * 0.9), round=0.03, center=(0, radii[1] * 1.1, -0.1), paint=plastic(rng)))
    base = -radii[1] - 0.3
    if rng.random() < 0.7:
        wide = rng.uniform(0.55, 0.85)
        cloth = paint if statue else fabric(rng)
        parts.append(
            ellipsoid(
                (wide, rng.uniform(0.24, 0.34), rng.uniform(0.28, 0.36)),
                exponents=(0.8, 0.9),
                center=(0, base - 0.05, -0.06),
                blend=0.06,
                paint=cloth,
            )
        )
        base -= 0.2
    if rng.random() < 0.5:
        parts.append(cylinder(rng.uniform(0.22, 0.3), 0.18, center=(0, base - 0.05, -0.06), paint=wood(rng)))
        parts.append(box((0.34, 0.07, 0.34), round=0.02, center=(0, base - 0.24, -0.06), paint=wood(rng)))
    return parts
