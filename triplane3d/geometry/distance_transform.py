"""Distances of pixels to the nearest pixel of a set."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def squared_distance(occupied: Bool[Tensor, "batch rows columns"]) -> Float[Tensor, "batch rows columns"]:
    """Squared distance, in pixels, to the nearest true pixel; (rows + columns)² where there is none.

    Exact and separable: min over rows of the row distance² plus the minimum over columns of the column distance²
    (Felzenszwalb and Huttenlocher 2012, "Distance transforms of sampled functions", section 2). Quadratic in the side.
    """
    rows, columns = occupied.shape[-2:]
    far = float((rows + columns) ** 2)
    cost = torch.where(occupied, 0.0, far)
    for count in (columns, rows):
        index = torch.arange(count, device=occupied.device, dtype=torch.float32)
        steps = (index[:, None] - index) ** 2
        cost = (cost[..., None, :] + steps).amin(dim=-1).mT
    return cost.clamp(max=far)
