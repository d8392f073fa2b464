"""Fourier features of coordinates, and position tables of latent tokens."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

PLANE_AXES = ((0, 1), (0, 2), (2, 1))
"""For each of the planes XY, XZ, YZ: the axis along its width and the axis along its height."""


def fourier_features(
    coordinates: Float[Tensor, "*batch axes"], num_freqs: int, *, base: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sines and cosines of base·2⁰ … base·2ⁿ⁻¹ times each coordinate (NeRF, Mildenhall et al. 2020, equation 4).

    Returns two tensors (*batch, axes·n); the frequencies of one coordinate are adjacent.
    """
    frequencies = base * 2.0 ** torch.arange(num_freqs, device=coordinates.device, dtype=torch.float32)
    phases = (coordinates.float()[..., None] * frequencies).flatten(-2)
    return phases.sin(), phases.cos()


def sincos_table(
    positions: Float[Tensor, " positions"], dim: int, *, max_period: float = 10000.0
) -> Float[Tensor, "positions dim"]:
    """Sines, then cosines, of each position at dim/2 frequencies from 1 to 1/max_period (Vaswani et al. 2017).

    Computed in float64 where the device has it.
    """
    if dim % 2:
        raise ValueError(f"the width of a sin-cos table must be even, got {dim}")
    positions = positions if positions.device.type == "mps" else positions.double()
    exponents = torch.arange(dim // 2, device=positions.device, dtype=positions.dtype) / (dim / 2)
    phases = torch.outer(positions, max_period**-exponents)
    return torch.cat([phases.sin(), phases.cos()], dim=1)


def plane_positions(
    height: int, width: int, dim: int, base_height: int, device: torch.device
) -> Float[Tensor, "tokens dim"]:
    """Position embeddings in space: a third of the channels for each of x, y and z.

    The channels of the axis perpendicular to a plane are zero. Tokens of different planes with an equal coordinate have
    equal channels for it, so attention can relate them. Rows and columns are in units of the grid of `base_height`
    rows, so that a finer grid interpolates the same table. `width` is that of one plane. Tokens are in the order of the
    planes side by side, row by row.
    """
    share = dim // 6 * 2
    rows, columns = (torch.arange(count, device=device) * (base_height / count) for count in (height, width))
    of_rows, of_columns = (sincos_table(positions, share, max_period=100.0) for positions in (rows, columns))
    table = of_rows.new_zeros(height, 3, width, dim)
    for plane, (width_axis, height_axis) in enumerate(PLANE_AXES):
        table[:, plane, :, width_axis * share : (width_axis + 1) * share] = of_columns[None]
        table[:, plane, :, height_axis * share : (height_axis + 1) * share] = of_rows[:, None]
    return rearrange(table, "row plane column dim -> (row plane column) dim").float()


def rolled_positions(height: int, width: int, dim: int, device: torch.device) -> Float[Tensor, "tokens dim"]:
    """Direct3D's table: the planes side by side as one image; half of the channels for the column, half for the row."""
    rows, columns = (
        sincos_table(torch.arange(count, device=device, dtype=torch.float32), dim // 2) for count in (height, width)
    )
    columns = repeat(columns, "column half -> (row column) half", row=height)
    rows = repeat(rows, "row half -> (row column) half", column=width)
    return torch.cat([columns, rows], dim=1).float()
