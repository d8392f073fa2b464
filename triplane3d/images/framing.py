"""The framing of public checkpoints: how their own code makes the encoder's square of a cut-out photo.

Values have 8 bits, and are truncated instead of rounded, exactly where the original code does so: the encoders react to
a difference of one level.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

DIRECT3D_SOLID = 100
"""Alpha (0 to 255) above which Direct3D counts a pixel as object."""

DIRECT3D_LEAST = 0.001
"""Direct3D crops to the object where at least this share of the pixels is object."""

DIRECT3D_MARGIN = 0.04
"""Width of the border that Direct3D adds on each side, as a share of the inner square."""


def frame_direct3d(rgba: Float[Tensor, "4 height width"], *, background: float = 1.0) -> Float[Tensor, "3 side side"]:
    """Direct3D's square: cropped to the object, padded to a square, composited over `background`, with a margin.

    Args:
        rgba: straight RGBA in 0..1.
        background: a grey in 0..1; Direct3D's is white.
    """
    pixels = _to_bytes(rgba)
    solid = pixels[..., 3] > DIRECT3D_SOLID
    if solid.sum() >= solid.size * DIRECT3D_LEAST:
        rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    squared = _pad_to(pixels, max(pixels.shape[:2])) / 255.0
    picture = _composite(squared, background)
    margin = int(len(picture) * DIRECT3D_MARGIN)
    picture = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=int(255 * background))
    return _to_tensor(picture)


def frame_triposr(
    rgba: Float[Tensor, "4 height width"], *, foreground_ratio: float = 0.85, background: float = 0.5
) -> Float[Tensor, "3 side side"]:
    """TripoSR's square: cropped to all pixels with alpha above 0, padded to a square and composited.

    The original crop omits the last row and column of the object; the network was trained with that, so this one does
    the same.

    Args:
        rgba: straight RGBA in 0..1.
        foreground_ratio: share of the square's side that the crop fills.
        background: a grey in 0..1.
    """
    pixels = _to_bytes(rgba)
    visible = pixels[..., 3] > 0
    if visible.any():
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        # An object one pixel wide keeps that pixel.
        bottom, right = max(rows[-1], rows[0] + 1), max(columns[-1], columns[0] + 1)
        pixels = pixels[rows[0] : bottom, columns[0] : right]
    side = max(pixels.shape[:2])
    squared = _pad_to(_pad_to(pixels, side), int(side / foreground_ratio))
    return _to_tensor(_composite(squared.astype(np.float32) / 255.0, background))


def _to_bytes(rgba: Float[Tensor, "4 height width"]) -> UInt8[np.ndarray, "height width 4"]:
    return (rgba.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _to_tensor(picture: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255


def _pad_to(pixels: UInt8[np.ndarray, "height width 4"], side: int) -> UInt8[np.ndarray, "side side 4"]:
    """The picture in the middle of a transparent square; an odd pixel of padding is at the bottom or right."""
    missing = [side - length for length in pixels.shape[:2]]
    return np.pad(pixels, [(less // 2, less - less // 2) for less in missing] + [(0, 0)])


def _composite(rgba: Float[np.ndarray, "height width 4"], background: float) -> UInt8[np.ndarray, "height width 3"]:
    """The picture over a grey in 0..1, truncated to 8 bits."""
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + (1 - alpha) * background) * 255).astype(np.uint8)
