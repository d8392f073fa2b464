"""Umbrellas, mushrooms, keys, rings, padlocks, medals and other small items, upright or laid down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triplane3d.data.procedural.components.posing import posed, turned
from triplane3d.data.procedural.materials import DARK, any_material, ceramic, contrasting, fabric, metal, plastic, wood
from triplane3d.data.procedural.parts import (
    Material,
    Part,
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


def umbrella_or_mushroom(rng: np.random.Generator) -> list[Part]:
    """Open umbrella, parasol on a foot, mushroom or toadstool."""
    if rng.random() < 0.5:
        width, rise, wall = rng.uniform(0.75, 1.0), rng.uniform(0.3, 0.55), rng.uniform(0.035, 0.05)
        cover, stick = fabric(rng), wood(rng) if rng.random() < 0.5 else metal(rng)
        angles = np.linspace(0, np.pi / 2, 6)
        bend = rng.uniform(0.7, 1.2)
        outer = np.stack([width * np.sin(angles), 0.5 + rise * np.cos(angles) ** bend], 1)
        inner = outer[::-1] - (wall, wall)
        inner[0] = outer[-1] - (wall * 1.6, 0.0)
        inner[-1, 0] = 0
        inner[:, 0] = inner[:, 0].clip(0)
        parts = [revolve(np.concatenate([outer, inner]), material=cover)]
        low = -rng.uniform(0.5, 0.95)
        parts.append(capsule((0, low, 0), (0, 0.5 + rise + rng.uniform(0.0, 0.12), 0), 0.04, material=stick))
        foot = rng.random()
        if foot < 0.5:
            hook = rng.uniform(0.1, 0.18)
            parts.append(
                tube(
                    [
                        (0, low, 0),
                        (0, low - hook, 0),
                        (hook * 0.35, low - hook * 1.7, 0),
                        (hook, low - hook * 2, 0),
                        (hook * 1.65, low - hook * 1.7, 0),
                        (hook * 2, low - hook, 0),
                    ],
                    0.05,
                    material=plastic(rng),
                )
            )
        elif foot < 0.85:
            parts.append(
                cylinder(rng.uniform(0.25, 0.4), 0.07, top_radius=0.15, center=(0, low, 0), material=metal(rng))
            )
        if foot < 0.5:
            return posed(rng, parts, upright=0.6)
        return parts
    width, rise, stem = rng.uniform(0.5, 0.85), rng.uniform(0.35, 0.8), rng.uniform(0.14, 0.3)
    cap, flesh = any_material(rng), ceramic(rng)
    under = rng.uniform(-0.05, 0.15)
    angles = np.linspace(0, np.pi / 2, 7)
    dome = np.stack([width * np.sin(angles) ** rng.uniform(0.8, 1.1), rise * np.cos(angles)], 1)
    dome[0, 0] = 0
    parts = [
        revolve(
            np.concatenate([dome, [(width * 0.92, -0.08), (stem, under), (0, under)]]), center=(0, 0.3, 0), material=cap
        ),
        revolve(
            [
                (0, -0.9),
                (stem * rng.uniform(1.0, 1.6), -0.88),
                (stem, -0.45),
                (stem * 0.85, 0.32 + under),
                (0, 0.4 + under),
            ],
            material=flesh,
        ),
    ]
    if rng.random() < 0.3:
        parts.append(torus(stem * 1.1, 0.06, center=(0, -0.1, 0), material=flesh))
    if rng.random() < 0.6:
        spot = contrasting(rng, cap)
        for _ in range(rng.integers(3, 9)):
            turn, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 1.2)
            at = np.array(
                [width * np.sin(lift) * np.sin(turn), rise * np.cos(lift), width * np.sin(lift) * np.cos(turn)]
            )
            size = rng.uniform(0.06, 0.14)
            parts.append(ellipsoid((size, size * 0.6, size), center=at * 0.97 + (0, 0.3, 0), material=spot))
    if rng.random() < 0.3:
        parts.append(ellipsoid((0.5, 0.1, 0.5), center=(0, -0.9, 0), material=any_material(rng)))
    if rng.random() < 0.25:
        side = rng.uniform(0.25, 0.35)
        parts.append(capsule((stem * 0.6, -0.82, 0.1), (0.5, -0.35, 0.15), 0.1, material=flesh))
        parts.append(ellipsoid((side, side * 0.7, side), center=(0.5, -0.28, 0.15), material=cap))
    return parts


def key_or_ring(rng: np.random.Generator) -> list[Part]:
    """Key, finger ring, padlock, horseshoe, medal or doughnuts."""
    style = rng.choice(["key", "ring", "padlock", "horseshoe", "doughnut", "medal"])
    material = metal(rng)
    if style == "key":
        bow, hole, thickness = rng.uniform(0.26, 0.36), rng.uniform(0.4, 0.65), rng.uniform(0.05, 0.08)
        parts = [cylinder(bow, thickness, round=0.02, center=(0, 0.65, 0), rotate=(90, 0, 0), material=material)]
        if rng.random() < 0.4:
            parts = [torus(bow * 0.8, thickness * 1.3, center=(0, 0.65, 0), rotate=(90, 0, 0), material=material)]
            lobes = rng.random() < 0.5
            if lobes:
                parts = [
                    torus(bow * 0.55, thickness, center=(dx, dy, 0), rotate=(90, 0, 0), material=material)
                    for dx, dy in ((bow * 0.55, 0.6), (-bow * 0.55, 0.6), (0, 0.6 + bow * 0.8))
                ]
        else:
            parts.append(
                cylinder(bow * hole, 1, center=(0, 0.65 + bow * (1 - hole) * 0.3, 0), rotate=(90, 0, 0), op="subtract")
            )
        parts.append(cylinder(thickness * 1.3, 0.75, round=0.02, center=(0, -0.25, 0), material=material))
        if rng.random() < 0.5:
            parts.append(torus(thickness * 1.5, 0.045, center=(0, 0.3, 0), material=material))
        for y in np.linspace(-0.9, -0.6, rng.integers(2, 5)):
            reach = rng.uniform(0.1, 0.28)
            parts.append(box((reach / 2 + 0.03, 0.045, thickness), center=(reach / 2, y, 0), material=material))
        return posed(rng, parts, upright=0.5)
    if style == "ring":
        thickness = rng.uniform(0.06, 0.14)
        parts = [torus(0.75, thickness, rotate=(90, 0, 0), material=material)]
        if rng.random() < 0.5:
            parts = [
                cylinder(0.85, thickness * rng.uniform(1.0, 3.0), round=0.03, rotate=(90, 0, 0), material=material),
                cylinder(0.72, 1, rotate=(90, 0, 0), op="subtract"),
            ]
        if rng.random() < 0.75:
            size, cut = rng.uniform(0.16, 0.36), rng.uniform(0.4, 1.7)
            parts.append(cylinder(size * 0.7, 0.1, top_radius=size * 0.9, center=(0, 0.86, 0), material=material))
            parts.append(
                ellipsoid(
                    (size, size * rng.uniform(0.7, 1.0), size),
                    exponents=(cut, rng.uniform(0.5, 1.6)),
                    center=(0, 0.86 + size * 0.6, 0),
                    material=plastic(rng),
                )
            )
        return posed(rng, parts, upright=0.6)
    if style == "padlock":
        width, height, depth = rng.uniform(0.45, 0.65), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.28)
        bar, open_by = rng.uniform(0.07, 0.11), rng.uniform(0, 0.2) if rng.random() < 0.3 else 0.0
        side, top = width * 0.62, height + rng.uniform(0.25, 0.5)
        arch = [(side * np.cos(t), top + side * np.sin(t), 0) for t in np.linspace(0, np.pi, 6)]
        parts = [
            box((width, height, depth), round=rng.uniform(0.03, 0.12), material=material),
            tube(
                [(side, height * (0.7 if not open_by else 1.15), 0), *arch, (-side, height * 0.7, 0)],
                bar,
                material=metal(rng),
            ),
            cylinder(0.09, 0.04, center=(0, -0.02, depth), rotate=(90, 0, 0), material=DARK),
            box((0.04, 0.12, 0.035), center=(0, -0.12, depth), material=DARK),
        ]
        return posed(rng, parts, upright=0.6)
    if style == "horseshoe":
        arc, minor = rng.uniform(1.9, 2.5), rng.uniform(0.12, 0.2)
        parts = [
            torus(0.8, minor, arc=arc, rotate=(-90, 0, 0), material=material),
            box((2, 2, rng.uniform(0.08, minor)), op="intersect"),
        ]
        if rng.random() < 0.5:
            tip = 0.8 * np.array([np.sin(arc), np.cos(arc), 0])
            parts.append(
                cylinder(
                    minor * 1.15,
                    0.12,
                    center=np.abs(tip) * (1, np.sign(tip[1]), 1),
                    rotate=(90, 0, 0),
                    mirror="x",
                    material=plastic(rng),
                )
            )
        return posed(rng, parts, upright=0.5)
    if style == "medal":
        size, thickness = rng.uniform(0.45, 0.6), rng.uniform(0.06, 0.1)
        ribbon = fabric(rng)
        return [
            cylinder(size, thickness, round=0.02, center=(0, -0.45, 0), rotate=(90, 0, 0), material=material),
            torus(size * 0.85, thickness * 0.7, center=(0, -0.45, thickness), rotate=(90, 0, 0), material=material),
            ellipsoid(
                (size * 0.35, size * 0.35, 0.06),
                exponents=(1.5, 1.5),
                center=(0, -0.45, thickness),
                material=metal(rng),
            ),
            prism([(-0.1, 0.0), (0.1, 0.0), (0.55, 1.0), (0.2, 1.0)], 0.035, mirror="x", material=ribbon),
            box((0.12, 0.1, 0.06), center=(0, 0.04, 0), material=material),
        ]
    dough, icing = Material((rng.uniform(0.45, 0.7), rng.uniform(0.2, 0.32), 0.06)), plastic(rng)
    major, minor = rng.uniform(0.5, 0.62), rng.uniform(0.24, 0.36)
    one = [torus(major, minor, material=dough), torus(major, minor * 0.96, center=(0, minor * 0.12, 0), material=icing)]
    parts = list(one)
    if rng.random() < 0.6:
        tilt, aside = rng.uniform(30, 70), rng.uniform(0.6, 0.95)
        lean = turned(one, rotation_matrix((rng.uniform(-20, 20), 0, tilt)))
        lift = major * np.sin(np.deg2rad(tilt)) * rng.uniform(0.7, 0.95)
        parts += [replace(part, center=tuple(np.add(part.center, (aside, lift, 0)).tolist())) for part in lean]
    elif rng.random() < 0.4:
        parts += [
            replace(part, center=tuple(np.add(part.center, (rng.normal(0, 0.05), minor * 1.6, 0)).tolist()))
            for part in one
        ]
    elif rng.random() < 0.5:
        return posed(rng, parts, upright=0.3)
    return parts
