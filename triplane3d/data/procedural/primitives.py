"""Signed distances of the primitives, batched: `n` parts, each at `p` points of its own.

Distances are negative inside. Their sign is exact. Their size is exact, or exact to first order, near the surface;
farther away it may be a lower bound. The formulas follow Quilez, "Distance functions"
(https://iquilezles.org/articles/distfunctions/). Points are three rows x, y, z, so that every operation runs over
contiguous memory. The parameters of each primitive are those of its builder in `triplane3d.data.procedural.parts`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from triplane3d.data.procedural.parts import MAX_NODES, MAX_TUBE_NODES

Points = Float[Tensor, "n 3 p"]
Parameters = Float[Tensor, "n parameters"]
Distance = Float[Tensor, "n p"]

TINY = 1e-9
"""Keeps quotients and roots finite."""


def _norm(*components: Tensor) -> Tensor:
    """Euclidean norm of vectors that are given by their components."""
    return sum(component.square() for component in components).add(TINY).sqrt()


def _columns(parameters: Parameters, count: int) -> list[Float[Tensor, "n 1"]]:
    """The first `count` parameters, each as a column that broadcasts over points."""
    return [parameters[:, i, None] for i in range(count)]


def box(points: Points, parameters: Parameters) -> Distance:
    """Rounded box whose half-edges along x and z change linearly with y.

    Tapered sides are slanted; the distance along x or z is divided by the largest slant, which gives a lower bound.
    """
    half_x, half_y, half_z, radius, taper = _columns(parameters, 5)
    x, y, z = points.unbind(1)
    grow = 1 + taper * (y / half_y).clamp(-1, 1)
    # How far a side recedes per unit of height.
    slope = taper.abs() * torch.maximum(half_x, half_z) / half_y
    out_x = x.abs() - half_x * grow + radius
    out_y = y.abs() - half_y + radius
    out_z = z.abs() - half_z * grow + radius
    # Distances beyond each pair of faces; the largest one counts inside, the norm of the positive ones outside.
    outside = _norm(out_x.clamp(min=0), out_y.clamp(min=0), out_z.clamp(min=0))
    inside = torch.maximum(torch.maximum(out_x, out_y), out_z).clamp(max=0)
    return (outside + inside - radius) / (1 + slope.square()).sqrt()


def ellipsoid(points: Points, parameters: Parameters) -> Distance:
    """(f - 1) / |∇f| with f(p) = |p / radii|, which is 1 on the surface: exact to first order there."""
    # ∇f = p / (f radii²). The lower bounds below keep the quotient finite at the centre, where f and ∇f vanish.
    radii = torch.stack(_columns(parameters, 3), 1)
    scaled = points / radii
    level = scaled.square().sum(1).sqrt().clamp(min=1e-3)
    slope = (scaled / radii).square().sum(1).sqrt() / level
    return (level - 1) / slope.clamp(min=0.5 / radii.amax(1))


def superellipsoid(points: Points, parameters: Parameters) -> Distance:
    """(f - 1) / |∇f| as for `ellipsoid`, with the norm of Barr's superquadrics ("Superquadrics and angle-preserving
    transformations", 1981):

        f = ((|x/a|^(2/e₂) + |z/c|^(2/e₂))^(e₂/e₁) + |y/b|^(2/e₁))^(e₁/2),    e₁ vertical, e₂ horizontal exponent.
    """
    a, b, c, vertical, horizontal = _columns(parameters, 5)
    x, y, z = (points.abs()).unbind(1)
    u, v, w = (x / a).clamp(min=1e-4), (y / b).clamp(min=1e-4), (z / c).clamp(min=1e-4)
    flat = (u.pow(2 / horizontal) + w.pow(2 / horizontal)).pow(horizontal / 2)
    level = (flat.pow(2 / vertical) + v.pow(2 / vertical)).pow(vertical / 2)
    # ∇f by the chain rule: ∂f/∂flat = (flat / f)^(2/e₁ - 1), and likewise for the norm `flat` of x and z.
    along_flat = (flat / level).pow(2 / vertical - 1)
    slope_x = along_flat * (u / flat).pow(2 / horizontal - 1) / a
    slope_y = (v / level).pow(2 / vertical - 1) / b
    slope_z = along_flat * (w / flat).pow(2 / horizontal - 1) / c
    return (level - 1) / _norm(slope_x, slope_y, slope_z)


def cylinder(points: Points, parameters: Parameters) -> Distance:
    """Frustum about y with flat caps: the nearer of the cap and the side, in the plane of radius and height."""
    bottom, top, half, radius = _columns(parameters, 4)
    bottom, top, half = (bottom - radius).clamp(min=0), (top - radius).clamp(min=0), half - radius
    x, y, z = points.unbind(1)
    r = _norm(x, z)
    # To the nearer cap: a disc at height ±half. To the side: the segment from (bottom, -half) to (top, half).
    cap_r = r - torch.minimum(r, torch.where(y < 0, bottom, top))
    cap_y = y.abs() - half
    along = ((top - r) * (top - bottom) + (half - y) * 2 * half) / ((top - bottom).square() + 4 * half.square())
    along = along.clamp(0, 1)
    side_r = r - top + (top - bottom) * along
    side_y = y - half + 2 * half * along
    sign = torch.where((side_r < 0) & (cap_y < 0), -1.0, 1.0)
    nearest = torch.minimum(cap_r.square() + cap_y.square(), side_r.square() + side_y.square())
    return sign * nearest.add(TINY).sqrt() - radius


def _segment(points: Points, start: Float[Tensor, "n 3"], end: Float[Tensor, "n 3"]) -> tuple[Distance, Distance]:
    """Distance to a segment, and the position of the nearest point along it, 0..1."""
    direction = end - start
    length = direction.square().sum(1, keepdim=True).clamp(min=TINY)
    x, y, z = (points - start[:, :, None]).unbind(1)
    dx, dy, dz = _columns(direction, 3)
    along = ((x * dx + y * dy + z * dz) / length).clamp(0, 1)
    return _norm(x - dx * along, y - dy * along, z - dz * along), along


def capsule(points: Points, parameters: Parameters) -> Distance:
    """Distance to a segment less a radius that changes linearly along it."""
    # Exact for equal radii. Otherwise another ball of the segment may be slightly nearer: exact to first order only for
    # slow changes of the radius.
    distance, along = _segment(points, parameters[:, 0:3], parameters[:, 3:6])
    start, end = parameters[:, 6, None], parameters[:, 7, None]
    return distance - (start + (end - start) * along)


def torus(points: Points, parameters: Parameters) -> Distance:
    """Arc of a ring about y, centred on +z, with round ends. Points beyond the arc are measured from its nearer end."""
    major, minor, arc = _columns(parameters, 3)
    x, y, z = points.unbind(1)
    x = x.abs()  # the arc is symmetric
    sin, cos = arc.sin(), arc.cos()
    # The point of the arc's circle that is nearest: straight outwards from the axis, or the end of the arc.
    reach = torch.where(cos * x > sin * z, x * sin + z * cos, _norm(x, z))
    squared = x.square() + y.square() + z.square() + major.square() - 2 * major * reach
    return squared.clamp(min=TINY).sqrt() - minor


def tube(points: Points, parameters: Parameters) -> Distance:
    """Union of round segments along a polyline. The radius changes linearly with the length of the polyline."""
    nodes = parameters[:, : 3 * MAX_TUBE_NODES].unflatten(1, (MAX_TUBE_NODES, 3))
    start, end = parameters[:, 3 * MAX_TUBE_NODES, None], parameters[:, 3 * MAX_TUBE_NODES + 1, None]
    lengths = (nodes[:, 1:] - nodes[:, :-1]).norm(dim=2)
    # Length of the polyline up to each node, as a share of the whole. Repeated last nodes (padding) have length 0.
    walked = torch.cat([torch.zeros_like(lengths[:, :1]), lengths.cumsum(1)], 1)
    fraction = walked / walked[:, -1:].clamp(min=TINY)
    nearest = torch.full_like(points[:, 0], torch.inf)
    for i in range(int((lengths > 0).sum(1).max())):
        distance, along = _segment(points, nodes[:, i], nodes[:, i + 1])
        at = fraction[:, i, None] + (fraction[:, i + 1, None] - fraction[:, i, None]) * along
        nearest = torch.minimum(nearest, distance - (start + (end - start) * at))
    return nearest


def _polygon(u: Distance, v: Distance, nodes: Float[Tensor, "n nodes 2"], closed: bool) -> Distance:
    """Signed distance to a polygon in the plane.

    The size is the distance to the nearest edge. A point is inside if a ray from it towards +u crosses an odd number of
    edges. If not `closed`, the axis u = 0 joins the last node to the first; points have u >= 0, so that no ray crosses
    that edge, and it is no part of the surface.
    """
    # Padding repeats the last node: edges of length 0 are left out.
    used = int((nodes[:, 1:] != nodes[:, :-1]).any(2).sum(1).max()) + 1
    nearest = torch.full_like(u, torch.inf)
    inside = torch.zeros_like(u, dtype=torch.bool)
    edges = [(i, i + 1) for i in range(used - 1)] + ([(nodes.shape[1] - 1, 0)] if closed else [])
    for i, j in edges:
        (au, av), (bu, bv) = _columns(nodes[:, i], 2), _columns(nodes[:, j], 2)
        du, dv = bu - au, bv - av
        pu, pv = u - au, v - av
        along = ((pu * du + pv * dv) / (du.square() + dv.square()).clamp(min=TINY)).clamp(0, 1)
        nearest = torch.minimum(nearest, (pu - du * along).square() + (pv - dv * along).square())
        safe = torch.where(dv.abs() < TINY, TINY, dv)
        # The edge passes the height v of the point, on its right.
        crosses = ((av > v) != (bv > v)) & (pu < pv * (du / safe))
        inside = inside ^ crosses
    distance = nearest.add(TINY).sqrt()
    return torch.where(inside, -distance, distance)


def revolve(points: Points, parameters: Parameters) -> Distance:
    """Polygon in (radius, y), rotated about y."""
    nodes = parameters[:, : 2 * MAX_NODES].unflatten(1, (MAX_NODES, 2))
    x, y, z = points.unbind(1)
    return _polygon(_norm(x, z), y, nodes, closed=False)


def prism(points: Points, parameters: Parameters) -> Distance:
    """Polygon in (x, y), extruded along z, edges rounded."""
    nodes = parameters[:, : 2 * MAX_NODES].unflatten(1, (MAX_NODES, 2))
    half, radius = parameters[:, 2 * MAX_NODES, None], parameters[:, 2 * MAX_NODES + 1, None]
    x, y, z = points.unbind(1)
    # In the plane, and along z. A point outside both is at the distance of the edge between them.
    flat = _polygon(x, y, nodes, closed=True) + radius
    depth = z.abs() - half + radius
    return torch.maximum(flat, depth).clamp(max=0) + _norm(flat.clamp(min=0), depth.clamp(min=0)) - radius


PRIMITIVES: dict[str, Callable[[Points, Parameters], Distance]] = {
    "box": box,
    "ellipsoid": ellipsoid,
    "superellipsoid": superellipsoid,
    "cylinder": cylinder,
    "capsule": capsule,
    "torus": torus,
    "tube": tube,
    "revolve": revolve,
    "prism": prism,
}
