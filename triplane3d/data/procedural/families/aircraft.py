"""Aeroplanes, helicopters and rockets, from about -1 to 1. The nose points to +z; rockets point up."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.wheels import SIDE_VIEW, TOP_VIEW
from triplane3d.data.procedural.materials import contrasting, metal, plastic, rubber, window_glass, wood
from triplane3d.data.procedural.parts import Part, box, capsule, cylinder, ellipsoid, prism, revolve, torus


def airplane(rng: np.random.Generator) -> list[Part]:
    """Airliner, propeller plane, biplane or jet fighter."""
    style = rng.choice(["airliner", "propeller", "biplane", "jet"])
    material, glass = plastic(rng), window_glass(rng)
    trim = contrasting(rng, material) if rng.random() < 0.6 else material
    size = rng.uniform(0.11, 0.16) if style in ("airliner", "jet") else rng.uniform(0.14, 0.2)
    span, chord = rng.uniform(0.75, 1.1), rng.uniform(0.16, 0.26)
    sweep = {"airliner": rng.uniform(0.2, 0.5), "jet": rng.uniform(0.4, 0.8)}.get(style, rng.uniform(-0.03, 0.1))
    if style == "jet":
        span *= 0.75
        chord *= 1.6
    tip, thickness = rng.uniform(0.35, 0.9), rng.uniform(0.025, 0.04)
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
    parts = [revolve(body, rotate=(90, 0, 0), material=material)]
    wing = [(0, chord), (span, chord * tip - sweep), (span, -chord * tip - sweep), (0, -chord)]
    lift = rng.uniform(-0.5, 0.6) * size if style != "biplane" else -0.5 * size
    dihedral = rng.uniform(0, 6)
    at = rng.uniform(0, 0.25) + sweep * 0.3
    parts.append(
        prism(wing, thickness, center=(0, lift, at), rotate=(90, 0, dihedral), round=0.01, mirror="x", material=trim)
    )
    rear = [(0, 0.12), (0.36, 0.06 - sweep * 0.3), (0.36, -0.08 - sweep * 0.3), (0, -0.12)]
    up = rng.uniform(0.3, 0.42)
    fin = [(0.16, 0), (-0.02 - sweep * 0.2, up), (-0.16 - sweep * 0.2, up), (-0.14, 0)]
    parts.append(prism(fin, thickness, center=(0, size * 0.1, tail), rotate=SIDE_VIEW, round=0.01, material=trim))
    height = up * 0.92 if rng.random() < 0.2 else 0.02
    shift = tail - sweep * 0.15 if height > 0.1 else tail
    parts.append(
        prism(rear, thickness * 0.9, center=(0, height, shift), rotate=TOP_VIEW, round=0.01, mirror="x", material=trim)
    )
    parts.append(
        ellipsoid(
            (size * 0.7, size * 0.7, rng.uniform(0.14, 0.3)),
            center=(0, size * rng.uniform(0.55, 0.75), 0.62 if style == "airliner" else 0.3),
            material=glass,
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
                material=metal(rng),
            )
        )
    elif style == "jet":
        parts.append(
            cylinder(
                size * 0.6, 0.35, center=(size * 0.9, -0.02, -0.4), rotate=(90, 0, 0), mirror="x", material=metal(rng)
            )
        )
    else:
        turn, blade = rng.uniform(0, 180), rng.uniform(0.25, 0.4)
        parts.append(ellipsoid((size * 0.45, size * 0.45, 0.14), center=(0, 0, 0.98), material=metal(rng)))
        for extra in (0, 90)[: rng.integers(1, 3)]:
            parts.append(
                box(
                    (blade, 0.04, 0.025),
                    round=0.02,
                    center=(0, 0, 1.03),
                    rotate=(0, 0, turn + extra),
                    material=wood(rng),
                )
            )
    if style == "biplane":
        gap = rng.uniform(0.32, 0.45)
        parts.append(
            prism(
                wing,
                thickness,
                center=(0, lift + gap, at),
                rotate=(90, 0, dihedral),
                round=0.01,
                mirror="x",
                material=trim,
            )
        )
        for x in (0.08, span * 0.65):
            y = lift + np.tan(np.deg2rad(dihedral)) * x
            parts.append(
                capsule(
                    (x, y, at - sweep * x / span),
                    (x, y + gap, at - sweep * x / span),
                    0.025,
                    mirror="x",
                    material=wood(rng),
                )
            )
    if style in ("propeller", "biplane") and rng.random() < 0.7:
        parts.append(
            capsule((size * 0.4, -size * 0.5, 0.4), (size * 1.5, -0.4, 0.45), 0.025, mirror="x", material=metal(rng))
        )
        parts.append(
            cylinder(
                0.09, 0.035, center=(size * 1.5 + 0.02, -0.4, 0.45), rotate=(0, 0, 90), mirror="x", material=rubber(rng)
            )
        )
    return parts


def helicopter(rng: np.random.Generator) -> list[Part]:
    """Helicopter with cabin, tail boom, rotors and skids or wheels."""
    material, glass = plastic(rng), window_glass(rng)
    radii = (rng.uniform(0.2, 0.3), rng.uniform(0.22, 0.32), rng.uniform(0.38, 0.52))
    nose, top = 0.35, radii[1]
    bend = rng.uniform(0.5, 1.0)
    tail = (0, rng.uniform(0.02, 0.15), -1.0)
    parts = [
        ellipsoid(radii, exponents=(bend, bend), center=(0, 0, nose), material=material),
        ellipsoid(
            (radii[0] * 0.94, radii[1] * 0.8, radii[2] * 0.75), center=(0, 0.04, nose + radii[2] * 0.3), material=glass
        ),
        capsule(
            (0, 0.05, nose - 0.1),
            tail,
            radii[1] * rng.uniform(0.35, 0.6),
            end_radius=rng.uniform(0.04, 0.06),
            blend=0.06,
            material=material,
        ),
        prism(
            [(0.1, -0.12), (-0.02, 0.3), (-0.14, 0.3), (-0.1, -0.12)],
            0.03,
            center=tail,
            rotate=SIDE_VIEW,
            material=contrasting(rng, material),
        ),
        cylinder(0.05, 0.14, center=(0, top + 0.06, nose - 0.05), material=metal(rng)),
        ellipsoid((0.14, 0.07, 0.22), center=(0, top * 0.98, nose - 0.1), blend=0.03, material=material),
    ]
    blade, turn, steel = rng.uniform(0.75, 1.05), rng.uniform(0, 180), metal(rng)
    for k in range(crossing := int(rng.integers(1, 3))):
        parts.append(
            box(
                (blade, 0.026, rng.uniform(0.04, 0.07)),
                round=0.01,
                center=(0, top + 0.19, nose - 0.05),
                rotate=(0, turn + 180 * k / crossing, 0),
                material=steel,
            )
        )
    parts.append(
        box(
            (0.03, rng.uniform(0.14, 0.22), 0.035),
            round=0.01,
            center=(0.05, tail[1] + 0.08, tail[2] + 0.01),
            rotate=(rng.uniform(0, 180), 0, 0),
            material=steel,
        )
    )
    if rng.random() < 0.75:
        x, y = radii[0] * rng.uniform(0.95, 1.2), -radii[1] - rng.uniform(0.08, 0.16)
        parts.append(capsule((x, y, nose - 0.4), (x, y, nose + 0.42), 0.028, mirror="x", material=steel))
        for z in (nose - 0.15, nose + 0.15):
            parts.append(capsule((radii[0] * 0.4, -radii[1] * 0.6, z), (x, y, z), 0.026, mirror="x", material=steel))
    else:
        parts.append(
            cylinder(
                0.1,
                0.05,
                center=(radii[0] * 0.75, -radii[1] * 0.85, nose - 0.1),
                rotate=(0, 0, 90),
                mirror="x",
                material=rubber(rng),
            )
        )
        parts.append(
            cylinder(0.08, 0.06, center=(0, -radii[1] * 0.95, nose + 0.2), rotate=(0, 0, 90), material=rubber(rng))
        )
    return parts


def rocket(rng: np.random.Generator) -> list[Part]:
    """Upright rocket with fins, sometimes with boosters and a porthole."""
    material = plastic(rng)
    trim = contrasting(rng, material)
    size = rng.uniform(0.16, 0.32)
    base, shoulder = size * rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.45)
    nose = [(size * (1 - t ** rng.uniform(1.5, 2.5)), shoulder + t * (0.98 - shoulder)) for t in (0.25, 0.5, 0.75)]
    parts = [
        revolve(
            [(0, -0.85), (base, -0.85), (size, rng.uniform(-0.6, -0.1)), (size, shoulder), *nose, (0, 1.0)],
            material=material,
        ),
        cylinder(base * 0.75, 0.12, top_radius=base * 0.55, center=(0, -0.9, 0), material=metal(rng)),
    ]
    out, drop, root = rng.uniform(0.2, 0.4), rng.uniform(0.0, 0.15), rng.uniform(0.25, 0.5)
    fin = [
        (base * 0.5, -0.85 + root),
        (base + out, -0.85 + root * 0.3 - drop),
        (base + out, -0.9 - drop),
        (base * 0.5, -0.8),
    ]
    thickness = rng.uniform(0.03, 0.05)
    if rng.random() < 0.5:
        parts.append(prism(fin, thickness, mirror="x", round=0.01, material=trim))
        parts.append(prism(fin, thickness, mirror="z", rotate=SIDE_VIEW, round=0.01, material=trim))
    else:
        parts += [prism(fin, thickness, rotate=(0, 90 + turn, 0), round=0.01, material=trim) for turn in (0, 120, 240)]
    if rng.random() < 0.5:
        parts.append(
            ellipsoid(
                (size * 0.4, size * 0.4, 0.1), center=(0, shoulder - 0.1, size * 0.92), material=window_glass(rng)
            )
        )
        parts.append(
            torus(size * 0.42, 0.035, center=(0, shoulder - 0.1, size * 0.95), rotate=(90, 0, 0), material=metal(rng))
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
                material=trim,
            )
        )
        parts.append(box((size + 0.02, 0.04, 0.05), center=(0, -0.5, 0), material=metal(rng)))
    if rng.random() < 0.4:
        parts.append(
            cylinder(
                size * 1.015, rng.uniform(0.03, 0.08), center=(0, shoulder - rng.uniform(0.0, 0.08), 0), material=trim
            )
        )
    return parts
