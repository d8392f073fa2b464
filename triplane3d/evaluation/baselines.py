"""The trivial answers: what a number means is how far it is from these.

Some know the truth and keep none of its detail (`bounding_ellipsoid`, `convex_hull`), one knows the picture only
(`inflated_silhouette`), and one knows the training set (`nearest_neighbor`). `on_grid` is the other end: the most that
any model can reach whose surface comes from a grid.
"""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_dilation, distance_transform_edt, generate_binary_structure, map_coordinates
from torch import Tensor

from triplane3d.evaluation.shape_metrics import Occupancy, Solid, Surface, mesh_occupancy
from triplane3d.geometry.isosurface import evaluate_grid, surface_of_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.inside import points_inside

COARSE = 32
"""Cells of the grid that tells where a surface cannot be."""


def convex_hull(surface: Surface, *, count: int = 20_000) -> Solid:
    """The smallest convex solid around a surface."""
    points = surface.points if surface.vertices is None else surface.vertices
    hull = trimesh.convex.convex_hull(points)
    return _solid(hull, count, mesh_occupancy(_mesh(hull)))


def bounding_ellipsoid(surface: Surface, *, count: int = 20_000) -> Solid:
    """The ellipsoid that touches the six sides of the bounding box."""
    points = surface.points if surface.vertices is None else surface.vertices
    center, radii = (points.max(0) + points.min(0)) / 2, np.maximum((points.max(0) - points.min(0)) / 2, 1e-3)

    def occupancy(queries: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
        return (((queries - center) / radii) ** 2).sum(1) < 1

    sphere = trimesh.creation.icosphere(subdivisions=4)
    return _solid(trimesh.Trimesh(sphere.vertices * radii + center, sphere.faces, process=False), count, occupancy)


def on_grid(solid: Solid, resolution: int, *, binary: bool = False, count: int = 20_000) -> Solid:
    """What marching cubes makes of the exact solid on a grid of `resolution` cells.

    The grid holds the exact distance (the field's own values, where the solid is known by a field), or with `binary`
    no more than inside and outside.
    """
    if solid.field is not None:
        values = evaluate_grid(solid.field, resolution).cpu().numpy()
    else:
        values = _distance_grid(solid, resolution)
    if binary:
        values = np.where(values > 0, 0.5, -0.5).astype(np.float32)
    if not values.min() <= 0 < values.max():
        return Solid(lambda points: np.zeros(len(points), dtype=bool), lambda: None)
    mesh = Mesh(*surface_of_grid(values, 0.0))
    return Solid(lambda points: points_inside(mesh, points), lambda: Surface.of_mesh(mesh, count))


def _distance_grid(solid: Solid, resolution: int) -> Float[np.ndarray, "x y z"]:
    """Distance to the surface at a grid's nodes, positive inside; exact beside the surface, where it matters."""
    surface = solid.surface
    assert surface is not None, "an empty solid has no distance"
    nodes = _nodes(resolution)
    # No surface passes between a node and its nearest coarse node if that one is further from the surface than from it.
    coarse = _nodes(COARSE)
    clear = surface.nearest(coarse.reshape(-1, 3))[0] > 3**0.5 / COARSE
    steps = np.rint(np.arange(resolution + 1) * (COARSE / resolution)).astype(int)
    nearest = np.ix_(steps, steps, steps)
    inside = solid.occupancy(coarse.reshape(-1, 3)).reshape(coarse.shape[:3])[nearest]
    asked = ~clear.reshape(coarse.shape[:3])[nearest]
    inside[asked] = solid.occupancy(nodes[asked])
    around = generate_binary_structure(3, 3)
    beside = binary_dilation(inside, around) & binary_dilation(~inside, around)
    distance = np.full(inside.shape, 2 / resolution, dtype=np.float32)
    distance[beside] = surface.nearest(nodes[beside])[0]
    return np.where(inside, distance, -distance)


def _nodes(resolution: int) -> Float[np.ndarray, "x y z 3"]:
    axis = np.linspace(-1, 1, resolution + 1)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def inflated_silhouette(mask: Bool[np.ndarray, "height width"], *, resolution: int = 96, count: int = 20_000) -> Solid:
    """The silhouette, blown up like a balloon: its own outline from the front, round towards the middle.

    The mask is taken for a level, distant view: cropped to its bounding box, centred, longest side 2. Where the nearest
    edge is d away, the solid reaches ±√(d (2r - d)) in depth, r being the radius of the largest circle in the mask, so
    that a disc becomes a ball.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        raise ValueError("the mask is empty: there is no silhouette to inflate")
    mask = np.pad(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], 1)
    height, width = mask.shape
    pixel = 2 / (max(height, width) - 2)
    # Half a pixel is taken off: the transform measures to the first pixel outside, not to the outline.
    edge = (distance_transform_edt(mask) - 0.5 * mask) * pixel
    radius = edge.max()
    thickness = np.where(mask, np.sqrt(edge * (2 * radius - edge)), -pixel)

    def field(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        x, y, z = points.double().numpy().T
        at = np.stack([(height - 1) / 2 - y / pixel, (width - 1) / 2 + x / pixel])
        return torch.from_numpy(map_coordinates(thickness, at, order=1, mode="nearest") - np.abs(z)).float()

    return Solid.from_field(field, resolution=resolution, count=count)


def nearest_neighbor(
    queries: Float[Tensor, "queries features"], bank: Float[Tensor, "bank features"]
) -> Int[Tensor, " queries"]:
    """Index of the bank's entry whose feature points most nearly the same way, features centred on the bank's mean."""
    mean = bank.mean(0)
    queries, bank = (torch.nn.functional.normalize(features - mean, dim=1) for features in (queries, bank))
    return (queries @ bank.T).argmax(1)


def thumbnail_features(
    images: Float[Tensor, "batch 4 height width"], size: int = 16
) -> Float[Tensor, "batch features"]:
    """The picture itself at `size` pixels, colours premultiplied by alpha: the feature that needs no model."""
    premultiplied = torch.cat([images[:, :3] * images[:, 3:], images[:, 3:]], 1)
    return torch.nn.functional.adaptive_avg_pool2d(premultiplied, size).flatten(1)


def _mesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int64))


def _solid(mesh: trimesh.Trimesh, count: int, occupancy: Occupancy) -> Solid:
    return Solid(occupancy, lambda: Surface.of_mesh(_mesh(mesh), count))
