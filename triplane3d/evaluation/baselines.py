"""Reference methods without a learned model. A score is meaningful only in comparison with these.

- `convex_hull` and `bounding_ellipsoid` use the true shape, but keep none of its detail.
- `inflated_silhouette` uses the image's mask only.
- `nearest_neighbor` finds the most similar image of the training set (`retrieval`).
- `on_grid` is an upper bound: the exact shape after marching cubes on a grid.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_dilation, distance_transform_edt, generate_binary_structure, map_coordinates
from torch import Tensor

from triplane3d.evaluation.protocol import SURFACE_SAMPLES
from triplane3d.evaluation.solids import Occupancy, Solid, Surface, mesh_occupancy
from triplane3d.geometry.isosurface import evaluate_grid, surface_of_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.inside import points_inside

COARSE = 32
"""Cells along an edge of the coarse grid that limits where exact distances are computed."""
MIN_RADIUS = 1e-3
"""Smallest radius of the bounding ellipsoid of a flat object, in world units."""
SILHOUETTE_RESOLUTION = 96
"""Cells along an edge of the grid from which the surface of an inflated silhouette is extracted."""


def convex_hull(surface: Surface, *, count: int = SURFACE_SAMPLES) -> Solid:
    """The smallest convex solid that contains a surface."""
    hull = _mesh(trimesh.convex.convex_hull(surface.extent_points))
    return _solid(hull, count, mesh_occupancy(hull))


def bounding_ellipsoid(surface: Surface, *, count: int = SURFACE_SAMPLES) -> Solid:
    """The axis-aligned ellipsoid that touches the six sides of the bounding box."""
    low, high = surface.extent_points.min(0), surface.extent_points.max(0)
    center, radii = (high + low) / 2, np.maximum((high - low) / 2, MIN_RADIUS)

    def occupancy(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
        return (((points - center) / radii) ** 2).sum(1) < 1

    sphere = trimesh.creation.icosphere(subdivisions=4)
    ellipsoid = trimesh.Trimesh(sphere.vertices * radii + center, sphere.faces, process=False)
    return _solid(_mesh(ellipsoid), count, occupancy)


def on_grid(solid: Solid, resolution: int, *, binary: bool = False, count: int = SURFACE_SAMPLES) -> Solid:
    """Marching cubes of the exact solid on a grid of `resolution` cells: the best any grid-based method can score.

    The grid holds the solid's field if it has one, otherwise the exact signed distance. With `binary` it holds only
    inside (0.5) or outside (-0.5).
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
    return _solid(mesh, count, partial(points_inside, mesh))


def _distance_grid(solid: Solid, resolution: int) -> Float[np.ndarray, "x y z"]:
    """Signed distance at the nodes of a grid, positive inside.

    Distances are exact at nodes beside the surface, which determine the result of marching cubes. Other nodes get
    plus or minus two cells.
    """
    surface = solid.surface
    assert surface is not None, "an empty solid has no distance"
    nodes = _nodes(resolution)

    # Winding numbers are expensive, so most nodes take over the value of the nearest coarse node. This is exact where
    # that coarse node is further from the surface than from the node: no surface then passes between the two. The
    # nearest coarse node is at most half a coarse cell away along each axis, √3/2 · 2/COARSE in total.
    coarse = _nodes(COARSE)
    is_clear = surface.nearest(coarse.reshape(-1, 3))[0] > 3**0.5 / COARSE
    steps = np.rint(np.arange(resolution + 1) * (COARSE / resolution)).astype(int)
    nearest = np.ix_(steps, steps, steps)
    inside = solid.occupancy(coarse.reshape(-1, 3)).reshape(coarse.shape[:3])[nearest]
    unclear = ~is_clear.reshape(coarse.shape[:3])[nearest]
    inside[unclear] = solid.occupancy(nodes[unclear])

    neighbors = generate_binary_structure(3, 3)
    beside = binary_dilation(inside, neighbors) & binary_dilation(~inside, neighbors)
    distance = np.full(inside.shape, 2 / resolution, dtype=np.float32)
    distance[beside] = surface.nearest(nodes[beside])[0]
    return np.where(inside, distance, -distance)


def _nodes(resolution: int) -> Float[np.ndarray, "x y z 3"]:
    """Nodes of the regular grid over [-1, 1]³."""
    axis = np.linspace(-1, 1, resolution + 1)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def inflated_silhouette(
    mask: Bool[np.ndarray, "height width"],
    *,
    resolution: int = SILHOUETTE_RESOLUTION,
    count: int = SURFACE_SAMPLES,
) -> Solid:
    """A rounded solid with the mask as its silhouette.

    The mask is treated as an orthographic view along -z: it is cropped to its bounding box, centred and scaled to a
    longest side of 2. At a pixel whose distance to the outline is d the solid covers |z| ≤ √(d (2r - d)), where r is
    the largest such distance. A disc therefore becomes a ball. Raises ValueError if the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        raise ValueError("the mask is empty: there is no silhouette to inflate")
    mask = np.pad(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], 1)
    height, width = mask.shape
    pixel = 2 / (max(height, width) - 2)
    # The transform measures to the centre of the first pixel outside; the outline is half a pixel nearer.
    edge = (distance_transform_edt(mask) - 0.5 * mask) * pixel
    radius = edge.max()
    thickness = np.where(mask, np.sqrt(edge * (2 * radius - edge)), -pixel)

    def field(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        x, y, z = points.double().numpy().T
        pixels = np.stack([(height - 1) / 2 - y / pixel, (width - 1) / 2 + x / pixel])
        return torch.from_numpy(map_coordinates(thickness, pixels, order=1, mode="nearest") - np.abs(z)).float()

    return Solid.from_field(field, resolution=resolution, count=count)


def nearest_neighbor(
    queries: Float[Tensor, "queries features"], stored: Float[Tensor, "entries features"]
) -> Int[Tensor, " queries"]:
    """For each query the index of the stored entry with the largest cosine similarity.

    The mean of the stored features is subtracted from both sides first.
    """
    mean = stored.mean(0)
    queries, stored = (torch.nn.functional.normalize(features - mean, dim=1) for features in (queries, stored))
    return (queries @ stored.T).argmax(1)


def thumbnail_features(
    images: Float[Tensor, "batch 4 height width"], size: int = 16
) -> Float[Tensor, "batch features"]:
    """Features without a model: RGBA images reduced to `size` pixels, colours premultiplied by alpha."""
    premultiplied = torch.cat([images[:, :3] * images[:, 3:], images[:, 3:]], 1)
    return torch.nn.functional.adaptive_avg_pool2d(premultiplied, size).flatten(1)


def _mesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def _solid(mesh: Mesh, count: int, occupancy: Occupancy) -> Solid:
    return Solid(occupancy, lambda: Surface.of_mesh(mesh, count))
