"""Oriented 2-manifolds, by manifold3d: the strict test, and the repair of edges at which surfaces touch.

manifold3d pairs the half-edges of every edge. Its test passes where each half-edge has a partner of opposite direction.
Where surfaces touch at an edge or a vertex, it gives each surface vertices of its own.
"""

import manifold3d
import numpy as np
from jaxtyping import Float, Integer

NUDGE = 0.02
"""How far touching surfaces are moved apart, as a share of the way from a vertex to the mean of its neighbours."""


def manifold_error(vertices: Float[np.ndarray, "vertices 3"], faces: Integer[np.ndarray, "faces 3"]) -> str | None:
    """Why the faces are not an oriented 2-manifold, in words; None where they are one."""
    if len(faces) == 0:
        return "there are no faces"
    status = _manifold(vertices, faces).status()
    if status == manifold3d.Error.NoError:
        return None
    return {
        manifold3d.Error.NotManifold: "edges without exactly two faces of opposite directions",
        manifold3d.Error.VertexOutOfBounds: "indices out of range",
        manifold3d.Error.NonFiniteVertex: "vertices that are not finite",
    }.get(status, status.name)


def separate_touching(
    vertices: Float[np.ndarray, "vertices 3"], faces: Integer[np.ndarray, "faces 3"]
) -> tuple[Float[np.ndarray, "others 3"], Integer[np.ndarray, "rest 3"]] | None:
    """The surface with exactly two faces at every edge; None where the faces are not an oriented 2-manifold.

    Surfaces that touch at an edge or a vertex get vertices of their own. These are moved apart by `NUDGE`, so that
    programs that join equal positions, such as readers of STL, find the same surfaces. Two faces with the same corners
    and opposite directions, and vertices without a face, are removed.
    """
    solid = _manifold(vertices, faces)
    if solid.status() != manifold3d.Error.NoError:
        return None
    result = solid.to_mesh()
    points, corners = (
        np.array(result.vert_properties[:, :3], dtype=np.float64),
        np.array(result.tri_verts, dtype=np.int64),
    )
    if len(corners) == 0:
        return None
    _, place, count = np.unique(points.astype(np.float32), axis=0, return_inverse=True, return_counts=True)
    touching = np.flatnonzero(count[place] > 1)
    if len(touching):
        # Each surface is moved towards its own side. That is the mean of the neighbours, for solids and for cavities.
        sums, degrees = np.zeros_like(points), np.zeros(len(points))
        for start, end in ((0, 1), (1, 2), (2, 0)):
            np.add.at(sums, corners[:, start], points[corners[:, end]])
            np.add.at(degrees, corners[:, start], 1)
        means = sums[touching] / np.maximum(degrees[touching], 1)[:, None]
        points[touching] += NUDGE * (means - points[touching])
    return points, corners


def _manifold(vertices: np.ndarray, faces: np.ndarray) -> manifold3d.Manifold:
    # Copies: manifold3d refuses arrays that cannot be written to.
    return manifold3d.Manifold(manifold3d.Mesh(np.array(vertices, np.float32), np.array(faces, np.uint32)))
