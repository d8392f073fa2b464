"""Soft edges of a mask by a guided filter, which follows the photo's own edges at the photo's own size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from triplane3d.images.background.arrays import Opacity, Rgb
from triplane3d.images.background.resampling import resampled

# Only pixels this near to the outline, at the size of the mask, get another opacity than the mask's.
BAND = 3
# Windows of the filter have 2·RADIUS + 1 pixels a side.
RADIUS = 4
# Variance of colours (sRGB in 0..1) below which a window counts as flat: ε of the guided filter.
FLAT = 1e-4
# The filter does not give exactly 0 and 1. Opacities that are closer than this to 0 or 1 are rounded.
HAZE = 0.1


def guided_opacity(
    photo: Rgb, small: Float[np.ndarray, "rows columns 3"], mask: Bool[np.ndarray, "rows columns"]
) -> Opacity:
    """The opacity of every pixel of the photo, from a mask on a smaller copy of it.

    In each window the opacity is a linear function of the colour. The functions are found on the small copy, enlarged
    and applied to the photo (He and Sun 2015, "Fast guided filter"). Away from the outline the mask is kept.

    Args:
        photo: at its own size.
        small: the copy, of the mask's size.
        mask: rows × columns.
    """
    slope, offset = _guided_filter(small, mask.astype(np.float64))
    certain = ndimage.binary_erosion(mask, iterations=BAND, border_value=1)
    possible = ndimage.binary_dilation(mask, iterations=BAND)
    layers = np.concatenate([slope, np.stack([offset, certain, possible], axis=-1)], axis=-1)
    slope_red, slope_green, slope_blue, offset, least, most = np.moveaxis(resampled(layers, photo.shape[:2]), -1, 0)
    opacity = slope_red * photo[..., 0] + slope_green * photo[..., 1] + slope_blue * photo[..., 2] + offset
    return np.clip(np.clip((opacity - HAZE) / (1 - 2 * HAZE), 0, 1), least, most).astype(np.float32)


def _guided_filter(
    guide: Float[np.ndarray, "rows columns 3"], mask: Float[np.ndarray, "rows columns"]
) -> tuple[Float[np.ndarray, "rows columns 3"], Float[np.ndarray, "rows columns"]]:
    """Slope and offset of the opacity as a linear function of the colour, averaged over all windows with the pixel.

    He, Sun, Tang 2013, "Guided image filtering", equations 19 to 21.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values, 2 * RADIUS + 1, axes=(0, 1), mode="nearest")

    guide = guide.astype(np.float64)
    center, share = mean(guide), mean(mask)
    covariance = mean(guide[..., :, None] * guide[..., None, :]) - center[..., :, None] * center[..., None, :]
    with_mask = mean(guide * mask[..., None]) - center * share[..., None]
    slope = np.linalg.solve(covariance + FLAT * np.eye(3), with_mask[..., None])[..., 0]
    return mean(slope), mean(share - (slope * center).sum(axis=-1))
