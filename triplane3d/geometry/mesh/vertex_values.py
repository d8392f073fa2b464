"""Values at the vertices of a new mesh, taken from the mesh that it was made from."""

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from triplane3d.geometry.mesh.mesh import Mesh


def nearest_colors(mesh: Mesh, vertices: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"] | None:
    """The colour of the nearest vertex of `mesh` for each of `vertices`; None for a mesh without colours."""
    if mesh.vertex_colors is None:
        return None
    return mesh.vertex_colors[cKDTree(mesh.vertices).query(vertices)[1]]
