"""The same surface with fewer faces (Garland and Heckbert 1997, Surface Simplification Using Quadric Error Metrics).

Two methods: "fast" is fast-simplification, which collapses all edges below a rising error in passes; "quality" is
libigl's `qslim`, which collapses the edge of the smallest error first.
"""

import fast_simplification
import numpy as np

from triplane3d.assets.cleaning import separate
from triplane3d.assets.settings import LEAST_FACES
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.simplification import simplify
from triplane3d.geometry.mesh.vertex_values import nearest_colors

AGGRESSIVENESS = (3, 5, 7, 10)
"""How fast the error rises from pass to pass. The smallest gives the best surface, but may end above the budget; the
rest of the work is then done with the next."""

MOST_QUALITY_FACES = 200_000
"""A larger mesh is first reduced to this number by the fast method, since `qslim` takes some 20 µs for a face."""


def decimate(mesh: Mesh, faces: int, *, method: str = "fast") -> Mesh:
    """A mesh of at most `faces` faces, and no fewer than 95 % of them. A mesh that has no more is returned unchanged.

    A closed, consistently wound mesh stays watertight and manifold: where the collapse of edges made surfaces touch,
    they are separated again (`separate`). A component needs at least four faces, so a mesh of many components
    may keep more than `faces`; an open mesh keeps its borders approximately. A vertex takes the colour of the nearest
    vertex of `mesh`.

    Raises ValueError for fewer than 4 faces, another method, or a mesh that "quality" does not accept;
    ImportError for "quality" without libigl.
    """
    if method not in ("fast", "quality"):
        raise ValueError(f'method must be "fast" or "quality", got {method!r}')
    if faces < LEAST_FACES:
        raise ValueError(f"faces must be at least {LEAST_FACES}, those of a tetrahedron; got {faces}")
    if len(mesh.faces) <= faces:
        return mesh
    if method == "quality":
        if len(mesh.faces) > max(MOST_QUALITY_FACES, faces):
            mesh = decimate(mesh, max(MOST_QUALITY_FACES, faces))
        return separate(simplify(mesh, faces))
    vertices, corners = mesh.vertices, np.asarray(mesh.faces, dtype=np.int32)
    for aggressiveness in AGGRESSIVENESS:
        vertices, corners = fast_simplification.simplify(vertices, corners, target_count=faces, agg=aggressiveness)
        if len(corners) <= faces:
            break
    if len(corners) == 0:
        return mesh
    few = Mesh(vertices, corners.astype(np.int64)).select_faces(np.arange(len(corners)))
    few = Mesh(few.vertices, few.faces, nearest_colors(mesh, few.vertices))
    return separate(few) if mesh.is_watertight and not few.is_solid else few
