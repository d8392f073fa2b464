"""Silhouettes of a field, seen by a camera: the largest value along the ray through each pixel.

A solid covers a pixel if some point of the pixel's ray is inside, so the largest logit along the ray is the logit of
the silhouette. The values come from a grid, in which they are interpolated linearly: the grid is computed once, and the
silhouette of one more camera costs milliseconds. It is differentiable in the camera and in the grid's values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.cameras import CameraBatch

SAMPLES = 48
"""Samples along a ray."""


@dataclass(frozen=True)
class Silhouettes:
    """What each ray of a square picture meets."""

    logits: Float[Tensor, "batch rows columns"]
    """The largest value along the ray; positive where the solid covers the pixel."""
    points: Float[Tensor, "batch rows columns 3"]
    """Where it is reached."""


def silhouettes(
    grid: Float[Tensor, "batch x y z"],
    cameras: CameraBatch,
    size: int,
    *,
    num_samples: int = SAMPLES,
    shift: float = 0.5,
) -> Silhouettes:
    """The silhouettes of fields at size × size pixels.

    Args:
        grid: values on a regular grid over [-1, 1]³, including its faces; positive inside.
        cameras: one for each field, outside of the cube's bounding ball.
        size: pixels along the picture's side.
        num_samples: samples along each ray, between the planes in front of and behind the ball.
        shift: position of the samples within their intervals, 0..1.
    """
    batch = len(grid)
    direction = cameras.pixel_directions(size, size)
    # Directions have length 1 along the camera's axis, so equal steps are equal steps of depth.
    middle = cameras.position.norm(dim=-1)
    radius = 3**0.5
    steps = ((torch.arange(num_samples, device=grid.device) + shift) / num_samples * 2 - 1) * radius
    depth = (middle[:, None] + steps).clamp(min=1e-3)
    points = (
        cameras.position[:, None, None, None] + direction[:, None] * depth[:, :, None, None, None]
    )  # batch, samples, rows, columns, 3
    # grid_sample orders the axes of its volume (z, y, x) for coordinates (x, y, z): the grid's axes are reversed.
    volume = grid.permute(0, 3, 2, 1)[:, None]
    outside = float(grid.detach().amin())
    values = F.grid_sample(volume - outside, points, mode="bilinear", padding_mode="zeros", align_corners=True)
    logits, index = (values[:, 0] + outside).max(dim=1)
    index = index[:, None, :, :, None].expand(batch, 1, size, size, 3)
    return Silhouettes(logits, points.gather(1, index)[:, 0])


def mask_agreement(
    logits: Float[Tensor, "batch rows columns"], mask: Float[Tensor, "batch rows columns"]
) -> Float[Tensor, " batch"]:
    """Intersection over union of silhouettes and masks; `mask` is the object's share of each pixel, 0..1."""
    covered, object_pixels = logits > 0, mask > 0.5
    union = (covered | object_pixels).sum(dim=(1, 2))
    return (covered & object_pixels).sum(dim=(1, 2)) / union.clamp(min=1)
