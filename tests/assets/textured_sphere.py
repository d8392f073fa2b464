"""A small textured mesh for tests of files."""

from functools import cache

import numpy as np
import trimesh

from triplane3d.assets.textured_mesh import TexturedMesh
from triplane3d.assets.texturing import texture
from triplane3d.assets.unwrapping import unwrap
from triplane3d.geometry.mesh import Mesh


def colored_sphere(subdivisions: int = 3, *, squash: float = 0.5) -> Mesh:
    """An ellipsoid, 2 wide and 2 · `squash` high, whose linear colours are its direction / 2 + ½."""
    solid = trimesh.creation.icosphere(subdivisions=subdivisions)
    colors = solid.vertices / 2 + 0.5
    return Mesh(solid.vertices * [1, squash, 0.8], solid.faces, colors)


@cache
def textured_sphere(*, normal_map: bool = False) -> TexturedMesh:
    """The ellipsoid with a texture of 128 × 128."""
    mesh = colored_sphere()
    uv_map = unwrap(mesh, size=128, method="boxes")
    textured = texture(mesh, size=128, uv_map=uv_map, dense=colored_sphere(5) if normal_map else None,
                       normal_map=normal_map, occlusion=normal_map)  # fmt: skip
    return textured.with_extras(model="mini", revision="abc", seed=3, settings={"steps": 8, "size": None})


def colors_at(points: np.ndarray) -> np.ndarray:
    """The linear colours of the ellipsoid's surface at `points`."""
    directions = points / [1, 0.5, 0.8]
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True) / 2 + 0.5
