"""Points on and around the shapes: what the autoencoder sees, and what it is asked."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Generator, Tensor

from triplane3d.data.procedural.shape_batch import ShapeBatch


def sample_surface(
    batch: ShapeBatch,
    count: int,
    generator: Generator | None = None,
    *,
    cells: int = 24,
) -> tuple[Float[Tensor, "batch count 3"], Float[Tensor, "batch count 3"]]:
    """`count` surface points of each shape with outward unit normals, nearly uniform by area.

    Points that fall into a thin band of constant thickness around the surface are uniform by area; they are sought
    in the grid cells that the surface may cross, then pulled onto it by Newton steps.
    """
    device = batch.device
    spacing = 2.0 / cells
    # One layer of cells beyond the cube: the band around a face that touches the wall lies half outside.
    axis = (torch.arange(-1, cells + 1, device=device) + 0.5) * spacing - 1
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    band = spacing / 4
    near = batch.distance(repeat(grid, "cell xyz -> batch cell xyz", batch=len(batch))).abs() < 0.87 * spacing

    tries = 5 * count
    chosen = torch.multinomial(near.float() + 1e-20, tries, replacement=True, generator=generator)
    jitter = torch.rand((len(batch), tries, 3), generator=generator, device=device) - 0.5
    points = grid[chosen] + jitter * spacing
    away = batch.distance(points).abs()
    points = _choose(points, away, band, count + count // 8, generator)
    for _ in range(2):
        distance, gradient = batch.gradient(points)
        points = points - (distance / gradient.square().sum(-1).clamp(min=0.1))[..., None] * gradient
    # A few steps end beside a crease; an eighth more was drawn than asked for, so those can be left out.
    points, gradient = _choose(torch.stack([points, gradient]), batch.distance(points).abs(), 1e-3, count, generator)
    return points.clamp(-1, 1), torch.nn.functional.normalize(gradient, dim=-1)


def _choose(
    values: Float[Tensor, "*values batch points 3"],
    away: Float[Tensor, "batch points"],
    band: float,
    count: int,
    generator: Generator | None,
) -> Float[Tensor, "*values batch count 3"]:
    """`count` at random of those within `band`; where they are too few, the nearest of the rest."""
    order = torch.where(away < band, torch.rand(away.shape, generator=generator, device=away.device) * band, away)
    keep = order.topk(count, dim=1, largest=False).indices[..., None]
    return values.gather(-2, keep.expand(*values.shape[:-3], -1, -1, 3))


def sample_labels(
    batch: ShapeBatch,
    count: int,
    surface: Float[Tensor, "batch points 3"],
    generator: Generator | None = None,
    *,
    near: float = 0.5,
    near_std: float = 0.04,
) -> tuple[Float[Tensor, "batch count 3"], Float[Tensor, "batch count"]]:
    """Query points with their signed distance (negative inside): first the uniform ones, then a `near` share of
    `surface` points moved by a normal deviate of `near_std`. They are numbers that float16 can hold."""
    close = int(count * near)
    uniform = torch.rand((len(batch), count - close, 3), generator=generator, device=batch.device) * 2 - 1
    index = torch.randint(surface.shape[1], (len(batch), close), generator=generator, device=batch.device)
    moved = surface.gather(1, index[..., None].expand(-1, -1, 3))
    moved = moved + near_std * torch.randn(moved.shape, generator=generator, device=batch.device)
    points = torch.cat([uniform, moved.clamp(-1, 1)], 1).half().float()
    return points, batch.distance(points)


def distance_grid(batch: ShapeBatch, resolution: int) -> Float[Tensor, "batch x y z"]:
    """Signed distance at the (resolution + 1)³ nodes of a grid over [-1, 1]³."""
    axis = torch.linspace(-1, 1, resolution + 1, device=batch.device)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distance = batch.distance(repeat(grid, "node xyz -> batch node xyz", batch=len(batch)))
    return rearrange(distance, "batch (x y z) -> batch x y z", x=resolution + 1, y=resolution + 1)
