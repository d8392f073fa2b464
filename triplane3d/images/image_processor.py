"""Photos as an image encoder takes them: background removed, object centred in a square, resized, normalised.

`frame_foreground` and `normalize_framed` are used by the pipelines for photos and by training for rendered views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from triplane3d.arguments import check_number, check_whole
from triplane3d.images.background import MaskReport
from triplane3d.images.framing import DIRECT3D_MARGIN, frame_direct3d, frame_triposr
from triplane3d.images.photo_batch import PhotoBatch
from triplane3d.images.reading import Photo
from triplane3d.models.pixels import FOREGROUND_RATIO, IMAGE_STATISTICS, resize_square

FRAMINGS = ("centered", "direct3d", "triposr")
"""How a square is made of a cut-out photo: by `frame_foreground`, or exactly as for a public checkpoint."""


def frame_foreground(
    rgba: Float[Tensor, "batch 4 height width"], size: int, *, foreground_ratio: float = FOREGROUND_RATIO
) -> Float[Tensor, "batch 4 size size"]:
    """A square crop around each object, as premultiplied RGBA.

    The bounding box of alpha above half of its maximum is centred in the square, and its longer side fills
    `foreground_ratio` of it. Pixels beyond the photo are transparent. Where alpha is zero everywhere, the whole photo
    is kept.

    Args:
        rgba: straight RGBA in 0..1.
        size: side of the square in pixels.
        foreground_ratio: in (0, 1].
    """
    alpha = rgba[:, 3:4]
    left, top, side = foreground_squares(alpha, foreground_ratio=foreground_ratio).split(1, dim=1)
    premultiplied = torch.cat([rgba[:, :3] * alpha, alpha], dim=1)
    rows = _resampling_weights(top, side, rgba.shape[2], size, rgba.dtype)
    columns = _resampling_weights(left, side, rgba.shape[3], size, rgba.dtype)
    return rows[:, None] @ (premultiplied @ columns[:, None].mT)


def foreground_squares(
    alpha: Float[Tensor, "batch 1 height width"], *, foreground_ratio: float = FOREGROUND_RATIO
) -> Float[Tensor, "batch 3"]:
    """Left border, upper border and side of the squares that `frame_foreground` crops, in pixels of the photo."""
    if not 0 < foreground_ratio <= 1:
        raise ValueError(f"foreground_ratio is a share of the square in (0, 1], got {foreground_ratio}")
    peak = alpha.amax(dim=(1, 2, 3), keepdim=True)
    solid = (alpha > 0.5 * peak) | (peak == 0)
    top, bottom = _extent(solid.any(dim=3)[:, 0])
    left, right = _extent(solid.any(dim=2)[:, 0])
    side = torch.maximum(bottom - top, right - left) / foreground_ratio
    return torch.cat([(left + right - side) / 2, (top + bottom - side) / 2, side], dim=1)


def prepare_rgba(
    rgba: Float[Tensor, "batch 4 height width"],
    image_size: int,
    *,
    foreground_ratio: float = FOREGROUND_RATIO,
    background: float = 0.5,
    statistics: str = "imagenet",
    mask_channel: bool = True,
) -> Float[Tensor, "batch channels image_size image_size"]:
    """`pixel_values` from straight RGBA in 0..1: framed, composited over grey, normalised; see `normalize_framed`."""
    framed = frame_foreground(rgba, image_size, foreground_ratio=foreground_ratio)
    return normalize_framed(framed, background=background, statistics=statistics, mask_channel=mask_channel)


def normalize_framed(
    framed: Float[Tensor, "batch 4 size size"],
    *,
    background: float = 0.5,
    statistics: str = "imagenet",
    mask_channel: bool = True,
) -> Float[Tensor, "batch channels size size"]:
    """Premultiplied RGBA composited over grey and normalised by mean and standard deviation.

    Args:
        framed: premultiplied RGBA in 0..1.
        background: the grey, in 0..1.
        statistics: a name of `IMAGE_STATISTICS`.
        mask_channel: whether the mask, in 0..1, is added as fourth channel.
    """
    if statistics not in IMAGE_STATISTICS:
        raise ValueError(f"statistics must be one of {sorted(IMAGE_STATISTICS)}, got {statistics!r}")
    mean, std = (framed.new_tensor(values).view(3, 1, 1) for values in IMAGE_STATISTICS[statistics])
    mask = framed[:, 3:4]
    rgb = (framed[:, :3] + (1 - mask) * background - mean) / std
    return torch.cat([rgb, mask], dim=1) if mask_channel else rgb


@dataclass(frozen=True)
class PreparedPhotos:
    """Photos as an encoder takes them."""

    pixel_values: Float[Tensor, "batch channels size size"]
    """Normalised RGB, and the mask as fourth channel where the encoder takes one."""
    images: list[Image.Image]
    """The same squares as RGBA pictures. Framings of public checkpoints composite the object: those are opaque."""
    mask_reports: list[MaskReport]
    """How each photo's mask was found."""


