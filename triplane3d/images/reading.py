"""Reading photos: files, PIL pictures, arrays and tensors as upright RGBA tensors, or an error of one sentence."""

from __future__ import annotations

import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from triplane3d.errors import PARSER_ERRORS, is_out_of_memory
from triplane3d.images.color_profiles import convert_grey, convert_strip, transform_to_srgb, without_png_profile
from triplane3d.images.structure import check_structure

# A file with more pixels than any phone's photo is refused as a decompression bomb.
MAX_PIXELS = 128_000_000
# Decoders that keep several copies of the picture have a lower limit, so that no photo takes a gigabyte.
MAX_PIXELS_OF = {
    "TIFF": 100_000_000,
    "AVIF": 64_000_000,
    "WEBP": 40_000_000,
    "JPEG2000": 40_000_000,
    "HEIF": 40_000_000,
    "JXL": 40_000_000,
}
# The longer side after reading. No encoder takes larger photos, and memory stays small.
MAX_SIDE = 2048
# Large pictures are converted in strips of about this many pixels, since a second whole copy takes too much memory.
STRIP_PIXELS = 1_000_000
# Only raster formats: PIL runs other programs for some others (EPS, PDF).
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "HEIF", "JXL")
# Formats that can be decoded at a fraction of their size, which saves memory.
DRAFTABLE = ("JPEG", "MPO")
# Modes that PIL cannot convert to RGBA directly, and the mode between.
INTERMEDIATE_MODE = {"CMYK": "RGB", "LAB": "RGB", "La": "LA"}
# Files that are often passed as photos, by their first bytes: what they are, and what to do.
OTHER_FILES = {
    rb"#\?(RADIANCE|RGBE)|v/1\x01|PF\s": ("a high-dynamic-range picture", "tone-map it and save it as PNG or JPEG"),
    rb"....ftyp(heic|heix|heif|hevc|mif1|msf1|avif)": ("a HEIF photo", "export it as JPEG"),
    rb"....ftyp": ("a video", "save one frame of it as PNG"),
    rb"%PDF|%!PS": ("a document", "export the picture as PNG"),
    rb"8BPS": ("a Photoshop file", "export it as PNG"),
    rb"\s*(<!doctype html|<html)": ("a web page", "open it in a browser and save the picture itself"),
    rb"\s*(<\?xml|<svg)": ("a drawing", "export it as PNG"),
    rb"\Z": ("empty", "save or download it again"),
}
# URLs are refused: nothing is downloaded here.
URL = re.compile(r"(https?|ftps?|s3|gs|file|data):", re.IGNORECASE)
# How to undo each EXIF orientation: whether to transpose first, then to flip rows, then columns.
UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# What Pillow's decoders raise on broken data; the errors differ from format to format.
DAMAGE = (*PARSER_ERRORS, BufferError, OSError, SyntaxError, zlib.error)

Photo = str | PathLike | Image.Image | np.ndarray | Tensor
"""A path, a PIL image, an array (height, width[, channels]) or a tensor ([channels, ]height, width)."""


def split_batch(image: object) -> list:
    """One photo, a nested list of photos or a batched array or tensor as a flat list of single photos."""
    if isinstance(image, np.ndarray | Tensor) and image.ndim == 4:
        if len(image) == 0:
            raise ValueError(f"image is an empty batch of shape {tuple(image.shape)}: pass at least one photo")
        return list(image)
    if isinstance(image, Sequence) and not isinstance(image, str | bytes):
        photos = [photo for entry in image for photo in split_batch(entry)]
        if not photos:
            raise ValueError("image is an empty list: pass at least one photo")
        return photos
    return [image]


def decode_photo(photo: object) -> Float[Tensor, "4 height width"]:
    """A `Photo` as straight sRGB and alpha in 0..1, upright, with at most `MAX_SIDE` pixels a side for files.

    Files and PIL images are converted by their embedded colour profile; arrays and tensors are taken as sRGB.

    Raises:
        TypeError: `photo` has no known type.
        ValueError: the file or its values cannot be read; the message has what to do.
        OSError: the file does not exist.
    """
    if isinstance(photo, str | PathLike):
        return _open(find_photo(photo))
    if isinstance(photo, Image.Image):
        if getattr(photo, "fp", None) is not None:  # opened, not yet decoded
            check_structure(photo.fp, "the picture")  # type: ignore[attr-defined]
        return _decode(photo, "the picture")
    if isinstance(photo, np.ndarray):
        channels = photo[..., None] if photo.ndim == 2 else photo
        if channels.ndim != 3 or channels.shape[-1] not in (1, 2, 3, 4):
            raise ValueError(
                f"an array photo is (height, width) or (height, width, 1-4 channels), got shape {photo.shape}"
            )
        if channels.dtype.kind not in "buif":
            raise ValueError(f"an array photo holds bytes, booleans or floats in 0..1, got {photo.dtype}")
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


