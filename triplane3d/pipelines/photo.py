"""Reading photos: whatever a user calls an image becomes an upright RGBA tensor, or one sentence says why not."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# A file that unpacks to more than any phone's photo is taken for a decompression bomb.
MAX_PIXELS = 128_000_000
# Photos are shrunk to this side on reading: no encoder looks closer, and memory stays small.
MAX_SIDE = 2048
# Only plain picture formats: PIL would hand others (EPS, PDF) to outside programs.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "HEIF", "JXL")
# JPEG can be decoded at a fraction of its size, which keeps a large photo small in memory.
DRAFTABLE = ("JPEG", "MPO")
# What PIL's decoders raise on broken data.
DAMAGE = (OSError, SyntaxError, EOFError, ValueError, OverflowError, struct.error, Image.DecompressionBombError)


def split_batch(image: object) -> list:
    """One photo, a list of photos or a batched array as a flat list of single photos."""
    if isinstance(image, np.ndarray | Tensor) and image.ndim == 4:
        return list(image)
    if isinstance(image, Sequence) and not isinstance(image, str):
        photos = [photo for entry in image for photo in split_batch(entry)]
        if not photos:
            raise ValueError("image is an empty list: pass at least one photo")
        return photos
    return [image]


def decode_photo(photo: object) -> Float[Tensor, "4 height width"]:
    """Straight RGBA in 0..1 from a path, PIL image, array (height, width[, channels]) or tensor (channels, h, w)."""
    if isinstance(photo, str | PathLike):
        return _open(Path(photo))
    if isinstance(photo, Image.Image):
        return _picture_to_tensor(photo)
    if isinstance(photo, np.ndarray):
        channels = photo[..., None] if photo.ndim == 2 else photo
        if channels.ndim != 3 or channels.shape[-1] not in (1, 2, 3, 4):
            raise ValueError(
                f"an array photo is (height, width) or (height, width, 1-4 channels), got shape {photo.shape}"
            )
        if channels.dtype.kind == "u" and channels.dtype.itemsize > 1:
            channels = channels / np.iinfo(channels.dtype).max
        return _channels_to_rgba(torch.from_numpy(np.ascontiguousarray(np.moveaxis(channels, -1, 0))))
    if isinstance(photo, Tensor):
        channels = photo[None] if photo.ndim == 2 else photo
        if channels.ndim != 3 or channels.shape[0] not in (1, 2, 3, 4):
            raise ValueError(
                f"a tensor photo is (height, width) or (1-4 channels, height, width), got shape {tuple(photo.shape)}"
            )
        return _channels_to_rgba(channels)
    raise TypeError(
        f"image must be a path, PIL image, numpy array, torch tensor or a list of them, got {type(photo).__name__}"
    )


def _open(path: Path) -> Float[Tensor, "4 height width"]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: check the path of the photo")
    if not path.is_file():
        raise ValueError(f"{path} is not a file: name one photo, or several")
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(path)) from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture that can be read: save it as PNG or JPEG") from error
    except PermissionError as error:
        raise ValueError(f"{path} may not be read: change its permissions") from error
    except DAMAGE as error:
        raise ValueError(_damaged(path, error)) from error
    with picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(_too_large(path))
        try:
            picture.load() if picture.format not in DRAFTABLE else picture.thumbnail((MAX_SIDE, MAX_SIDE))
            return _picture_to_tensor(picture)
        except DAMAGE as error:
            raise ValueError(_damaged(path, error)) from error


def _too_large(path: Path) -> str:
    return f"{path} unpacks to more than {MAX_PIXELS // 1_000_000} megapixels: shrink it first"


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).rstrip(".") or type(error).__name__
    return f"{path} is damaged or cut short ({reason}): save or download it again"


def _picture_to_tensor(picture: Image.Image) -> Float[Tensor, "4 height width"]:
    """Any PIL mode, turned upright as its EXIF tag says."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep_grey_to_rgba(picture)
    rgba = picture.convert("RGB" if picture.mode == "CMYK" else "RGBA").convert("RGBA")
    rgba.thumbnail((MAX_SIDE, MAX_SIDE))
    return _channels_to_rgba(torch.from_numpy(np.array(rgba)).permute(2, 0, 1))


def _deep_grey_to_rgba(picture: Image.Image) -> Float[Tensor, "4 height width"]:
    """16- and 32-bit grey, which PIL's own conversion would clip at 255, scaled to 0..1 by its type's range."""
    grey = np.array(picture).astype(np.float32)
    alpha = np.ones_like(grey)
    if isinstance(clear := picture.info.get("transparency"), int):
        alpha = (grey != clear).astype(np.float32)
    if picture.mode == "F":
        white = 1.0 if grey.max() <= 1 else max(255.0, float(grey.max()))
    else:
        white = max(65535.0, float(grey.max()))
    rgba = torch.from_numpy(np.stack([grey / white] * 3 + [alpha])).clamp(0, 1)
    shrink = max(1, -(-max(grey.shape) // MAX_SIDE))
    return torch.nn.functional.avg_pool2d(rgba[None], shrink)[0] if shrink > 1 else rgba


def _channels_to_rgba(channels: Tensor) -> Float[Tensor, "4 height width"]:
    """1-4 channels (grey, grey + alpha, RGB, RGBA) of bytes, booleans or floats in 0..1."""
    if not channels.is_floating_point():
        channels = channels.float() / (1 if channels.dtype == torch.bool else 255)
    channels = channels.float()
    low, high = (float(bound) for bound in channels.aminmax())
    # Resampling may overshoot a little; anything beyond that is another convention, not a photo in 0..1.
    if not (low >= -0.01 and high <= 1.01):
        raise ValueError(
            f"a float photo has values in 0..1, this one spans [{low:.3g}, {high:.3g}]: "
            "divide bytes by 255, or undo a normalisation to [-1, 1]"
        )
    channels = channels.clamp(0, 1)
    color = channels[:3] if len(channels) >= 3 else channels[:1].expand(3, -1, -1)
    alpha = channels[-1:] if len(channels) in (2, 4) else torch.ones_like(channels[:1])
    return torch.cat([color, alpha])
