"""Objects of a street: signs, letters, hydrants and trees."""

from __future__ import annotations

import numpy as np

from triplane3d.data.procedural.materials import ceramic, contrasting, foliage, metal, plastic, window_pane, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
    bezier,
    box,
    capsule,
    cylinder,
    ellipsoid,
    prism,
    rotation_matrix,
    torus,
    tube,
)

STROKES = {
    "A": (((-0.6, -1), (0, 1), (0.6, -1)), ((-0.35, -0.25), (0.35, -0.25))),
    "C": (((0.6, 0.7), (0.1, 1), (-0.45, 0.75), (-0.6, 0), (-0.45, -0.75), (0.1, -1), (0.6, -0.7)),),
    "E": (((0.6, 1), (-0.5, 1), (-0.5, -1), (0.6, -1)), ((-0.5, 0), (0.4, 0))),
    "F": (((0.6, 1), (-0.5, 1), (-0.5, -1)), ((-0.5, 0), (0.4, 0))),
    "H": (((-0.55, 1), (-0.55, -1)), ((0.55, 1), (0.55, -1)), ((-0.55, 0), (0.55, 0))),
    "K": (((-0.5, 1), (-0.5, -1)), ((0.6, 1), (-0.45, 0), (0.6, -1))),
    "L": (((-0.5, 1), (-0.5, -1), (0.6, -1)),),
    "M": (((-0.7, -1), (-0.6, 1), (0, -0.2), (0.6, 1), (0.7, -1)),),
    "O": (((0, 1), (-0.55, 0.65), (-0.7, 0), (-0.55, -0.65), (0, -1), (0.6, -0.6), (0.65, 0.4), (0, 1)),),
    "R": (((-0.5, -1), (-0.5, 1), (0.3, 0.95), (0.55, 0.5), (0.3, 0.02), (-0.5, 0)), ((0, 0), (0.6, -1))),
    "S": (((0.55, 0.75), (0, 1), (-0.55, 0.7), (-0.4, 0.15), (0.4, -0.15), (0.55, -0.7), (0, -1), (-0.55, -0.75)),),
    "T": (((-0.65, 1), (0.65, 1)), ((0, 1), (0, -1))),
    "U": (((-0.55, 1), (-0.55, -0.5), (-0.3, -0.9), (0.3, -0.9), (0.55, -0.5), (0.55, 1)),),
    "V": (((-0.65, 1), (0, -1), (0.65, 1)),),
    "X": (((-0.6, 1), (0.6, -1)), ((0.6, 1), (-0.6, -1))),
    "Y": (((-0.6, 1), (0, 0.05), (0.6, 1)), ((0, 0.1), (0, -1))),
    "Z": (((-0.6, 1), (0.6, 1), (-0.6, -1), (0.6, -1)),),
    "2": (((-0.55, 0.6), (-0.3, 0.95), (0.3, 0.95), (0.55, 0.5), (-0.6, -1), (0.6, -1)),),
    "4": (((0.25, -1), (0.25, 1), (-0.6, -0.3), (0.6, -0.3)),),
    "7": (((-0.6, 1), (0.6, 1), (-0.1, -1)),),
}


