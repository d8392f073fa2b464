"""Three coarse planes of features for the whole shape, predicted from its photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.attention import TriplaneAttentionBlock
from triplane3d.models.triplane import plane_coordinates, sample_planes

PATCH = 2
"""Pixels along the side of the patch that a token stands for."""


class ShapePlanes(nn.Module):
    """Predicts coarse planes from a photo's tokens and the planes that were generated from it.

    The pixel of a point has little information about a side that the photo does not show. There the whole shape
    matters: a chair has legs at its back as well. A token stands for a patch of a generated plane, averaged to few
    pixels. Tokens attend to the photo's and to one another in turn, as in feed-forward triplane models (Hong et al.
    2024, LRM, section 3.2).
    """

    def __init__(self, plane_channels: int, dim: int, *, heads: int, num_layers: int, side: int, out_channels: int):
        """
        Args:
            plane_channels: of the generated planes.
            dim: width of the tokens.
            heads: of each attention.
            num_layers: pairs of a cross-attention block and a self-attention block.
            side: tokens along the side of a plane.
            out_channels: of the predicted planes, which have twice as many pixels along the side as tokens.
        """
        super().__init__()
        self.side = side
        self.norm_in = nn.LayerNorm(plane_channels)
        self.proj_in = nn.Linear(PATCH**2 * plane_channels, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 3 * side**2, dim))
        # Blocks with cross-attention are at even places, those with self-attention at odd ones.
        self.transformer_blocks = nn.ModuleList(
            TriplaneAttentionBlock(dim, heads, dim // heads, is_cross_attention=kind == "cross", ff_dim=2 * dim)
            for _ in range(num_layers)
            for kind in ("cross", "self")
        )
        self.norm_out = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, PATCH**2 * out_channels)

    def forward(
        self,
        planes: Float[Tensor, "batch 3 plane_channels height width"],
        photo_tokens: Float[Tensor, "batch tokens dim"],
    ) -> Float[Tensor, "batch 3 out_channels size size"]:
        """The coarse planes, of 2·side pixels."""
        size = PATCH * self.side
        small = F.adaptive_avg_pool2d(planes.flatten(0, 1), size)
        patches = rearrange(
            small,
            "(batch plane) channels (row y) (column x) -> batch (plane row column) y x channels",
            plane=3,
            y=PATCH,
            x=PATCH,
        )
        patches = self.norm_in(patches.to(self.proj_in.weight.dtype)).flatten(2)
        tokens = self.proj_in(patches) + self.positions
        for number, block in enumerate(self.transformer_blocks):
            tokens = block(tokens, photo_tokens) if number % 2 == 0 else block(tokens)
        return rearrange(
            self.proj_out(self.norm_out(tokens)),
            "batch (plane row column) (y x channels) -> batch plane channels (row y) (column x)",
            plane=3,
            row=self.side,
            y=PATCH,
            x=PATCH,
        )


def sample_shape(
    planes: Float[Tensor, "batch 3 channels size size"], points: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch points 3*channels"]:
    """Features of the three coarse planes at `points`, one plane's after another's."""
    sampled = sample_planes(planes, plane_coordinates(points), "border")
    return rearrange(sampled, "batch plane channels points -> batch points (plane channels)")
