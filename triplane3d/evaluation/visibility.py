"""What of a surface does the camera of the picture see? The rest is what a model has to guess."""

from __future__ import annotations

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int

from triplane3d.geometry.cameras import Camera, camera_axes
from triplane3d.geometry.render import rasterize

SIZE = 512
TOLERANCE = 0.01
"""How far behind the nearest surface of its pixel a point still counts as lying on it."""


def visible(
    points: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    camera: Camera,
    size: int = SIZE,
) -> Bool[np.ndarray, " points"]:
    """Which points of a surface, given with their normals, are the first that the camera's rays meet.

    Points outside the picture count as hidden.
    """
    azimuth, elevation, field_of_view, distance = camera.tensors(dtype=torch.float64)
    axes = camera_axes(azimuth, elevation)[0].numpy()
    focal = float(1 / torch.tan(torch.deg2rad(field_of_view[0]) / 2))
    eye = float(distance[0]) * axes[2]

    def in_camera(world: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return einsum(world - eye, axes, "point world, own world -> point own")

    _, nearest = rasterize(torch.from_numpy(in_camera(vertices)).float(), torch.from_numpy(faces).long(), focal, size)
    seen = in_camera(points)
    depth = -seen[:, 2]
    column = np.floor((seen[:, 0] / depth * focal + 1) * (size / 2)).astype(int)
    row = np.floor((1 - seen[:, 1] / depth * focal) * (size / 2)).astype(int)
    inside = (0 <= row) & (row < size) & (0 <= column) & (column < size)
    # Within one pixel a slanted surface falls away by the pixel's width times the tangent of the slant.
    towards = (eye - points) / np.linalg.norm(eye - points, axis=1, keepdims=True)
    cosine = np.abs((towards * normals).sum(1)).clip(0.05, 1)
    allowance = TOLERANCE + depth / focal * (2 / size) * np.sqrt(1 - cosine**2) / cosine
    first = nearest.numpy()[row.clip(0, size - 1), column.clip(0, size - 1)]
    return inside & (depth <= first + allowance)
