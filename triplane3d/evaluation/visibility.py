"""Which part of a surface the camera of an image sees. The image does not show the rest."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float

from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render import render

SIZE = 512
"""Pixels along an edge of the depth map."""
TOLERANCE = 0.01
"""Depth, in world units, by which a point may lie behind the depth map and still count as visible."""
MIN_COSINE = 0.05
"""Lower bound of the cosine between view direction and normal: it bounds the tolerance at grazing angles."""


def visible(
    points: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    mesh: Mesh,
    camera: Camera,
    size: int = SIZE,
) -> Bool[np.ndarray, " points"]:
    """True for the surface points of `mesh` that no other part of the mesh hides from the camera.

    Shadow mapping (Williams 1978): a point is visible if its depth does not exceed the depth map at its pixel by more
    than a tolerance. Points outside the image count as hidden.
    """
    nearest = render(mesh, camera, size, supersample=1, smooth=False).depth.numpy()
    pixels, depths = (values.numpy() for values in camera.project(torch.from_numpy(points).double(), size))
    column, row = np.floor(pixels).astype(int).T
    in_image = (0 <= row) & (row < size) & (0 <= column) & (column < size)

    # The depth map holds the depth at the pixel's centre. Within one pixel the depth of a slanted surface changes by
    # the width of the pixel at that depth times the tangent of the slant.
    origin = np.asarray(camera.position)
    towards = (origin - points) / np.linalg.norm(origin - points, axis=1, keepdims=True)
    cosine = np.abs((towards * normals).sum(1)).clip(MIN_COSINE, 1)
    pixel_width = 2 * np.tan(np.deg2rad(camera.field_of_view) / 2) / size * depths
    tolerance = TOLERANCE + pixel_width * np.sqrt(1 - cosine**2) / cosine
    return in_image & (depths <= nearest[row.clip(0, size - 1), column.clip(0, size - 1)] + tolerance)