def find_photo(photo: str | PathLike) -> Path:
    """The file that `photo` names. A folder, a URL or a missing file is an error of one sentence with what to do."""
    if URL.match(str(photo)):
        shown = str(photo) if len(str(photo)) <= 80 else f"{str(photo)[:77]}..."
        raise ValueError(f"{shown} is a URL: download the picture first and name the file")
    path = Path(photo)
    try:
        if path.is_dir():
            raise ValueError(f"{path} is not a file but a folder: name one photo in it, or several")
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: check the path of the photo")
        if not path.is_file():
            raise ValueError(f"{path} is not a file: name one photo, or several")
    except PermissionError as error:
        raise ValueError(f"{path} may not be read: change its permissions") from error
    return path


def _open(path: Path) -> Float[Tensor, "4 height width"]:
    Image.init()
    try:
        file = path.open("rb")
    except PermissionError as error:
        raise ValueError(f"{path} may not be read: change its permissions") from error
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_structure(file, str(path))
        try:
            picture = _identify(file)
        except UnidentifiedImageError as error:
            raise ValueError(_not_a_picture(path)) from error
        except Image.DecompressionBombError as error:
            raise ValueError(_too_large(str(path), MAX_PIXELS)) from error
        except DAMAGE as error:
            raise ValueError(_damaged(str(path), error)) from error
        return _decode(picture, str(path))


def _identify(file: BinaryIO) -> Image.Image:
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        return Image.open(file, formats=formats)
    except ValueError:
        file.seek(0)
        return Image.open(io.BytesIO(without_png_profile(file.read())), formats=formats)


def _decode(picture: Image.Image, name: str) -> Float[Tensor, "4 height width"]:
    """A PIL picture of any mode, turned upright by its EXIF tag, with at most `MAX_SIDE` pixels a side."""
    limit = MAX_PIXELS_OF.get(picture.format or "", MAX_PIXELS)
    if picture.width * picture.height > limit:
        raise ValueError(_too_large(name, limit))
    if picture.width * picture.height == 0:
        raise ValueError(f"{name} has no pixels: its size is {picture.width}x{picture.height}")
    try:
        if picture.format in DRAFTABLE and max(picture.size) > MAX_SIDE:
            width, height = picture.size
            scale = MAX_SIDE / max(picture.size)
            picture.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        picture.load()
        deep = picture.mode.startswith("I") or picture.mode == "F"
        transform = transform_to_srgb(picture, name)
        rgba = _deep_grey_to_rgba(picture, transform) if deep else _bytes_to_rgba(picture, transform)
        return _turn_upright(rgba, picture)
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(name, limit)) from error
    except DAMAGE as error:
        raise ValueError(_damaged(name, error)) from error


def _not_a_picture(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(256)
    for pattern, (description, remedy) in OTHER_FILES.items():
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            return f"{path} is {description}, not a picture that can be read: {remedy}"
    return f"{path} is not a picture that can be read: save it as PNG or JPEG"


def _too_large(name: str, limit: int) -> str:
    return f"{name} unpacks to more than {limit // 1_000_000} megapixels: shrink it first, or save it as JPEG"


def _damaged(name: str, error: Exception) -> str:
    if is_out_of_memory(error):  # a broken file may also declare sizes that do not fit
        return f"{name} cannot be unpacked in the memory that is free: shrink it, or save it again if it is small"
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"{name} is damaged or cut short ({reason}): save or download it again"


def _strips(picture: Image.Image) -> Iterator[tuple[Image.Image, int]]:
    """Strips of the picture from top to bottom, each with the integer factor by which it is to be shrunk."""
    width, height = picture.size
    factor = max(1, max(width, height) // MAX_SIDE)
    rows = factor * max(1, STRIP_PIXELS // (width * factor))
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height))), factor


