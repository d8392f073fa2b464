"""Questions to a mesh: points on it, what lies inside it, and the mesh in the library's frame."""

import numpy as np
from jaxtyping import Bool, Float

from triplane3d.geometry.mesh.mesh import Mesh

try:
    import igl
except ImportError:  # the `data` extra; only `occupancy` needs it
    igl = None


def sample_surface(
    mesh: Mesh,
    count: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "count 3"], Float[np.ndarray, "count 3"]]:
    """Points spread evenly over the surface's area, and the unit normals of their faces."""
    areas = mesh.face_areas
    total = areas.sum()
    if not total > 0:
        raise ValueError(f"cannot sample a surface without area: {mesh!r}")
    # One draw in each of `count` equal shares of the area: as even as any, and never by far too few somewhere.
    shares = (np.arange(count) + rng.random(count)) * (total / count)
    face = np.searchsorted(areas.cumsum(), shares).clip(max=len(areas) - 1)
    corners = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)[face]]

    # The square root makes the triangle's tip no likelier than its base.
    from_tip, across = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    points = (1 - from_tip) * corners[:, 0] + from_tip * ((1 - across) * corners[:, 1] + across * corners[:, 2])
    normals = mesh.face_crosses[face] / (2 * areas[face, None])
    order = rng.permutation(count)  # faces often come sorted; a prefix of the answer should be a sample too
    return points[order].astype(np.float32), normals[order].astype(np.float32)


def occupancy(mesh: Mesh, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
    """Which points the mesh winds around (fast winding number above one half).

    Holes and crossing parts do no harm, faces wound inwards do.
    """
    if igl is None:
        raise ImportError("telling inside from outside of a mesh needs libigl: pip install 'triplane3d[data]'")
    winding = igl.fast_winding_number(
        mesh.vertices.astype(np.float64), np.asarray(mesh.faces), np.ascontiguousarray(points, dtype=np.float64)
    )
    return np.asarray(winding) > 0.5


def normalize(mesh: Mesh, azimuth: float = 0.0) -> Mesh:
    """The mesh turned about y by `azimuth` degrees (+z goes towards +x), centred, its longest side 2."""
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces has no size to normalise")
    angle = np.deg2rad(azimuth)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    vertices = mesh.vertices @ turn.T
    used = vertices[np.unique(mesh.faces)]
    low, high = used.min(axis=0), used.max(axis=0)
    longest = (high - low).max()
    if not longest > 0:
        raise ValueError("a mesh whose vertices all coincide has no size to normalise")
    return Mesh((vertices - (low + high) / 2) * (2 / longest), mesh.faces, mesh.vertex_colors)
