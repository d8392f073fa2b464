"""Solids and surfaces in the form that the metrics use: an occupancy function and samples of the surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import igl
import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from triplane3d.evaluation.protocol import GRID_RESOLUTION, SURFACE_SAMPLES
from triplane3d.geometry.fields import Field
from triplane3d.geometry.isosurface import evaluate_grid, surface_of_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.inside import points_inside

Occupancy = Callable[[Float[np.ndarray, "points 3"]], Bool[np.ndarray, " points"]]
"""Maps points to True where they lie inside the solid."""

FACE_OFFSET = 1e-3
"""Distance from a face, in world units, at which the two sides of the face are compared."""


@dataclass(frozen=True)
class Surface:
    """Samples of a surface with their unit normals, and the mesh they were sampled from, if there is one."""

    points: Float[np.ndarray, "samples 3"]
    normals: Float[np.ndarray, "samples 3"]
    mesh: Mesh | None = None

    @classmethod
    def of_mesh(
        cls, mesh: Mesh, count: int = SURFACE_SAMPLES, *, seed: int = 0, outer: Occupancy | None = None
    ) -> Surface:
        """`count` independent samples, uniform by area.

        With `outer`, the occupancy of the solid, faces inside the solid are removed first. A mesh of overlapping parts
        has such faces. A face belongs to the outer surface if exactly one of its two sides is inside.
        """
        if outer is not None:
            centers, offsets = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)].mean(1), _unit_normals(mesh)
            is_outer = outer(centers + FACE_OFFSET * offsets) != outer(centers - FACE_OFFSET * offsets)
            # The vertices stay as they are: the baselines read the bounding box from them.
            mesh = Mesh(mesh.vertices, np.asarray(mesh.faces)[is_outer])

        # Independent samples, unlike the stratified ones of `geometry.mesh.sampling.sample_mesh`. The Chamfer
        # distance depends on how samples are spread, so this sampling is part of the protocol.
        rng = np.random.default_rng(seed)
        areas = mesh.face_areas
        chosen = rng.choice(len(areas), size=count, p=areas / areas.sum())
        u, v = rng.random((2, count, 1))
        # Reflecting the upper half of the unit square makes the barycentric coordinates uniform over the triangle.
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = np.moveaxis(mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)[chosen]], 1, 0)
        return cls(a + u * (b - a) + v * (c - a), _unit_normals(mesh)[chosen], mesh)

    @property
    def extent_points(self) -> Float[np.ndarray, "points 3"]:
        """Points with the bounding box and convex hull of the surface: the mesh's vertices, or else the samples."""
        return self.points if self.mesh is None else self.mesh.vertices.astype(np.float64)

    def require_mesh(self) -> Mesh:
        """The mesh of this surface. Raises ValueError if the surface consists of samples only."""
        if self.mesh is None:
            raise ValueError("this surface has samples only and no mesh: create it with Surface.of_mesh")
        return self.mesh

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree over the samples."""
        return cKDTree(self.points)

    @cached_property
    def _triangles(self) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
        mesh = self.require_mesh()
        return mesh.vertices.astype(np.float64), np.asarray(mesh.faces)

    def nearest(
        self, points: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "points 3"]]:
        """Distance from each point to this surface, and the unit normal at the nearest place.

        The distance is to the triangles if the surface has a mesh, otherwise to the nearest sample.
        """
        if self.mesh is None:
            distances, index = self.tree.query(points)
            return distances, self.normals[index]
        squared, index, _ = igl.point_mesh_squared_distance(np.asarray(points, dtype=np.float64), *self._triangles)
        return np.sqrt(np.maximum(squared, 0)), _unit_normals(self.mesh)[index]


@dataclass(frozen=True)
class Solid:
    """A solid: which points are inside, and its surface, which is computed on first use."""

    occupancy: Occupancy
    make_surface: Callable[[], Surface | None]
    """Computes the surface; returns None if the solid is empty."""
    field: Field | None = None
    """Values at points, above 0 inside, if the solid comes from a field."""

    @cached_property
    def surface(self) -> Surface | None:
        """The surface, or None if the solid is empty."""
        return self.make_surface()

    @classmethod
    def from_field(
        cls,
        field: Field,
        *,
        resolution: int = GRID_RESOLUTION,
        count: int = SURFACE_SAMPLES,
        seed: int = 0,
        level: float = 0.0,
    ) -> Solid:
        """The set where `field` exceeds `level`.

        Occupancy is evaluated exactly. The surface comes from marching cubes on a grid of `resolution` cells. A field
        that does not cross `level` on the grid has no surface.
        """

        def is_inside(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
            with torch.no_grad():
                return (field(torch.as_tensor(points, dtype=torch.float32)) > level).cpu().numpy()

        def make_surface() -> Surface | None:
            values = evaluate_grid(field, resolution)
            if not values.min() <= level < values.max():
                return None
            return Surface.of_mesh(Mesh(*surface_of_grid(values.cpu().numpy(), level)), count, seed=seed)

        return cls(is_inside, make_surface, lambda points: field(points) - level)

    @classmethod
    def from_mesh(cls, mesh: Mesh, *, count: int = SURFACE_SAMPLES, seed: int = 0) -> Solid:
        """The points with a winding number above one half. Faces inside this set are not part of the surface."""
        is_inside = mesh_occupancy(mesh)
        return cls(is_inside, lambda: Surface.of_mesh(mesh, count, seed=seed, outer=is_inside))


def mesh_occupancy(mesh: Mesh) -> Occupancy:
    """Occupancy by the generalised winding number, for meshes from other sources.

    Vertices at the same place are merged and the faces of every connected component are oriented outwards first,
    because a component with inward faces has a negative winding number.
    """
    welded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    trimesh.repair.fix_normals(welded, multibody=True)
    return partial(points_inside, Mesh(np.asarray(welded.vertices), np.asarray(welded.faces)))


def _unit_normals(mesh: Mesh) -> Float[np.ndarray, "faces 3"]:
    """Unit normal of each face; 0 for a face without area."""
    return mesh.face_crosses / np.maximum(2 * mesh.face_areas, 1e-30)[:, None]