def sign_or_post(rng: np.random.Generator) -> list[Part]:
    """Road sign, signpost, traffic light, mailbox, street lamp or letters on a stand."""
    style = rng.choice(["sign", "arrows", "light", "mailbox", "lamp", "letters", "letters"])
    pole, material = metal(rng) if rng.random() < 0.6 else wood(rng), plastic(rng)
    trim = contrasting(rng, material)
    thin = rng.uniform(0.035, 0.07)
    if style == "letters":
        return _letters(rng, material, trim)
    parts = [cylinder(thin, 1.0, material=pole)]
    if rng.random() < 0.5 and style != "sign" or thin < 0.05:
        parts.append(cylinder(rng.uniform(0.16, 0.3), 0.06, top_radius=0.14, center=(0, -0.97, 0), material=pole))
    if style == "sign":
        sides = int(rng.choice([3, 4, 4, 6, 8, 16]))
        size, y = rng.uniform(0.3, 0.5), rng.uniform(0.55, 0.75)
        turns = np.arange(sides) * 2 * np.pi / sides + (np.pi / 2 if sides in (3, 4) else np.pi / sides)
        if sides == 4 and rng.random() < 0.6:
            turns = turns + np.pi / 4
        outline = (
            np.stack([np.cos(turns) * rng.uniform(0.9, 1.3), np.sin(turns)], 1) * size * (1.15 if sides == 3 else 1)
        )
        parts.append(prism(outline, 0.035, round=0.01, center=(0, y, thin), material=material))
        parts.append(prism(outline * 0.8, 0.035, center=(0, y, thin + 0.012), material=trim))
        if rng.random() < 0.6:
            parts.append(
                box(
                    (size * 0.5, size * 0.12, 0.035),
                    rotate=(0, 0, rng.choice([0, 45, 90])),
                    center=(0, y, thin + 0.024),
                    material=material,
                )
            )
    elif style == "arrows":
        for y in np.linspace(0.8, 0.8 - rng.uniform(0.4, 0.9), rng.integers(1, 5)):
            reach, height, way = rng.uniform(0.4, 0.7), rng.uniform(0.08, 0.12), rng.choice([-1, 1])
            arrow = [(-0.2, -height), (reach, -height), (reach + height, 0), (reach, height), (-0.2, height)]
            parts.append(
                prism(
                    [(x * way, v) for x, v in arrow],
                    thin + 0.02,
                    center=(0, y, 0),
                    rotate=(0, rng.uniform(-50, 50), 0),
                    material=wood(rng) if rng.random() < 0.5 else plastic(rng),
                )
            )
    elif style == "light":
        size = rng.uniform(0.12, 0.17)
        y = 0.95 - size * 3.2
        parts.append(box((size * 1.25, size * 3.3, size), round=0.03, center=(0, y, 0.03), material=material))
        for k, color in enumerate(((0.7, 0.02, 0.02), (0.85, 0.5, 0.02), (0.03, 0.5, 0.1))):
            at = (0, y + size * 2.1 * (1 - k), size + 0.03)
            parts.append(cylinder(size * 0.8, 0.05, center=at, rotate=(90, 0, 0), material=Material(color, gloss=0.5)))
            if rng.random() < 0.7:
                parts.append(
                    torus(
                        size * 0.8,
                        0.03,
                        arc=1.9,
                        center=np.add(at, (0, 0, 0.07)),
                        rotate=(-90, 0, 0),
                        material=material,
                    )
                )
        if rng.random() < 0.4:
            parts.append(box((0.3, 0.05, 0.05), center=(0, y - size * 3.8, 0), material=material))
    elif style == "mailbox":
        width, depth, y = rng.uniform(0.18, 0.28), rng.uniform(0.35, 0.5), rng.uniform(0.2, 0.5)
        height = width * rng.uniform(0.6, 1.1)
        parts[0] = cylinder(thin * 1.3, (y + 1) / 2 + 0.05, center=(0, (y - 1) / 2, 0), material=pole)
        parts.append(box((width, height, depth), center=(0, y + height, 0), material=material))
        parts.append(
            cylinder(width * 0.999, depth * 0.999, center=(0, y + 2 * height, 0), rotate=(90, 0, 0), material=material)
        )
        parts.append(box((width * 0.6, 0.04, 0.04), center=(0, y + height * 1.6, depth), material=trim))
        if rng.random() < 0.7:
            parts.append(
                capsule(
                    (width, y + height, depth * 0.3),
                    (width + 0.03, y + height + 0.3, depth * 0.3),
                    0.035,
                    material=trim,
                )
            )
            parts.append(
                box((0.035, 0.07, 0.1), center=(width + 0.03, y + height + 0.3, depth * 0.3 - 0.05), material=trim)
            )
    else:
        globe = rng.uniform(0.14, 0.22)
        kind = rng.integers(3)
        if kind == 0:
            parts.append(
                ellipsoid((globe, globe, globe), center=(0, 1.05, 0), material=Material((0.9, 0.85, 0.65), gloss=0.6))
            )
            parts.append(cylinder(globe * 0.7, 0.05, center=(0, 0.9, 0), material=pole))
        elif kind == 1:
            parts.append(
                box((globe * 0.8, 0.17, globe * 0.8), taper=0.25, center=(0, 1.1, 0), material=window_pane(rng))
            )
            parts.append(box((globe * 0.75, 0.08, globe * 0.75), taper=-0.6, center=(0, 1.32, 0), material=pole))
        else:
            reach = rng.uniform(0.4, 0.7)
            both = "x" if rng.random() < 0.5 else ""
            parts.append(
                tube(
                    bezier((0, 0.85, 0), (0, 1.2, 0), (reach, 1.15, 0)),
                    thin * 0.9,
                    end_radius=0.04,
                    mirror=both,
                    material=pole,
                )
            )
            parts.append(
                ellipsoid(
                    (0.2, 0.07, 0.12),
                    center=(reach + 0.05, 1.12, 0),
                    mirror=both,
                    material=Material((0.9, 0.85, 0.65), gloss=0.6),
                )
            )
        parts.append(torus(thin * 1.2, 0.04, center=(0, rng.uniform(-0.6, 0.5), 0), material=pole))
        parts.append(cylinder(thin * 2, 0.2, top_radius=thin, center=(0, -0.85, 0), material=pole))
    return parts


