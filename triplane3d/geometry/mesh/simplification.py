"""The same surface with fewer faces, by quadric error metrics (Garland and Heckbert 1997; libigl's `qslim`)."""

import numpy as np

from triplane3d.geometry.mesh.mesh import Mesh
from triplane3d.geometry.mesh.vertex_values import nearest_colors

try:
    import igl
except ImportError:  # in the `mesh` extra
    igl = None


def check_simplify(faces: int) -> None:
    """Raise ValueError where `faces` is too small for any solid, ImportError where libigl is not installed."""
    if faces < 4:
        raise ValueError(f"faces must be at least 4, those of a tetrahedron; got {faces}")
    if igl is None:
        raise ImportError("fewer faces need libigl: pip install 'triplane3d[mesh]'")


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """A mesh of at most `faces` faces. Edges are collapsed in the order of the error that this causes.

    The surface stays closed and wound outwards and keeps its number of components. Each component needs at least four
    faces, one with handles more, so a mesh of many components may keep more than `faces` faces. A vertex takes the
    colour of the nearest vertex of `mesh`. A mesh with no more than `faces` faces is returned unchanged.

    Raises ValueError for fewer than 4 faces or a surface that is not closed; ImportError without libigl.
    """
    check_simplify(faces)
    if len(mesh.faces) <= faces:
        return mesh
    if not (mesh.is_watertight and mesh.winding_is_consistent):  # libigl may loop forever on such a mesh
        report = mesh.check(sampled_faces=0)
        raise ValueError(f"only a closed, consistently wound surface can be simplified; this mesh has {report}")
    vertices, corners, *_ = igl.qslim(mesh.vertices.astype(np.float64), np.asarray(mesh.faces), faces)
    return Mesh(vertices, corners.astype(np.int64), nearest_colors(mesh, vertices))
