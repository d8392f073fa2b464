"""Meshes and points brought into the library's frame: turned about the vertical, centred, longest side 2."""

import numpy as np
from jaxtyping import Float

from triplane3d.geometry.mesh.mesh import Mesh


def rotation_about_y(angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation matrix about the vertical, `angle` in radians; a positive angle turns +z towards +x."""
    sin, cos = np.sin(angle), np.cos(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def normalize_points(
    points: Float[np.ndarray, "points 3"], reference: Float[np.ndarray, "others 3"] | None = None
) -> Float[np.ndarray, "points 3"]:
    """Points moved and scaled so that the bounding box of `reference` is centred and its longest side is 2.

    `reference` is `points` where it is None. Raises ValueError where the bounding box has no size.
    """
    reference = points if reference is None else reference
    low, high = reference.min(axis=0), reference.max(axis=0)
    longest = (high - low).max()
    if not longest > 0:
        raise ValueError("points that all coincide have no size to normalise")
    return (points - (low + high) / 2) * (2 / longest)


def normalize_mesh(mesh: Mesh, azimuth: float = 0.0) -> Mesh:
    """The mesh turned about y by `azimuth` degrees (+z goes towards +x), centred, its longest side 2.

    Vertices without a face do not count for the size. Raises ValueError for a mesh without faces or without size.
    """
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces has no size to normalise")
    vertices = mesh.vertices @ rotation_about_y(np.deg2rad(azimuth)).T
    return Mesh(normalize_points(vertices, vertices[np.unique(mesh.faces)]), mesh.faces, mesh.vertex_colors)
