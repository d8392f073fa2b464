"""Plush toys, snowmen and ghosts, mostly smooth unions of ellipsoids; they face +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.faces import ears, eyes
from triplane3d.data.procedural.materials import animal_skin, any_material, contrasting, eye_black, wood
from triplane3d.data.procedural.parts import Material, Part, bezier, capsule, cylinder, ellipsoid, revolve, torus, tube


def teddy_or_plush(rng: np.random.Generator) -> list[Part]:
    """Sitting or standing plush toy: bear, rabbit, cat, elephant or frog-like."""
    fur = animal_skin(rng)
    light = contrasting(rng, fur) if rng.random() < 0.7 else fur
    body = np.array([rng.uniform(0.28, 0.42), rng.uniform(0.34, 0.48), rng.uniform(0.24, 0.36)])
    skull = rng.uniform(0.27, 0.42)
    head = skull * np.array([rng.uniform(1.0, 1.2), rng.uniform(0.85, 1.0), rng.uniform(0.85, 1.0)])
    sitting = rng.random() < 0.7
    seat = body[1] * 0.9 if sitting else body[1] + rng.uniform(0.15, 0.3)
    middle = np.array([0, seat, 0])
    top = np.array([0, seat + body[1] * 0.8 + head[1] * 0.8, rng.uniform(0, 0.08)])
    soft = rng.uniform(0.02, 0.07)
    parts = [ellipsoid(body, center=middle, material=fur), ellipsoid(head, center=top, blend=soft, material=fur)]
    if rng.random() < 0.6:
        parts.append(ellipsoid(body * (0.65, 0.65, 0.35), center=middle + body * (0, 0, 0.7), material=light))
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
                material=fur,
            )
        )
    else:
        muzzle = head * (rng.uniform(0.35, 0.55), rng.uniform(0.3, 0.42), 0.4)
        at = top + head * (0, -0.28, 0.8)
        parts.append(ellipsoid(muzzle, center=at, blend=0.02, material=light))
        parts.append(ellipsoid((0.06, 0.045, 0.045), center=at + muzzle * (0, 0.55, 0.8), material=eye_black(rng)))
    parts.append(eyes(rng, top, head, size=rng.uniform(0.035, 0.06)))
    arm = rng.uniform(0.1, 0.14)
    shoulder = middle + body * (0.65, 0.6, 0)
    swing = np.deg2rad(rng.uniform(-80, 40))
    reach = rng.uniform(0.3, 0.45)
    hand = shoulder + reach * np.array([np.cos(swing) * 0.7, np.sin(swing), rng.uniform(0.1, 0.6)])
    parts.append(
        capsule(
            shoulder, hand, arm * 0.95, end_radius=arm * rng.uniform(0.9, 1.2), mirror="x", blend=soft, material=fur
        )
    )
    leg = rng.uniform(0.11, 0.16)
    hip = np.array([body[0] * 0.6, leg * 1.05 if sitting else seat - body[1] * 0.6, body[2] * 0.2])
    if sitting:
        foot = hip + (rng.uniform(0.12, 0.3), 0, rng.uniform(0.35, 0.5))
    else:
        foot = np.array([hip[0] + rng.uniform(0, 0.1), leg, rng.uniform(0, 0.08)])
    parts.append(capsule(hip, foot, leg, end_radius=leg * rng.uniform(0.85, 1.1), mirror="x", blend=soft, material=fur))
    if sitting:
        sole = np.array([leg * 1.1, leg * 1.4, leg * 0.7])
        parts.append(ellipsoid(sole, center=foot + (0, leg * 0.35, 0.04), mirror="x", blend=0.03, material=fur))
        parts.append(
            ellipsoid(
                sole * (0.7, 0.7, 0.3), center=foot + (0, leg * 0.35, 0.04 + sole[2] * 0.85), mirror="x", material=light
            )
        )
    else:
        parts.append(
            ellipsoid(
                (leg * 1.0, leg * 0.7, leg * 1.4),
                center=foot + (0, -leg * 0.3, leg * 0.5),
                mirror="x",
                blend=0.03,
                material=light,
            )
        )
    if rng.random() < 0.4:
        neck = np.array([0, seat + body[1] * 0.86, 0.02])
        if rng.random() < 0.5:
            parts.append(torus(body[0] * 0.55, 0.07, center=neck, material=contrasting(rng, fur)))
        else:
            bow = neck + (0, 0, body[2] * 0.75)
            parts.append(
                ellipsoid(
                    (0.12, 0.08, 0.06),
                    center=bow + (0.09, 0, 0),
                    rotate=(0, 0, 20),
                    mirror="x",
                    material=contrasting(rng, fur),
                )
            )
    return parts


def snowman_or_blob(rng: np.random.Generator) -> list[Part]:
    """Snowman, skittle, ghost or monster with one eye."""
    material = Material((0.88, 0.9, 0.93)) if rng.random() < 0.5 else any_material(rng)
    trim = contrasting(rng, material)
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
                    material=material,
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
                material=Material((0.8, 0.25, 0.02)),
            )
        )
        parts.append(eyes(rng, top, np.full(3, head), size=0.05))
        if rng.random() < 0.7:
            parts.append(
                cylinder(head * rng.uniform(1.0, 1.35), 0.035, center=top + (0, head * 0.75, 0), material=trim)
            )
            parts.append(
                cylinder(
                    head * 0.75,
                    head * rng.uniform(0.4, 0.8),
                    top_radius=head * rng.uniform(0.4, 0.8),
                    center=top + (0, head * 1.2, 0),
                    material=trim,
                )
            )
        if rng.random() < 0.6:
            parts.append(
                torus(head * 0.85, 0.07, center=top - (0, head * 0.75, 0), material=contrasting(rng, material))
            )
        if rng.random() < 0.6:
            start = np.array([0.2, last[0] - head * 1.3, 0])
            end = start + (rng.uniform(0.45, 0.7), rng.uniform(-0.1, 0.45), rng.uniform(-0.1, 0.3))
            parts.append(capsule(start, end, 0.04, end_radius=0.03, mirror="x", material=wood(rng)))
        if rng.random() < 0.5:
            parts.append(
                ellipsoid((0.05, 0.05, 0.04), center=(0, 0.1, parts[0].parameters[2] * 0.98), material=eye_black(rng))
            )
        return parts
    width, bulge = rng.uniform(0.35, 0.6), rng.uniform(0.7, 1.15)
    height = width * max(1.0, bulge) * rng.uniform(1.3, 2.1)
    profile = [
        (0, -height),
        (width * bulge * 0.9, -height),
        (width * bulge, -height * 0.8),
        (width, 0),
        (width * 0.9, height * 0.5),
        (width * 0.55, height * 0.88),
        (0, height),
    ]
    parts = [revolve(profile, material=material)]
    head = np.array([width * 0.97, height * 0.8, width * 0.97])
    if rng.random() < 0.3:
        parts.append(
            ellipsoid(
                (width * 0.45, width * 0.45, 0.2),
                center=(0, height * 0.3, width * 0.75),
                material=Material((0.9, 0.9, 0.9)),
            )
        )
        parts.append(
            ellipsoid(
                (width * 0.2, width * 0.2, 0.12), center=(0, height * 0.3, width * 0.75 + 0.12), material=eye_black(rng)
            )
        )
    else:
        parts.append(eyes(rng, np.zeros(3), head, size=rng.uniform(0.06, 0.14)))
    if rng.random() < 0.6:
        parts.append(
            capsule(
                (width * 0.7, -0.05, 0),
                (width + rng.uniform(0.1, 0.35), rng.uniform(-0.4, 0.4), 0.15),
                0.13,
                end_radius=0.1,
                mirror="x",
                blend=0.1,
                material=material,
            )
        )
    if rng.random() < 0.5:
        parts.append(
            cylinder(
                0.1,
                0.2,
                top_radius=0.02,
                center=(width * 0.4, height * 0.95, 0),
                rotate=(0, 0, -20),
                mirror="x",
                blend=0.04,
                material=trim,
            )
        )
    if rng.random() < 0.6:
        parts.append(
            ellipsoid((0.2, 0.1, 0.28), center=(width * 0.5, -height, 0.15), mirror="x", blend=0.04, material=trim)
        )
    return parts
