"""A field whose silhouette agrees with a photo's mask: what covers too much is cut off, what is missing is added.

Let s be the largest logit along a pixel's ray, which is the logit of the silhouette, and t a target: positive inside of
the mask and negative outside, growing with the distance to the mask's edge up to a margin.

Where the silhouette covers too much, all logits along the ray are lowered by s - t: the ray becomes empty.

Where the object is missing, the mask does not determine the depth. A part is added that is as thick as it is wide, at a
depth that agrees with its surroundings: near the surface beside it, and near the places where the field is least
certain that the part is absent. With depth z along the ray, the part's depth d and its half-thickness r, its logit is

    t (1 - ((z - d) / r)²),

and the corrected field is the larger one of the two. All of these are pictures in the photo, sampled at the pixel of a
point.
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
ABSENT = 4 * MARGIN
"""What is taken off the logits of an added part where nothing is missing."""
FLATTEST = 0.25
"""Least steepness of an added part's logits along the ray."""
THICKNESS = (2.0, 8.0)
"""Range of an added part's half-thickness, in pixels."""
CERTAINTY = 10.0
"""Weight of a depth where the silhouette's logit is 0; it grows as the exponential of the logit."""
SMOOTHING_STEPS = 60
"""Steps of the diffusion of depths: they spread over about as many pixels."""


class SilhouetteCorrectedField(FieldBatch):
    """A batch of fields, of which parts are cut off and to which parts are added.

    Args:
        field: the fields.
        cameras: of the photos.
        pictures: for each pixel what is taken off the logits, and the logit, nearness and half-thickness of the added
            part (`correct_silhouettes`).
        level: the logit at which the surface lies.
    """

    def __init__(
        self,
        field: FieldBatch,
        cameras: FramedCameras,
        pictures: Float[Tensor, "batch 4 rows columns"],
        level: float = 0.0,
    ):
        self.field, self.cameras, self.pictures, self.level = field, cameras, pictures, level
        self.has_color: bool = field.has_color

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside."""
        points = points.to(self.device)
        return self.corrected(points, self.field.occupancy(points))

    def corrected(
        self, points: Float[Tensor, "batch points 3"], logits: Float[Tensor, "batch points"]
    ) -> Float[Tensor, "batch points"]:
        """The corrected logits at `points`, where those of the field are `logits`."""
        pixels, nearness = photo_coordinates(self.cameras.cameras, points)
        sampled = F.grid_sample(self.pictures, pixels[:, None], padding_mode="border", align_corners=False)[:, :, 0]
        lowered, part, middle, thickness = sampled.unbind(dim=1)
        added = part - part.clamp(min=FLATTEST) * ((nearness - middle) / thickness).square()
        return torch.maximum(logits - lowered, self.level + added)

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """RGB in 0..1 at `points`, that of the field."""
        return self.field.color(points)

    def __getitem__(self, index: int) -> SilhouetteCorrectedField:
        index = range(len(self))[index]
        chosen = slice(index, index + 1)
        return SilhouetteCorrectedField(self.field[index], self.cameras[chosen], self.pictures[chosen], self.level)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def device(self) -> torch.device:
        return self.field.device


def correct_silhouettes(
    field: FieldBatch,
    grid: Float[Tensor, "batch x y z"],
    cameras: FramedCameras,
    masks: Float[Tensor, "batch rows columns"],
    weights: Float[Tensor, "batch rows columns"],
    level: float = 0.0,
) -> SilhouetteCorrectedField:
    """Fields whose silhouettes agree with the masks.

    Args:
        field: the fields to correct.
        grid: their logits less `level` on a regular grid over [-1, 1]³.
        cameras: of the framed photos.
        masks: the object's share of each pixel, 0..1.
        weights: of the pixels, 0 where a pixel is held back: the target there is the mean of its neighbours'.
        level: the logit at which the surface lies.
    """
    found = silhouettes(grid, cameras.cameras, masks.shape[-1])
    distance = fill(edge_distance(masks), weights)
    target = distance.mul(SLOPE).clamp(-MARGIN, MARGIN)
    lowered = torch.where(target < 0, (found.logits - target).clamp(min=0), torch.zeros_like(target))

    inside = (target > 0).float()
    missing = inside * (found.logits < 0)
    near_missing = F.max_pool2d(missing, 3, 1, 1)  # so that a part overlaps with what is beside it
    part = target - ABSENT * (1 - near_missing)
    _, nearness = photo_coordinates(cameras.cameras, found.points.flatten(1, 2))
    middle = smooth_within(nearness.view_as(target), CERTAINTY * found.logits.clamp(-ABSENT, MARGIN).exp(), inside)
    pixel = 2 / (cameras.scale * masks.shape[-1])  # its width at the origin's depth
    thickness = distance.clamp(*THICKNESS) * pixel[:, None, None]
    pictures = torch.stack([lowered, part, middle, thickness], dim=1)
    return SilhouetteCorrectedField(field, cameras, pictures, level)


def smooth_within(
    values: Float[Tensor, "batch rows columns"],
    certainty: Float[Tensor, "batch rows columns"],
    inside: Float[Tensor, "batch rows columns"],
) -> Float[Tensor, "batch rows columns"]:
    """Values that are near the given ones where these are certain, and vary little between neighbours.

    Jacobi steps for the minimum of Σ certainty (x - value)² + Σ (x - neighbour's x)², in which only pixels that are
    `inside` have neighbours.
    """
    smooth = values
    count = 9 * F.avg_pool2d(inside, 3, 1, 1)
    for _ in range(SMOOTHING_STEPS):
        total = 9 * F.avg_pool2d(smooth * inside, 3, 1, 1)
        smooth = (certainty * values + total) / (certainty + count)
    return smooth


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
