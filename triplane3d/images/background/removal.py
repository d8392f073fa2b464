"""Finding the object of a photo: its alpha, else the best way that is at hand. Nothing is ever downloaded.

In order of preference: `rembg` where it is installed and its model lies in its cache, a `matting` model of transformers
where one is named (a folder, or what the Hugging Face cache holds), `grabcut` where OpenCV is installed, `border`.
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

from triplane3d.images.background.doubts import Mask, outline_contrast, shape_doubts
from triplane3d.images.background.edges import guided_alpha
from triplane3d.images.background.networks import (
    MATTING_VARIABLE,
    Photo,
    matting,
    matting_missing,
    rembg,
    rembg_missing,
)
from triplane3d.images.background.resampling import fitted, resampled
from triplane3d.images.background.segmentation import segment

logger = logging.getLogger(__name__)

METHODS = ("auto", "none", "alpha", "rembg", "matting", "grabcut", "border")

# Masks are found on a copy of this size.
WORKING_SIDE = 384
# Networks see finer edges.
NETWORK_SIDE = 1024
# Shares of the photo outside of which a mask is not believed to be the photo's object.
EMPTY, FULL = 0.002, 0.97
# Below this a network's outline is hardly steeper than the background's own texture.
DOUBTFUL_OUTLINE = 0.95
HARD_TO_TELL = (
    "object and background are hard to tell apart (confidence {:.2f}); "
    "take the photo before a plain background, or cut the object out (a PNG with transparency)"
)


@dataclass(frozen=True)
class MaskReport:
    """How an object was told from its background.

    `method` is what ran. `coverage` is the object's share of the photo. `confidence`, in 0..1, is 1 for an alpha that
    came with the photo or a photo taken whole on request, and 0 where no mask was believable. For "grabcut" and
    "border" it estimates the probability that the mask is right (an intersection over union of 0.85 or more with the
    object), fitted on rendered objects before rendered backdrops (docs/photos.md). For networks it says how far the
    mask's outline stands out (1 where one background pixel in a thousand is as steep, 2/3 for one in a hundred), times
    how decided the network was. `warning` is None, or what may be wrong and what to do about it.
    """

    method: str
    coverage: float
    confidence: float
    warning: str | None = None


@dataclass(frozen=True)
class Found:
    """An object's opacity (0..1, at any size), how surely it is right, and what may be wrong with it."""

    opacity: Float[np.ndarray, "height width"]
    confidence: float
    doubts: list[str]


def check_background_removal(method: str) -> None:
    """Refuse what `remove_background` does not know or what cannot run here, before any work is done."""
    if method in ("auto", "none", "alpha"):
        return
    missing = _missing(method) if isinstance(method, str) else {}
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
    """The photo (straight RGBA in 0..1) with the object's mask as its alpha, and how it was found.

    `method` is "auto": the photo's alpha, or else the best way at hand. "none" takes the photo as it is, whole or with
    its alpha. Every other name runs that way and no other; a folder or Hub name is a model for "matting".

    Raises ValueError where there is no object (a clear or one-coloured photo) and where the way cannot run here. A
    doubtful mask is returned with a warning, which is logged under `name`.
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
        doubts = shape_doubts(resampled(solid, fitted(solid.shape, WORKING_SIDE)) > 0.5, trimmed=True)
        return rgba, _told(name, MaskReport("alpha", float(solid.mean()), 1.0, _warning(doubts)))

    # The colours of clear pixels are arbitrary.
    rgb = rgba[:3] * alpha + 0.5 * (1 - alpha) if transparent else rgba[:3]
    photo = rgb.permute(1, 2, 0).float().cpu().numpy()
    if float(np.ptp(resampled(photo, fitted(photo.shape, WORKING_SIDE)), axis=(0, 1)).max()) < 0.02:
        raise ValueError(f"{name} is one flat colour: there is no object to see")
    ways = [way for way, missing in _missing(method).items() if missing() is None] if method == "auto" else [method]
    for way in ways:
        found = _find(way, photo)
        mask = found.opacity > 0.5
        if EMPTY < mask.mean() < FULL:
            opacity = torch.from_numpy(resampled(found.opacity, photo.shape[:2]))[None].to(rgba)
            report = MaskReport(way, float(mask.mean()), found.confidence, _warning(found.doubts))
            opacity = torch.minimum(opacity, alpha) if transparent else opacity
            return torch.cat([rgba[:3], opacity]), _told(name, report)
    warning = (
        "no object stands out from the background, so the whole photo is taken for the object; "
        "cut it out first (a PNG with transparency)"
    )
    return rgba, _told(name, MaskReport("none", 1.0, 0.0, warning))


def _missing(method: str) -> dict[str, Callable[[], str | None]]:
    """For every way to find an object, the best first, what has to be done before it can run (None where it can).

    `method` is one of them where it is a folder or a name on the Hub.
    """
    ways: dict[str, Callable[[], str | None]] = {
        "rembg": rembg_missing,
        "matting": partial(matting_missing, os.environ.get(MATTING_VARIABLE)),
        "grabcut": lambda: None if _opencv() else "pip install 'triplane3d[cv]'",
        "border": lambda: None,
    }
    if method not in METHODS and ("/" in method or Path(method).is_dir()):
        ways[method] = partial(matting_missing, method)
    return ways


def _find(way: str, photo: Photo) -> Found:
    """The object by this way, which can run."""
    small = resampled(photo, fitted(photo.shape, WORKING_SIDE))
    if way in ("grabcut", "border"):
        segmentation = segment(small, redraw=way == "grabcut")
        if segmentation is None:
            return Found(np.zeros(photo.shape[:2], dtype=np.float32), 0.0, [])
        doubts = shape_doubts(segmentation.mask) + segmentation.doubts()
        return Found(guided_alpha(photo, small, segmentation.mask), segmentation.confidence, doubts)

    seen = resampled(photo, fitted(photo.shape, NETWORK_SIDE))
    model = os.environ.get(MATTING_VARIABLE, "") if way == "matting" else way
    opacity = rembg(seen) if way == "rembg" else matting(model, _coarse_mask, seen)
    mask = resampled(opacity, small.shape[:2]) > 0.5
    decided = float((np.abs(2 * opacity - 1) * opacity).sum() / max(opacity.sum(), 1e-6))
    confidence = outline_contrast(small, mask) * decided
    doubts = shape_doubts(mask) if mask.any() else []
    if confidence < DOUBTFUL_OUTLINE and mask.mean() <= 0.9:
        doubts.append(HARD_TO_TELL.format(confidence))
    return Found(opacity, confidence, doubts)


def _coarse_mask(photo: Photo) -> Mask:
    """A mask found without a network, at the working size; empty where nothing stands out."""
    small = resampled(photo, fitted(photo.shape, WORKING_SIDE))
    segmentation = segment(small, redraw=_opencv())
    return np.zeros(small.shape[:2], dtype=bool) if segmentation is None else segmentation.mask


def _opencv() -> bool:
    return find_spec("cv2") is not None


def _warning(doubts: list[str]) -> str | None:
    return ". Also, ".join(doubts) or None


def _told(name: str, report: MaskReport) -> MaskReport:
    if report.warning is not None:
        logger.warning("%s: %s", name, report.warning)
    return report
