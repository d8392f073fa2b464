"""Hand tools and hardware. They are described upright, facing +z, then stood, laid down or tilted."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.handles import grip
from triplane3d.data.procedural.components.posing import posed, turned
from triplane3d.data.procedural.materials import DARK, any_material, contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import (
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


def hammer(rng: np.random.Generator) -> list[Part]:
    """Claw hammer, sledge, mallet, axe or pickaxe."""
    style = rng.choice(["claw", "sledge", "mallet", "axe", "pick"])
    handle, head = wood(rng) if rng.random() < 0.6 else plastic(rng), metal(rng)
    radius, top = rng.uniform(0.05, 0.08), rng.uniform(0.6, 0.8)
    parts = [grip(rng, radius, -1.0, top, handle)]
    if rng.random() < 0.5:
        parts.append(
            cylinder(
                radius * 1.25,
                rng.uniform(0.15, 0.3),
                round=0.03,
                center=(0, -0.75, 0),
                material=contrasting(rng, handle),
            )
        )
    size, reach = rng.uniform(0.1, 0.16), rng.uniform(0.28, 0.45)
    if style == "claw":
        parts.append(box((0.12, size * 0.8, size * 0.8), round=0.02, center=(0, top, 0), material=head))
        parts.append(cylinder(size * 0.65, reach / 2, center=(reach / 2, top, 0), rotate=(0, 0, 90), material=head))
        parts.append(cylinder(size, 0.07, round=0.015, center=(reach, top, 0), rotate=(0, 0, 90), material=head))
        curve = bezier((-0.05, top + 0.02, 0), (-0.3, top + 0.06, 0), (-0.5, top - rng.uniform(0.08, 0.25), 0))
        curve[:, 2] = np.linspace(0.02, 0.075, len(curve))
        parts.append(tube(curve, size * 0.6, end_radius=0.04, mirror="z", material=head))
    elif style == "sledge":
        parts.append(box((reach, size, size), round=rng.uniform(0.01, 0.06), center=(0, top, 0), material=head))
        if rng.random() < 0.5:
            parts.append(box((reach * 0.4, size * 1.1, size * 1.1), round=0.02, center=(0, top, 0), material=handle))
    elif style == "mallet":
        parts.append(
            cylinder(
                size * rng.uniform(1.1, 1.8),
                reach,
                round=0.04,
                center=(0, top, 0),
                rotate=(0, 0, 90),
                material=wood(rng),
            )
        )
    elif style == "axe":
        edge = rng.uniform(0.18, 0.32)
        blade = [
            (-0.12, top + 0.1),
            (-0.12, top - 0.1),
            (0.1, top - 0.1),
            (reach, top - edge),
            (reach + 0.07, top),
            (reach, top + edge * 0.8),
            (0.1, top + 0.1),
        ]
        parts.append(prism(blade, rng.uniform(0.05, 0.09), round=0.03, material=head))
        if rng.random() < 0.3:
            parts.append(prism([(-x, y) for x, y in blade], 0.05, round=0.03, material=head))
    else:
        drop, half = rng.uniform(0.1, 0.25), rng.uniform(0.5, 0.7)
        parts.append(
            tube(
                bezier((0, top, 0), (half * 0.6, top, 0), (half, top - drop, 0)),
                size * 0.75,
                end_radius=0.035,
                mirror="x",
                material=head,
            )
        )
        parts.append(box((0.1, 0.1, size * 0.9), round=0.02, center=(0, top, 0), material=head))
    return posed(rng, parts, upright=0.5)


def screwdriver_or_knife(rng: np.random.Generator) -> list[Part]:
    """Screwdriver, chisel, knife, dagger, spatula, paint brush or torch."""
    style = rng.choice(["screwdriver", "knife", "dagger", "brush", "spatula", "torch"])
    handle, steel = any_material(rng), metal(rng)
    radius, waist = rng.uniform(0.09, 0.15), rng.uniform(-0.35, 0.1)
    parts = [grip(rng, radius, -1.0, waist, handle)]
    if style == "screwdriver":
        shaft = rng.uniform(0.04, 0.06)
        parts.append(cylinder(shaft, (0.95 - waist + 0.2) / 2, center=(0, (0.95 + waist - 0.2) / 2, 0), material=steel))
        parts.append(box((shaft * rng.uniform(1.0, 2.2), 0.1, 0.035), center=(0, 0.93, 0), round=0.01, material=steel))
        if rng.random() < 0.5:
            parts.append(
                cylinder(radius * 1.1, 0.05, round=0.02, center=(0, waist - 0.06, 0), material=contrasting(rng, handle))
            )
    elif style in ("knife", "dagger"):
        width = rng.uniform(0.1, 0.18)
        side = -width if style == "dagger" else -width * rng.uniform(0.5, 0.8)
        blade = [
            (side, waist - 0.12),
            (width, waist - 0.12),
            (width * 1.05, 0.5),
            (width * 0.5 if style == "knife" else 0, 1.05),
            (side, 0.5 if style == "dagger" else rng.uniform(0.6, 0.95)),
        ]
        parts.append(prism(blade, rng.uniform(0.03, 0.04), round=0.01, material=steel))
        if style == "dagger" or rng.random() < 0.4:
            parts.append(
                box((width * rng.uniform(1.2, 2.2), 0.045, 0.08), round=0.03, center=(0, waist, 0), material=steel)
            )
    elif style == "brush":
        width, depth = rng.uniform(0.14, 0.3), rng.uniform(0.05, 0.1)
        parts.append(box((width, 0.14, depth), round=0.02, center=(0, waist + 0.1, 0), material=steel))
        parts.append(
            box(
                (width * 0.95, 0.25, depth * 0.85),
                taper=rng.uniform(-0.2, 0.1),
                center=(0, waist + 0.42, 0),
                material=fabric(rng),
            )
        )
    elif style == "spatula":
        width = rng.uniform(0.2, 0.32)
        parts.append(capsule((0, waist - 0.1, 0), (0, 0.5, 0), 0.045, material=steel))
        parts.append(
            box((width, 0.33, 0.035), taper=rng.uniform(-0.1, 0.2), round=0.025, center=(0, 0.68, 0), material=steel)
        )
        for x in np.linspace(-0.5, 0.5, rng.integers(0, 4)):
            parts.append(box((width * 0.13, 0.19, 0.2), center=(x * width * 1.1, 0.72, 0), op="subtract"))
    else:
        head = radius * rng.uniform(1.2, 1.7)
        parts.append(cylinder(radius * 0.95, 0.25, top_radius=head, center=(0, waist + 0.18, 0), material=handle))
        parts.append(cylinder(head, 0.1, round=0.02, center=(0, waist + 0.47, 0), material=steel))
        parts.append(cylinder(head * 0.8, 0.08, center=(0, waist + 0.52, 0), op="subtract"))
        parts.append(ellipsoid((0.045, 0.1, 0.04), center=(0, waist - 0.2, radius), material=contrasting(rng, handle)))
    return posed(rng, parts, upright=0.4)


def wrench_or_spanner(rng: np.random.Generator) -> list[Part]:
    """Open, ring, combination or adjustable spanner; pliers."""
    steel, grips = metal(rng), plastic(rng)
    thickness, width = rng.uniform(0.04, 0.08), rng.uniform(0.08, 0.14)
    if rng.random() < 0.25:
        spread, bend = rng.uniform(0.2, 0.4), rng.uniform(0.15, 0.35)
        jaw = rng.uniform(0.3, 0.6)
        parts = [
            cylinder(0.15, thickness * 1.2, round=0.02, center=(0, 0.2, 0), rotate=(90, 0, 0), material=steel),
            tube(
                bezier((0.02, 0.25, 0), (spread + bend, -0.1, 0), (spread, -1.0, 0)),
                0.07,
                end_radius=0.08,
                mirror="x",
                material=grips,
            ),
            prism(
                [
                    (0.0, 0.2),
                    (0.13, 0.3),
                    (0.12, 0.2 + jaw * 0.7),
                    (0.07, 0.3 + jaw),
                    (0.0, 0.3 + jaw * 0.98),
                    (-0.03, 0.25),
                ],
                thickness,
                round=0.01,
                mirror="x",
                material=steel,
            ),
        ]
        return posed(rng, parts, upright=0.4)
    parts = [box((width * 0.75, 0.85, thickness * 0.8), round=0.02, taper=rng.uniform(-0.2, 0.2), material=steel)]
    for end, size in ((1, rng.uniform(0.22, 0.3)), (-1, rng.uniform(0.18, 0.26))):
        at, ring = end * 0.75, rng.random() < (0.3 if end > 0 else 0.6)
        parts.append(cylinder(size, thickness, round=0.015, center=(0, at, 0), rotate=(90, 0, 0), material=steel))
        if ring:
            sides = int(rng.choice([6, 12]))
            turns = np.arange(sides) * 2 * np.pi / sides
            parts.append(
                prism(
                    np.stack([np.cos(turns), np.sin(turns)], 1) * size * rng.uniform(0.5, 0.65),
                    0.3,
                    center=(0, at, 0),
                    op="subtract",
                )
            )
        else:
            tilt = rng.uniform(-25, 25)
            way = rotation_matrix((0, 0, tilt)) @ (0, end * size * 0.8, 0)
            parts.append(
                box(
                    (size * rng.uniform(0.4, 0.55), size * 0.8, 0.3),
                    center=way + (0, at, 0),
                    rotate=(0, 0, tilt),
                    op="subtract",
                )
            )
    if rng.random() < 0.5:
        parts.append(
            box(
                (width * 0.95, rng.uniform(0.25, 0.4), thickness * 1.15),
                round=0.03,
                center=(0, -0.05, 0),
                material=grips,
            )
        )
    return posed(rng, parts, upright=0.4)


def power_drill_like(rng: np.random.Generator) -> list[Part]:
    """Pistol-shaped device: drill, hair dryer, glue gun or water pistol; the muzzle points to +z."""
    material, grips = plastic(rng), DARK if rng.random() < 0.5 else plastic(rng)
    radius, length = rng.uniform(0.2, 0.3), rng.uniform(0.45, 0.6)
    style = rng.choice(["drill", "dryer", "pistol"])
    slant, drop = rng.uniform(5, 22), rng.uniform(0.75, 1.0)
    lean = np.array([0, -np.cos(np.deg2rad(slant)), -np.sin(np.deg2rad(slant))])
    root = np.array([0, 0, rng.uniform(-0.35, -0.1)])
    if style == "pistol":
        body = box((radius * 0.6, radius, length), round=0.06, center=(0, 0, -0.05), material=material)
    else:
        body = cylinder(
            radius,
            length,
            round=rng.uniform(0.03, 0.15),
            center=(0, 0, -0.05),
            rotate=(90, 0, 0),
            top_radius=radius * rng.uniform(0.8, 1.0),
            material=material,
        )
    parts = [
        body,
        box(
            (radius * 0.5, drop / 2, radius * 0.62),
            round=0.07,
            center=root + lean * drop / 2,
            rotate=(slant, 0, 0),
            blend=0.04,
            material=grips if rng.random() < 0.5 else material,
        ),
    ]
    if style == "drill":
        parts.append(
            cylinder(
                radius * 0.72,
                0.16,
                top_radius=radius * 0.4,
                center=(0, 0, length + 0.05),
                rotate=(90, 0, 0),
                material=DARK,
            )
        )
        parts.append(cylinder(0.045, 0.3, center=(0, 0, length + 0.4), rotate=(90, 0, 0), material=metal(rng)))
        parts.append(
            box(
                (radius * 0.8, 0.13, radius * rng.uniform(1.0, 1.4)),
                round=0.04,
                center=root + lean * drop,
                material=grips,
            )
        )
    elif style == "dryer":
        mouth = radius * rng.uniform(0.7, 1.3)
        parts.append(
            cylinder(
                radius * 0.85, 0.25, top_radius=mouth, center=(0, 0, length + 0.1), rotate=(90, 0, 0), material=grips
            )
        )
        parts.append(cylinder(mouth * 0.8, 0.2, center=(0, 0, length + 0.3), rotate=(90, 0, 0), op="subtract"))
        parts.append(cylinder(radius * 0.8, 0.06, center=(0, 0, -length - 0.06), rotate=(90, 0, 0), material=grips))
        if rng.random() < 0.5:
            end = root + lean * drop
            parts.append(
                tube(bezier(end + (0, 0.1, 0), end - (0, 0.3, 0), end + (0, -0.1, -0.6)), 0.045, material=DARK)
            )
    else:
        parts.append(
            cylinder(
                rng.uniform(0.07, 0.12), 0.3, center=(0, radius * 0.35, length + 0.1), rotate=(90, 0, 0), material=grips
            )
        )
        if rng.random() < 0.6:
            parts.append(
                ellipsoid(
                    (radius * 0.6, radius * 0.7, 0.28),
                    exponents=(0.6, 0.8),
                    center=(0, radius * 1.3, -0.25),
                    material=contrasting(rng, material),
                )
            )
    trigger = root + lean * radius * 1.25 + (0, 0, radius * 0.65)
    parts.append(ellipsoid((0.05, 0.11, 0.07), center=trigger, material=contrasting(rng, material)))
    if rng.random() < 0.4:
        guard = root + lean * radius * 1.3 + (0, 0, radius * 0.95)
        parts.append(torus(radius * 0.6, 0.035, center=guard, rotate=(0, 0, 90), material=grips))
    return (
        parts
        if rng.random() < 0.6
        else turned(parts, rotation_matrix((0, rng.uniform(-180, 180), 0)) @ rotation_matrix((0, 0, 90)))
    )


def gear_or_bolt(rng: np.random.Generator) -> list[Part]:
    """Gear wheel, bolt, nut, wing nut, screw or washer."""
    style = rng.choice(["gear", "bolt", "nut", "wing", "spool"])
    material = metal(rng) if rng.random() < 0.8 else plastic(rng)
    turns = np.arange(6) * np.pi / 3
    hexagon = np.stack([np.cos(turns), np.sin(turns)], 1)
    if style == "gear":
        count, thickness, root = int(rng.integers(3, 8)), rng.uniform(0.1, 0.3), rng.uniform(0.7, 0.85)
        tooth = np.pi * root / count * rng.uniform(0.22, 0.3)
        parts = [cylinder(root, thickness, round=0.02, rotate=(90, 0, 0), material=material)]
        parts += [
            box(
                (tooth, 1.0, thickness * 0.96),
                taper=0,
                round=0.03,
                rotate=(0, 0, 180 * k / count + 5),
                material=material,
            )
            for k in range(count)
        ]
        hole = root * rng.uniform(0.15, 0.5)
        if rng.random() < 0.5:
            parts.append(
                cylinder(root * 0.75, 0.3, center=(0, 0, thickness * 0.55 + 0.3), rotate=(90, 0, 0), op="subtract")
            )
            parts.append(cylinder(hole + 0.15, thickness * 1.1, rotate=(90, 0, 0), material=material))
        parts.append(cylinder(hole, 1.0, rotate=(90, 0, 0), op="subtract"))
        return posed(rng, parts, upright=0.5)
    if style == "bolt":
        head, shaft, length = rng.uniform(0.35, 0.5), rng.uniform(0.16, 0.28), rng.uniform(0.7, 0.85)
        parts = [cylinder(shaft, length, round=0.03, center=(0, -0.1, 0), material=material)]
        shape = rng.integers(3)
        if shape == 0:
            parts.append(
                prism(hexagon * head, 0.16, round=0.03, center=(0, length, 0), rotate=(90, 0, 0), material=material)
            )
        elif shape == 1:
            parts.append(ellipsoid((head, 0.28, head), center=(0, length - 0.12, 0), material=material))
            parts.append(box((2, 0.3, 2), center=(0, length - 0.44, 0), op="subtract"))
            parts.append(cylinder(shaft, length, center=(0, 0, 0), material=material))
            parts.append(box((head, 0.1, 0.06), center=(0, length + 0.18, 0), op="subtract"))
        else:
            parts.append(
                torus(head * 0.75, 0.12, center=(0, length + head * 0.6, 0), rotate=(90, 0, 0), material=material)
            )
        ridge = rng.uniform(0.035, 0.06)
        for y in np.linspace(-length, length * rng.uniform(-0.4, 0.4), rng.integers(3, 8)):
            parts.append(torus(shaft, ridge, center=(0, y, 0), rotate=(rng.uniform(4, 8), 0, 0), material=material))
        if rng.random() < 0.3:
            nut = contrasting(rng, material) if rng.random() < 0.3 else material
            parts.append(
                prism(
                    hexagon * head * 0.95,
                    0.14,
                    round=0.02,
                    center=(0, rng.uniform(-0.6, 0.1), 0),
                    rotate=(90, 30, 0),
                    material=nut,
                )
            )
        return posed(rng, parts, upright=0.5)
    if style == "nut":
        half, hole = rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.6)
        parts = [prism(hexagon, half, round=rng.uniform(0.03, 0.12), rotate=(90, 0, 0), material=material)]
        if rng.random() < 0.4:
            parts.append(cylinder(1.05, 0.08, round=0.02, center=(0, -half, 0), material=material))
        parts.append(cylinder(hole, 2, op="subtract"))
        return posed(rng, parts, upright=0.5)
    if style == "wing":
        hub, height = rng.uniform(0.24, 0.34), rng.uniform(0.2, 0.35)
        lift, reach = rng.uniform(0.15, 0.5), rng.uniform(0.7, 0.95)
        parts = [cylinder(hub * 1.15, height, top_radius=hub * 0.85, round=0.03, material=material)]
        if rng.random() < 0.5:
            parts.append(
                capsule(
                    (hub * 0.6, 0, 0),
                    (reach, lift, 0),
                    rng.uniform(0.08, 0.12),
                    end_radius=rng.uniform(0.16, 0.24),
                    mirror="x",
                    blend=0.05,
                    material=material,
                )
            )
            parts.append(box((2, 2, rng.uniform(0.09, 0.13)), op="intersect"))
            parts.append(cylinder(hub * 1.15, height, top_radius=hub * 0.85, round=0.03, material=material))
        else:
            wing = [
                (hub * 0.4, -height * 0.6),
                (hub, -height * 0.5),
                (reach, lift - 0.2),
                (reach + 0.05, lift + 0.1),
                (reach * 0.85, lift + 0.25),
                (hub, height * 0.5),
                (hub * 0.4, height * 0.5),
            ]
            parts.append(prism(wing, rng.uniform(0.06, 0.1), round=0.04, mirror="x", blend=0.04, material=material))
        if rng.random() < 0.7:
            parts.append(cylinder(hub * rng.uniform(0.4, 0.6), 2, op="subtract"))
        else:
            parts.append(cylinder(hub * 0.5, rng.uniform(0.4, 0.8), center=(0, -0.3, 0), material=metal(rng)))
        return posed(rng, parts, upright=0.6)
    flange, core = rng.uniform(0.6, 0.9), rng.uniform(0.25, 0.45)
    half = flange * (rng.uniform(0.35, 0.6) if rng.random() < 0.5 else rng.uniform(1.2, 1.6))
    rim, thread = half * rng.uniform(0.12, 0.2), rng.uniform(0.5, 0.9)
    profile = [
        (0, -half),
        (flange, -half),
        (flange, -half + rim),
        (core, -half + 2 * rim),
        (core, half - 2 * rim),
        (flange, half - rim),
        (flange, half),
        (0, half),
    ]
    parts = [
        revolve(profile, material=material),
        cylinder(core + (flange - core) * thread, half - 1.5 * rim, round=0.04, material=fabric(rng)),
        cylinder(core * 0.5, 2, op="subtract"),
    ]
    return posed(rng, parts, upright=0.6)
