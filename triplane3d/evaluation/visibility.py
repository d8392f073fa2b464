"""What of a surface does the camera of the picture see? The rest is what a model has to guess."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from triplane3d.geometry.cameras import Camera
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
    camera = camera.resized(size)
    batch = camera.batch(dtype=torch.float64)
    seen = batch.to_camera(torch.from_numpy(np.asarray(vertices, dtype=np.float64))[None])[0].float()
    center, focal = batch.center[0], batch.focal[0]
    _, nearest = rasterize(
        seen, torch.from_numpy(faces).long(), center.float(), focal.float(), camera.width, camera.height
    )
    pixels, depths = batch.project(
        torch.from_numpy(np.asarray(points, dtype=np.float64))[None], camera.width, camera.height
    )
    column, row = np.floor(pixels[0].numpy()).astype(int).T
    depth = depths[0].numpy()
    inside = (0 <= row) & (row < camera.height) & (0 <= column) & (column < camera.width)
    # Within one pixel a slanted surface falls away by the pixel's width times the tangent of the slant.
    eye = batch.position[0].numpy()
    towards = (eye - points) / np.linalg.norm(eye - points, axis=1, keepdims=True)
    cosine = np.abs((towards * normals).sum(1)).clip(0.05, 1)
    allowance = TOLERANCE + depth / float(focal[0]) * (2 / camera.width) * np.sqrt(1 - cosine**2) / cosine
    first = nearest.numpy()[row.clip(0, camera.height - 1), column.clip(0, camera.width - 1)]
    return inside & (depth <= first + allowance)
