"""A field whose silhouette agrees with a photo's mask, by the smallest shifts of its logits.

Let s be the largest logit along a pixel's ray, which is the logit of the silhouette, and t a target: positive inside of
the mask and negative outside, growing with the distance to the mask's edge up to a margin. All logits along the ray are
shifted by

    max(t - s, 0) inside of the mask,   min(t - s, 0) outside.

Where the silhouette agrees by the margin nothing changes. Where the object is missing, the point of the ray that was
nearest to being inside becomes solid: a thin part of the photo appears at the depth where the field is least certain
that it is absent. Where the silhouette covers too much, the ray becomes empty. The shift is a picture in the photo,
sampled at each point's pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.distance_transform import squared_distance
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import FramedCameras, photo_coordinates
from triplane3d.refinement.silhouettes import silhouettes

MARGIN = 2.0
"""Largest logit of the target."""
SLOPE = 1.0
"""Growth of the target, in logits per pixel from the mask's edge."""


class SilhouetteCorrectedField(FieldBatch):
    """A batch of fields with shifted logits."""

    def __init__(
        self,
        field: FieldBatch,
        cameras: FramedCameras,
        shift: Float[Tensor, "batch rows columns"],
    ):
        self.field, self.cameras, self.shift = field, cameras, shift
        self.has_color: bool = field.has_color

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside."""
        return self.field.occupancy(points.to(self.device)) + self.shift_at(points)

    def shift_at(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """What is added to the field's logits at `points`."""
        pixels, _ = photo_coordinates(self.cameras.cameras, points.to(self.device))
        shift = F.grid_sample(self.shift[:, None], pixels[:, None], padding_mode="border", align_corners=False)
        return shift[:, 0, 0]

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """RGB in 0..1 at `points`, that of the field without shifts."""
        return self.field.color(points)

    def __getitem__(self, index: int) -> SilhouetteCorrectedField:
        index = range(len(self))[index]
        chosen = slice(index, index + 1)
        return SilhouetteCorrectedField(self.field[index], self.cameras[chosen], self.shift[chosen])

    def __len__(self) -> int:
        return len(self.shift)

    @property
    def device(self) -> torch.device:
        return self.field.device


def correct_silhouettes(
    field: FieldBatch,
    grid: Float[Tensor, "batch x y z"],
    cameras: FramedCameras,
    masks: Float[Tensor, "batch rows columns"],
    weights: Float[Tensor, "batch rows columns"],
) -> SilhouetteCorrectedField:
    """Fields whose silhouettes agree with the masks.

    Args:
        field: the fields to correct.
        grid: their logits on a regular grid over [-1, 1]³.
        cameras: of the framed photos.
        masks: the object's share of each pixel, 0..1.
        weights: of the pixels, 0 where a pixel is held back: the shift there is the mean of its neighbours.
    """
    logits = silhouettes(grid, cameras.cameras, masks.shape[-1]).logits
    target = edge_distance(masks).mul(SLOPE).clamp(-MARGIN, MARGIN)
    shift = torch.where(target > 0, (target - logits).clamp(min=0), (target - logits).clamp(max=0))
    return SilhouetteCorrectedField(field, cameras, fill(shift, weights))


def edge_distance(masks: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    """Distance of each pixel's centre to the mask's edge in pixels, positive inside.

    Pixels that the object covers in part give the distance near the edge: coverage of 0.75 is a quarter inside.
    """
    inside = masks > 0.5
    far = torch.where(inside, squared_distance(~inside).sqrt() - 0.5, 0.5 - squared_distance(inside).sqrt())
    return torch.where(far.abs() < 1, masks - 0.5, far)


def fill(values: Float[Tensor, "batch rows columns"], weights: Float[Tensor, "batch rows columns"]) -> Tensor:
    """`values` where `weights` are 1; elsewhere the weighted mean of the 3 × 3 and wider neighbourhoods around."""
    filled, known = values * weights, weights
    for width in (3, 5, 9):
        total, count = (F.avg_pool2d(some[:, None], width, 1, width // 2)[:, 0] for some in (values * weights, weights))
        near = (known == 0) & (count > 0)
        filled = torch.where(near, total / count.clamp(min=1e-6), filled)
        known = torch.where(near, torch.ones_like(known), known)
    return filled
