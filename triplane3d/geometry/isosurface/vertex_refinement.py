"""Vertices put on the surface itself, where marching cubes only interpolates between samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 4
SPACING = 0.25
"""Of a cell: how far apart the gradient's differences are taken."""

REACH = 0.5
"""Of a cell: how far a vertex may move."""


@dataclass(frozen=True)
class Gain:
    """How far vertices lie off the surface, |value - level| / |gradient|, on average, in cells of the grid."""

    before: float
    after: float

    def __str__(self) -> str:
        return f"vertices on average {self.before:.4f} of a cell off the surface, {self.after:.4f} after refinement"


@torch.no_grad()
def polish_vertices(
    ask: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]],
    vertices: Float[np.ndarray, "vertices 3"],
    level: float,
    cell: float,
    bounds: tuple[float, float],
) -> tuple[Float[np.ndarray, "vertices 3"], Gain]:
    """Moves every vertex along the field's gradient to where its values cross `level`, by regula falsi (Illinois rule).

    A vertex stays where the level is not crossed within half a cell, where the field has no gradient, and on the walls
    of `bounds`, which are no level of the field. `cell` is the grid's spacing; 13 samples are asked for every vertex.
    """
    points = torch.from_numpy(np.asarray(vertices, dtype=np.float32))
    steps = SPACING * cell * torch.eye(3)
    gradient = torch.stack([ask(points + step) - ask(points - step) for step in steps], dim=1) / (2 * SPACING * cell)
    slope = gradient.norm(dim=1, keepdim=True)
    normal = gradient / slope.clamp_min(1e-12)

    def excess(distance: Float[Tensor, "points 1"]) -> Float[Tensor, "points 1"]:
        return ask(points + distance * normal)[:, None] - level

    low, high = torch.full_like(slope, -REACH * cell), torch.full_like(slope, REACH * cell)
    f_low, f_high = excess(low), excess(high)
    bracketed = (f_low <= 0) & (f_high > 0)
    start = ask(points)[:, None] - level
    best, least = torch.zeros_like(slope), start.abs()
    middle, value, before = best, start, None
    for _ in range(STEPS):
        inside = value > 0
        # Illinois: an end that stays a second time loses half its weight, so that both ends close in.
        weight = torch.ones_like(slope) if before is None else torch.where(inside == before, 0.5, 1.0)
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
        f_low, f_high = torch.where(inside, weight * f_low, value), torch.where(inside, value, weight * f_high)
        before = inside
        middle = low + (high - low) * (f_low / (f_low - f_high)).nan_to_num(0.5).clamp(0, 1)
        value = excess(middle)
        better = bracketed & (value.abs() < least)
        best, least = torch.where(better, middle, best), torch.where(better, value.abs(), least)

    margin = 1e-6 * (bounds[1] - bounds[0])
    on_wall = ((points <= bounds[0] + margin) | (points >= bounds[1] - margin)).any(1, keepdim=True)
    moved = torch.where(on_wall | (best == 0), points, (points + best * normal).clamp(*bounds))
    known = ~on_wall & slope.isfinite() & (slope > 0)
    distances = [(part / slope)[known].clamp_max(REACH * cell) for part in (start.abs(), least)]
    return moved.numpy(), Gain(*(float(part.mean()) / cell if len(part) else 0.0 for part in distances))
