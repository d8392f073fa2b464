"""Dolls, robots, heads and busts; they face +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.faces import eyes
from triplane3d.data.procedural.materials import ceramic, contrasting, eye_black, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import Material, Part, box, capsule, cylinder, ellipsoid, revolve, tube


def humanoid_figure(rng: np.random.Generator) -> list[Part]:
    """Standing doll, person or robot in a varied pose."""
    robot = rng.random() < 0.3
    skin = metal(rng) if robot else Material(tuple(np.array([0.75, 0.45, 0.3]) * rng.uniform(0.15, 1.1)))
    shirt = metal(rng) if robot else fabric(rng)
    trousers = contrasting(rng, shirt)
    hip = 0.85 * rng.uniform(0.75, 1.1)
    shoulder = hip + rng.uniform(0.4, 0.6)
    half, waist = rng.uniform(0.17, 0.27), rng.uniform(0.13, 0.22)
    depth = rng.uniform(0.11, 0.16)
    skull = rng.uniform(0.13, 0.27)
    top = np.array([0, shoulder + skull * 1.05 + 0.04, 0.02])
    limb = rng.uniform(0.06, 0.1)
    if robot:
        parts = [
            box(
                (half, (shoulder - hip) / 2 + 0.08, depth),
                round=0.03,
                taper=rng.uniform(-0.1, 0.25),
                center=(0, (hip + shoulder) / 2, 0),
                material=shirt,
            ),
            box((skull, skull * rng.uniform(0.7, 1.0), skull * 0.9), round=0.03, center=top, material=skin),
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
            revolve(profile, material=shirt)
            if rng.random() < 0.4
            else box(
                (half * 0.85, (shoulder - hip) / 2 + 0.06, depth),
                round=0.09,
                taper=rng.uniform(0, 0.25),
                center=(0, (hip + shoulder) / 2, 0),
                material=shirt,
            ),
            ellipsoid((skull * 0.9, skull, skull * 0.95), center=top, material=skin),
        ]
    parts.append(cylinder(limb * 0.95, 0.12, center=(0, shoulder + 0.06, 0.0), material=skin))
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
            tube([start, elbow, wrist], limb * 0.95, end_radius=limb * 0.8, mirror=mirror, blend=0.02, material=shirt)
        )
        parts.append(ellipsoid((limb * 1.1,) * 3, center=wrist, mirror=mirror, material=skin))
    foot, stand = limb * 0.8, rng.uniform(0.3, 0.9)
    skirt = not robot and rng.random() < 0.25
    stride = 0.0 if rng.random() < 0.5 else rng.uniform(0.05, 0.25)
    shoes = eye_black(rng)
    for side in (1, -1) if stride else (1,):
        mirror = "" if stride else "x"
        start = np.array([side * waist * 0.5, hip, 0])
        ankle = np.array([side * waist * (0.5 + stand * 0.7), foot, side * stride])
        knee = (start + ankle) / 2 + (0, 0, rng.uniform(0, 0.1))
        parts.append(
            tube([start, knee, ankle], limb * 1.15, end_radius=limb, mirror=mirror, blend=0.02, material=trousers)
        )
        parts.append(
            ellipsoid(
                (limb * 1.05, limb * 0.8, limb * 1.8),
                center=ankle + (0, -limb * 0.1, limb * 0.6),
                mirror=mirror,
                material=shoes,
            )
        )
    if skirt:
        parts.append(
            cylinder(
                waist * rng.uniform(1.6, 2.4),
                rng.uniform(0.2, 0.35),
                top_radius=waist * 0.9,
                center=(0, hip - 0.14, 0),
                material=trousers,
            )
        )
    crown = rng.random()
    if robot:
        if crown < 0.6:
            parts.append(capsule(top, top + (0, skull * 1.6, 0), 0.03, material=metal(rng)))
            parts.append(ellipsoid((0.06, 0.06, 0.06), center=top + (0, skull * 1.6, 0), material=plastic(rng)))
    elif crown < 0.5:
        parts.append(
            ellipsoid(
                (skull * 1.02, skull * 0.95, skull * 1.02),
                center=top + (0, skull * 0.22, -skull * 0.2),
                material=Material(tuple(rng.uniform((0.01, 0.005, 0.003), (0.5, 0.3, 0.1)))),
            )
        )
    elif crown < 0.8:
        parts.append(
            cylinder(skull * rng.uniform(1.0, 1.7), 0.03, center=top + (0, skull * 0.55, 0), material=trousers)
        )
        parts.append(
            cylinder(
                skull * 0.95,
                skull * rng.uniform(0.3, 0.6),
                top_radius=skull * rng.uniform(0.3, 0.9),
                center=top + (0, skull * 0.85, 0),
                round=0.02,
                material=trousers,
            )
        )
    return parts


def head_or_bust(rng: np.random.Generator) -> list[Part]:
    """Head on a neck or shoulders, sometimes on a plinth."""
    material = (
        ceramic(rng) if rng.random() < 0.6 else Material(tuple(np.array([0.75, 0.45, 0.3]) * rng.uniform(0.15, 1.1)))
    )
    statue = rng.random() < 0.5
    hair = material if statue else Material(tuple(rng.uniform((0.01, 0.005, 0.003), (0.6, 0.4, 0.2))))
    radii = np.array([rng.uniform(0.36, 0.44), rng.uniform(0.46, 0.58), rng.uniform(0.42, 0.52)])
    jaw = np.array([0, -radii[1] * 0.5, radii[2] * 0.3])
    parts = [
        ellipsoid(radii, material=material),
        ellipsoid((radii[0] * 0.72, radii[1] * 0.5, radii[2] * 0.62), center=jaw, blend=0.12, material=material),
        capsule(
            (0, 0.02, radii[2] * 0.97),
            (0, -0.13, radii[2] * 1.05),
            0.045,
            end_radius=rng.uniform(0.06, 0.09),
            blend=0.05,
            material=material,
        ),
        ellipsoid(
            (0.05, 0.11, 0.08), center=(radii[0] * 0.97, -0.05, 0), rotate=(0, -15, 0), mirror="x", material=material
        ),
        capsule((0, -0.2, -0.06), (0, -radii[1] - 0.3, -0.08), rng.uniform(0.17, 0.24), blend=0.06, material=material),
    ]
    if statue:
        parts.append(
            ellipsoid((0.08, 0.06, 0.08), center=(0.16, 0.05, radii[2] * 0.97), mirror="x", op="subtract", blend=0.05)
        )
    parts.append(
        ellipsoid(
            (0.06, 0.05, 0.06),
            center=(0.16, 0.04, radii[2] * 0.87),
            mirror="x",
            material=material if statue else eye_black(rng),
        )
    )
    parts.append(
        capsule(
            (0, -0.27, radii[2] * 0.88),
            (0.09, -0.26, radii[2] * 0.84),
            0.035,
            mirror="x",
            blend=0.01,
            material=material if statue else Material((0.5, 0.1, 0.08)),
        )
    )
    style = rng.choice(["hair", "cap", "helmet", "bald", "long"])
    if style in ("hair", "long"):
        parts.append(ellipsoid(radii * rng.uniform(1.03, 1.12), center=(0, 0.09, -0.09), blend=0.02, material=hair))
        if style == "long":
            parts.append(
                ellipsoid(
                    (radii[0] * 1.05, rng.uniform(0.5, 0.8), radii[2] * 0.55),
                    center=(0, -0.25, -0.25),
                    blend=0.06,
                    material=hair,
                )
            )
    elif style == "cap":
        parts.append(
            ellipsoid(
                (radii[0] * 1.07, radii[1] * 0.7, radii[2] * 1.07), center=(0, radii[1] * 0.45, 0), material=fabric(rng)
            )
        )
        parts.append(
            ellipsoid(
                (radii[0] * 0.9, 0.05, 0.4),
                center=(0, radii[1] * 0.38, radii[2] * 0.85),
                rotate=(8, 0, 0),
                material=fabric(rng),
            )
        )
    elif style == "helmet":
        parts.append(
            ellipsoid(
                (radii[0] * 1.12, radii[1] * 0.85, radii[2] * 1.12),
                center=(0, radii[1] * 0.35, -0.05),
                material=metal(rng),
            )
        )
        parts.append(
            box((0.05, 0.2, radii[2] * 0.9), round=0.03, center=(0, radii[1] * 1.1, -0.1), material=plastic(rng))
        )
    base = -radii[1] - 0.3
    if rng.random() < 0.7:
        width = rng.uniform(0.55, 0.85)
        cloth = material if statue else fabric(rng)
        parts.append(
            ellipsoid(
                (width, rng.uniform(0.24, 0.34), rng.uniform(0.28, 0.36)),
                exponents=(0.8, 0.9),
                center=(0, base - 0.05, -0.06),
                blend=0.06,
                material=cloth,
            )
        )
        base -= 0.2
    if rng.random() < 0.5:
        parts.append(cylinder(rng.uniform(0.22, 0.3), 0.18, center=(0, base - 0.05, -0.06), material=wood(rng)))
        parts.append(box((0.34, 0.07, 0.34), round=0.02, center=(0, base - 0.24, -0.06), material=wood(rng)))
    return parts
