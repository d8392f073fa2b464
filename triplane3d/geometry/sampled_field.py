"""Fields given by samples on a regular grid: a field that is slow at points is evaluated once, and read many times."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from triplane3d.geometry.fields import FieldBatch

CHUNK = 1 << 16
"""Points at which a field is evaluated at once."""
UNCERTAIN = 1.0
"""Logits this near to the level are evaluated on the fine grid, besides those next to the surface."""
COLOR_STEP = 2
"""Every second sample of the coarse grid has a colour, besides the samples next to the surface."""


class SampledField(FieldBatch):
    """A batch of fields with trilinear interpolation between samples on a regular grid over [-1, 1]³.

    Args:
        logits: of the samples; positive inside.
        colors: linear RGB of the samples; None: the fields have no colour.
    """

    def __init__(self, logits: Float[Tensor, "batch x y z"], colors: Float[Tensor, "batch 3 x y z"] | None = None):
        self.logits, self.colors = logits, colors
        self.has_color: bool = colors is not None

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside."""
        return self._read(self.logits[:, None], points)[:, 0]

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """Linear RGB in 0..1 at `points`."""
        if self.colors is None:
            raise ValueError("these fields have no colour: check `field.has_color` first")
        return self._read(self.colors, points).mT

    def _read(
        self, samples: Float[Tensor, "batch channels x y z"], points: Tensor
    ) -> Float[Tensor, "batch channels n"]:
        # grid_sample orders the axes of its volume (z, y, x) for coordinates (x, y, z).
        volume = samples.permute(0, 1, 4, 3, 2)
        where = points.to(self.device, samples.dtype)[:, None, None]
        return F.grid_sample(volume, where, padding_mode="border", align_corners=True)[:, :, 0, 0]

    def __getitem__(self, index: int) -> SampledField:
        index = range(len(self))[index]
        chosen = slice(index, index + 1)
        return SampledField(self.logits[chosen], None if self.colors is None else self.colors[chosen])

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def device(self) -> torch.device:
        return self.logits.device


def sample_near_surface(
    field: FieldBatch, coarse: Float[Tensor, "1 samples samples samples"], level: float = 0.0
) -> SampledField:
    """A single field on a grid with twice the resolution of `coarse`, exact next to the surface.

    Samples next to a change of sign of `coarse`, and those whose logits are near the level, are evaluated. All others
    are interpolated. Parts of the surface that are thinner than a cell of `coarse` and far from the level at its
    samples are not found.

    Args:
        field: a batch of one.
        coarse: its logits on a regular grid over [-1, 1]³.
        level: the logit at which the surface lies.
    """
    if len(field) != 1:
        raise ValueError(f"one field is sampled at a time, this is a batch of {len(field)}: pick one, field[i]")
    size = 2 * coarse.shape[-1] - 1
    axis = torch.linspace(-1, 1, size, device=coarse.device)
    logits = _resized(coarse[:, None], size)[0, 0]
    near = _resized(_near_surface(coarse, level)[:, None].float(), size)[0, 0] > 0
    where = near.nonzero()
    points = axis[where]
    colors = None
    if field.has_color:
        few = axis[:: 2 * COLOR_STEP]
        sparse = torch.stack(torch.meshgrid(few, few, few, indexing="ij"), dim=-1)
        parts = [field.color(part[None])[0] for part in sparse.view(-1, 3).split(CHUNK)]
        colors = _resized(torch.cat(parts).float().T.view(1, 3, *sparse.shape[:3]), size)[0]
    for places, part in zip(where.split(CHUNK), points.split(CHUNK), strict=True):
        x, y, z = places.unbind(dim=1)
        if colors is None:
            logits[x, y, z] = field.occupancy(part[None])[0].float()
        else:
            found, found_colors = field.logits_and_colors(part[None])
            logits[x, y, z], colors[:, x, y, z] = found[0].float(), found_colors[0].float().T
    return SampledField(logits[None], None if colors is None else colors[None])


def _near_surface(coarse: Float[Tensor, "1 x y z"], level: float) -> Bool[Tensor, "1 x y z"]:
    inside = (coarse > level).float()
    some, all_of = F.max_pool3d(inside, 3, 1, 1), -F.max_pool3d(-inside, 3, 1, 1)
    return (some != all_of) | ((coarse - level).abs() < UNCERTAIN)


def _resized(values: Float[Tensor, "batch channels x y z"], size: int) -> Float[Tensor, "batch channels n n n"]:
    return F.interpolate(values, size=(size, size, size), mode="trilinear", align_corners=True)
