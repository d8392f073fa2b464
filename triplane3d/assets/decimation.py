"""The same surface with fewer faces (Garland and Heckbert 1997, Surface Simplification Using Quadric Error Metrics)."""

import fast_simplification
import numpy as np
from scipy.spatial import cKDTree

from triplane3d.geometry.mesh import Mesh


def decimate(mesh: Mesh, faces: int, *, method: str = "fast") -> Mesh:
    """A mesh of `faces` faces. A vertex takes the colour of the nearest vertex of `mesh`."""
    if len(mesh.faces) <= faces:
        return mesh
    vertices, corners = fast_simplification.simplify(
        mesh.vertices, np.asarray(mesh.faces, dtype=np.int32), target_count=faces, agg=3
    )
    return Mesh(vertices, corners, nearest_colors(mesh, vertices))


def nearest_colors(mesh: Mesh, vertices: np.ndarray) -> np.ndarray | None:
    """The colour of the nearest vertex of `mesh` for each of `vertices`; None for a mesh without colours."""
    if mesh.vertex_colors is None:
        return None
    return mesh.vertex_colors[cKDTree(mesh.vertices).query(vertices)[1]]
