"""Compositions of primitives that are no particular object. They add geometry that the named families lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from triplane3d.data.procedural.materials import any_material
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


@dataclass(frozen=True)
class Piece:
    """A part, and points well inside it. Two pieces that share such a point overlap."""

    part: Part
    core: np.ndarray
    margin: float

    def placed(self, rotation: np.ndarray, center: np.ndarray) -> Piece:
        part = replace(self.part, rotation=rotation, center=tuple(center.tolist()))
        return Piece(part, self.core @ rotation.T + center, self.margin)


def _core(reach: np.ndarray) -> np.ndarray:
    """The origin and six points along the axes."""
    return np.concatenate([np.zeros((1, 3)), np.diag(reach), -np.diag(reach)])


def slimmed(radii: np.ndarray, most: float) -> np.ndarray:
    """Half-edges of a box, the shortest reduced until the box fills at most a share `most` of the cube around it."""
    share = radii.prod() / radii.max() ** 3
    return np.where(radii == radii.min(), radii * min(1.0, most / share), radii)


def primitive(rng: np.random.Generator, size: float, material: Material) -> Piece:
    """A primitive of a random kind, about `size` from its centre to its ends."""
    kind = rng.choice(["box", "ellipsoid", "cylinder", "cone", "capsule", "torus", "prism", "tube"])
    radii = slimmed(size * rng.uniform(0.25, 1.0, 3), 0.42)
    if kind == "box":
        return Piece(
            box(radii, round=rng.uniform(0, 0.9) * radii.min() * (rng.random() < 0.5), material=material),
            _core(radii * 0.6),
            float(radii.min() * 0.4),
        )
    if kind == "ellipsoid":
        return Piece(ellipsoid(radii, material=material), _core(radii * 0.5), float(radii.min() * 0.4))
    if kind in ("cylinder", "cone"):
        top = radii[0] * (rng.uniform(0, 0.9) if kind == "cone" else 1)
        inner = np.array([(radii[0] + top) * 0.3, 0, (radii[0] + top) * 0.3])
        core = np.concatenate([_core(inner), [(0, -radii[1] * 0.6, 0), (0, radii[1] * 0.1, 0)]])
        return Piece(
            cylinder(radii[0], radii[1], top_radius=top, material=material), core, float(min(radii[1], radii[0]) * 0.35)
        )
    if kind == "prism":
        count = int(rng.integers(3, 8))
        turns = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
        outline = np.stack([np.cos(turns), np.sin(turns)], 1) * size * rng.uniform(0.5, 1.0, (count, 1))
        depth = size * rng.uniform(0.1, 0.7)
        inner = size * 0.12
        return Piece(
            prism(outline, depth, round=0.02 * (rng.random() < 0.5), material=material),
            _core(np.array([inner, inner, depth * 0.6])),
            float(min(inner, depth * 0.4)),
        )
    thickness = size * rng.uniform(0.1, 0.35)
    if kind == "capsule":
        end = np.array([0, size, 0])
        tip = thickness * rng.uniform(0.5, 1)
        return Piece(
            capsule(-end, end, thickness, end_radius=tip, material=material), np.linspace(-end, end, 5), tip * 0.7
        )
    if kind == "torus":
        arc = np.pi if rng.random() < 0.6 else rng.uniform(0.8, 2.5)
        turns = np.linspace(-arc, arc, 7) * 0.9
        major = size * rng.uniform(0.6, 1.0)
        return Piece(
            torus(major, thickness, arc=arc, material=material),
            np.stack([np.sin(turns), 0 * turns, np.cos(turns)], 1) * major,
            thickness * 0.7,
        )
    curve = bezier((0, -size, 0), rng.normal(0, size, 3), (0, size, 0))
    return Piece(tube(curve, thickness, end_radius=thickness * 0.6, material=material), curve, thickness * 0.45)


def compose(
    rng: np.random.Generator, count: int, make: Callable[[float, Material], Piece], *, blend: float
) -> list[Piece]:
    """`count` rotated pieces, all connected: a core point of each is placed on a core point of an earlier one."""
    materials = [any_material(rng) for _ in range(rng.integers(1, 4))]
    shrink = rng.uniform(0.7, 1.0)
    straight = rng.random() < 0.4
    pieces: list[Piece] = []
    for k in range(count):
        piece = make(rng.uniform(0.35, 0.8) * shrink**k, materials[rng.integers(len(materials))])
        piece = replace(piece, part=replace(piece.part, blend=blend))
        angles = 90 * rng.integers(0, 4, 3) + rng.uniform(-2, 2, 3) if straight else rng.uniform(-180, 180, 3)
        piece = piece.placed(rotation_matrix(angles), np.zeros(3))
        if pieces:
            other = pieces[rng.integers(len(pieces))]
            margin = 0.5 * min(piece.margin, other.margin)
            way = rng.normal(size=3)
            jitter = way / np.linalg.norm(way) * margin
            at = other.core[rng.integers(len(other.core))] - piece.core[rng.integers(len(piece.core))] + jitter
            piece = replace(piece, part=replace(piece.part, center=tuple(at.tolist())), core=piece.core + at)
        pieces.append(piece)
    return pieces


def primitives(rng: np.random.Generator) -> list[Part]:
    """One to nine primitives with random rotations and sizes."""
    count = int(rng.integers(1, 10))
    blend = rng.uniform(0.02, 0.12) if rng.random() < 0.3 else 0.0
    return [
        piece.part for piece in compose(rng, count, lambda size, material: primitive(rng, size, material), blend=blend)
    ]


def _holes(rng: np.random.Generator, kind: str, half: np.ndarray) -> list[Part]:
    """Round or square holes through the centre, along one to three axes. The edges of the block always remain."""
    parts = []
    for axis in rng.permutation(3)[: rng.integers(1, 4)]:
        size = np.delete(half, axis).min() * rng.uniform(0.35, 0.62)
        turn = ((0, 0, 90), (0, 0, 0), (90, 0, 0))[axis]
        parts.append(
            cylinder(size, 2, rotate=turn, op="subtract")
            if rng.random() < 0.6
            else box((size * 0.85, 2, size * 0.85), rotate=turn, op="subtract")
        )
    return parts


def _notches(rng: np.random.Generator, kind: str, half: np.ndarray) -> list[Part]:
    """Corners removed. No cut reaches the centre."""
    corners = (
        np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        * {"ball": 0.55, "cylinder": 0.7, "box": 0.9}[kind]
    )
    parts = []
    for corner in rng.permutation(corners)[: rng.integers(1, 6)]:
        size = half.min() * rng.uniform(0.6, 0.85)
        parts.append(
            ellipsoid((size,) * 3, center=corner * half, op="subtract")
            if rng.random() < 0.5
            else box((size * 0.85,) * 3, center=corner * half, rotate=rng.uniform(-8, 8, 3), op="subtract")
        )
    return parts


def _hollow(rng: np.random.Generator, kind: str, half: np.ndarray) -> list[Part]:
    """A hollow that is open at the top, sometimes with a window through both sides."""
    wall = rng.uniform(0.07, 0.2)
    inner, place = half - wall, {"center": (0, wall * 2.5, 0), "op": "subtract"}
    if kind == "box":
        parts = [box(inner + (0, wall, 0), **place)]
    elif kind == "cylinder":
        parts = [cylinder(inner[0], inner[1] + wall, **place)]
    else:
        parts = [
            ellipsoid(inner, op="subtract"),
            box((2, 1, 2), center=(0, 1 + half[1] * rng.uniform(-0.2, 0.4), 0), op="subtract"),
        ]
    if rng.random() < 0.4 and kind != "ball":
        parts.append(
            cylinder(
                half.min() * rng.uniform(0.3, 0.5),
                2,
                center=(0, -half[1] * 0.05, 0),
                rotate=(90, 90 * rng.integers(2), 0),
                op="subtract",
            )
        )
    return parts


def _grooves(rng: np.random.Generator, kind: str, half: np.ndarray) -> list[Part]:
    """Slots in the front of a box, or grooves around a round body."""
    count = int(rng.integers(1, 4))
    gap = half[1] * 2 / (count + 1)
    parts = []
    for y in -half[1] + gap * np.arange(1, count + 1):
        if kind == "box":
            depth = half[2] * rng.uniform(0.5, 1.6)
            parts.append(box((2, gap * rng.uniform(0.15, 0.3), depth), center=(0, y, half[2]), op="subtract"))
        else:
            major = half[0] * (1.05 if kind == "cylinder" else np.sqrt(1 - (y / half[1]) ** 2))
            parts.append(torus(major, min(gap * 0.35, major * 0.5), center=(0, y, 0), op="subtract"))
    return parts


def _dents(rng: np.random.Generator, kind: str, half: np.ndarray) -> list[Part]:
    """Round dents anywhere on the surface. None reaches the centre."""
    parts = []
    for _ in range(rng.integers(2, 7)):
        way = rng.normal(size=3)
        way /= np.linalg.norm(way / half) if kind == "ball" else np.abs(way / half).max()
        size = half.min() * rng.uniform(0.35, 0.6)
        parts.append(ellipsoid(size * rng.uniform(0.8, 1.2, 3), center=way, blend=rng.uniform(0, 0.1), op="subtract"))
    return parts


CUTS = {"holes": _holes, "notches": _notches, "hollow": _hollow, "grooves": _grooves, "dents": _dents}


def carved(rng: np.random.Generator) -> list[Part]:
    """A block, cylinder or ball with holes, notches, grooves, dents or a hollow, and other pieces attached to it."""
    material = any_material(rng)
    half = rng.uniform(0.45, 1.0, 3)
    kind = rng.choice(["box", "cylinder", "ball"])
    if kind != "box":
        half[2] = half[0]
    half = slimmed(half, 0.5)
    if kind == "box":
        parts = [box(half, round=rng.uniform(0, 0.2) * half.min(), material=material)]
    else:
        parts = [
            cylinder(half[0], half[1], round=rng.uniform(0, 0.15) * half.min(), material=material)
            if kind == "cylinder"
            else ellipsoid(half, material=material)
        ]
    mode = rng.choice(["holes", "notches", "hollow", "grooves", "dents"])
    parts += CUTS[mode](rng, kind, half)
    if rng.random() < 0.4 and mode in ("grooves", "dents"):
        for _ in range(rng.integers(1, 3)):
            piece = primitive(rng, rng.uniform(0.4, 0.7), any_material(rng))
            rotation = rotation_matrix(rng.uniform(-180, 180, 3))
            end = piece.core[np.linalg.norm(piece.core, axis=1).argmax()]
            at = half * rng.uniform(-0.15, 0.15, 3) - rotation @ end
            parts.append(piece.placed(rotation, at).part)
    reach = 180 if mode != "hollow" and rng.random() < 0.4 else 25
    turn = rotation_matrix(rng.uniform(-reach, reach, 3)) if rng.random() < 0.6 else np.eye(3)
    return [replace(part, center=tuple((turn @ part.center).tolist()), rotation=turn @ part.rotation) for part in parts]


def superquadrics(rng: np.random.Generator) -> list[Part]:
    """One to five superellipsoids, between boxes, ellipsoids and octahedra."""

    def make(size: float, material: Material) -> Piece:
        radii = slimmed(size * rng.uniform(0.3, 1.0, 3), 0.42)
        exponents = rng.uniform(0.2, 1.9, 2)
        return Piece(
            ellipsoid(radii, exponents=tuple(exponents), material=material),
            _core(radii * 0.5),
            float(radii.min() * 0.25),
        )

    return [piece.part for piece in compose(rng, int(rng.integers(1, 6)), make, blend=rng.choice([0.0, 0.0, 0.06]))]


def turned_profile(rng: np.random.Generator, count: int) -> np.ndarray:
    """(radius, y) points of a random outline from y = -1 to 1, smooth or with steps, for a solid of revolution."""
    y = np.sort(rng.uniform(-0.9, 0.9, count - 2))
    y = np.concatenate([[-1], y, [1]])
    radius = rng.uniform(0.15, 0.75, count)
    radius = np.where(rng.random(count) < 0.3, radius.mean(), radius)
    if rng.random() < 0.6:
        fine = np.linspace(-1, 1, 7 if count < 5 else 8)
        radius, y = np.interp(fine, y, radius), fine
        radius = np.convolve(np.pad(radius, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    return np.stack([radius, y], 1)


def revolutions(rng: np.random.Generator) -> list[Part]:
    """A random solid of revolution, solid or hollow; sometimes two, sometimes with handles."""
    material = any_material(rng)
    profile = turned_profile(rng, int(rng.integers(3, 8)))
    profile[:, 0] *= min(rng.uniform(0.6, 1.6), 0.72 / profile[:, 0].max())
    hollow = rng.random() < 0.45
    if hollow:
        wall = rng.uniform(0.06, 0.14)
        profile = profile[:7]
        steps = np.diff(profile[:, 1]) * 1.2  # steeper walls would be thin where the profile is horizontal
        for k, most in enumerate(steps):
            profile[k + 1, 0] = np.clip(profile[k + 1, 0], profile[k, 0] - most, profile[k, 0] + most)
        profile[:, 0] = profile[:, 0].clip(wall * 1.8)
        inner = profile[::-1].copy()
        inner[:, 0] -= wall
        inner = inner[inner[:, 1] > -1 + wall * 1.2]
        outline = [(0, -1), *profile, *inner, (0, inner[-1, 1])]
    else:
        outline = [(0, -1), *profile, (0, 1)] if rng.random() < 0.7 else [(0, -1), *profile[:-1], (0, 1)]
    parts = [revolve(outline, material=material)]
    if rng.random() < 0.3:
        row = profile[rng.integers(1, len(profile) - 1)]
        parts.append(torus(row[0], rng.uniform(0.06, 0.12), center=(0, row[1], 0), material=any_material(rng)))
    draw = rng.random()
    if draw < 0.3:
        low, high = profile[1], profile[-2]
        out = max(low[0], high[0]) + rng.uniform(0.3, 0.6)
        inset = 0.03 if hollow else 0.08
        parts.append(
            tube(
                bezier((low[0] - inset, low[1], 0), (out, (low[1] + high[1]) / 2, 0), (high[0] - inset, high[1], 0)),
                rng.uniform(0.05, 0.09),
                mirror="x" if rng.random() < 0.5 else "",
                material=any_material(rng),
            )
        )
    elif draw < 0.5 and not hollow:
        other = turned_profile(rng, int(rng.integers(3, 6))) * rng.uniform(0.4, 0.8)
        y = rng.uniform(-0.6, 0.6)
        low = other[0, 1]
        parts.append(
            revolve(
                [(0, low), *other, (0, other[-1, 1])],
                center=(0, y, 0),
                rotate=(90, 0, rng.uniform(-60, 60)),
                material=any_material(rng),
            )
        )
    if rng.random() < 0.3:
        turn = rotation_matrix((rng.uniform(-120, 120), 0, rng.uniform(-120, 120)))
        if all(part.mirror == "" for part in parts):
            parts = [
                replace(part, center=tuple((turn @ part.center).tolist()), rotation=turn @ part.rotation)
                for part in parts
            ]
    return parts


def wires(rng: np.random.Generator) -> list[Part]:
    """Bent rods, linked rings, box frames, prism frames, cages and stars of rods."""
    style = rng.choice(["curves", "rings", "frame", "cage", "star", "ladder"])
    material, thin = any_material(rng), rng.uniform(0.04, 0.09)
    if style == "curves":
        parts, ends = [], [rng.uniform(-0.8, 0.8, 3)]
        for _ in range(rng.integers(2, 6)):
            start = ends[rng.integers(len(ends))]
            middle, end = rng.uniform(-1.2, 1.2, (2, 3))
            parts.append(
                tube(bezier(start, middle, end, 8), thin, end_radius=thin * rng.uniform(0.7, 1.2), material=material)
            )
            ends += [end, bezier(start, middle, end, 8)[4]]
        return parts
    if style == "rings":
        parts, at = [], np.zeros(3)
        for _ in range(rng.integers(2, 6)):
            major = rng.uniform(0.35, 0.8)
            rotation = rotation_matrix(rng.uniform(-180, 180, 3))
            turn = rng.uniform(0, 2 * np.pi, 2)
            rim = [rotation @ (major * np.sin(t), 0, major * np.cos(t)) for t in turn]
            center = at - rim[0]
            parts.append(
                replace(
                    torus(major, thin, material=material if rng.random() < 0.6 else any_material(rng)),
                    center=tuple(center.tolist()),
                    rotation=rotation,
                )
            )
            at = center + rim[1]
        return parts
    if style == "frame":
        x, y, z = rng.uniform(0.4, 1.0, 3)
        parts = [capsule((x, -y, z), (x, y, z), thin, mirror="xz", material=material)]
        other = material if rng.random() < 0.6 else any_material(rng)
        for level in np.linspace(-y, y, int(rng.integers(2, 4))):
            parts.append(capsule((-x, level, z), (x, level, z), thin, mirror="z", material=other))
            parts.append(capsule((x, level, -z), (x, level, z), thin, mirror="x", material=other))
        if rng.random() < 0.5:
            parts.append(capsule((-x, -y, -z), (x, y, z), thin, material=other))
        if rng.random() < 0.4:
            parts.append(ellipsoid((x * 0.5, y * 0.5, z * 0.5), material=any_material(rng)))
            parts.append(capsule((0, -y, -z), (0, y, z), thin, material=other))
            parts.append(capsule((-x, -y, -z), (x, -y, z), thin, material=other))
        return parts
    if style == "cage":
        width, half = rng.uniform(0.4, 0.8), rng.uniform(0.4, 1.0)
        taper, count = rng.uniform(0.5, 1.3), int(rng.integers(3, 8))
        parts = [
            torus(width, thin, center=(0, -half, 0), material=material),
            torus(width * taper, thin, center=(0, half, 0), material=material),
        ]
        twist = rng.uniform(-0.8, 0.8)
        for turn in np.arange(count) * 2 * np.pi / count:
            low = np.array([np.sin(turn) * width, -half, np.cos(turn) * width])
            high = np.array([np.sin(turn + twist) * width * taper, half, np.cos(turn + twist) * width * taper])
            parts.append(capsule(low, high, thin * 0.8, material=material))
        if rng.random() < 0.5:
            parts.append(cylinder(width, thin, center=(0, -half, 0), material=any_material(rng)))
        return parts
    if style == "star":
        parts = [ellipsoid((thin * 2, thin * 2, thin * 2), material=any_material(rng))]
        ball = rng.uniform(0.08, 0.2) if rng.random() < 0.6 else 0.0
        for _ in range(rng.integers(4, 9)):
            way = rng.normal(size=3)
            tip = way / np.linalg.norm(way) * rng.uniform(0.6, 1.0)
            parts.append(capsule((0, 0, 0), tip, thin, end_radius=thin * rng.uniform(0.7, 1.0), material=material))
            if ball:
                parts.append(ellipsoid((ball, ball, ball), center=tip, material=any_material(rng)))
        return parts
    half, width, count = rng.uniform(0.8, 1.0), rng.uniform(0.2, 0.5), int(rng.integers(2, 8))
    bend = rng.uniform(-0.5, 0.5)
    rail = bezier(
        (width, -half, 0), (width * rng.uniform(0.5, 1.5), 0, bend), (width * rng.uniform(0.4, 1.2), half, 0), 8
    )
    parts = [tube(rail, thin, mirror="x", material=material)]
    for k in np.linspace(0.5, 6.5, count):
        at = rail[int(k)] + (rail[int(k) + 1] - rail[int(k)]) * (k % 1)
        parts.append(capsule((0, at[1], at[2]), at, thin * 0.85, mirror="x", material=material))
    return parts


def blobs(rng: np.random.Generator) -> list[Part]:
    """Two to eight ellipsoids joined by smooth unions."""

    def make(size: float, material: Material) -> Piece:
        radii = slimmed(size * rng.uniform(0.4, 1.0, 3), 0.6)
        return Piece(ellipsoid(radii, material=material), _core(radii * 0.92), float(radii.min() * 0.15))

    return [piece.part for piece in compose(rng, int(rng.integers(2, 9)), make, blend=rng.uniform(0.1, 0.35))]
