"""Masks redrawn by GrabCut (Rother, Kolmogorov, Blake 2004), from the optional extra `cv`."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from triplane3d.images.background.backdrop import Lab, Mask, ring

# A pixel of L*, a* or b* in steps of an 8-bit channel.
STEPS = np.array([2.55, 2.0, 2.0])


def grabcut(colors: Lab, mask: Mask, *, reach: int, iterations: int = 3) -> Mask:
    """The mask redrawn where the colours inside and outside of it part, no more than `reach` pixels further out."""
    import cv2

    # The photo's frame is backdrop, but for an object that reaches it.
    allowed = mask | (ndimage.binary_dilation(mask, iterations=reach) & ~ring(mask.shape))
    rows, columns = (np.flatnonzero(allowed.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0 or min(mask.shape) < 8:
        return mask
    # What is far from the mask is backdrop beyond doubt. A wide margin of it shows its colours.
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
    redrawn = np.zeros_like(mask)
    redrawn[window] = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return redrawn
