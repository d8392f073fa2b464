"""A deblocking filter for planes from a token decoder.

The token decoder maps each token to a patch of the planes, and features may jump between two patches: a seam. Image and
video codecs solve the same problem with a deblocking filter (List et al. 2003, "Adaptive deblocking filter"). This one
spreads each jump over a few pixels on both sides of the seam.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def smooth_seams(
    planes: Float[Tensor, "batch plane channels height width"], patch: int, reach: int
) -> Float[Tensor, "batch plane channels height width"]:
    """`planes` without jumps between patches of `patch` pixels. Only `reach` pixels on each side of a seam change.

    The jump is the difference across the seam, less the mean slope beside it. Half of it is added on one side and half
    is subtracted on the other, decreasing linearly to zero at `reach`. Planes that are linear in both directions do not
    change.

    Raises:
        ValueError: if `reach` is less than 1 or more than half a patch.
    """
    if not 1 <= reach <= patch // 2:
        raise ValueError(f"reach must be 1 to {patch // 2} pixels (half a patch), got {reach}")
    return _smooth_last_axis(_smooth_last_axis(planes, patch, reach).mT, patch, reach).mT


def _smooth_last_axis(rows: Float[Tensor, "*rows width"], patch: int, reach: int) -> Float[Tensor, "*rows width"]:
    """The filter along the last axis."""
    # The two pixels on each side of every seam. A slope is measured on both sides, so that a linear ramp is no jump.
    seams = torch.arange(patch, rows.shape[-1], patch, device=rows.device)
    before_last, before, after, after_next = (rows[..., seams + offset].float() for offset in (-2, -1, 0, 1))
    jump = (after - before) - ((before - before_last) + (after_next - after)) / 2

    # Half of the jump at the seam, decreasing linearly over `reach` pixels, with opposite signs on both sides.
    distance = torch.arange(reach, device=rows.device)
    correction = (jump[..., None] / 2 * (1 - (distance + 0.5) / reach)).flatten(-2)
    smooth = rows.float().index_add(-1, (seams[:, None] + distance).flatten(), correction, alpha=-1)
    smooth = smooth.index_add(-1, (seams[:, None] - 1 - distance).flatten(), correction)
    return smooth.to(rows.dtype)
