"""How the public checkpoints' own code turns a cut-out photo into the square that their image encoders see.

In 8 bits and without rounding where they do so: a level of grey more or less is seen by the encoders.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

DIRECT3D_SOLID = 100
"""Alpha, of 255, above which Direct3D takes a pixel for the object's."""

DIRECT3D_LEAST = 0.001
"""Share of the pixels that must be solid for Direct3D to crop to them."""

DIRECT3D_MARGIN = 0.04
"""Border that Direct3D leaves on each side, as a share of the square within."""


def frame_direct3d(rgba: Float[Tensor, "4 height width"], *, background: float = 1.0) -> Float[Tensor, "3 side side"]:
    """Cropped to what is solid, padded to a square, over `background` (Direct3D's is white), with a margin."""
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
    """Cropped to whatever is not clear, less the last row and column, so that it fills `foreground_ratio` of a square.

    The crop that its authors trained behind leaves those two lines out, and so does this one.
    """
    pixels = _to_bytes(rgba)
    seen = pixels[..., 3] > 0
    if seen.any():
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
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
    """In the middle of a clear square; where that is half a pixel off, nearer to the top and the left."""
    missing = [side - length for length in pixels.shape[:2]]
    return np.pad(pixels, [(less // 2, less - less // 2) for less in missing] + [(0, 0)])


def _composite(rgba: Float[np.ndarray, "height width 4"], background: float) -> UInt8[np.ndarray, "height width 3"]:
    """Over a grey; what is left of a level is dropped."""
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + (1 - alpha) * background) * 255).astype(np.uint8)
