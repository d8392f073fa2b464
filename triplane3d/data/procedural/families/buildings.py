"""Houses, towers and bridges."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.materials import (
    any_material,
    contrasting,
    foliage,
    metal,
    wall_material,
    window_pane,
    wood,
)
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    prism,
    revolve,
    tube,
)


def house(rng: np.random.Generator) -> list[Part]:
    """House, hut, barn, shop or church with gable, hipped, round or flat roof."""
    material, tiles, glass, trim = wall_material(rng), wall_material(rng), window_pane(rng), any_material(rng)
    half = np.array([rng.uniform(0.4, 0.7), rng.uniform(0.25, 0.45), rng.uniform(0.4, 0.7)])
    long = half[[0, 2]].max()
    half[[0, 2]] = rng.permutation([long, min(half[[0, 2]].min(), 0.3 * long**2 / half[1])])
    eave, rise = rng.uniform(0.05, 0.14), rng.uniform(0.25, 0.65)
    roof = rng.choice(["gable", "gable", "hip", "flat", "round"])
    top = half[1]
    if roof == "round":
        half[0] *= 0.75
    parts = [box(half, material=material, round=0.01)]
    if rng.random() < 0.3:
        half[0] = half[2] = half[1] * rng.uniform(0.8, 1.2)
        parts = [cylinder(half[0], half[1], material=material)]
        roof = "cone"
    gable = [(-half[0] - eave, top - 0.06), (half[0] + eave, top - 0.06), (0, top + rise)]
    if roof == "gable":
        turn = 90 * rng.integers(2)
        if turn:
            gable = [(x * (half[2] + eave) / (half[0] + eave), y) for x, y in gable]
        length = (half[0] if turn else half[2]) + eave
        parts.append(prism(gable, length, rotate=(0, turn, 0), material=tiles))
        if rng.random() < 0.6:
            inset = [(x * 0.82, y if y > top else top - 0.1) for x, y in gable]
            inset[2] = (0, top + rise * 0.8)
            parts.append(prism(inset, length - 0.01 + 0.03, rotate=(0, turn, 0), material=material))
    elif roof == "hip":
        shrink = rng.uniform(0.05, 0.6)
        width = (1 + shrink) / 2
        parts.append(
            box(
                ((half[0] + eave) * width, rise / 2, (half[2] + eave) * width),
                taper=-(1 - shrink) / (1 + shrink),
                center=(0, top + rise / 2 - 0.04, 0),
                material=tiles,
            )
        )
    elif roof == "cone":
        parts.append(
            cylinder(half[0] + eave, rise * 0.7, top_radius=0.03, center=(0, top + rise * 0.65, 0), material=tiles)
        )
        rise *= 1.3
    elif roof == "round":
        parts.append(
            cylinder(half[0] + 0.02, half[2] + eave, center=(0, top - 0.02, 0), rotate=(90, 0, 0), material=tiles)
        )
        rise = half[0]
    else:
        parts.append(box((half[0] + eave, 0.06, half[2] + eave), center=(0, top + 0.03, 0), material=tiles))
        rise = 0.08
    door, side = rng.uniform(0.1, 0.15), half[0] * rng.uniform(0.5, 0.65)
    at = 0.0 if rng.random() < 0.6 or roof == "cone" else -side
    tall = min(half[1] * 0.65, door * 1.9)
    parts.append(box((door, tall, 0.05), center=(at, -half[1] + tall, half[2]), material=trim))
    if roof != "cone":
        win, level = rng.uniform(0.09, 0.14), half[1] * rng.uniform(0.0, 0.3)
        depth = 0.05 if rng.random() < 0.6 else 0.025
        if at == 0:
            parts.append(
                box(
                    (min(win, side - door - 0.03), win * 1.2, half[2] + depth),
                    center=(side, level, 0),
                    mirror="x",
                    material=glass,
                )
            )
        else:
            parts.append(box((win * 1.6, win, half[2] + depth), center=(side * 0.5, level, 0), material=glass))
        parts.append(
            box(
                (half[0] + depth, win, win),
                center=(0, level, half[2] * 0.5),
                mirror="z" if rng.random() < 0.7 else "",
                material=glass,
            )
        )
    if rng.random() < 0.6 and roof != "cone":
        x = half[0] * rng.uniform(0.2, 0.6) * rng.choice([-1, 1])
        height = top + rise * rng.uniform(0.85, 1.2)
        parts.append(
            box(
                (0.08, (height - top + 0.2) / 2, 0.08),
                center=(x, (height + top - 0.2) / 2, -half[2] * 0.3),
                material=trim,
            )
        )
    extra = rng.random()
    if extra < 0.2:
        wing = half * (0.5, rng.uniform(0.6, 0.8), 0.6)
        x = half[0] + wing[0] * 0.8
        parts.append(box(wing, center=(x, wing[1] - half[1] + 0.01, -0.1), material=material))
        parts.append(
            box(
                (wing[0] * 0.9, 0.14, wing[2] * 0.9),
                taper=-0.4,
                center=(x, 2 * wing[1] - half[1] + 0.1, -0.1),
                material=tiles,
            )
        )
    elif extra < 0.4:
        parts.append(
            box(
                (door * 2.2, 0.04, 0.18),
                center=(at, -half[1] + 2 * tall + 0.06, half[2] + 0.12),
                rotate=(10, 0, 0),
                material=tiles,
            )
        )
        parts.append(
            capsule(
                (door * 1.8 + at, -half[1] + 0.03, half[2] + 0.24),
                (door * 1.8 + at, -half[1] + 2 * tall + 0.04, half[2] + 0.24),
                0.035,
                mirror="x" if at == 0 else "",
                material=trim,
            )
        )
    elif extra < 0.55:
        spire = half[0] * rng.uniform(0.3, 0.45)
        z, height = half[2] * 0.9, top + rise + rng.uniform(0.0, 0.3)
        parts.append(
            box(
                (spire, (height + half[1]) / 2, spire), center=(0, (height - half[1]) / 2 + 0.01, -z), material=material
            )
        )
        parts.append(box((spire * 0.62, 0.3, spire * 0.62), taper=-0.9, center=(0, height + 0.27, -z), material=tiles))
    if rng.random() < 0.5:
        parts.append(
            box(
                (half[0] + rng.uniform(0.1, 0.3), 0.05, half[2] + rng.uniform(0.15, 0.35)),
                center=(0, -half[1] - 0.02, 0.03),
                material=foliage(rng) if rng.random() < 0.5 else any_material(rng),
            )
        )
    return parts


def tower_or_castle(rng: np.random.Generator) -> list[Part]:
    """Castle with corner towers, single keep, lighthouse, pagoda, skyscraper, pyramid or water tower."""
    style = rng.choice(["castle", "keep", "lighthouse", "pagoda", "skyscraper", "pyramid", "water"])
    material, tiles = wall_material(rng), wall_material(rng)
    glass = window_pane(rng)
    if style == "castle":
        half, low, high = rng.uniform(0.5, 0.7), rng.uniform(0.2, 0.35), rng.uniform(0.45, 0.75)
        radius = rng.uniform(0.17, 0.26)
        depth = half * rng.uniform(0.7, 1.0)
        parts = [
            box((half, low, depth), center=(0, low, 0), material=material),
            box((half - 0.12, low, depth - 0.12), center=(0, low * 1.5, 0), op="subtract"),
            box((0.14, low * 0.6, 0.3), center=(0, low * 0.5, depth), op="subtract"),
            cylinder(radius, high, center=(half, high + 0.01, depth), mirror="xz", material=material),
        ]
        if rng.random() < 0.6:
            parts.append(
                cylinder(
                    radius * 1.3,
                    high * 0.35,
                    top_radius=0.02,
                    center=(half, high * 2.3, depth),
                    mirror="xz",
                    material=tiles,
                )
            )
        else:
            parts.append(cylinder(radius * 1.15, 0.1, center=(half, high * 2, depth), mirror="xz", material=material))
            parts.append(
                cylinder(radius * 0.85, 0.1, center=(half, high * 2 + 0.06, depth), mirror="xz", op="subtract")
            )
        for x in np.linspace(0.1, half - radius - 0.05, rng.integers(0, 4)):
            parts.append(box((0.045, 0.06, depth + 0.01), center=(x, low * 2 + 0.04, 0), mirror="x", material=material))
        if parts[-1].kind == "box":
            parts.append(box((half * 0.9, low, depth - 0.11), center=(0, low * 2.5, 0), op="subtract"))
        if rng.random() < 0.6:
            keep = rng.uniform(0.18, 0.28)
            parts.append(box((keep, high * 0.9, keep), center=(0, high * 0.9 + 0.02, -0.1), material=material))
            parts.append(
                box((keep * 0.62, 0.2, keep * 0.62), taper=-0.85, center=(0, high * 1.8 + 0.18, -0.1), material=tiles)
            )
        return parts
    if style == "keep":
        radius, half = rng.uniform(0.3, 0.5), rng.uniform(0.7, 0.95)
        square = rng.random() < 0.5
        body = (
            box((radius, half, radius), taper=-rng.uniform(0, 0.15), material=material)
            if square
            else cylinder(radius, half, top_radius=radius * rng.uniform(0.8, 1.0), material=material)
        )
        crown = radius * 1.2
        parts = [
            body,
            box((crown, 0.14, crown), center=(0, half, 0), material=material)
            if square
            else cylinder(crown, 0.14, center=(0, half, 0), material=material),
            box((crown - 0.09, 0.2, crown - 0.09), center=(0, half + 0.2, 0), op="subtract")
            if square
            else cylinder(crown - 0.09, 0.2, center=(0, half + 0.2, 0), op="subtract"),
        ]
        for turn in (0, 45, 90, 135) if not square else ():
            parts.append(box((0.07, 0.1, 2), center=(0, half + 0.13, 0), rotate=(0, turn + 20, 0), op="subtract"))
        if square:
            parts.append(box((0.09, 0.1, 2), center=(crown * 0.4, half + 0.13, 0), mirror="x", op="subtract"))
            parts.append(box((2, 0.1, 0.09), center=(0, half + 0.13, crown * 0.4), mirror="z", op="subtract"))
        parts.append(
            box((0.12, 0.2, 0.1), center=(0, -half + 0.19, radius * (1.1 if square else 0.96)), material=wood(rng))
        )
        parts.append(box((0.05, 0.1, 0.08), center=(0, half * 0.4, radius * 0.96), material=glass))
        return parts
    if style == "lighthouse":
        base, top = rng.uniform(0.28, 0.42), rng.uniform(0.16, 0.24)
        trim = contrasting(rng, material)
        parts = [cylinder(base, 0.75, top_radius=top, center=(0, -0.2, 0), material=material)]
        for y in np.linspace(-0.7, 0.25, rng.integers(0, 4)):
            grow = base + (top - base) * (y + 0.95) / 1.5
            parts.append(cylinder(grow + 0.012, 0.1, top_radius=grow - 0.01, center=(0, y, 0), material=trim))
        parts += [
            cylinder(top * rng.uniform(1.3, 1.6), 0.05, center=(0, 0.55, 0), material=trim),
            cylinder(top * 0.8, 0.15, center=(0, 0.68, 0), material=glass),
            revolve([(0, 0.8), (top * 1.1, 0.8), (top * 0.6, 0.92), (0.03, 1.0), (0, 1.0)], material=tiles),
            box((0.1, 0.15, 0.1), center=(0, -0.8, base * 0.93), material=wood(rng)),
        ]
        if rng.random() < 0.5:
            parts.append(
                ellipsoid(
                    (base * rng.uniform(1.4, 2.0), 0.2, base * 1.6),
                    exponents=(0.9, 0.7),
                    center=(0, -0.95, 0),
                    material=Material((0.2, 0.18, 0.16)),
                )
            )
        return parts
    if style in ("pagoda", "pyramid"):
        count, size, y = int(rng.integers(2, 6)), rng.uniform(0.5, 0.75), -0.9
        step, shrink = rng.uniform(0.22, 0.32), rng.uniform(0.6, 0.76)
        if style == "pagoda":
            shrink += 0.12
        parts = []
        for _ in range(count):
            if style == "pagoda":
                parts.append(
                    box((size * 0.65, step / 2 + 0.03, size * 0.65), center=(0, y + step / 2, 0), material=material)
                )
                parts.append(
                    box(
                        (size * 0.8, step * 0.22, size * 0.8),
                        taper=-0.22,
                        round=0.01,
                        center=(0, y + step * 1.05, 0),
                        material=tiles,
                    )
                )
            else:
                parts.append(
                    box(
                        (size, step / 2 + 0.02, size),
                        taper=-rng.uniform(0, 0.1),
                        center=(0, y + step / 2, 0),
                        material=material,
                    )
                )
            size, y = size * shrink, y + step * (1.15 if style == "pagoda" else 1.0)
        if style == "pagoda":
            parts.append(capsule((0, y - step * 0.3, 0), (0, y + 0.2, 0), 0.07, end_radius=0.045, material=metal(rng)))
        elif rng.random() < 0.6:
            parts.append(
                box(
                    (0.2, (y + 0.88) / 2, (y + 0.9) * 0.33),
                    center=(0, (y - 0.94) / 2, 0.35),
                    rotate=(-20, 0, 0),
                    material=tiles,
                )
            )
            parts.append(box((size * 0.7, 0.16, size * 0.7), center=(0, y + 0.1, 0), material=tiles))
        return parts
    if style == "skyscraper":
        size, y = np.array([rng.uniform(0.2, 0.36), 0, rng.uniform(0.2, 0.36)]), -1.0
        parts = []
        for _ in range(rng.integers(2, 5)):
            high = rng.uniform(0.45, 0.8)
            parts.append(box((size[0], high / 2 + 0.02, size[2]), center=(0, y + high / 2, 0), material=material))
            parts.append(
                box((size[0] * 0.75, high * 0.36, size[2] + 0.012), center=(0, y + high / 2, 0), material=glass)
            )
            parts.append(
                box((size[0] + 0.012, high * 0.36, size[2] * 0.75), center=(0, y + high / 2, 0), material=glass)
            )
            size, y = size * rng.uniform(0.65, 0.9), y + high
        if rng.random() < 0.6:
            parts.append(
                capsule((0, y - 0.1, 0), (0, y + rng.uniform(0.2, 0.5), 0), 0.06, end_radius=0.03, material=metal(rng))
            )
        else:
            parts.append(box((size[0] * 0.6, 0.25, size[2] * 0.6), taper=-0.9, center=(0, y + 0.2, 0), material=tiles))
        return parts
    radius, half = rng.uniform(0.35, 0.5), rng.uniform(0.22, 0.4)
    foot = rng.uniform(0.3, 0.5)
    legs = metal(rng)
    parts = [
        cylinder(radius, half, round=0.03, center=(0, 0.35, 0), material=material),
        cylinder(radius * 1.05, 0.14, top_radius=0.05, center=(0, 0.35 + half + 0.1, 0), material=tiles),
        capsule((radius * 0.55, 0.2, radius * 0.55), (foot, -1, foot), 0.05, mirror="xz", material=legs),
    ]
    for y in np.linspace(-0.7, -0.2, rng.integers(1, 3)):
        at = radius * 0.55 + (foot - radius * 0.55) * (0.2 - y) / 1.2
        parts.append(capsule((0, y, at), (at, y, at), 0.035, mirror="xz", material=legs))
        parts.append(capsule((at, y, 0), (at, y, at), 0.035, mirror="xz", material=legs))
    if rng.random() < 0.5:
        parts.append(cylinder(0.08, 0.6, center=(0, -0.4, 0), material=legs))
        parts.append(cylinder(0.2, 0.06, center=(0, -0.97, 0), material=legs))
    return parts


def bridge_or_arch(rng: np.random.Generator) -> list[Part]:
    """Arched or suspension bridge, triumphal arch, temple front or gate."""
    style = rng.choice(["arches", "hump", "suspension", "arch", "temple", "gate"])
    material, trim = wall_material(rng), any_material(rng)
    width = rng.uniform(0.18, 0.35)
    if style == "arches":
        count, height = int(rng.integers(1, 4)), rng.uniform(0.25, 0.5)
        span = 2 / count
        radius = min(span * rng.uniform(0.34, 0.42), height * 1.6)
        parts = [box((1, height, width), material=material)]
        for k in range(count):
            x = -1 + span * (k + 0.5)
            parts.append(
                cylinder(
                    radius,
                    1,
                    center=(x, -height + max(0.0, height * 1.6 - radius), 0),
                    rotate=(90, 0, 0),
                    op="subtract",
                )
            )
            if radius < height * 1.5:
                parts.append(
                    box((radius * 0.98, 0.5, 1), center=(x, -height + (height * 1.6 - radius) - 0.5, 0), op="subtract")
                )
        parts.append(box((1.05, 0.05, width + 0.05), center=(0, height - 0.02, 0), material=trim))
        parts.append(box((1.05, 0.09, 0.045), center=(0, height + 0.08, width), mirror="z", material=material))
        return parts
    if style == "hump":
        rise, thickness = rng.uniform(0.25, 0.5), rng.uniform(0.06, 0.1)
        curve = bezier((-1, 0, 0), (0, rise * 2, 0), (1, 0, 0), 8)[:, :2]
        parts = [
            prism(np.concatenate([curve + (0, thickness), curve[::-1] - (0, thickness)]), width, material=material)
        ]
        for z in (1,):
            rail = [(x * 0.95, y + 0.32, width * z) for x, y in curve]
            parts.append(tube(rail, 0.04, mirror="z", material=trim))
            for x, y in curve[::2] if rng.random() < 0.5 else curve[1::2]:
                parts.append(
                    capsule((x * 0.95, y, width * 0.97), (x * 0.95, y + 0.32, width), 0.035, mirror="z", material=trim)
                )
        return parts
    if style == "suspension":
        at, top, drop = rng.uniform(0.45, 0.6), rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.4)
        parts = [
            box((1, 0.04, width), material=material),
            box((0.06, (top + drop) / 2, 0.05), center=(at, (top - drop) / 2, width), mirror="xz", material=trim),
            box((0.055, 0.05, width), center=(at, top - 0.08, 0), mirror="x", material=trim),
            tube(
                bezier((0, 0.12, width), (at * 0.55, 0.08, width), (at, top - 0.03, width)),
                0.033,
                mirror="xz",
                material=metal(rng),
            ),
            capsule((at, top - 0.03, width), (0.97, 0.03, width), 0.033, mirror="xz", material=metal(rng)),
        ]
        parts += [
            capsule(
                (x, 0, width), (x, 0.12 + (top - 0.15) * (x / at) ** 2, width), 0.028, mirror="xz", material=metal(rng)
            )
            for x in np.linspace(0.0, at * 0.75, rng.integers(2, 4))
        ]
        return parts
    if style == "arch":
        half, height, depth = rng.uniform(0.6, 0.9), rng.uniform(0.7, 0.95), rng.uniform(0.2, 0.35)
        radius = half * rng.uniform(0.4, 0.55)
        spring = rng.uniform(-0.1, 0.2) * height
        parts = [
            box((half, height, depth), material=material),
            cylinder(radius, 1, center=(0, spring, 0), rotate=(90, 0, 0), op="subtract"),
            box((radius * 0.99, 1, 1), center=(0, spring - 1, 0), op="subtract"),
            box((half + 0.07, 0.07, depth + 0.07), center=(0, height - 0.03, 0), material=trim),
            box(
                (0.08, height * 0.9, 0.06),
                center=((half + radius) / 2, -height * 0.05, depth),
                mirror="xz",
                material=trim,
            ),
        ]
        if rng.random() < 0.5:
            parts.append(box((half * 0.8, 0.15, depth * 0.8), center=(0, height + 0.1, 0), material=material))
        if rng.random() < 0.4:
            parts.append(
                ellipsoid((half * 0.3, half * 0.4, depth * 0.7), center=(0, height + 0.2, 0), material=material)
            )
        return parts
    if style == "temple":
        half, height, depth = rng.uniform(0.75, 0.95), rng.uniform(0.35, 0.55), rng.uniform(0.35, 0.6)
        parts = [
            box((half + 0.1, 0.06, depth + 0.1), center=(0, -height - 0.02, 0), material=material),
            box((half, 0.07, depth), center=(0, height + 0.02, 0), material=material),
            prism(
                [(-half - 0.06, height + 0.06), (half + 0.06, height + 0.06), (0, height + rng.uniform(0.25, 0.45))],
                depth + 0.04,
                material=trim,
            ),
        ]
        for x in np.linspace(0.13 if rng.random() < 0.7 else 0.3, half - 0.1, rng.integers(2, 4)):
            radius = rng.uniform(0.05, 0.08)
            parts.append(
                cylinder(
                    radius,
                    height + 0.02,
                    top_radius=radius * 0.8,
                    center=(x, 0, depth - 0.1),
                    mirror="xz",
                    material=material,
                )
            )
        if rng.random() < 0.6:
            parts.append(box((half * 0.6, height + 0.02, depth * 0.55), material=wall_material(rng)))
        return parts
    half, height, radius = rng.uniform(0.5, 0.75), rng.uniform(0.7, 0.95), rng.uniform(0.06, 0.1)
    lean = rng.uniform(0, 0.08)
    parts = [
        capsule((half - lean, height, 0), (half + lean, -height, 0), radius, mirror="x", material=material),
        tube(
            bezier((-half - 0.35, height + 0.2, 0), (0, height - 0.05, 0), (half + 0.35, height + 0.2, 0)),
            radius,
            material=trim,
        ),
        box(
            (half + 0.15, radius * 0.8, radius * 0.8), center=(0, height - rng.uniform(0.25, 0.4), 0), material=material
        ),
    ]
    if rng.random() < 0.6:
        parts.append(box((0.1, 0.2, 0.05), center=(0, height - 0.12, 0), material=trim))
    if rng.random() < 0.6:
        parts.append(
            cylinder(radius * 1.6, 0.1, center=(half + lean, -height, 0), mirror="x", material=any_material(rng))
        )
    if rng.random() < 0.4:
        parts.append(box((half + 0.3, 0.05, 0.4), center=(0, -height - 0.03, 0), material=any_material(rng)))
    return parts
