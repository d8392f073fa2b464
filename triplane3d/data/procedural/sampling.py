"""Sample points on the surfaces of shapes and around them, with normals and signed distances."""

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

    Points uniform in a thin band of constant thickness around the surface are uniform by area once they are projected
    onto it. Candidates are chosen in the cells of a grid of `cells`³ that the surface may cross; those inside the band
    are kept and projected by Newton steps along the gradient of the distance.
    """
    device = batch.device
    spacing = 2.0 / cells
    # One more layer of cells outside the cube: the band around a face on its wall is half outside.
    axis = (torch.arange(-1, cells + 1, device=device) + 0.5) * spacing - 1
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    band = spacing / 4
    # 0.87 cells is half the diagonal of a cell: the surface cannot cross a cell whose centre is farther from it.
    near = batch.distance(repeat(grid, "cell xyz -> batch cell xyz", batch=len(batch))).abs() < 0.87 * spacing

    tries = 5 * count
    chosen = torch.multinomial(near.float() + 1e-20, tries, replacement=True, generator=generator)
    jitter = torch.rand((len(batch), tries, 3), generator=generator, device=device) - 0.5
    points = grid[chosen] + jitter * spacing
    away = batch.distance(points).abs()
    points = _choose(points, away, band, count + count // 8, generator)
    # p - d ∇d / |∇d|²: exact for a true distance, where |∇d| = 1. The clamp avoids long steps where ∇d vanishes.
    for _ in range(2):
        distance, gradient = batch.gradient(points)
        points = points - (distance / gradient.square().sum(-1).clamp(min=0.1))[..., None] * gradient
    # Newton steps near a crease may end off the surface. An eighth more candidates allow those to be left out.
    points, gradient = _choose(torch.stack([points, gradient]), batch.distance(points).abs(), 1e-3, count, generator)
    return points.clamp(-1, 1), torch.nn.functional.normalize(gradient, dim=-1)


def _choose(
    values: Float[Tensor, "*values batch points 3"],
    away: Float[Tensor, "batch points"],
    band: float,
    count: int,
    generator: Generator | None,
) -> Float[Tensor, "*values batch count 3"]:
    """`count` random points of those nearer than `band` to the surface; if they are too few, the nearest others."""
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
    """Points and their signed distances, negative inside.

    The first points are uniform in [-1, 1]³. The last ones, a share `near` of all, are random `surface` points moved by
    Gaussian noise of standard deviation `near_std`, clamped to the cube. Coordinates are rounded to float16 before the
    distance is computed, so that stored points have exact labels.
    """
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
