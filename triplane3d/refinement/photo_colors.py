"""A field whose visible surface has the colours of its photo.

The colours of a generated field are those of its denoiser's guess. Where the photo shows the surface, they are replaced
by the photo's. Elsewhere the field's colour is averaged with the photo's at the same pixel, strongly blurred: a hidden
side mostly has the colours of the visible side in front of it. On held-out shapes the mean error of hidden colours is
0.105 for this average, 0.113 for the field's own and 0.117 for the blurred photo's.

The light of the photo is not removed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.color import linear_from_srgb
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import FramedCameras, photo_coordinates
from triplane3d.refinement.silhouette_correction import edge_distance
from triplane3d.refinement.silhouettes import NOTHING, visible_nearness

SIZE = 96
"""Pixels along the side of the picture of the visible surface."""
TOLERANCE = 0.06
"""A point this far behind the visible surface is seen by half."""
FACING = (0.15, 0.35)
"""Cosines of the angle between normal and camera axis at which the photo's colours begin to count, and count fully."""
BLUR = 0.25
"""Width of the blur for hidden sides, as a share of the photo's side."""


class PhotoColoredField(FieldBatch):
    """A batch of fields with the colours of their photos.

    Args:
        field: the fields.
        cameras: of the photos.
        photo: linear colours of the photos, without background.
        blurred: the same, blurred.
        surface: for each pixel how much its colour counts, 0..1, and the nearness of the visible surface.
    """

    def __init__(
        self,
        field: FieldBatch,
        cameras: FramedCameras,
        photo: Float[Tensor, "batch 3 side side"],
        blurred: Float[Tensor, "batch 3 small small"],
        surface: Float[Tensor, "batch 2 rows columns"],
    ):
        self.field, self.cameras = field, cameras
        self.photo, self.blurred, self.surface = photo, blurred, surface
        self.has_color: bool = True

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`, those of the field."""
        return self.field.occupancy(points)

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """Linear RGB in 0..1 at `points`."""
        points = points.to(self.device)
        pixels, nearness = photo_coordinates(self.cameras.cameras, points)
        photo, blurred, surface = (
            F.grid_sample(picture, pixels[:, None], padding_mode="border", align_corners=False)[:, :, 0].mT
            for picture in (self.photo, self.blurred, self.surface)
        )
        own = self.field.color(points).float()
        hidden = (own + blurred) / 2
        counts, visible = surface.unbind(dim=-1)
        seen = (1.5 + (nearness - visible) / TOLERANCE).clamp(0, 1)
        return hidden + (counts * seen)[..., None] * (photo - hidden)

    def __getitem__(self, index: int) -> PhotoColoredField:
        index = range(len(self))[index]
        chosen = slice(index, index + 1)
        pictures = (picture[chosen] for picture in (self.photo, self.blurred, self.surface))
        return PhotoColoredField(self.field[index], self.cameras[chosen], *pictures)

    def __len__(self) -> int:
        return len(self.photo)

    @property
    def device(self) -> torch.device:
        return self.field.device


def color_by_photo(
    field: FieldBatch,
    grid: Float[Tensor, "batch x y z"],
    cameras: FramedCameras,
    photos: Float[Tensor, "batch 4 side side"],
) -> PhotoColoredField:
    """Fields with the colours of their photos.

    Args:
        field: fields with colours.
        grid: their logits less the surface's level, on a regular grid over [-1, 1]³.
        cameras: of the photos.
        photos: framed, straight RGBA in 0..1, sRGB.
    """
    nearness = visible_nearness(grid, cameras.cameras, SIZE)
    pixel = 2 / (cameras.scale * SIZE)  # its width at the origin's depth
    down, across = torch.gradient(nearness, dim=(1, 2))
    slope = (down.square() + across.square()).sqrt() / pixel[:, None, None]
    facing = (1 + slope.square()).rsqrt()
    low, high = FACING
    masks = F.interpolate(photos[:, 3:].float(), (SIZE, SIZE), mode="area")[:, 0]
    # Half a pixel at the mask's edge is left out: there the photo's colours are mixed with the background's.
    counts = ((facing - low) / (high - low)).clamp(0, 1) * (edge_distance(masks) - 0.5).clamp(0, 1)
    counts = counts * (nearness > NOTHING)
    # On a slanted surface the nearness changes within a pixel: the farthest of the neighbours counts.
    farthest = -F.max_pool2d(-nearness, 3, 1, 1)

    colors, alpha = linear_from_srgb(photos[:, :3].float()), photos[:, 3:].float()
    width = 2 * int(BLUR * photos.shape[-1] / 2) + 1
    return PhotoColoredField(
        field,
        cameras,
        _local_mean(colors, alpha, 3),
        F.interpolate(_local_mean(colors, alpha, width), (SIZE, SIZE), mode="area"),
        torch.stack([counts, farthest], dim=1),
    )


def _local_mean(
    colors: Float[Tensor, "batch 3 side side"], alpha: Float[Tensor, "batch 1 side side"], width: int
) -> Float[Tensor, "batch 3 side side"]:
    """Mean of the object's colours over squares of `width` pixels; over the whole object where a square has none."""
    total, share = (F.avg_pool2d(values, width, 1, width // 2) for values in (colors * alpha, alpha))
    mean = (colors * alpha).sum(dim=(2, 3), keepdim=True) / alpha.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    return torch.where(share > 1e-3, total / share.clamp(min=1e-3), mean)
