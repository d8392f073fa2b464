"""Pictures of colours: linear values to sRGB pixels, pixels to linear values, pixels to files."""

import io
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from triplane3d.geometry.color import linear_from_srgb, srgb_from_linear

MIME_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""Formats of pictures in a file, and their names in glTF."""

QUALITY = 90
"""Of JPEG and WebP, in percent."""


def to_bytes(linear: Float[np.ndarray, "points 3"]) -> UInt8[np.ndarray, "points 3"]:
    """Linear colours in 0..1 → sRGB in 8 bits."""
    shown = srgb_from_linear(torch.from_numpy(np.ascontiguousarray(linear, np.float32)))
    return (shown * 255).round().byte().numpy()


def sample_picture(
    picture: UInt8[np.ndarray, "height width 3"], uv: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "points 3"]:
    """Linear colours of an sRGB picture at texture coordinates: bilinear, in linear light, clamped at the borders."""
    height, width = picture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip(uv[:, 1] * height - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    table = linear_from_srgb(torch.arange(256) / 255).numpy()
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = table[picture[top, left]] * (1 - across) + table[picture[top, right]] * across
    lower = table[picture[bottom, left]] * (1 - across) + table[picture[bottom, right]] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)


def encode_picture(picture: UInt8[np.ndarray, "height width *channels"], form: str) -> bytes:
    """The picture as a file of the format "jpeg", "png" or "webp". Raises ValueError for another format."""
    if form not in MIME_TYPES:
        raise ValueError(f"the format of a texture must be one of {', '.join(MIME_TYPES)}, got {form!r}")
    # Full colour resolution: halved colours of a JPEG bleed over the borders of charts.
    options: dict[str, dict[str, Any]] = {
        "jpeg": {"quality": QUALITY, "subsampling": 0},
        "webp": {"quality": QUALITY},
        "png": {"optimize": False},
    }
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form, **options[form])
    return file.getvalue()
