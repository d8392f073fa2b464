"""Resampling of the position tables of vision transformers, as in the transformers library of the checkpoints' time.

Newer releases resample to the target size instead of by a factor. That changes the output of a network of that time by
more than 1%. A converted encoder therefore contains the table for the one image size at which it is used.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

OFFSET = 0.1
"""Added to the number of rows and columns before the factor is computed, so that the size is not rounded down."""


def resample_positions(table: Float[Tensor, "1 tokens dim"], side: int) -> Float[Tensor, "1 resampled_tokens dim"]:
    """A table of a class token and a square of patches, for `side` × `side` patches; bicubic, by a factor."""
    own_side = round((table.shape[1] - 1) ** 0.5)
    if own_side**2 != table.shape[1] - 1:
        raise ValueError(
            f"expected positions of one class token and a square of patches, got {table.shape[1]} tokens; "
            "is this the table of another type of encoder?"
        )
    if side == own_side:
        return table
    patches = rearrange(table[:, 1:].float(), "1 (row column) dim -> 1 dim row column", row=own_side)
    factor = (side + OFFSET) / own_side
    patches = F.interpolate(patches, scale_factor=(factor, factor), mode="bicubic", align_corners=False)
    assert patches.shape[-1] == side, "the offset keeps the size from being rounded down"
    resampled = rearrange(patches, "1 dim row column -> 1 (row column) dim")
    return F.pad(resampled, (0, 0, 1, 0)).to(table.dtype).index_copy(1, table.new_zeros(1).long(), table[:, :1])
