"""Pictures of occupancy fields for validation: orthographic views along the axes of a coarse grid.

No mesh is extracted, so that empty and noisy fields of early training can be shown too.
"""

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from triplane3d.models.photo_plane import RefinedField
from triplane3d.models.triplane import TriplaneField

AXIS_VIEWS = {
    "front": ("x y z -> y x z", (0, 2)),
    "right": ("x y z -> y z x", (0, 1, 2)),
    "back": ("x y z -> y x z", (0, 1)),
    "top": ("x y z -> z x y", (2,)),
}
"""By name: how the axes of a volume map to (row, column, depth), and which of these run backwards."""

LIGHT = (-0.3, -0.5, 0.8)
"""Direction of the light: right, down, towards the camera."""


@torch.no_grad()
def field_pictures(
    field: TriplaneField | RefinedField, views: Float[Tensor, "batch 4 height width"], *, size: int = 96
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """One row for each shape: its photo, then the field from the front, the right, the back and the top.

    `views` are RGBA in 0..1. `size` is the edge of each picture and of the grid. Returns RGB in 0..255.
    """
    axis = (torch.arange(size, device=views.device) + 0.5) * (2 / size) - 1
    logits = field.grid(axis, axis, axis).float()
    corners = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))

    photos = functional.interpolate(views, size=(size, size), mode="area")
    columns = [photos[:, :3] * photos[:, 3:] + 1 - photos[:, 3:]]
    for pattern, backwards in AXIS_VIEWS.values():
        batched = " -> ".join(f"batch {side}" for side in pattern.split(" -> "))
        volume = rearrange(logits, batched).flip([axis + 1 for axis in backwards])
        positions = rearrange(corners, batched).flip([axis + 1 for axis in backwards])
        hit, depth, index = first_crossing(volume)
        shade = shading(depth)[:, None]
        if field.has_color:
            points = positions.expand(len(volume), *positions.shape).gather(-1, repeat(index, "b r c -> b 3 r c 1"))
            albedo = field.color(rearrange(points, "batch xyz row column 1 -> batch (row column) xyz")).float()
            shade = shade * rearrange(albedo, "batch (row column) rgb -> batch rgb row column", row=size)
        columns.append(torch.where(hit[:, None], shade, torch.ones_like(shade)).expand(-1, 3, -1, -1))

    sheet = rearrange(torch.stack(columns), "column batch rgb h w -> (batch h) (column w) rgb")
    return (sheet.clamp(0, 1) * 255).round().byte().cpu().numpy()


def first_crossing(volume: Float[Tensor, "batch rows columns depth"]) -> tuple[Tensor, Tensor, Tensor]:
    """First intersection of the rays along depth with the solid.

    Returns whether there is one, its depth in cells (interpolated between samples), and the index of the first sample
    inside.
    """
    inside = volume > 0
    index = inside.int().argmax(dim=-1)
    here = volume.gather(-1, index[..., None])[..., 0]
    before = volume.gather(-1, (index - 1).clamp(min=0)[..., None])[..., 0]
    rise = torch.where(index > 0, here / (here - before).clamp(min=1e-6), torch.zeros_like(here))
    return inside.any(dim=-1), index - rise.clamp(0, 1), index


def shading(depth: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    """Lambertian shading of the surface with this depth, plus ambient light; in 0..1."""
    down, across = torch.gradient(depth, dim=(1, 2))
    # The surface is the graph of −depth towards the camera, so its normal is (d depth/d across, d depth/d down, 1).
    normal = functional.normalize(torch.stack([across, down, torch.ones_like(depth)], dim=-1), dim=-1)
    light = functional.normalize(normal.new_tensor(LIGHT), dim=0)
    return 0.25 + 0.75 * (normal @ light).clamp(min=0)
