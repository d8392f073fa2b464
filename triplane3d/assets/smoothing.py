"""Smoothing that keeps the volume (Taubin 1995, A Signal Processing Approach to Fair Surface Design)."""

import numpy as np
from jaxtyping import Float
from scipy import sparse

from triplane3d.arguments import check_whole
from triplane3d.assets.cleaning import open_edges
from triplane3d.geometry.mesh import Mesh

SHRINKING, GROWING = 0.5, -0.53
"""λ and μ of the paper. The pass band is 1/λ + 1/μ = 0.11: details of more than some 6 edges keep their size."""
MOST_PASSES = 200


def smooth(mesh: Mesh, passes: int) -> Mesh:
    """The mesh after `passes` pairs of steps of Taubin's filter, from 0 to 200. Faces and colours stay.

    Each step moves a vertex by a share of the way to the mean of its neighbours: λ inwards, then μ outwards. Vertices
    at open edges stay in place.
    """
    check_whole("passes", passes, 0, MOST_PASSES)
    if passes == 0 or len(mesh.faces) == 0:
        return mesh
    mean = _neighbour_mean(mesh)
    fixed = np.unique(np.concatenate(open_edges(np.asarray(mesh.faces), len(mesh.vertices))))
    points: Float[np.ndarray, "vertices 3"] = mesh.vertices.astype(np.float64)
    for _ in range(passes):
        for share in (SHRINKING, GROWING):
            moved = points + share * (mean @ points - points)
            moved[fixed] = points[fixed]
            points = moved
    return Mesh(points, mesh.faces, mesh.vertex_colors)


def _neighbour_mean(mesh: Mesh) -> sparse.csr_matrix:
    """The matrix that maps the vertices to the means of their neighbours; to themselves where they have none."""
    faces, count = np.asarray(mesh.faces), len(mesh.vertices)
    rows, columns = faces[:, [0, 1, 1, 2, 2, 0]].ravel(), faces[:, [1, 0, 2, 1, 0, 2]].ravel()
    links = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    links.data[:] = 1
    degrees = np.asarray(links.sum(axis=1)).ravel()
    alone = sparse.diags((degrees == 0).astype(float))
    return (sparse.diags(1 / np.maximum(degrees, 1)) @ links + alone).tocsr()
