"""The object's mask of a photo: its alpha channel, or else the best method that can run. Nothing is downloaded.

In order of preference: `rembg` where it is installed and its model is in its cache, a `matting` model of transformers
where one is named (a folder, or a name whose files are in the Hugging Face cache), `grabcut` where OpenCV is installed,
and `border`, which needs nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triplane3d.images.background.arrays import Mask, Opacity, Rgb
from triplane3d.images.background.edges import guided_opacity
from triplane3d.images.background.mask_warnings import outline_contrast, shape_warnings
from triplane3d.images.background.matting_model import MATTING_VARIABLE, matting_missing, matting_opacity
from triplane3d.images.background.rembg_model import rembg_checksum_error, rembg_missing, rembg_opacity
from triplane3d.images.background.resampling import resampled, shrunk_shape
from triplane3d.images.background.segmentation import segment
from triplane3d.printing import one_line

logger = logging.getLogger(__name__)

METHODS = ("auto", "none", "alpha", "rembg", "matting", "grabcut", "border")

# Masks are found on a copy of this size, in pixels of the longer side.
WORKING_SIDE = 384
# Networks get a larger copy, because their masks have finer edges.
NETWORK_SIDE = 1024
# A mask that covers a share of the photo outside of this range is discarded.
MIN_COVERAGE, MAX_COVERAGE = 0.002, 0.97
# Below this the outline of a network's mask is hardly steeper than the background's own texture.
MIN_OUTLINE_CONFIDENCE = 0.95
HARD_TO_SEPARATE = (
    "object and background are hard to tell apart (confidence {:.2f}); "
    "take the photo before a plain background, or cut the object out (a PNG with transparency)"
)


@dataclass(frozen=True)
class MaskReport:
    """How the mask of a photo was found."""

    method: str
    """The method that ran, see `METHODS`."""
    coverage: float
    """The object's share of the photo, in 0..1."""
    confidence: float
    """In 0..1: 1 for the photo's own alpha or a whole photo on request, 0 where no plausible mask was found.

    For "grabcut" and "border" it is the estimated probability that the mask is right: that its intersection over union
    with the object is 0.85 or more. The estimate was fitted on rendered objects before rendered backdrops
    (docs/photos.md). For networks it is the contrast of the mask's outline (1 where one background pixel in a thousand
    is as steep, 2/3 for one in a hundred), times the mean certainty of the opacities.
    """
    warning: str | None = None
    """What may be wrong with the mask and what to do about it; None where nothing is suspicious."""


@dataclass(frozen=True)
class _ObjectMask:
    """An object's opacity, at any size, the confidence in it, and warnings."""

    opacity: Opacity
    confidence: float
    warnings: list[str]


def check_background_removal(method: str) -> None:
    """Raise a ValueError for an unknown method, or one that cannot run here; the message has what to do."""
    if method in ("auto", "none", "alpha"):
        return
    missing = _missing_by_method(method) if isinstance(method, str) else {}
    if method not in missing:
        raise ValueError(
            f"background_removal is one of {', '.join(METHODS)}, or the folder or Hub name of a matting model, "
            f"got {method!r}"
        )
    if (what := missing[method]()) is not None:
        raise ValueError(f"background_removal={method!r} cannot run here: {what}")


def remove_background(
    rgba: Float[Tensor, "4 height width"], *, method: str = "auto", name: str = "the photo"
) -> tuple[Float[Tensor, "4 height width"], MaskReport]:
    """The photo with the object's mask as its alpha, and how the mask was found.

    A suspicious mask is returned with a warning, which is also logged.

    Args:
        rgba: straight RGBA in 0..1.
        method: "auto" takes the photo's alpha, or else the best method that can run. "none" takes the photo as it is,
            whole or with its alpha. Another name of `METHODS` runs that method only. A folder or Hub name is a model
            for "matting".
        name: the photo's name in messages.

    Raises:
        ValueError: the photo has no object (it is transparent or has one colour), or the method cannot run here.
    """
    check_background_removal(method)
    alpha = rgba[3]
    if float(alpha.max()) < 0.1:
        raise ValueError(f"{name} is fully transparent: there is no object to see, check its alpha channel")
    transparent = float((alpha < 0.5).float().mean()) > 0.001
    if method == "alpha" and not transparent:
        raise ValueError(f"{name} has no transparent pixel: save it with an alpha channel, or choose another method")
    if method == "none" or (transparent and method in ("auto", "alpha")):
        solid = (alpha > 0.5 * alpha.max()).cpu().numpy()
        if method == "none":
            return rgba, MaskReport("none", float(solid.mean()), 1.0)
        warnings = shape_warnings(resampled(solid, shrunk_shape(solid.shape, WORKING_SIDE)) > 0.5, trimmed=True)
        return rgba, _logged(name, MaskReport("alpha", float(solid.mean()), 1.0, _joined(warnings)))

    # The colours of transparent pixels are arbitrary: grey replaces them.
    rgb = rgba[:3] * alpha + 0.5 * (1 - alpha) if transparent else rgba[:3]
    photo = rgb.permute(1, 2, 0).float().cpu().numpy()
    if float(np.ptp(resampled(photo, shrunk_shape(photo.shape, WORKING_SIDE)), axis=(0, 1)).max()) < 0.02:
        raise ValueError(f"{name} is one flat colour: there is no object to see")
    for chosen in _usable_methods() if method == "auto" else [method]:
        found = _find_object(chosen, photo)
        mask = found.opacity > 0.5
        if MIN_COVERAGE < mask.mean() < MAX_COVERAGE:
            opacity = torch.from_numpy(resampled(found.opacity, photo.shape[:2]))[None].to(rgba)
            report = MaskReport(chosen, float(mask.mean()), found.confidence, _joined(found.warnings))
            opacity = torch.minimum(opacity, alpha) if transparent else opacity
            return torch.cat([rgba[:3], opacity]), _logged(name, report)
    warning = (
        "no object stands out from the background, so the whole photo is taken for the object; "
        "cut it out first (a PNG with transparency)"
    )
    return rgba, _logged(name, MaskReport("none", 1.0, 0.0, warning))


