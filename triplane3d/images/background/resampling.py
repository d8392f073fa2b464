"""Arrays at other sizes: averaged where they shrink, interpolated where they grow."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch.nn import functional


def resampled(
    picture: Shaped[np.ndarray, "height width *channels"], shape: tuple[int, ...]
) -> Float[np.ndarray, "rows columns *channels"]:
    """A picture or mask at the size `shape` (rows, columns), as float32. A mask's values become shares in 0..1."""
    layers = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))
    layers = layers[None] if layers.ndim == 2 else layers.permute(2, 0, 1)
    sized = functional.interpolate(layers[None], size=tuple(shape), mode="bilinear", antialias=True)[0]
    return sized[0].numpy() if picture.ndim == 2 else np.ascontiguousarray(sized.permute(1, 2, 0).numpy())


def shrunk_shape(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Rows and columns of a picture whose longer side is reduced to at most `side`; the picture is never enlarged."""
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