def _letters(rng: np.random.Generator, material: Material, trim: Material) -> list[Part]:
    """One to three letters or digits side by side on a plinth."""
    count = int(rng.choice([1, 1, 2, 3]))
    radius, flat = rng.uniform(0.15, 0.22), rng.random() < 0.5
    parts: list[Part] = []
    for k, letter in enumerate(rng.choice(list(STROKES), count)):
        shift = (k - (count - 1) / 2) * 1.75
        for stroke in STROKES[str(letter)]:
            parts.append(tube([(x + shift, y, 0) for x, y in stroke], radius, material=material))
    if flat:
        parts.append(box((5, 5, radius * rng.uniform(0.6, 0.9)), op="intersect"))
    width, depth = count * 0.95, rng.uniform(0.3, 0.5)
    if rng.random() < 0.7 or count > 1:
        parts.append(box((width, rng.uniform(0.1, 0.2), depth), round=0.03, center=(0, -1 - radius, 0), material=trim))
    else:
        parts.append(cylinder(width * 0.75, rng.uniform(0.1, 0.2), center=(0, -1 - radius, 0), material=trim))
    return parts


def hydrant_or_bollard(rng: np.random.Generator) -> list[Part]:
    """Fire hydrant with nozzles, bollard, pump or traffic cone."""
    material = plastic(rng) if rng.random() < 0.7 else metal(rng)
    trim = contrasting(rng, material) if rng.random() < 0.4 else material
    radius = rng.uniform(0.24, 0.34)
    if rng.random() < 0.3:
        if rng.random() < 0.5:
            parts = [
                cylinder(radius * 1.7, 0.07, round=0.03, center=(0, -0.93, 0), material=material),
                cylinder(
                    radius * 1.2, 0.9, top_radius=rng.uniform(0.06, 0.12), center=(0, -0.02, 0), material=material
                ),
            ]
            for y in (-0.3, 0.25)[: rng.integers(1, 3)]:
                size = radius * 1.2 + (0.09 - radius * 1.2) * (y + 0.92) / 1.8
                parts.append(cylinder(size + 0.03, 0.13, top_radius=size - 0.02, center=(0, y, 0), material=trim))
            return parts
        parts = [
            cylinder(radius, 0.9, top_radius=radius * rng.uniform(0.7, 1.0), material=material),
            ellipsoid(
                (radius * 0.98, rng.uniform(0.1, 0.3), radius * 0.98),
                center=(0, 0.85, 0),
                blend=0.03,
                material=material,
            ),
            torus(radius, 0.06, center=(0, rng.uniform(0.3, 0.6), 0), material=trim),
            cylinder(radius * 1.2, 0.08, round=0.02, center=(0, -0.88, 0), material=material),
        ]
        return parts
    flange, shoulder = radius * rng.uniform(1.25, 1.5), rng.uniform(0.25, 0.45)
    dome = shoulder + rng.uniform(0.25, 0.4)
    parts = [
        cylinder(flange, 0.08, round=0.02, center=(0, -0.92, 0), material=material),
        cylinder(radius, (shoulder + 0.95) / 2, center=(0, (shoulder - 0.95) / 2, 0), material=material),
        cylinder(flange, 0.07, round=0.025, center=(0, shoulder, 0), material=trim),
        ellipsoid(
            (radius * 1.05, dome - shoulder, radius * 1.05),
            exponents=(rng.uniform(0.7, 1.0), 1),
            center=(0, shoulder, 0),
            material=trim,
        ),
        cylinder(0.09, 0.1, center=(0, dome + 0.04, 0), material=trim),
    ]
    if rng.random() < 0.5:
        parts.append(cylinder(flange * 0.97, 0.05, round=0.02, center=(0, -0.6, 0), material=material))
    y, nozzle = rng.uniform(-0.1, 0.15), rng.uniform(0.1, 0.15)
    out = radius + rng.uniform(0.1, 0.2)
    parts += [
        cylinder(nozzle, out / 2, center=(out / 2, y, 0), rotate=(0, 0, 90), mirror="x", material=material),
        cylinder(nozzle * 1.25, 0.06, round=0.015, center=(out, y, 0), rotate=(0, 0, 90), mirror="x", material=trim),
        cylinder(nozzle * 0.4, 0.06, center=(out + 0.09, y, 0), rotate=(0, 0, 90), mirror="x", material=trim),
    ]
    if rng.random() < 0.8:
        low, width = y - rng.uniform(0.0, 0.2), nozzle * rng.uniform(1.2, 1.5)
        parts += [
            cylinder(width, out / 2, center=(0, low, out / 2), rotate=(90, 0, 0), material=material),
            cylinder(width * 1.2, 0.06, round=0.015, center=(0, low, out), rotate=(90, 0, 0), material=trim),
            cylinder(0.06, 0.06, center=(0, low, out + 0.09), rotate=(90, 0, 0), material=trim),
        ]
    if rng.random() < 0.4:
        hang = y - rng.uniform(0.25, 0.45)
        parts.append(
            tube(
                bezier(
                    (out * 0.97, y - nozzle, 0),
                    (out * 1.1, hang * 1.6 - y * 0.6, 0.15),
                    (radius * 0.6, y - 0.05, radius * 0.8),
                    7,
                ),
                0.03,
                mirror="x",
                material=metal(rng),
            )
        )
    for turn in np.arange(rng.integers(0, 3)) * 45 + 22:
        bolt = rotation_matrix((0, turn, 0)) @ (flange * 0.9, 0, 0)
        parts.append(cylinder(0.045, 0.13, center=bolt + (0, shoulder, 0), mirror="xz", material=trim))
    return parts


