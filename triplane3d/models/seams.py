"""Seams between the patches of a token decoder: spread each jump of features over the pixels around it.

The token decoder grows each token into a patch of the planes. Where neighbouring tokens disagree, features jump between
two pixels. Image codecs call a filter for this a deblocking filter; it is applied after decoding, to the block borders
alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def smooth_seams(
    planes: Float[Tensor, "batch plane channels height width"], patch: int, reach: int
) -> Float[Tensor, "batch plane channels height width"]:
    """`planes` without jumps between patches of `patch` pixels; changed are `reach` pixels on each side of a seam.

    The jump is the difference across the seam, less the mean slope beside it. Half of it is added on one side and half
    subtracted on the other, falling linearly to zero at `reach`. Planes that are linear in both directions stay as they
    are; so do pixels that are farther from a seam.
    """
    if not 1 <= reach <= patch // 2:
        raise ValueError(f"a seam is smoothed over 1 to {patch // 2} pixels on each side (half a patch), got {reach}")
    return _smooth_last_axis(_smooth_last_axis(planes, patch, reach).mT, patch, reach).mT


def _smooth_last_axis(rows: Float[Tensor, "*rows width"], patch: int, reach: int) -> Float[Tensor, "*rows width"]:
    seams = torch.arange(patch, rows.shape[-1], patch, device=rows.device)
    before_last, before, after, after_next = (rows[..., seams + offset].float() for offset in (-2, -1, 0, 1))
    jump = (after - before) - ((before - before_last) + (after_next - after)) / 2

    distance = torch.arange(reach, device=rows.device)
    correction = (jump[..., None] / 2 * (1 - (distance + 0.5) / reach)).flatten(-2)
    smooth = rows.float().index_add(-1, (seams[:, None] + distance).flatten(), correction, alpha=-1)
    smooth = smooth.index_add(-1, (seams[:, None] - 1 - distance).flatten(), correction)
    return smooth.to(rows.dtype)
