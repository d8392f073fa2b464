"""Refinement of a mask by GrabCut (Rother, Kolmogorov, Blake 2004); needs OpenCV, the optional extra `cv`."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from triplane3d.images.background.arrays import Lab, Mask
from triplane3d.images.background.backdrop import frame_mask

# Steps of an 8-bit channel for one unit of L*, a* and b*.
STEPS = np.array([2.55, 2.0, 2.0])


def grabcut(colors: Lab, mask: Mask, *, reach: int, iterations: int = 3) -> Mask:
    """The mask moved to where the colours inside and outside of it are separated best.

    GrabCut alternates between two colour models (Gaussian mixtures, one inside and one outside) and a minimum cut. Its
    k-means starts from OpenCV's random generator, which is seeded: the same input gives the same mask.

    Args:
        colors: L*a*b* around the middle of the range, such as `Backdrop.flattened` gives.
        mask: the start.
        reach: the mask grows by at most this number of pixels.
        iterations: of GrabCut.
    """
    import cv2

    # The photo's frame is backdrop, except where the start covers it.
    allowed = mask | (ndimage.binary_dilation(mask, iterations=reach) & ~frame_mask(mask.shape))
    rows, columns = (np.flatnonzero(allowed.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0 or min(mask.shape) < 8:
        return mask
    # The window has a wide margin of certain backdrop, so that the outer colour model contains its colours.
    margin = 2 * reach
    window = (
        slice(max(rows[0] - margin, 0), rows[-1] + 1 + margin),
        slice(max(columns[0] - margin, 0), columns[-1] + 1 + margin),
    )
    state = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[~allowed] = cv2.GC_BGD
    state = np.ascontiguousarray(state[window])
    if not (state == cv2.GC_PR_FGD).any():
        return mask
    pixels = np.clip(colors[window] * STEPS + 128, 0, 255).round().astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(pixels), state, (0, 0, 1, 1), *models, iterations, cv2.GC_INIT_WITH_MASK)
    refined = np.zeros_like(mask)
    refined[window] = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return refined
