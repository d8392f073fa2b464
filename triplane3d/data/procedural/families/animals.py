"""Mammals and lizards, birds, fish and whales, made of smooth unions; they face +z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triplane3d.data.procedural.components.faces import ears, eyes
from triplane3d.data.procedural.materials import animal_skin, any_material, contrasting, eye_black
from triplane3d.data.procedural.parts import Material, Part, bezier, capsule, cylinder, ellipsoid, prism, torus, tube


@dataclass(frozen=True)
class Species:
    """Ranges of the dimensions of a species, and the kinds of its ears and tail.

    The trunk has a half-length of 0.5. `lift` is the angle of the neck above the horizontal in degrees; `snout` is
    relative to the head.
    """

    girth: tuple[float, float]
    legs: tuple[float, float]
    neck: tuple[float, float]
    lift: tuple[float, float]
    head: tuple[float, float]
    snout: tuple[float, float]
    ears: str
    tail: str


SPECIES = {
    "dog": Species((0.18, 0.24), (0.3, 0.5), (0.2, 0.3), (35, 65), (0.14, 0.19), (0.8, 1.3), "hanging", "up"),
    "cat": Species((0.17, 0.22), (0.28, 0.4), (0.15, 0.22), (30, 60), (0.15, 0.19), (0.3, 0.5), "pointed", "up"),
    "fox": Species((0.16, 0.2), (0.3, 0.42), (0.18, 0.25), (30, 50), (0.13, 0.17), (1.0, 1.4), "pointed", "bushy"),
    "cow": Species((0.26, 0.34), (0.32, 0.45), (0.2, 0.3), (15, 45), (0.16, 0.2), (0.9, 1.2), "hanging", "down"),
    "horse": Species(
        (0.2, 0.26), (0.5, 0.65), (0.42, 0.55), (45, 65), (0.12, 0.15), (1.4, 1.9), "pointed", "bushy down"
    ),
    "pig": Species((0.28, 0.36), (0.16, 0.24), (0.12, 0.18), (0, 25), (0.2, 0.25), (0.5, 0.8), "pointed", "curl"),
    "sheep": Species((0.3, 0.38), (0.22, 0.32), (0.2, 0.26), (20, 50), (0.14, 0.18), (0.7, 1.0), "hanging", "stub"),
    "elephant": Species((0.32, 0.4), (0.3, 0.42), (0.16, 0.22), (5, 30), (0.24, 0.29), (0, 0), "fan", "down"),
    "lizard": Species((0.16, 0.24), (0.1, 0.2), (0.1, 0.2), (0, 20), (0.12, 0.17), (1.0, 1.8), "none", "long"),
}


def _tail(rng: np.random.Generator, kind: str, root: np.ndarray, girth: float, material: Material) -> list[Part]:
    if kind == "stub":
        return [ellipsoid((0.07, 0.08, 0.09), center=root, blend=0.03, material=material)]
    if kind == "curl":
        return [torus(0.07, 0.028, arc=2.4, center=root + (0, 0.02, -0.03), rotate=(0, 0, 90), material=material)]
    if kind == "long":
        end = np.array([rng.normal(0, 0.25), 0.06, root[2] - rng.uniform(0.5, 0.9)])
        return [
            tube(
                bezier(root + (0, 0, 0.1), (root + end) / 2 + (rng.normal(0, 0.2), 0, 0), end),
                girth * 0.7,
                end_radius=0.03,
                blend=0.08,
                material=material,
            )
        ]
    drop = {"up": rng.uniform(0.15, 0.4), "bushy": rng.uniform(-0.15, 0.15)}.get(kind, -rng.uniform(0.25, 0.4))
    end = root + (rng.normal(0, 0.05), drop, -rng.uniform(0.1, 0.3))
    bend = root + (0, drop * 0.2, -rng.uniform(0.15, 0.3))
    thickness = 0.04 if "bushy" not in kind else 0.06
    return [
        tube(
            bezier(root + (0, 0, 0.08), bend, end),
            thickness,
            end_radius=0.03 if "bushy" not in kind else 0.1,
            blend=0.03,
            material=material,
        )
    ]


def quadruped(rng: np.random.Generator) -> list[Part]:
    """Dog, cat, fox, cow, horse, pig, sheep, elephant or lizard, standing, walking or sitting."""
    species = str(rng.choice(list(SPECIES)))
    ranges = SPECIES[species]
    girth, legs, neck, head, snout = (
        rng.uniform(*r) for r in (ranges.girth, ranges.legs, ranges.neck, ranges.head, ranges.snout)
    )
    lift = np.deg2rad(rng.uniform(*ranges.lift))
    material = animal_skin(rng)
    detail = contrasting(rng, material) if rng.random() < 0.5 else material
    soft = rng.uniform(0.04, 0.09)
    sits = species in ("dog", "cat", "fox") and rng.random() < 0.4
    limb = girth * rng.uniform(0.24, 0.36) if species != "elephant" else girth * 0.42
    height = legs + girth * 0.8
    if sits:
        chest = np.array([0, legs + girth * 1.5, 0.12])
        rump = np.array([0, girth * 0.95, -0.3])
    else:
        chest, rump = np.array([0, height, 0.38]), np.array([0, height + rng.uniform(-0.04, 0.06), -0.38])
    rounded = rng.random() < 0.5 and not sits
    length = 0.5 + girth * 0.35
    if rounded:
        parts = [
            ellipsoid((girth, girth * rng.uniform(0.9, 1.05), length), center=(chest + rump) / 2, material=material)
        ]
    else:
        parts = [capsule(rump, chest, girth * rng.uniform(0.8, 1.1), end_radius=girth, material=material)]
    nape = chest + np.array([0, np.sin(lift), np.cos(lift)]) * (neck + girth * 0.6)
    thickness = min(girth * 0.62, head * rng.uniform(0.6, 0.9))
    parts.append(capsule(chest, nape, girth * 0.7, end_radius=thickness, blend=soft, material=material))
    radii = head * np.array([rng.uniform(0.85, 1.0), 1.0, rng.uniform(1.0, 1.15)])
    skull = nape + np.array([0, head * 0.3, head * 0.3])
    parts.append(ellipsoid(radii, center=skull, blend=0.04, material=material if species != "sheep" else detail))
    if species == "elephant":
        tip = skull + (rng.normal(0, 0.05), -height + rng.uniform(0.1, 0.4), head * rng.uniform(1.2, 2.2))
        parts.append(
            tube(
                bezier(skull + (0, 0, head * 0.6), skull + (0, -height * 0.2, head * 1.9), tip),
                head * 0.42,
                end_radius=head * 0.2,
                blend=0.05,
                material=material,
            )
        )
        if rng.random() < 0.6:
            parts.append(
                capsule(
                    skull + (head * 0.4, -head * 0.5, head * 0.6),
                    skull + (head * 0.5, -head * 0.7, head * 1.7),
                    0.04,
                    end_radius=0.025,
                    mirror="x",
                    material=Material((0.85, 0.82, 0.7)),
                )
            )
    else:
        droop = rng.uniform(0.15, 0.6) if species != "horse" else rng.uniform(0.6, 1.0)
        nose = skull + head * np.array([0, -0.15 - droop * snout * 0.6, 0.6 + snout])
        parts.append(
            capsule(
                skull + (0, -head * 0.15, head * 0.3),
                nose,
                head * 0.62,
                end_radius=head * (0.55 if species == "pig" else rng.uniform(0.35, 0.5)),
                blend=0.03,
                material=detail if species == "sheep" else material,
            )
        )
        parts.append(
            ellipsoid(
                (head * 0.3, head * 0.2, head * 0.2),
                center=nose + (0, head * 0.15, head * 0.36),
                material=eye_black(rng) if species != "pig" else detail,
            )
        )
    if ranges.ears != "none":
        parts += ears(rng, ranges.ears, skull, radii, material)[:1]
    parts.append(eyes(rng, skull, radii, size=max(0.028, head * 0.18)))
    x, foot = girth * rng.uniform(0.5, 0.65), max(limb * 0.85, 0.03)
    if species == "lizard":
        parts.append(
            tube(
                [(x, height, 0.32), (girth + 0.15, height, 0.36), (girth + 0.2, foot, 0.45)],
                limb * 1.2,
                end_radius=foot,
                mirror="xz",
                blend=0.03,
                material=material,
            )
        )
    elif sits:
        parts.append(
            capsule(
                chest + (x, -girth * 0.4, 0.02),
                (x, foot, chest[2] + 0.12),
                limb * 1.2,
                end_radius=foot,
                mirror="x",
                blend=0.03,
                material=material,
            )
        )
        parts.append(
            ellipsoid(
                (limb * 1.4, girth * 0.75, girth * 0.95),
                center=(girth * 0.75, girth * 0.72, rump[2] + 0.05),
                mirror="x",
                blend=0.04,
                material=material,
            )
        )
        parts.append(
            capsule(
                (girth * 0.85, foot, rump[2]),
                (girth * 0.9, foot, rump[2] + 0.32),
                foot,
                mirror="x",
                blend=0.03,
                material=material,
            )
        )
    elif rng.random() < 0.5:
        parts.append(
            capsule(
                (x, height - girth * 0.3, 0.38),
                (x, foot, 0.38 + rng.uniform(-0.05, 0.08)),
                limb * 1.3,
                end_radius=foot,
                mirror="xz",
                blend=soft,
                material=material,
            )
        )
        if rng.random() < 0.5:
            parts.append(
                ellipsoid(
                    (foot * 1.3, foot * 1.0, foot * 1.6), center=(x, foot * 0.8, 0.4), mirror="xz", material=detail
                )
            )
    else:
        stride = rng.uniform(0.06, 0.22)
        for z, side in ((0.38, 1), (0.38, -1), (-0.38, 1), (-0.38, -1)):
            step = stride * side * np.sign(z)
            knee = (x * side, height * 0.42, z + step * 0.35 + rng.normal(0, 0.02))
            parts.append(
                tube(
                    [(x * side, height - girth * 0.3, z), knee, (x * side, foot, z + step)],
                    limb * 1.3,
                    end_radius=foot,
                    blend=0.03,
                    material=material,
                )
            )
    if rounded:
        root = (chest + rump) / 2 + (0, girth * 0.4, -length * 0.85)
    else:
        root = rump + ((0, 0, -girth * 0.75) if sits else (0, girth * 0.5, -girth * 0.6))
    parts += _tail(rng, ranges.tail, root, girth, material if rng.random() < 0.6 else detail)
    if species in ("cow", "sheep") and rng.random() < 0.6:
        start = skull + radii * (0.5, 0.8, -0.1)
        parts.append(
            tube(
                bezier(start, start + (0.14, 0.02, 0), start + (0.16, 0.18, 0.05), 5),
                0.04,
                end_radius=0.025,
                mirror="x",
                material=Material((0.7, 0.62, 0.45)),
            )
        )
    if species == "horse" and rng.random() < 0.7:
        parts.append(
            capsule(
                chest + (0, girth * 0.85, 0),
                nape + (0, head * 0.8, -head * 0.7),
                0.06,
                end_radius=0.07,
                material=contrasting(rng, material),
            )
        )
    return parts


def bird(rng: np.random.Generator) -> list[Part]:
    """Duck, penguin, chicken, owl, wading bird or a bird with spread wings."""
    style = rng.choice(["duck", "penguin", "chicken", "owl", "wader", "gull"])
    material, beak = animal_skin(rng), Material((rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.5), 0.03), gloss=0.4)
    light = contrasting(rng, material)
    upright = style in ("penguin", "owl")
    radii = np.array([rng.uniform(0.24, 0.34), rng.uniform(0.25, 0.34), rng.uniform(0.42, 0.55)])
    if upright:
        radii = radii[[0, 2, 1]] * (1, rng.uniform(0.9, 1.2), 1)
    tilt = 0 if upright else -rng.uniform(0, 25)
    head = rng.uniform(0.17, 0.23) * (1.25 if style == "owl" else 1)
    stalk = {"duck": (0.2, 0.35), "wader": (0.5, 0.75), "chicken": (0.2, 0.3), "gull": (0.1, 0.2)}.get(
        style, (0.0, 0.05)
    )
    ahead = 0.03 if upright else radii[2] * rng.uniform(0.75, 0.95)
    top = np.array([0, radii[1] * (0.95 if upright else 0.55) + rng.uniform(*stalk), ahead])
    parts = [ellipsoid(radii, rotate=(tilt, 0, 0), material=material)]
    if not upright:
        throat = np.array([0, radii[1] * 0.2, radii[2] * 0.55])
        bend = (throat + top) / 2 + (0, 0, rng.uniform(-0.1, 0.15))
        parts.append(
            tube(
                bezier(throat, bend, top),
                head * rng.uniform(0.65, 0.85),
                end_radius=head * 0.6,
                blend=0.06,
                material=material,
            )
        )
    face = np.array([head, head, head])
    parts.append(ellipsoid(face, center=top, blend=0.05, material=material))
    if style == "duck":
        parts.append(
            ellipsoid((head * 0.55, 0.05, head * 0.7), center=top + (0, -head * 0.2, head * 1.15), material=beak)
        )
    else:
        length = head * (rng.uniform(0.25, 0.5) if style != "wader" else rng.uniform(0.8, 1.3))
        parts.append(
            cylinder(
                head * 0.4,
                length,
                top_radius=0.02,
                center=top + (0, -head * 0.1, head * 0.75 + length),
                rotate=(rng.uniform(90, 105), 0, 0),
                material=beak,
            )
        )
    parts.append(eyes(rng, top, face, size=0.035 if style != "owl" else head * 0.33))
    if upright or rng.random() < 0.3:
        parts.append(ellipsoid(radii * (0.75, 0.8, 0.45), center=radii * (0, -0.1, 0.62), material=light))
    if style == "gull":
        span, chord = rng.uniform(0.6, 1.1), rng.uniform(0.14, 0.22)
        wing = [(0, chord), (span * 0.5, chord), (span, -chord * 0.8), (span * 0.5, -chord), (0, -chord)]
        parts.append(
            prism(
                wing,
                0.035,
                center=(0, radii[1] * 0.3, 0),
                rotate=(90, 0, rng.uniform(-10, 35)),
                round=0.015,
                mirror="x",
                blend=0.04,
                material=light,
            )
        )
    else:
        spread = rng.uniform(0, 40) if style == "penguin" else rng.uniform(0, 12)
        flap = radii * ((0.22, 0.75, 0.5) if upright else (0.25, 0.6, 0.75))
        hang = radii[0] * 0.95 + np.sin(np.deg2rad(spread)) * flap[1] * 0.7
        parts.append(
            ellipsoid(
                flap,
                center=(hang, 0.02, -0.04),
                rotate=(tilt, 0, spread),
                mirror="x",
                blend=0.02,
                material=light if rng.random() < 0.5 else material,
            )
        )
    if not upright or rng.random() < 0.5:
        rise = {"chicken": 0.35, "duck": 0.15}.get(str(style), 0.0) if not upright else -radii[1] * 0.85
        start = (0, radii[1] * 0.2, -radii[2] * 0.7) if not upright else (0, rise + 0.05, -radii[2] * 0.5)
        end = (0, radii[1] * 0.2 + rise, -radii[2] * 1.35) if not upright else (0, rise - 0.02, -radii[2] * 1.2)
        parts.append(
            capsule(start, end, 0.14, end_radius=0.07 if style != "chicken" else 0.14, blend=0.06, material=material)
        )
    if style == "chicken":
        parts.append(
            prism(
                [(-0.12, -0.05), (0.14, -0.05), (0.16, 0.1), (0.08, 0.05), (0.02, 0.13), (-0.04, 0.06), (-0.13, 0.1)],
                0.035,
                center=top + (0, head * 0.95, 0),
                rotate=(0, -90, 0),
                material=Material((0.6, 0.02, 0.02)),
            )
        )
    floor = -radii[1] - {"wader": rng.uniform(0.5, 0.8), "chicken": 0.25, "duck": 0.08}.get(str(style), 0.03)
    if style in ("wader", "chicken"):
        parts.append(capsule((0.1, -radii[1] * 0.6, 0), (0.12, floor, 0.02), 0.035, mirror="x", material=beak))
    if style != "gull" and (style != "duck" or rng.random() < 0.5):
        parts.append(ellipsoid((0.1, 0.04, 0.15), center=(0.12, floor, 0.08), mirror="x", material=beak))
        if style in ("duck", "penguin", "owl"):
            parts.append(
                capsule((0.12, -radii[1] * 0.7, 0), (0.12, floor + 0.01, 0.02), 0.06, mirror="x", material=beak)
            )
    return parts


def fish(rng: np.random.Generator) -> list[Part]:
    """Fish, shark or whale, swimming towards +z."""
    material = any_material(rng)
    fin = contrasting(rng, material) if rng.random() < 0.6 else material
    style = rng.choice(["fish", "round", "shark", "whale"])
    width, height = {
        "fish": (rng.uniform(0.12, 0.24), rng.uniform(0.25, 0.45)),
        "round": (rng.uniform(0.35, 0.5),) * 2,
        "shark": (rng.uniform(0.16, 0.24),) * 2,
        "whale": (rng.uniform(0.26, 0.36), rng.uniform(0.25, 0.33)),
    }[style]
    length = rng.uniform(0.65, 0.8)
    bend = rng.normal(0, 0.12)
    parts = [
        ellipsoid((width, height, length), center=(0, 0, 0.2), material=material),
        tube(
            bezier((0, 0, 0.1), (0, 0.0, -0.5), (bend, rng.uniform(-0.02, 0.15), -0.85)),
            min(width, height) * 0.75,
            end_radius=rng.uniform(0.04, 0.07),
            blend=0.12,
            material=material,
        ),
    ]
    tail, tall, thickness = np.array([bend, 0.05, -0.88]), rng.uniform(0.2, 0.4), rng.uniform(0.025, 0.04)
    fork = [
        (0.12, 0.0),
        (-0.2, tall),
        (-0.3, tall * 0.9),
        (-rng.uniform(0.05, 0.2), 0),
        (-0.3, -tall * 0.9),
        (-0.2, -tall),
    ]
    flat = style == "whale"
    parts.append(
        prism(
            fork,
            thickness,
            center=tail,
            rotate=(0, -90, 90) if flat else (0, -90, 0),
            round=0.01,
            blend=0.02,
            material=fin,
        )
    )
    if style != "whale":
        back, rise = rng.uniform(0.15, 0.35), rng.uniform(0.15, 0.3)
        crest = [
            (back, -0.1),
            (0.05, rise),
            (-back * rng.uniform(0.3, 1.0), rise * rng.uniform(0.6, 1.0)),
            (-back, -0.1),
        ]
        parts.append(
            prism(
                crest,
                thickness,
                center=(0, height * 0.93, 0.12),
                rotate=(0, -90, 0),
                round=0.01,
                blend=0.02,
                material=fin,
            )
        )
        if rng.random() < 0.6:
            parts.append(
                prism(
                    [(0.1, 0.1), (0.1, 0), (-0.12, -0.18), (-0.12, 0.1)],
                    thickness,
                    center=(0, -height * 0.85, -0.05),
                    rotate=(0, -90, 0),
                    round=0.01,
                    material=fin,
                )
            )
    parts.append(
        ellipsoid(
            (rng.uniform(0.12, 0.3), 0.035, rng.uniform(0.09, 0.14)),
            center=(width * 0.85 + 0.06, -height * 0.3, 0.3),
            rotate=(0, rng.uniform(10, 40), -rng.uniform(15, 50)),
            mirror="x",
            blend=0.02,
            material=fin,
        )
    )
    z = 0.2 + length * rng.uniform(0.6, 0.72)
    across = width * np.sqrt(1 - ((z - 0.2) / length) ** 2 - 0.04)
    parts.append(
        ellipsoid((0.05, 0.06, 0.06), center=(across * 0.97, height * 0.2, z), mirror="x", material=eye_black(rng))
    )
    if style == "fish" and rng.random() < 0.5:
        parts.append(torus(0.06, 0.035, center=(0, -0.02, 0.2 + length * 0.97), rotate=(90, 0, 0), material=fin))
    return parts
