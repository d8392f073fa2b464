"""Fourier features of coordinates and the position tables of the planes."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

# (width axis, height axis) of each plane: XY sees x to the right, XZ likewise, YZ sees z.
PLANE_AXES = ((0, 1), (0, 2), (2, 1))


def fourier_features(
    coordinates: Float[Tensor, "*batch axes"], num_freqs: int, *, base: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sines and cosines of base·2⁰ … base·2ⁿ⁻¹ times each coordinate, coordinate-major: two (*batch, axes·n)."""
    frequencies = base * 2.0 ** torch.arange(num_freqs, device=coordinates.device, dtype=torch.float32)
    phases = (coordinates.float()[..., None] * frequencies).flatten(-2)
    return phases.sin(), phases.cos()


def sincos_table(
    positions: Float[Tensor, " positions"], dim: int, *, max_period: float = 10000.0
) -> Float[Tensor, "positions dim"]:
    """sin ‖ cos of each position at dim/2 frequencies from 1 down to 1/max_period, in float64 where it exists."""
    if dim % 2:
        raise ValueError(f"sines and cosines share the width equally, so it must be even, got {dim}")
    positions = positions if positions.device.type == "mps" else positions.double()
    exponents = torch.arange(dim // 2, device=positions.device, dtype=positions.dtype) / (dim / 2)
    phases = torch.outer(positions, max_period**-exponents)
    return torch.cat([phases.sin(), phases.cos()], dim=1)


def plane_positions(
    height: int, width: int, dim: int, base_height: int, device: torch.device
) -> Float[Tensor, "tokens dim"]:
    """Positions that know space: x, y and z own a third of the channels each, zero for the axis a plane looks along.

    Tokens of different planes that share a coordinate share its channels. Rows and columns count in units of the
    native grid of `base_height`, so another grid size refines the same table. `width` is that of one plane; tokens
    run row by row over the planes laid side by side.
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
    """Direct3D's table: the rolled-out planes as one image, half the channels from the column, half from the row."""
    rows, columns = (
        sincos_table(torch.arange(count, device=device, dtype=torch.float32), dim // 2) for count in (height, width)
    )
    columns = repeat(columns, "column half -> (row column) half", row=height)
    rows = repeat(rows, "row half -> (row column) half", column=width)
    return torch.cat([columns, rows], dim=1).float()
