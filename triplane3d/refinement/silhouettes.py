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
VISIBLE_SAMPLES = 96
"""The same where the surface itself is searched."""
NOTHING = -9.0
"""Nearness where a ray meets nothing: behind everything."""


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
    rays = _values_along_rays(grid, cameras, size, num_samples, shift)
    logits, index = rays.values.max(dim=1)
    index = index[:, None, :, :, None].expand(len(grid), 1, size, size, 3)
    return Silhouettes(logits, rays.points.gather(1, index)[:, 0])


def visible_nearness(
    grid: Float[Tensor, "batch x y z"], cameras: CameraBatch, size: int, *, num_samples: int = VISIBLE_SAMPLES
) -> Float[Tensor, "batch rows columns"]:
    """How much nearer than the origin the visible surface is along the camera's axis; NOTHING where there is none.

    The surface lies between the first sample inside and the one before it, by linear interpolation. Arguments as for
    `silhouettes`.
    """
    rays = _values_along_rays(grid, cameras, size, num_samples, 0.5)
    inside = rays.values > 0
    first = inside.float().argmax(dim=1, keepdim=True)
    before, after = (rays.values.gather(1, index)[:, 0] for index in ((first - 1).clamp(min=0), first))
    part = torch.where(first[:, 0] > 0, after / (after - before).clamp(min=1e-6), torch.zeros_like(after))
    step = rays.nearness[0] - rays.nearness[1]
    nearness = rays.nearness[first[:, 0]] + part.clamp(0, 1) * step
    return torch.where(inside.any(dim=1), nearness, torch.full_like(nearness, NOTHING))


@dataclass(frozen=True)
class _Rays:
    """Samples along the rays of a picture, those nearest to the camera first."""

    values: Float[Tensor, "batch samples rows columns"]
    points: Float[Tensor, "batch samples rows columns 3"]
    nearness: Float[Tensor, " samples"]
    """How much nearer than the origin the samples are along the camera's axis, the same for all rays."""


def _values_along_rays(
    grid: Float[Tensor, "batch x y z"], cameras: CameraBatch, size: int, num_samples: int, shift: float
) -> _Rays:
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
    return _Rays(values[:, 0] + outside, points, -steps)


def mask_agreement(
    logits: Float[Tensor, "batch rows columns"], mask: Float[Tensor, "batch rows columns"]
) -> Float[Tensor, " batch"]:
    """Intersection over union of silhouettes and masks; `mask` is the object's share of each pixel, 0..1."""
    covered, object_pixels = logits > 0, mask > 0.5
    union = (covered | object_pixels).sum(dim=(1, 2))
    return (covered & object_pixels).sum(dim=(1, 2)) / union.clamp(min=1)
