"""Cars, lorries and buses; from about -1 to 1, with the front towards +z."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.components.wheels import SIDE_VIEW, wheels
from triplane3d.data.procedural.materials import any_material, contrasting, lamp_light, metal, plastic, window_glass
from triplane3d.data.procedural.parts import Part, box, cylinder, ellipsoid, prism, revolve


def car(rng: np.random.Generator) -> list[Part]:
    """Sedan, taxi, van, pickup or round toy car."""
    style = rng.choice(["sedan", "box", "van", "pickup", "toy"])
    material, glass = plastic(rng), window_glass(rng)
    trim = contrasting(rng, material)
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
        parts = [prism(outline, half_width, material=material, **side)]
        pane = [
            (front - 0.07, waist + 0.01),
            (front - rise - 0.02, roof - 0.06),
            (back + rise + 0.02, roof - 0.06),
            (back + 0.07, waist + 0.01),
        ]
        parts.append(prism(pane, half_width + 0.008, rotate=SIDE_VIEW, material=glass))
        lean = np.rad2deg(np.arctan2(rise, roof - waist))
        parts.append(
            box(
                (half_width * 0.85, np.hypot(rise, roof - waist) * 0.42, 0.02),
                center=(0, (waist + roof) / 2, front - rise / 2),
                rotate=(-lean, 0, 0),
                material=glass,
            )
        )
    elif style == "van":
        snout, nose = rng.uniform(0.55, 0.95), waist - rng.uniform(0, 0.12)
        outline = [(-1, floor), (1, floor), (1, nose - 0.05), (snout, waist), (snout - rise, roof), (-0.97, roof)]
        parts = [prism(outline, half_width, material=material, **side)]
        pane = [
            (snout - 0.1, waist + 0.01),
            (snout - rise - 0.05, roof - 0.08),
            (rng.uniform(-0.9, 0.2), roof - 0.08),
            (rng.uniform(-0.9, 0.2), waist + 0.01),
        ]
        parts.append(prism(pane, half_width + 0.008, rotate=SIDE_VIEW, material=glass))
        lean = np.rad2deg(np.arctan2(rise, roof - waist))
        parts.append(
            box(
                (half_width * 0.85, np.hypot(rise, roof - waist) * 0.4, 0.025),
                center=(0, (waist + roof) / 2, snout - rise / 2),
                rotate=(-lean, 0, 0),
                material=glass,
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
                material=material,
            ),
            ellipsoid(
                (half_width * rng.uniform(0.8, 0.92), roof - waist + 0.1, rng.uniform(0.45, 0.6)),
                exponents=exponents,
                center=(0, waist - 0.1, rng.uniform(-0.25, 0)),
                blend=0.04,
                material=material,
            ),
        ]
        cabin = parts[1]
        width, height, long = cabin.parameters[:3]
        parts.append(
            box(
                (width * 0.96, height * 0.22, long * 0.5),
                round=0.04,
                center=(0, waist + height * 0.36, cabin.center[2]),
                material=glass,
            )
        )
        parts.append(
            box(
                (width * 0.5, height * 0.22, long * 0.96),
                round=0.04,
                center=(0, waist + height * 0.36, cabin.center[2]),
                material=glass,
            )
        )
        parts.append(
            ellipsoid(
                (half_width * 0.3, 0.12, 0.1),
                center=(half_width * 0.62, waist - 0.15, length * 0.85),
                mirror="x",
                blend=0.03,
                material=lamp_light(rng),
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
                material=material,
            ),
            box(
                (half_width * 0.8, (roof - waist) / 2 + 0.03, depth),
                taper=taper,
                round=0.02,
                center=(0, (waist + roof) / 2 - 0.03, rear - 0.1),
                material=glass,
            ),
            box(
                (half_width * 0.8 * (1 + taper) + 0.01, 0.03, depth * (1 + taper) + 0.01),
                round=0.02,
                center=(0, roof, rear - 0.1),
                material=material,
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
                material=trim,
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
                material=lamp_light(rng),
            )
        )
    if rng.random() < 0.4:
        sign = ellipsoid if rng.random() < 0.4 else box
        z = (front + back) / 2 if style in ("sedan", "van") else (parts[1].center[2] if style != "toy" else -0.1)
        parts.append(
            sign(
                (rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.1), rng.uniform(0.05, 0.1)),
                center=(0, roof + 0.03, z),
                material=trim,
            )
        )
    return parts


def truck_or_bus(rng: np.random.Generator) -> list[Part]:
    """Bus with one or two rows of windows, or a lorry with a box, a tank, an open bed or a mixer."""
    material, glass = plastic(rng), window_glass(rng)
    half_width, radius = rng.uniform(0.28, 0.4), rng.uniform(0.13, 0.19)
    floor = radius * rng.uniform(0.9, 1.3)
    if rng.random() < 0.45:
        height = rng.uniform(0.55, 1.0)
        middle = floor + height / 2
        band = rng.uniform(0.08, 0.14)
        parts = [
            box((half_width, height / 2, 1), round=rng.uniform(0.02, 0.12), center=(0, middle, 0), material=material)
        ]
        levels = (0.2,) if height < 0.75 else (-0.05, 0.3)
        for level in levels:
            parts.append(
                box((half_width + 0.008, band, 0.9), center=(0, middle + level * height, -0.04), material=glass)
            )
        parts.append(
            box(
                (half_width * 0.85, band * 1.3, 0.05),
                center=(0, middle + levels[0] * height - 0.02, 0.96),
                material=glass,
            )
        )
        if rng.random() < 0.5:
            parts.append(
                box(
                    (half_width + 0.012, 0.025, 1.01),
                    center=(0, middle - 0.25 * height, 0),
                    material=contrasting(rng, material),
                )
            )
        if rng.random() < 0.4:
            parts.append(
                box(
                    (half_width * 0.6, 0.05, rng.uniform(0.15, 0.4)),
                    round=0.02,
                    center=(0, floor + height + 0.01, rng.uniform(-0.4, 0.4)),
                    material=contrasting(rng, material),
                )
            )
        parts += wheels(rng, radius, 0.06, half_width + 0.01, 0.62, mirror="xz")
    else:
        cab = rng.uniform(0.2, 0.3)
        cab_height = rng.uniform(0.4, 0.65)
        parts = [
            box((half_width * 0.7, 0.07, 0.95), center=(0, floor, 0), material=metal(rng)),
            box(
                (half_width, cab_height / 2, cab),
                round=rng.uniform(0.02, 0.08),
                taper=-rng.uniform(0, 0.12),
                center=(0, floor + cab_height / 2 - 0.04, 0.98 - cab),
                material=material,
            ),
            box(
                (half_width * 0.82, cab_height * 0.17, 0.05),
                center=(0, floor + cab_height * 0.68, 0.965),
                material=glass,
            ),
        ]
        load, start = any_material(rng), 0.98 - 2 * cab - rng.uniform(0.02, 0.1)
        middle, half = (start - 1) / 2, (start + 1) / 2
        kind = rng.choice(["box", "tank", "bed", "mixer"])
        if kind == "box":
            height = rng.uniform(0.3, 0.5)
            parts.append(
                box(
                    (half_width * rng.uniform(0.98, 1.1), height, half),
                    round=0.02,
                    center=(0, floor + height + 0.03, middle),
                    material=load,
                )
            )
        elif kind == "tank":
            size = half_width * rng.uniform(0.85, 1.05)
            parts.append(
                cylinder(
                    size, half, round=0.08, center=(0, floor + size * 0.95, middle), rotate=(90, 0, 0), material=load
                )
            )
        elif kind == "bed":
            height = rng.uniform(0.12, 0.28)
            parts.append(
                box((half_width * 1.02, height, half), center=(0, floor + height + 0.02, middle), material=load)
            )
            parts.append(
                box(
                    (half_width * 0.88, height, half - 0.06),
                    op="subtract",
                    center=(0, floor + height + 0.13, middle),
                    material=load,
                )
            )
            if rng.random() < 0.5:
                parts.append(
                    ellipsoid(
                        (half_width * 0.7, height * 1.6, half * 0.7),
                        center=(0, floor + height * 0.8, middle),
                        material=any_material(rng),
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
                    material=load,
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
                    material=metal(rng),
                )
            )
    if rng.random() < 0.5:
        parts.append(box((half_width * 0.98, 0.05, 0.06), round=0.02, center=(0, floor, 0.97), material=metal(rng)))
    if rng.random() < 0.5:
        parts.append(
            ellipsoid(
                (0.05, 0.05, 0.03), center=(half_width * 0.65, floor + 0.12, 0.99), mirror="x", material=lamp_light(rng)
            )
        )
    return parts
