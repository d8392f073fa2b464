"""Hats and shoes."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.profiles import radius_at, smooth, solid
from triplane3d.data.procedural.materials import contrasting, fabric, plastic
from triplane3d.data.procedural.parts import Part, box, capsule, cylinder, ellipsoid, prism, revolve, torus, tube


def hat(rng: np.random.Generator) -> list[Part]:
    """A top, bowler, straw, cowboy, baseball, woollen or witch's hat, or a helmet."""
    u = rng.uniform
    material = fabric(rng)
    band = contrasting(rng, material)
    width, height, edge = u(0.42, 0.55), u(0.3, 0.9), 0.05
    style = rng.choice(("brim", "brim", "cowboy", "cap", "wool", "cone"))
    if style == "cap":
        dome = ellipsoid((width, height * 0.5 + 0.15, width * 1.1), material=material)
        cut = box((2, 1, 2), center=(0, -1, 0), op="subtract", material=material)
        return [
            dome,
            cut,
            ellipsoid(
                (width * 0.85, edge * 1.2, u(0.35, 0.55)),
                center=(0, 0.035, width * 1.15),
                rotate=(u(0, 15), 0, 0),
                material=material if rng.random() < 0.5 else band,
            ),
            ellipsoid((0.07, 0.06, 0.07), center=(0, height * 0.5 + 0.15, 0), material=band),
        ]
    if style == "wool":
        tall = u(0.5, 0.8)
        return [
            ellipsoid((width, tall, width), exponents=(u(0.8, 1.1), 1.0), material=material),
            box((2, 1, 2), center=(0, -1, 0), op="subtract", material=material),
            torus(width * 0.98, u(0.09, 0.13), center=(0, 0.06, 0), material=band),
            ellipsoid((0.2, 0.19, 0.2), center=(0, tall + 0.08, 0), material=band),
        ]
    brim = width * u(1.4, 2.0)
    if style == "cowboy":
        curl = u(0.12, 0.3)
        return [
            tube([(-brim, curl, 0), (-width, 0.02, 0), (width, 0.02, 0), (brim, curl, 0)], 0.06, material=material),
            ellipsoid(
                (brim * 0.5, edge * 1.2, brim * 0.8),
                center=(width * 1.1, curl * 0.4, 0),
                rotate=(0, 0, 80 * curl),
                mirror="x",
                blend=0.05,
                material=material,
            ),
            ellipsoid((width * 1.3, edge * 1.3, brim * 0.95), material=material, blend=0.1),
            box(
                (width * 0.8, height * 0.45, width),
                round=0.15,
                taper=-0.2,
                center=(0, height * 0.45, 0),
                material=material,
            ),
            ellipsoid((0.1, 0.18, width), center=(0, height * 0.98, 0), op="subtract", blend=0.1, material=material),
            box((width * 0.87, 0.06, width * 1.08), round=0.05, center=(0, 0.12, 0), material=band),
        ]
    top = width * (u(0.02, 0.1) if style == "cone" else u(0.7, 1.1))
    height = u(0.9, 1.4) if style == "cone" else height
    droop = u(-0.15, 0.1)
    parts = [
        revolve(
            [(0, edge), (width, edge), (brim, droop + edge), (brim, droop - edge), (width * 0.9, -edge), (0, -edge)],
            material=material,
        )
    ]
    if rng.random() < 0.5 and style != "cone":
        crown = smooth([(width, 0), (width, height * 0.7), (top * 0.9, height), (top * 0.2, height)], 12)
    else:
        crown = np.array([(width, 0), (top, height)])
    parts.append(revolve(solid(crown), material=material))
    if rng.random() < 0.8:
        parts.append(
            cylinder(
                radius_at(crown, 0.12) + 0.03,
                0.08,
                top_radius=radius_at(crown, 0.2) + 0.03,
                center=(0, 0.12, 0),
                material=band,
            )
        )
    return parts


def shoe(rng: np.random.Generator) -> list[Part]:
    """A trainer, boot, clog, slipper or high-heeled shoe, its toe towards +z."""
    u = rng.uniform
    material = fabric(rng) if rng.random() < 0.6 else plastic(rng)
    sole_material = contrasting(rng, material)
    length, width, thickness = 1.0, u(0.3, 0.38), u(0.06, 0.12)
    side = np.array([(0.55, -1.0), (0.78, -0.7), (0.72, -0.1), (1.0, 0.4), (0.9, 0.8), (0.45, 1.02)])
    outline = np.concatenate([side, side[::-1] * (-1, 1)]) * (width, length)
    heel = u(0.3, 0.7) if rng.random() < 0.25 else 0.0
    tilt = np.degrees(np.arcsin(heel / 2.2))
    sole = prism(outline, thickness, round=thickness * 0.6, rotate=(90 + tilt, 0, 0), material=sole_material)
    lift = heel * 0.45
    parts = [
        sole,
        ellipsoid(
            (width * 0.92, u(0.24, 0.34), 0.52),
            center=(0, thickness * 0.6 - lift * 0.9, 0.45),
            rotate=(tilt, 0, 0),
            blend=0.06,
            material=material,
        ),
    ]
    back = ellipsoid(
        (width * 0.72, u(0.34, 0.5), 0.42),
        exponents=(0.7, 0.9),
        center=(0, thickness + 0.12 + lift * 0.9, -0.55),
        blend=0.12,
        material=material,
    )
    step = capsule(
        (0, thickness + 0.22 + lift * 0.4, -0.35),
        (0, thickness + 0.12 - lift * 0.4, 0.35),
        width * 0.62,
        end_radius=width * 0.6,
        blend=0.12,
        material=material,
    )
    if heel:
        parts += [back, step] if rng.random() < 0.5 else [back]
        parts.append(
            capsule((0, lift * 0.9, -0.82), (0, -lift - 0.1, -0.8), 0.14, end_radius=0.06, material=sole_material)
        )
        return [
            *parts,
            ellipsoid(
                (width * 0.5, 0.4, 0.4),
                center=(0, thickness + 0.5 + lift * 0.8, -0.45),
                op="subtract",
                blend=0.05,
                material=material,
            ),
        ]
    parts += [back, step]
    if rng.random() < 0.45:
        height = u(0.7, 1.5)
        parts += [
            cylinder(
                width * 0.78,
                height / 2,
                top_radius=width * u(0.8, 1.0),
                round=0.05,
                center=(0, thickness + height / 2, -0.5),
                blend=0.15,
                material=material,
            ),
            cylinder(width * 0.6, 0.25, center=(0, thickness + height, -0.5), op="subtract", material=material),
        ]
    else:
        parts.append(
            ellipsoid(
                (width * 0.5, 0.28, 0.36),
                center=(0, thickness + 0.6, -0.5),
                op="subtract",
                blend=0.05,
                material=material,
            )
        )
    if rng.random() < 0.6:
        lace = contrasting(rng, material)
        parts += [
            capsule((-width * 0.35, 0, 0), (width * 0.35, 0, 0), 0.045, center=(0, thickness + y, z), material=lace)
            for y, z in ((0.37, 0.05), (0.33, 0.2), (0.29, 0.35))
        ]
    return parts
