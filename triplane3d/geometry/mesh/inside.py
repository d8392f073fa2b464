"""Which points lie inside a mesh, by the generalised winding number."""

import numpy as np
from jaxtyping import Bool, Float

from triplane3d.geometry.mesh.mesh import Mesh

try:
    import igl
except ImportError:  # in the `data` and `eval` extras; only `points_inside` needs it
    igl = None


def points_inside(mesh: Mesh, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
    """Whether the winding number of the mesh exceeds one half at each point.

    The winding number is 1 inside a closed surface that is wound outwards, and 0 outside. It also classifies points of
    meshes with holes, with several parts and with parts that intersect (Jacobson et al. 2013, Robust Inside-Outside
    Segmentation; computed by Barill et al. 2018, Fast Winding Numbers). Faces that are wound inwards falsify it.

    Raises ImportError without libigl.
    """
    if igl is None:
        raise ImportError("the inside of a mesh needs libigl: pip install 'triplane3d[data]'")
    winding = igl.fast_winding_number(
        mesh.vertices.astype(np.float64), np.asarray(mesh.faces), np.ascontiguousarray(points, dtype=np.float64)
    )
    return np.asarray(winding) > 0.5
