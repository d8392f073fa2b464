"""Embedded colour profiles (ICC): a photo's values are converted to sRGB, on which the networks were trained."""

from __future__ import annotations

import io
import logging
import struct

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from triplane3d.printing import one_line

logger = logging.getLogger(__name__)

# The largest common profiles, those of printing presses, have about 3 MB. Larger ones are not read.
MAX_BYTES = 4_000_000
# PIL's mode for the colours that a profile describes.
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
PNG_START = b"\x89PNG\r\n\x1a\n"


def transform_to_srgb(picture: Image.Image, name: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from the picture's embedded profile to sRGB; None without a profile.

    A profile that cannot be used is reported in the log under `name`. The result is then None, and the colours are
    taken as sRGB.
    """
    content = picture.info.get("icc_profile")
    if not content or picture.mode == "LAB":  # PIL converts LAB by itself
        return None
    try:
        return _transform(content, picture.mode)
    except (ImageCms.PyCMSError, ImportError, OSError, TypeError, ValueError) as error:
        logger.warning(
            "%s: colours are taken as sRGB, its colour profile is not used (%s)",
            one_line(name),
            one_line(" ".join(str(error).split())),
        )
        return None


def convert_strip(
    strip: Image.Image, rgba: Image.Image, factor: int, transform: ImageCms.ImageCmsTransform | None
) -> Image.Image:
    """`rgba` with its colours converted by the profile; PIL made it of `strip`, `factor` times smaller."""
    if transform is None:
        return rgba
    if transform.input_mode == "L":
        grey = rgba.convert("L")
        colors = Image.merge("RGB", [grey.point(curve.tolist()) for curve in _curves(transform)])
    else:
        colors = transform.apply(strip.reduce(factor) if transform.input_mode == "CMYK" else rgba.convert("RGB"))
    colors.putalpha(rgba.getchannel("A"))
    return colors


def convert_grey(
    grey: Float[np.ndarray, "height width"], transform: ImageCms.ImageCmsTransform | None
) -> Float[np.ndarray, "3 height width"]:
    """sRGB of a grey in 0..1 of any depth; the profile's curve is interpolated between 256 values."""
    if transform is None:
        return np.stack([grey] * 3)
    levels = np.linspace(0, 1, 256)
    return np.stack([np.interp(grey, levels, curve / 255) for curve in _curves(transform)]).astype(np.float32)


def without_png_profile(content: bytes) -> bytes:
    """A PNG file without its colour profile. PIL refuses the whole picture where the profile is large."""
    if not content.startswith(PNG_START):
        return content
    kept, position = [PNG_START], len(PNG_START)
    while position + 8 <= len(content):
        length, chunk_type = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if chunk_type != b"iCCP":
            kept.append(content[position:end])
        position = end
    return b"".join(kept)


def _transform(content: bytes, picture_mode: str) -> ImageCms.ImageCmsTransform:
    if len(content) > MAX_BYTES:
        raise ValueError(f"it takes {len(content) / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}")
    profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
    space = profile.profile.xcolor_space.strip()
    mode = PROFILE_MODES.get(space)
    if picture_mode == "CMYK":
        fits = mode == "CMYK"
    else:
        fits = mode == "RGB" or (mode == "L" and picture_mode in GREY_MODES)
    if mode is None or not fits:
        raise ValueError(f"it is for {space}, the picture is {picture_mode}")
    # An optimised curve has 33 points, which are too few for dark greys.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)


def _curves(transform: ImageCms.ImageCmsTransform) -> UInt8[np.ndarray, "3 256"]:
    """Red, green and blue of the 256 greys, in sRGB."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(transform.input_mode)
    return np.asarray(transform.apply(ramp))[0].T