def tree(rng: np.random.Generator) -> list[Part]:
    """Round-crowned tree, fir, poplar, palm, bare tree or shaped hedge."""
    style = rng.choice(["round", "round", "fir", "palm", "bare", "topiary"])
    bark, leaf = Material(tuple(np.array([0.35, 0.2, 0.1]) * rng.uniform(0.25, 1.2))), foliage(rng)
    trunk = rng.uniform(0.07, 0.14)
    foot = np.array([0, -1, 0])
    if style == "fir":
        parts = [cylinder(trunk, 0.35, center=(0, -0.75, 0), material=bark)]
        count, width, y = int(rng.integers(1, 6)), rng.uniform(0.45, 0.75), -0.55
        step = 1.55 / count
        for k in range(count):
            size = width * (1 - 0.8 * k / count)
            height = min(step * 1.7, 1.6) if k + 1 < count else step * 1.1
            parts.append(
                cylinder(
                    size,
                    height / 2,
                    top_radius=size * 0.12 + 0.01,
                    round=0.01,
                    center=(0, y + height / 2, 0),
                    material=leaf,
                )
            )
            y += step
        if rng.random() < 0.3:
            parts.append(
                ellipsoid((0.1, 0.1, 0.1), center=(0, y - step + height + 0.02, 0), material=Material((0.9, 0.65, 0.1)))
            )
            for _ in range(rng.integers(2, 7)):
                turn, k = rng.uniform(0, 2 * np.pi), rng.integers(count)
                size = width * (1 - 0.8 * k / count) * 0.93
                parts.append(
                    ellipsoid(
                        (0.06, 0.06, 0.06),
                        material=plastic(rng),
                        center=(size * np.sin(turn), -0.53 + k * step, size * np.cos(turn)),
                    )
                )
    elif style == "palm":
        lean = rng.uniform(-0.35, 0.35)
        top = np.array([lean, rng.uniform(0.35, 0.6), rng.uniform(-0.15, 0.15)])
        parts = [tube(bezier(foot, (0, 0, 0), top), trunk * 1.2, end_radius=trunk * 0.7, material=bark)]
        count = int(rng.integers(6, 10))
        for k in range(count):
            turn = 2 * np.pi * (k + rng.uniform(-0.2, 0.2)) / count
            out = np.array([np.sin(turn), 0, np.cos(turn)])
            reach = rng.uniform(0.55, 0.75)
            tip = top + out * reach - (0, rng.uniform(0.0, 0.4), 0)
            parts.append(
                tube(bezier(top, top + out * reach * 0.5 + (0, 0.3, 0), tip, 5), 0.065, end_radius=0.03, material=leaf)
            )
        if rng.random() < 0.5:
            parts.append(ellipsoid((0.11, 0.1, 0.11), center=top + (0.08, -0.1, 0.05), material=bark))
    elif style == "bare":
        top = np.array([rng.normal(0, 0.1), 0.2, rng.normal(0, 0.1)])
        parts = [
            tube(
                [foot, foot / 2 + top / 2 + rng.normal(0, 0.04, 3), top],
                trunk * 1.3,
                end_radius=trunk * 0.7,
                material=bark,
            )
        ]
        for _ in range(rng.integers(4, 9)):
            turn, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.0)
            start = foot + (top - foot) * level
            tip = start + np.array([np.sin(turn) * 0.6, rng.uniform(0.3, 0.8), np.cos(turn) * 0.6]) * rng.uniform(
                0.6, 1.1
            )
            thickness = trunk * (0.75 if level < 0.8 else 0.6)
            parts.append(
                tube(
                    [start, (start + tip) / 2 + rng.normal(0, 0.05, 3), tip],
                    thickness,
                    end_radius=0.03,
                    blend=0.03,
                    material=bark,
                )
            )
            if rng.random() < 0.3:
                parts.append(ellipsoid(rng.uniform(0.12, 0.25, 3), center=tip, blend=0.02, material=leaf))
    elif style == "topiary":
        parts = [cylinder(trunk * 0.8, 0.8, center=(0, -0.25, 0), material=bark)]
        if rng.random() < 0.5:
            y, size = -0.3, rng.uniform(0.35, 0.45)
            for _ in range(rng.integers(1, 4)):
                parts.append(ellipsoid((size, size * rng.uniform(0.7, 1.0), size), center=(0, y, 0), material=leaf))
                y, size = y + size * 1.35, size * 0.75
            parts.append(cylinder(trunk * 0.8, (y + 0.3) / 2 + 0.05, center=(0, (y - 0.3) / 2, 0), material=bark))
        else:
            size = rng.uniform(0.25, 0.5)
            parts.append(
                ellipsoid(
                    (size, rng.uniform(0.6, 0.9), size),
                    exponents=(rng.uniform(0.5, 1.3), 1),
                    center=(0, 0.3, 0),
                    material=leaf,
                )
            )
        tub = rng.uniform(0.22, 0.32)
        parts.append(cylinder(tub * 0.8, 0.22, top_radius=tub, center=(0, -0.95, 0), material=ceramic(rng)))
    else:
        top = np.array([rng.normal(0, 0.08), rng.uniform(-0.1, 0.25), rng.normal(0, 0.08)])
        parts = [
            tube(
                [foot, foot / 2 + top / 2 + rng.normal(0, 0.03, 3), top + (0, 0.15, 0)],
                trunk * 1.2,
                end_radius=trunk * 0.8,
                material=bark,
            )
        ]
        size = rng.uniform(0.38, 0.55)
        crown = top + (0, size * 0.75, 0)
        parts.append(ellipsoid(size * rng.uniform(0.85, 1.15, 3), center=crown, blend=0.02, material=leaf))
        soft = rng.uniform(0.02, 0.1)
        for _ in range(rng.integers(0, 7)):
            way = rng.normal(size=3)
            way /= np.linalg.norm(way)
            parts.append(
                ellipsoid(
                    size * rng.uniform(0.4, 0.75, 3),
                    center=crown + way * (1, 0.6, 1) * size * 0.8,
                    blend=soft,
                    material=leaf,
                )
            )
        for _ in range(rng.integers(0, 5)):
            way = rng.normal(size=3)
            way /= np.linalg.norm(way)
            parts.append(
                ellipsoid((0.07, 0.07, 0.07), center=crown + way * size * 0.9, material=Material((0.6, 0.05, 0.03)))
            )
    if rng.random() < 0.3:
        parts.append(
            ellipsoid((rng.uniform(0.4, 0.7), 0.1, rng.uniform(0.4, 0.7)), center=(0, -1.02, 0), material=foliage(rng))
        )
    elif rng.random() < 0.3 and style != "topiary":
        parts.append(
            capsule(
                (trunk * 0.5, -0.85, 0),
                (trunk * 2.2, -1, 0),
                0.06,
                end_radius=0.035,
                mirror="x",
                blend=0.05,
                material=bark,
            )
        )
    return parts