def _usable_methods() -> list[str]:
    """The methods of "auto" that can run, best first. A model of rembg with a wrong checksum is reported in the log."""
    usable = [method for method, missing in _missing_by_method("auto").items() if missing() is None]
    if "rembg" not in usable and (error := rembg_checksum_error()) is not None:
        logger.warning("rembg is not used: %s", error)
    return usable


def _missing_by_method(method: str) -> dict[str, Callable[[], str | None]]:
    """For every method, best first, a function that returns what has to be done before it can run, or None.

    `method` is one of the keys too where it is a folder or a name on the Hub.
    """
    checks: dict[str, Callable[[], str | None]] = {
        "rembg": rembg_missing,
        "matting": partial(matting_missing, os.environ.get(MATTING_VARIABLE)),
        "grabcut": lambda: None if _has_opencv() else "pip install 'triplane3d[cv]'",
        "border": lambda: None,
    }
    if method not in METHODS and ("/" in method or Path(method).is_dir()):
        checks[method] = partial(matting_missing, method)
    return checks


def _find_object(method: str, photo: Rgb) -> _ObjectMask:
    """The object by a method that can run; the opacity is zero everywhere where nothing stands out."""
    small = resampled(photo, shrunk_shape(photo.shape, WORKING_SIDE))
    if method in ("grabcut", "border"):
        segmentation = segment(small, refine=method == "grabcut")
        if segmentation is None:
            return _ObjectMask(np.zeros(photo.shape[:2], dtype=np.float32), 0.0, [])
        warnings = shape_warnings(segmentation.mask, see_through=segmentation.see_through) + segmentation.warnings()
        return _ObjectMask(guided_opacity(photo, small, segmentation.mask), segmentation.confidence, warnings)

    large = resampled(photo, shrunk_shape(photo.shape, NETWORK_SIDE))
    if method == "rembg":
        opacity = rembg_opacity(large)
    else:
        model = os.environ.get(MATTING_VARIABLE, "") if method == "matting" else method
        opacity = matting_opacity(model, _coarse_mask, large)
    mask = resampled(opacity, small.shape[:2]) > 0.5
    certainty = float((np.abs(2 * opacity - 1) * opacity).sum() / max(opacity.sum(), 1e-6))
    confidence = outline_contrast(small, mask) * certainty
    warnings = shape_warnings(mask) if mask.any() else []
    if confidence < MIN_OUTLINE_CONFIDENCE and mask.mean() <= 0.9:
        warnings.append(HARD_TO_SEPARATE.format(confidence))
    return _ObjectMask(opacity, confidence, warnings)


def _coarse_mask(photo: Rgb) -> Mask:
    """A mask found without a network, at the working size; empty where nothing stands out."""
    small = resampled(photo, shrunk_shape(photo.shape, WORKING_SIDE))
    segmentation = segment(small, refine=_has_opencv())
    return np.zeros(small.shape[:2], dtype=bool) if segmentation is None else segmentation.mask


def _has_opencv() -> bool:
    return find_spec("cv2") is not None


def _joined(warnings: list[str]) -> str | None:
    return ". Also, ".join(warnings) or None


def _logged(name: str, report: MaskReport) -> MaskReport:
    if report.warning is not None:
        logger.warning("%s: %s", one_line(name), report.warning)
    return report
