"""Parts: a shape is a list of primitives with positions, materials and operations, as plain numbers.

Parts are described in the object's own frame (y up, the front towards +z) and in any unit: `ShapeBatch` centres and
scales the finished object. They are applied in order: each is joined to the parts before it, subtracted from them or
intersected with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi
from typing import Any

import numpy as np

KINDS = ("box", "ellipsoid", "cylinder", "capsule", "torus", "tube", "revolve", "prism")
OPERATIONS = ("union", "subtract", "intersect")
PATTERNS = ("plain", "stripes", "checker", "spots", "gradient")
MAX_NODES = 16
"""Nodes of a profile or an outline."""
MAX_TUBE_NODES = 8
PARAMETERS = 2 * MAX_NODES + 4
"""Numbers that describe a part: enough for the primitives with most nodes."""

Vector = Sequence[float | np.number] | np.ndarray


@dataclass(frozen=True)
class Material:
    """The appearance of a part.

    Colours are linear albedo in 0..1. `second` is the other colour of the pattern, by default the same. `axis` (0 to 2)
    is the direction of stripes and gradients in the part's own axes, `scale` the period of the pattern in the object's
    units, `gloss` the strength of the highlight in 0..1.
    """

    color: Vector = (0.7, 0.7, 0.7)
    second: Vector | None = None
    pattern: str = "plain"
    axis: int = 1
    scale: float = 0.2
    gloss: float = 0.2

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern must be one of {PATTERNS}, got {self.pattern!r}")


@dataclass(frozen=True)
class Part:
    """One primitive, its position, and how it is combined with the parts before it.

    `rotation` transforms the primitive's axes to the object's. `mirror` names axes ("x", "z", "xz"): the part is
    repeated across the plane through the origin at right angles to each; its description is that of the copy on the
    positive side. `op` is one of `OPERATIONS`. `blend` is the radius over which the join is rounded; 0 gives an edge.
    """

    kind: str
    parameters: tuple[float, ...]
    center: Vector = (0.0, 0.0, 0.0)
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    mirror: str = ""
    op: str = "union"
    blend: float = 0.0
    material: Material = Material()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")
        if self.op not in OPERATIONS:
            raise ValueError(f"op must be one of {OPERATIONS}, got {self.op!r}")
        if len(self.parameters) > PARAMETERS:
            raise ValueError(f"a part has at most {PARAMETERS} parameters, this {self.kind} has {len(self.parameters)}")


def rotation_matrix(degrees: Vector) -> np.ndarray:
    """Rotation about x, then y, then z (fixed axes) by three angles in degrees, as a 3 × 3 matrix."""
    x, y, z = np.deg2rad(np.asarray(degrees, dtype=float))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _part(
    kind: str,
    parameters: Vector,
    *,
    center: Vector = (0, 0, 0),
    rotate: Vector = (0, 0, 0),
    mirror: str = "",
    op: str = "union",
    blend: float = 0.0,
    material: Material | None = None,
) -> Part:
    return Part(
        kind,
        tuple(map(float, parameters)),
        center=tuple(map(float, center)),
        rotation=rotation_matrix(rotate),
        mirror=mirror,
        op=op,
        blend=float(blend),
        material=material or Material(),
    )


def box(half: Vector, *, round: float = 0.0, taper: float = 0.0, **place: Any) -> Part:
    """Box with half-edges `half` and edges rounded by `round`. At height y above the centre, the half-edges along x
    and z are multiplied by 1 + taper · y / half[1]."""
    return _part("box", (*half, round, taper), **place)


def ellipsoid(radii: Vector, *, exponents: tuple[float, float] = (1.0, 1.0), **place: Any) -> Part:
    """Superellipsoid with exponents (vertical, horizontal): 1 gives an ellipsoid, 0.2 nearly a box, 2 an octahedron."""
    return _part("ellipsoid", (*radii, *exponents), **place)


def cylinder(
    radius: float, half_height: float, *, top_radius: float | None = None, round: float = 0.0, **place: Any
) -> Part:
    """Cylinder about y, edges rounded by `round`. With another `top_radius` it is a frustum, with 0 a cone."""
    return _part("cylinder", (radius, radius if top_radius is None else top_radius, half_height, round), **place)


def capsule(start: Vector, end: Vector, radius: float, *, end_radius: float | None = None, **place: Any) -> Part:
    """Segment between two points with round ends, of a radius that changes linearly from `radius` to `end_radius`.

    `center` and `rotate` move both points.
    """
    return _part("capsule", (*start, *end, radius, radius if end_radius is None else end_radius), **place)


def torus(major: float, minor: float, *, arc: float = pi, **place: Any) -> Part:
    """Ring about y with the radius `major` of the ring and `minor` of the tube. `arc` is the half-angle in radians of
    the arc that is kept, centred on +z; its ends are round."""
    return _part("torus", (major, minor, arc), **place)


def tube(
    points: Sequence[Vector] | np.ndarray, radius: float, *, end_radius: float | None = None, **place: Any
) -> Part:
    """Round tube along a polyline of 2 to 8 points, its radius changing linearly along it. `bezier` samples a curve."""
    nodes = np.asarray(points, dtype=float)
    if not 2 <= len(nodes) <= MAX_TUBE_NODES:
        raise ValueError(f"a tube has 2 to {MAX_TUBE_NODES} points, got {len(nodes)}")
    # All parts of a kind have the same number of parameters: the last node is repeated.
    nodes = np.concatenate([nodes, np.repeat(nodes[-1:], MAX_TUBE_NODES - len(nodes), axis=0)])
    return _part("tube", (*nodes.ravel(), radius, radius if end_radius is None else end_radius), **place)


def revolve(profile: Sequence[Vector] | np.ndarray, **place: Any) -> Part:
    """Solid of revolution about y. `profile` holds 3 to 16 (radius, y) points; the first and the last are on the axis.

    The direction does not matter. A profile that goes up the outside, over the rim and down the inside gives a hollow
    vessel.
    """
    nodes = np.asarray(profile, dtype=float)
    if not 3 <= len(nodes) <= MAX_NODES:
        raise ValueError(f"a profile has 3 to {MAX_NODES} points, got {len(nodes)}")
    if abs(nodes[[0, -1], 0]).max() > 1e-6 or nodes[:, 0].min() < -1e-6:
        raise ValueError("a profile starts and ends on the axis (radius 0) and stays at radius >= 0")
    nodes = np.concatenate([nodes, np.repeat(nodes[-1:], MAX_NODES - len(nodes), axis=0)])
    return _part("revolve", nodes.ravel(), **place)


def prism(outline: Sequence[Vector] | np.ndarray, half_depth: float, *, round: float = 0.0, **place: Any) -> Part:
    """Polygon of 3 to 16 (x, y) points, extruded from z = -half_depth to half_depth, edges rounded by `round`."""
    nodes = np.asarray(outline, dtype=float)
    if not 3 <= len(nodes) <= MAX_NODES:
        raise ValueError(f"an outline has 3 to {MAX_NODES} points, got {len(nodes)}")
    nodes = np.concatenate([nodes, np.repeat(nodes[-1:], MAX_NODES - len(nodes), axis=0)])
    return _part("prism", (*nodes.ravel(), half_depth, round), **place)


def bezier(start: Vector, control: Vector, end: Vector, count: int = 6) -> np.ndarray:
    """`count` points on a quadratic Bézier curve, for `tube`."""
    t = np.linspace(0, 1, count)[:, None]
    return (1 - t) ** 2 * np.asarray(start) + 2 * t * (1 - t) * np.asarray(control) + t**2 * np.asarray(end)
