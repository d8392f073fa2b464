"""Pictures and masks at other sizes: averaged where they shrink, interpolated where they grow."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch.nn import functional


def resampled(
    picture: Shaped[np.ndarray, "height width *channels"], shape: tuple[int, ...]
) -> Float[np.ndarray, "rows columns *channels"]:
    """The picture or mask (a mask's values become shares in 0..1) with `shape` rows and columns, as float32."""
    layers = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))
    layers = layers[None] if layers.ndim == 2 else layers.permute(2, 0, 1)
    sized = functional.interpolate(layers[None], size=tuple(shape), mode="bilinear", antialias=True)[0]
    return sized[0].numpy() if picture.ndim == 2 else np.ascontiguousarray(sized.permute(1, 2, 0).numpy())


def fitted(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Rows and columns of a picture shrunk so that its longer side is at most `side`; it never grows."""
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
