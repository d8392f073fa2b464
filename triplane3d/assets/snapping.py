"""Vertices moved onto the zero set of the field that the mesh was extracted from.

Marching cubes interpolates linearly between samples. The vertices lie off the surface by some hundredths of a cell, and
their errors differ from vertex to vertex, which shows in the normals.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float

from triplane3d.geometry.fields import Field
from triplane3d.geometry.isosurface.field_sampling import values_at_points
from triplane3d.geometry.isosurface.vertex_refinement import VertexOffsets, refine_vertices
from triplane3d.geometry.mesh import Mesh

MEASURED_FACES = 20_000
"""Most faces at which the agreement of normals is measured."""


@dataclass(frozen=True)
class SnapReport:
    """What `snap` has changed."""

    offsets: VertexOffsets
    """Mean distances of the vertices from the surface, in edge lengths, before and after."""
    normals_before: float
    """Mean |cosine| between the normals of the faces and the field's gradient at their centres."""
    normals_after: float
    kept_faces: int
    """Faces whose vertices stayed in place, because the move would have turned the face over."""

    def __str__(self) -> str:
        return (
            f"vertices on average {self.offsets.before:.4f} → {self.offsets.after:.4f} of an edge off the surface, "
            f"normal consistency {self.normals_before:.4f} → {self.normals_after:.4f}"
        )


@torch.no_grad()
def snap(
    mesh: Mesh,
    field: Field,
    *,
    level: float = 0.0,
    bounds: tuple[float, float] = (-1.0, 1.0),
    chunk_size: int | None = None,
) -> tuple[Mesh, SnapReport]:
    """The mesh with every vertex on the surface `field` = `level`, and a report. Faces and colours stay.

    A vertex moves along the field's gradient by up to half of the mean edge length (`refine_vertices`: safeguarded
    secant steps on a bracket). It stays in place where the field does not cross the level there, on the walls of the
    cube `bounds`, and where the move would turn a face over.

    Raises ValueError for a mesh without faces.
    """
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces has no vertices to snap")
    values = partial(values_at_points, field, chunk_size)
    cell = mean_edge(mesh)
    points, offsets = refine_vertices(values, mesh.vertices, level, cell, bounds)
    faces, before = np.asarray(mesh.faces), mesh.face_crosses
    points = np.where(np.isfinite(points).all(axis=1, keepdims=True), points, mesh.vertices)
    kept = np.zeros(len(faces), dtype=bool)
    for _ in range(10):  # a vertex that stays can turn the next face over
        moved = Mesh(points, faces)
        turned = (moved.face_crosses * before).sum(axis=1) < 0.1 * (before**2).sum(axis=1)
        turned &= ~kept
        if not turned.any():
            break
        kept |= turned
        still = np.unique(faces[turned])
        points = points.copy()
        points[still] = mesh.vertices[still]
    snapped = Mesh(points, faces, mesh.vertex_colors)
    sample = np.random.default_rng(0).permutation(len(faces))[:MEASURED_FACES]
    report = SnapReport(
        offsets=offsets,
        normals_before=_normal_agreement(mesh, values, sample, cell),
        normals_after=_normal_agreement(snapped, values, sample, cell),
        kept_faces=int(kept.sum()),
    )
    return snapped, report


def mean_edge(mesh: Mesh) -> float:
    """Mean length of the edges; one between two faces counts twice."""
    corners = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)]
    return float(np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).mean())


def _normal_agreement(
    mesh: Mesh, values: "partial[torch.Tensor]", sample: Float[np.ndarray, " faces"] | np.ndarray, cell: float
) -> float:
    """Mean |cosine| between face normals and the field's gradient, weighted by the areas of the faces."""
    centers = torch.from_numpy(mesh.vertices[np.asarray(mesh.faces)[sample]].mean(axis=1))
    steps = 0.25 * cell * torch.eye(3)
    gradient = torch.stack([values(centers + step) - values(centers - step) for step in steps], dim=1).cpu().numpy()
    crosses = mesh.face_crosses[sample]
    areas, slopes = np.linalg.norm(crosses, axis=1), np.linalg.norm(gradient, axis=1)
    fine = (areas > 0) & (slopes > 0) & np.isfinite(slopes)
    if not fine.any():
        return 0.0
    cosines = np.abs((crosses * gradient).sum(axis=1)[fine] / (areas * slopes)[fine])
    return float(np.average(cosines, weights=areas[fine]))
