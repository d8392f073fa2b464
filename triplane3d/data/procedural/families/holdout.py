"""Families that training never uses. They measure generalisation to new kinds of objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triplane3d.data.procedural.components.posing import posed
from triplane3d.data.procedural.materials import DARK, any_material, ceramic, contrasting, metal, plastic, wood
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
    rotation_matrix,
    torus,
    tube,
)


def teapot(rng: np.random.Generator) -> list[Part]:
    """Teapot with lid and knob, the spout on one side and the handle on the other or above."""
    material = ceramic(rng) if rng.random() < 0.7 else metal(rng)
    trim = contrasting(rng, material) if rng.random() < 0.5 else material
    width, height, bend = rng.uniform(0.5, 0.65), rng.uniform(0.38, 0.6), rng.uniform(0.7, 1.0)
    mouth = width * rng.uniform(0.35, 0.6)
    parts = [
        ellipsoid((width, height, width), exponents=(bend, 1.0), material=material),
        cylinder(width * rng.uniform(0.5, 0.7), 0.07, center=(0, -height * 0.96, 0), material=material),
        ellipsoid((mouth, height * 0.35, mouth), center=(0, height * 0.88, 0), material=trim),
        torus(mouth, 0.04, center=(0, height * 0.9, 0), material=material),
        ellipsoid((0.08, rng.uniform(0.07, 0.12), 0.08), center=(0, height * 1.28, 0), blend=0.02, material=trim),
    ]
    tip = (width + rng.uniform(0.3, 0.45), height * rng.uniform(0.6, 1.0), 0)
    spout = bezier((width * 0.8, -height * 0.25, 0), (width + 0.25, -height * 0.2, 0), tip)
    parts.append(
        tube(spout, rng.uniform(0.13, 0.18), end_radius=rng.uniform(0.06, 0.09), blend=0.04, material=material)
    )
    thickness = rng.uniform(0.05, 0.08)
    if rng.random() < 0.7:
        out, top, low = -width - rng.uniform(0.5, 0.8), height * rng.uniform(0.5, 0.75), -height * rng.uniform(0.3, 0.6)
        inside = -width * 0.72
        loop = [
            (inside, top, 0),
            ((inside + out) / 2 - 0.1, top + 0.08, 0),
            (out * 0.8, (top + low) / 2 + 0.05, 0),
            ((inside + out) / 2 - 0.1, low, 0),
            (inside, low, 0),
        ]
        parts.append(tube(loop, thickness, blend=0.03, material=trim))
    else:
        reach = height + rng.uniform(0.3, 0.5)
        side = width * 0.62
        arch = [(side * np.cos(t), height * 0.6 + reach * np.sin(t), 0) for t in np.linspace(0, np.pi, 8)]
        parts.append(tube(arch, thickness, material=trim))
    return parts


def scissors(rng: np.random.Generator) -> list[Part]:
    """Scissors: two crossed blades with rings for the fingers."""
    steel, material = metal(rng), plastic(rng)
    opening, thickness, length = rng.uniform(8, 28), rng.uniform(0.035, 0.05), rng.uniform(0.75, 1.0)
    width, ring = rng.uniform(0.08, 0.13), rng.uniform(0.16, 0.24)
    parts = [cylinder(0.06, thickness * 2.6, rotate=(90, 0, 0), material=DARK)]
    for side in (1, -1):
        turn = rotation_matrix((0, 0, -side * opening))
        lift = np.array([0, 0, side * thickness * 0.6])
        blade = [
            (0, length),
            (-side * width * 0.6, length),
            (-side * width * 0.6, -0.05),
            (-side * width * 0.6, -0.25),
            (side * width * 0.6, -0.25),
            (side * width * 0.7, 0.1),
        ]
        parts.append(prism(blade, thickness, center=lift, rotate=(0, 0, -side * opening), round=0.01, material=steel))
        grip = turn @ (-side * ring * 0.55, -0.5 - ring * 0.7, 0)
        shank = turn @ (0, -0.15, 0) + lift
        parts.append(capsule(shank, turn @ (-side * 0.02, -0.52, 0) + lift * 0.5, 0.07, material=material))
        parts.append(
            torus(ring, rng.uniform(0.05, 0.07), center=grip + lift * 0.3, rotate=(90, 0, 0), material=material)
        )
    return posed(rng, parts, upright=0.4)


def giraffe_like_animal(rng: np.random.Generator) -> list[Part]:
    """Long-necked, long-legged animal: giraffe, camel, llama or long-necked dinosaur."""
    second = tuple(rng.uniform((0.2, 0.08, 0.02), (0.4, 0.2, 0.08)))
    material = (
        Material((0.75, 0.55, 0.25), second, "spots", 1, rng.uniform(0.15, 0.3), 0.1)
        if rng.random() < 0.6
        else any_material(rng)
    )
    girth, legs, neck = rng.uniform(0.17, 0.24), rng.uniform(0.4, 0.75), rng.uniform(0.6, 1.0)
    back = legs + girth
    chest, rump = np.array([0, back + 0.05, 0.26]), np.array([0, back - 0.03, -0.26])
    top = chest + (0, neck, rng.uniform(0.15, 0.5) * neck)
    head = rng.uniform(0.08, 0.12)
    parts = [
        capsule(rump, chest, girth * 0.95, end_radius=girth, material=material),
        tube(
            bezier(chest, chest + (0, neck * 0.3, rng.uniform(0.15, 0.4) * neck), top),
            girth * 0.65,
            end_radius=0.08,
            blend=0.08,
            material=material,
        ),
        ellipsoid((head * 0.85, head * 0.9, head), center=top, blend=0.03, material=material),
        capsule(
            top, top + (0, -head * 0.9, head * 2.2), head * 0.75, end_radius=head * 0.5, blend=0.03, material=material
        ),
        ellipsoid((0.03, 0.03, 0.03), center=top + (head * 0.72, head * 0.25, head * 0.55), mirror="x", material=DARK),
        ellipsoid(
            (head * 0.75, head * 0.3, head * 0.25),
            center=top + (head * 1.1, head * 0.5, -head * 0.2),
            rotate=(0, 0, 20),
            mirror="x",
            material=material,
        ),
    ]
    if rng.random() < 0.7:
        parts.append(
            capsule(
                top + (head * 0.35, head * 0.6, 0),
                top + (head * 0.45, head * 2.0, -head * 0.2),
                0.03,
                mirror="x",
                material=material,
            )
        )
    foot = rng.uniform(0.04, 0.06)
    step = rng.uniform(0.0, 0.12)
    if rng.random() < 0.5:
        parts.append(
            capsule(
                (girth * 0.55, back - girth * 0.4, 0.27),
                (girth * 0.6, foot, 0.28),
                foot * 1.6,
                end_radius=foot,
                mirror="xz",
                blend=0.05,
                material=material,
            )
        )
    else:
        for z, side in ((0.27, 1), (0.27, -1), (-0.27, 1), (-0.27, -1)):
            ahead = z + step * side * np.sign(z)
            parts.append(
                capsule(
                    (girth * 0.55 * side, back - girth * 0.4, z),
                    (girth * 0.6 * side, foot, ahead),
                    foot * 1.6,
                    end_radius=foot,
                    blend=0.05,
                    material=material,
                )
            )
    tail = rump + (0, girth * 0.4, -girth * 0.7)
    parts.append(
        tube(
            bezier(tail, tail + (0, 0.0, -0.15), tail - (0, rng.uniform(0.2, 0.4), 0.15)),
            0.04,
            end_radius=0.03,
            material=material,
        )
    )
    if rng.random() < 0.25:
        parts.append(
            ellipsoid(
                (girth * 0.6, girth * 0.8, 0.18), center=(0, back + girth * 0.8, 0), blend=0.08, material=material
            )
        )
    return parts


def bicycle_or_scooter(rng: np.random.Generator) -> list[Part]:
    """Bicycle, kick scooter or motor scooter, with the front towards +z."""
    material, steel, tyre = plastic(rng), metal(rng), Material((0.03, 0.03, 0.03))
    if rng.random() < 0.3:
        radius, deck = rng.uniform(0.11, 0.16), 0.17
        bar = rng.uniform(0.9, 1.15)
        return [
            torus(radius, 0.05, center=(0, radius + 0.05, 0.62), rotate=(0, 0, 90), material=tyre),
            cylinder(radius * 0.98, 0.035, center=(0, radius + 0.05, 0.62), rotate=(0, 0, 90), material=steel),
            torus(radius, 0.05, center=(0, radius + 0.05, -0.62), rotate=(0, 0, 90), material=tyre),
            cylinder(radius * 0.98, 0.035, center=(0, radius + 0.05, -0.62), rotate=(0, 0, 90), material=steel),
            box((0.11, 0.035, 0.5), round=0.02, center=(0, deck, -0.05), material=material),
            capsule((0, deck, -0.5), (0, radius + 0.05, -0.62), 0.045, material=steel),
            capsule((0, deck, 0.4), (0, 0.4, 0.55), 0.05, material=material),
            capsule((0, radius + 0.05, 0.62), (0, bar, 0.45), 0.045, material=steel),
            capsule((-0.3, bar, 0.44), (0.3, bar, 0.44), 0.045, material=DARK),
        ]
    radius, half = rng.uniform(0.28, 0.36), rng.uniform(0.5, 0.6)
    thickness, axle = rng.uniform(0.035, 0.05), radius + 0.04
    saddle, crank = np.array([0, 2.35 * radius + rng.uniform(0, 0.15), -0.2]), np.array([0, axle * 0.85, -0.02])
    head = np.array([0, 2.2 * radius + 0.1, 0.3])
    bar = head + (0, rng.uniform(0.1, 0.2), -0.03)
    front = np.array([0, axle, half])
    back = np.array([0, axle, -half])
    frame = 0.038
    parts = [
        torus(radius, thickness, center=(0, axle, half), rotate=(0, 0, 90), mirror="z", material=tyre),
        tube([head * (1, 0.9, 1), crank, saddle, head * (1, 0.9, 1)], frame, material=material),
        tube([crank, back, saddle * (1, 0.85, 1)], frame * 0.9, material=material),
        capsule(front, bar, frame, material=material),
        ellipsoid((0.09, 0.05, 0.16), center=saddle + (0, 0.06, 0), material=DARK),
        tube(
            bezier((0, bar[1], bar[2]), (0.22, bar[1] + 0.08, bar[2] + 0.05), (0.3, bar[1], bar[2] - 0.15)),
            0.035,
            mirror="x",
            material=steel,
        ),
        cylinder(0.1, 0.03, center=crank, rotate=(0, 0, 90), material=steel),
        capsule(crank + (0.0, 0, 0), crank + (0.1, -0.15, 0.03), 0.03, material=steel),
        capsule(crank + (0.0, 0, 0), crank + (-0.1, 0.15, -0.03), 0.03, material=steel),
    ]
    if rng.random() < 0.3:
        parts.append(cylinder(radius, 0.03, center=(0, axle, half), rotate=(0, 0, 90), mirror="z", material=steel))
    else:
        for turn in np.arange(rng.integers(2, 5)) * 45 + rng.uniform(0, 45):
            parts.append(
                capsule(
                    (0, axle, half) - rotation_matrix((turn, 0, 0)) @ (0, radius, 0),
                    (0, axle, half) + rotation_matrix((turn, 0, 0)) @ (0, radius, 0),
                    0.027,
                    mirror="z",
                    material=steel,
                )
            )
    if rng.random() < 0.3:
        parts.append(box((0.16, 0.1, 0.12), taper=0.2, center=bar + (0, -0.05, 0.14), material=wood(rng)))
    return parts


def eyeglasses(rng: np.random.Generator) -> list[Part]:
    """Spectacles or sunglasses with open temples."""
    material = plastic(rng) if rng.random() < 0.7 else metal(rng)
    thickness, size, gap = rng.uniform(0.045, 0.075), rng.uniform(0.3, 0.4), rng.uniform(0.08, 0.14)
    x = size + gap
    parts: list[Part] = []
    if rng.random() < 0.5:
        parts.append(torus(size, thickness, center=(x, 0, 0), rotate=(90, 0, 0), mirror="x", material=material))
        edge = x + size
    else:
        height = size * rng.uniform(0.65, 0.9)
        turns = np.linspace(0, 2 * np.pi, 8)
        bend = rng.uniform(0.4, 0.8)
        loop = [
            (
                x + size * np.sign(np.cos(t)) * abs(np.cos(t)) ** bend,
                height * np.sign(np.sin(t)) * abs(np.sin(t)) ** bend,
                0,
            )
            for t in turns
        ]
        parts.append(tube(loop, thickness, mirror="x", material=material))
        edge = x + size
    if rng.random() < 0.6:
        parts.append(
            cylinder(
                size * 0.97,
                0.022,
                center=(x, 0, 0),
                rotate=(90, 0, 0),
                mirror="x",
                material=Material(tuple(rng.uniform(0.02, 0.4, 3)), gloss=0.9),
            )
            if len(parts[0].parameters) == 3
            else box((size, size * 0.6, 0.022), center=(x, 0, 0), mirror="x", material=DARK)
        )
    parts.append(
        tube(
            bezier((-gap - 0.03, 0.05, 0), (0, rng.uniform(0.12, 0.25), 0), (gap + 0.03, 0.05, 0)),
            thickness,
            material=material,
        )
    )
    back, drop = -rng.uniform(0.9, 1.3), rng.uniform(0.15, 0.3)
    flare = rng.uniform(-0.1, 0.1)
    parts.append(
        tube(
            [
                (edge - 0.02, 0.06, 0),
                (edge + 0.04, 0.08, -0.06),
                (edge + flare, 0.06, back * 0.75),
                (edge + flare - 0.02, 0.06 - drop, back),
            ],
            thickness * 0.85,
            mirror="x",
            material=material,
        )
    )
    return parts


def spiral_or_helix(rng: np.random.Generator) -> list[Part]:
    """Coil spring, flat spiral, corkscrew or spiral stair."""
    material = any_material(rng)
    style = rng.choice(["coil", "flat", "stair"])
    if style == "stair":
        count, rise, reach = int(rng.integers(9, 16)), rng.uniform(0.11, 0.16), rng.uniform(0.5, 0.7)
        parts = [cylinder(0.08, count * rise / 2 + 0.1, center=(0, count * rise / 2, 0), material=metal(rng))]
        for k in range(count):
            turn = np.deg2rad(25 * k)
            out = np.array([np.sin(turn), 0, np.cos(turn)]) * reach / 2
            parts.append(
                box(
                    (0.12, 0.035, reach / 2),
                    center=out + (0, rise * (k + 0.5), 0),
                    rotate=(0, 25 * k, 0),
                    material=material,
                )
            )
        return parts
    turns, radius = rng.uniform(2, 4.5), rng.uniform(0.4, 0.8)
    thickness = rng.uniform(0.05, 0.09)
    shrink, height = rng.uniform(0.2, 1.0), rng.uniform(1.2, 2.0)
    if style == "flat":
        shrink, height = 0.15, rng.uniform(0.0, 0.15)
        radius, turns = 1.0, rng.uniform(2, 3.2)
    count = int(np.ceil(turns * 14 / 7))
    t = np.linspace(0, 1, count * 7 + 1)
    angle, out = 2 * np.pi * turns * t, radius * (1 + (shrink - 1) * t)
    curve = np.stack([out * np.sin(angle), height * t, out * np.cos(angle)], 1)
    parts = [tube(curve[7 * k : 7 * k + 8], thickness, material=material) for k in range(count)]
    if style == "coil" and rng.random() < 0.4:
        end = curve[0]
        parts.append(cylinder(radius + 0.12, 0.06, center=(0, end[1], 0), material=any_material(rng)))
    return parts if rng.random() < 0.5 else posed(rng, parts, upright=0.0)


def windmill(rng: np.random.Generator) -> list[Part]:
    """Windmill, wind turbine or pinwheel with three to six sails."""
    material, trim = ceramic(rng) if rng.random() < 0.6 else wood(rng), contrasting(rng, any_material(rng))
    style = rng.choice(["mill", "turbine", "pinwheel"])
    blades, turn = int(rng.integers(3, 7)), rng.uniform(0, 90)
    parts: list[Part] = []
    if style == "mill":
        base, top, height = rng.uniform(0.35, 0.5), rng.uniform(0.22, 0.3), rng.uniform(0.55, 0.7)
        parts = [
            cylinder(base, height, top_radius=top, material=material),
            revolve(
                [(0, height - 0.05), (top * 1.15, height - 0.05), (top * 0.8, height + 0.2), (0, height + 0.32)],
                material=trim,
            ),
            box((0.1, 0.17, 0.1), center=(0, -height + 0.16, base * 0.93), material=wood(rng)),
        ]
        hub, reach = np.array([0, height + 0.05, top + 0.12]), rng.uniform(0.65, 0.9)
        parts.append(capsule((0, hub[1], 0), hub, 0.07, material=wood(rng)))
    elif style == "turbine":
        parts = [
            cylinder(0.07, 0.85, top_radius=0.045, material=material),
            ellipsoid((0.08, 0.08, 0.2), center=(0, 0.86, 0), material=material),
        ]
        hub, reach, blades = np.array([0, 0.86, 0.17]), rng.uniform(0.6, 0.8), 3
    else:
        parts = [capsule((0, -1, 0), (0, 0.6, 0), 0.045, material=wood(rng))]
        hub, reach = np.array([0, 0.55, 0.07]), rng.uniform(0.45, 0.6)
    parts.append(ellipsoid((0.09, 0.09, 0.08), center=hub, material=metal(rng)))
    width = {"mill": rng.uniform(0.1, 0.16), "turbine": 0.05, "pinwheel": rng.uniform(0.14, 0.2)}[style]
    for k in range(blades):
        angle = turn + 360 * k / blades
        out = rotation_matrix((0, 0, angle))
        pitch = rng.uniform(5, 20) if style == "pinwheel" else 10
        sail = box(
            (width, reach * 0.42, 0.03),
            taper=-0.3 if style == "turbine" else 0.1,
            round=0.01,
            rotate=(0, pitch, 0),
            material=trim,
        )
        parts.append(
            replace(sail, center=tuple(hub + out @ (width * 0.35, reach * 0.56, 0)), rotation=out @ sail.rotation)
        )
        parts.append(
            capsule(hub, hub + out @ (0, reach * 0.9, 0), 0.035, material=wood(rng) if style == "mill" else trim)
        )
    return parts
