"""Coarse occupancy: an auxiliary task that trains the image encoder to predict where along its rays the shape is solid.

Its labels are those of the shards, so they cost nothing. The head is not part of the saved model.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

DEPTH_CELLS = 8
"""Cells along the depth behind each token of the front view."""

LABEL_POINTS = 8192
"""Label points read for this task. Half of them are uniform in the cube: eight for each of 8³ cells."""


class CoarseOccupancy(nn.Module):
    """Predicts, from each patch token of the front view, how much of each cell in its column of depth is inside."""

    def __init__(self, token_dim: int, num_prefix_tokens: int):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.depths = nn.Linear(token_dim, DEPTH_CELLS)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        label_points: Float[Tensor, "batch labels 3"],
        label_distance: Float[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy with the share of the label points in each cell that are inside, weighted by their number."""
        logits = self.depths(tokens[:, self.num_prefix_tokens :]).float()
        side = round(logits.shape[1] ** 0.5)
        uniform = label_points.shape[1] // 2  # the second half lies near the surface and would bias the shares
        x, y, z = label_points[:, :uniform].unbind(dim=-1)
        # Patches are ordered by rows from the top left: columns along x, rows along −y. Depth runs along z.
        column, row, depth = (((value + 1) / 2 * count).long().clamp(0, count - 1)
                              for value, count in ((x, side), (-y, side), (z, DEPTH_CELLS)))  # fmt: skip
        cell = (row * side + column) * DEPTH_CELLS + depth
        inside = (label_distance[:, :uniform] < 0).float()
        empty = torch.zeros(len(logits), logits[0].numel(), device=logits.device)
        count = empty.scatter_add(1, cell, torch.ones_like(inside))
        share = empty.scatter_add(1, cell, inside) / count.clamp(min=1)
        losses = functional.binary_cross_entropy_with_logits(logits.flatten(1), share, reduction="none")
        return (losses * count).sum() / count.sum()