class Triplane3DImageProcessor:
    """Makes `pixel_values` of photos of any type. It has settings only, so that it is rebuilt instead of saved.

    Args:
        image_size: side of the square in pixels.
        foreground_ratio: share of the square that the object's longer side fills, in (0, 1].
        background: the grey behind the object, in 0..1.
        statistics: a name of `IMAGE_STATISTICS`.
        mask_channel: whether the encoder takes the mask as fourth channel.
        framing: one of `FRAMINGS`.
    """

    def __init__(
        self,
        image_size: int,
        *,
        foreground_ratio: float = FOREGROUND_RATIO,
        background: float = 0.5,
        statistics: str = "imagenet",
        mask_channel: bool = True,
        framing: str = "centered",
    ) -> None:
        check_whole("image_size", image_size, 1)
        check_number("foreground_ratio", foreground_ratio, 0)
        check_number("background", background, 0)
        if not 0 < foreground_ratio <= 1 or background > 1:
            raise ValueError(
                f"foreground_ratio is a share in (0, 1] and background a grey in 0..1, got {foreground_ratio} and "
                f"{background}"
            )
        if statistics not in IMAGE_STATISTICS:
            raise ValueError(f"image_statistics must be one of {sorted(IMAGE_STATISTICS)}, got {statistics!r}")
        if framing not in FRAMINGS:
            raise ValueError(f"framing must be one of {FRAMINGS}, got {framing!r}")
        self.framing = framing
        self.image_size = image_size
        self.foreground_ratio = foreground_ratio
        self.background = background
        self.statistics = statistics
        self.mask_channel = mask_channel

    @property
    def filled(self) -> float:
        """Share of the square that the object's longer side fills."""
        return 1 / (1 + 2 * DIRECT3D_MARGIN) if self.framing == "direct3d" else self.foreground_ratio

    def preprocess(self, image: Photo | Sequence[Photo], background_removal: str = "auto") -> PreparedPhotos:
        """Read photos, find their objects, frame and normalise them. Photos may differ in size and type.

        `background_removal` is the method of `remove_background`.
        """
        return prepare_photos(PhotoBatch.of_single_photos(image), [self], background_removal)[0]

    def frame(self, rgba: Float[Tensor, "4 height width"]) -> Float[Tensor, "1 4 size size"]:
        """The square as premultiplied RGBA. Framings that composite the object give an opaque square."""
        if self.framing == "centered":
            return frame_foreground(rgba[None], self.image_size, foreground_ratio=self.foreground_ratio)
        if self.framing == "direct3d":
            square = frame_direct3d(rgba, background=self.background)
        else:
            square = frame_triposr(rgba, foreground_ratio=self.foreground_ratio, background=self.background)
        size = (self.image_size, self.image_size)
        return F.pad(resize_square(square[None], size), (0, 0, 0, 0, 0, 1), value=1.0)


def prepare_photos(
    photos: PhotoBatch, processors: Sequence[Triplane3DImageProcessor], background_removal: str = "auto"
) -> list[PreparedPhotos]:
    """The photos as each of the `processors` prepares them. Every photo is read and cut out once, one at a time.

    Raises:
        ValueError: a photo cannot be read, or shows no object. The message names the photo.
    """
    framed: list[list[Tensor]] = [[] for _ in processors]
    reports = []
    for rgba, report in photos.cut_out(background_removal):
        reports.append(report)
        for squares, processor in zip(framed, processors, strict=True):
            squares.append(processor.frame(rgba))
    prepared = []
    for squares, processor in zip(framed, processors, strict=True):
        batch = torch.cat(squares)
        pixel_values = normalize_framed(
            batch,
            background=processor.background,
            statistics=processor.statistics,
            mask_channel=processor.mask_channel,
        )
        prepared.append(PreparedPhotos(pixel_values, [_to_picture(square) for square in batch], reports))
    return prepared


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first true entry of each row, and of the last one plus 1, as (batch, 1) floats."""
    positions = torch.arange(occupied.shape[1], device=occupied.device)
    first = torch.where(occupied, positions, occupied.shape[1]).amin(dim=1, keepdim=True)
    last = torch.where(occupied, positions, -1).amax(dim=1, keepdim=True)
    return first.float(), last.float() + 1


def _resampling_weights(start: Tensor, side: Tensor, source: int, size: int, dtype: torch.dtype) -> Tensor:
    """Weights (batch, size, source) that resample [start, start + side] of `source` pixels to `size` pixels.

    Each output pixel is the mean of a window of its own width, and of one source pixel at least. This is the area
    average where the picture shrinks, which prevents aliasing, and linear interpolation where it grows. Pixels beyond
    the photo count as zero.
    """
    step = side / size
    center = start + (torch.arange(size, device=start.device) + 0.5) * step
    width = step.clamp_min(1.0)[..., None]
    low, high = center[..., None] - width / 2, center[..., None] + width / 2
    pixel = torch.arange(source, device=start.device, dtype=start.dtype)
    overlap = torch.minimum(high, pixel + 1) - torch.maximum(low, pixel)
    return (overlap.clamp_min(0) / width).to(dtype)


def _to_picture(square: Float[Tensor, "4 size size"]) -> Image.Image:
    """A premultiplied square as a picture with straight alpha."""
    alpha = square[3:]
    straight = torch.cat([square[:3] / alpha.clamp_min(1e-4), alpha]).clamp(0, 1)
    return Image.fromarray((straight * 255).round().byte().permute(1, 2, 0).cpu().numpy(), mode="RGBA")