def _bytes_to_rgba(
    picture: Image.Image, transform: ImageCms.ImageCmsTransform | None
) -> Float[Tensor, "4 height width"]:
    strips = []
    for strip, factor in _strips(picture):
        rgba = strip.convert(INTERMEDIATE_MODE.get(picture.mode, "RGBA")).convert("RGBA")
        rgba = rgba.reduce(factor) if factor > 1 else rgba
        strips.append(convert_strip(strip, rgba, factor, transform))
    whole = Image.new("RGBA", (strips[0].width, sum(strip.height for strip in strips)))
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    whole.thumbnail((MAX_SIDE, MAX_SIDE))
    return _channels_to_rgba(torch.from_numpy(np.array(whole)).permute(2, 0, 1))


def _deep_grey_to_rgba(
    picture: Image.Image, transform: ImageCms.ImageCmsTransform | None
) -> Float[Tensor, "4 height width"]:
    """16- and 32-bit grey scaled to 0..1; PIL's own conversion clips it at 255.

    White is the largest value of the type for integers. For floats it is 1 where no value is higher, 255 where all
    values are whole numbers up to 255, and else the highest value.
    """
    clear = picture.info.get("transparency")
    strips, highest, whole_numbers = [], 0.0, True
    for strip, factor in _strips(picture):
        values = np.nan_to_num(np.array(strip).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        highest = max(highest, float(values.max()))
        whole_numbers = whole_numbers and bool((values == np.round(values)).all())
        alpha = values != clear if isinstance(clear, int) else np.ones_like(values)
        channels = torch.from_numpy(np.stack([values, alpha.astype(np.float32)]))[None]
        strips.append(functional.avg_pool2d(channels, factor, ceil_mode=True))
    if picture.mode != "F":
        white = max(65535.0, highest)
    else:
        white = 1.0 if highest <= 1 else 255.0 if highest <= 255 and whole_numbers else highest
    channels = torch.cat(strips, dim=2)
    scale = min(1.0, MAX_SIDE / max(channels.shape[2:]))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in channels.shape[2:]]
        channels = functional.interpolate(channels, size=size, mode="bilinear", antialias=True, align_corners=False)
    grey, alpha = (channels[0] / channels.new_tensor([white, 1.0])[:, None, None]).clamp(0, 1)
    rgb = convert_grey(
        grey.numpy(), transform if picture.mode != "F" else None
    )  # white of floats is none of the profile
    return torch.cat([torch.from_numpy(rgb), alpha[None]])


def _turn_upright(rgba: Float[Tensor, "4 height width"], picture: Image.Image) -> Float[Tensor, "4 rows columns"]:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:  # a picture with unreadable EXIF data is still a picture
        orientation = 1
    transpose, *flips = UPRIGHT.get(orientation, (False, False, False))
    rgba = rgba.mT if transpose else rgba
    return rgba.flip([dim for dim, flip in zip((1, 2), flips) if flip]).contiguous()


def _channels_to_rgba(channels: Tensor) -> Float[Tensor, "4 height width"]:
    """1 to 4 channels (grey, grey + alpha, RGB, RGBA) of bytes, booleans or floats in 0..1 as RGBA in 0..1."""
    if channels.numel() == 0:
        raise ValueError(f"a photo has at least one pixel, got {channels.shape[1]} rows of {channels.shape[2]}")
    if not channels.is_floating_point():
        channels = channels.float() / (1 if channels.dtype == torch.bool else 255)
    channels = channels.float()
    low, high = (float(bound) for bound in channels.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a photo has finite values, this one holds NaN or infinity")
    # Resampling may overshoot a little. Values further outside are in another range, such as [-1, 1].
    if not (low >= -0.01 and high <= 1.01):
        raise ValueError(
            f"a float photo has values in 0..1, this one spans [{low:.3g}, {high:.3g}]: "
            "divide bytes by 255, or undo a normalisation to [-1, 1]"
        )
    channels = channels.clamp(0, 1)
    color = channels[:3] if len(channels) >= 3 else channels[:1].expand(3, -1, -1)
    alpha = channels[-1:] if len(channels) in (2, 4) else torch.ones_like(channels[:1])
    return torch.cat([color, alpha])
