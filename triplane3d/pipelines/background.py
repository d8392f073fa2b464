"""Finding the object of a photo without any download: its alpha, else OpenCV's GrabCut, else the border's colour."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

# Masks are found on a copy of this size: GrabCut's time grows with the area, its edges do not improve.
WORKING_SIDE = 384
# Shares of the photo outside of which a mask is not believed to be the photo's object.
EMPTY, FULL = 0.002, 0.97


@dataclass(frozen=True)
class Matte:
    """How an object was told from its background: `method` is "alpha", "grabcut", "border" or "none"."""

    method: str
    coverage: float
    warning: str | None = None


def remove_background(
    rgba: Float[Tensor, "4 height width"], *, name: str = "the photo"
) -> tuple[Float[Tensor, "4 height width"], Matte]:
    """The photo with the object's mask as its alpha. Raises where there is no object; warns where it is doubtful."""
    alpha = rgba[3]
    if float((alpha < 0.5).float().mean()) > 0.001:
        if float(alpha.max()) < 0.1:
            raise ValueError(f"{name} is fully transparent: there is no object to see, check its alpha channel")
        return rgba, Matte("alpha", float((alpha > 0.5 * alpha.max()).float().mean()))

    small = _shrink(rgba[:3])
    if float(np.ptp(small, axis=(0, 1)).max()) < 0.02:
        raise ValueError(f"{name} is one flat colour: there is no object to see")
    attempts = [("grabcut", _grabcut)] if find_spec("cv2") else []
    attempts.append(("border", _border_key))
    for method, find_mask in attempts:
        mask = find_mask(small)
        coverage = float(mask.mean())
        if EMPTY < coverage < FULL:
            warning = _doubt(coverage, mask[_ring(mask.shape)].mean(), method)
            if warning is not None:
                logger.warning("%s: %s", name, warning)
            return torch.cat([rgba[:3], _grow(mask, rgba.shape[1:]).to(rgba)]), Matte(method, coverage, warning)
    found = "no object stands out from the background" if coverage <= EMPTY else "no background was found"
    warning = f"{found}, so the whole photo is taken for the object; cut it out first (a PNG with transparency)"
    logger.warning("%s: %s", name, warning)
    return rgba, Matte("none", 1.0, warning)


def _shrink(rgb: Float[Tensor, "3 height width"]) -> NDArray[np.float32]:
    scale = min(1.0, WORKING_SIDE / max(rgb.shape[1:]))
    size = [max(1, round(side * scale)) for side in rgb.shape[1:]]
    small = functional.interpolate(rgb[None], size=size, mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0).cpu().numpy()


def _grow(mask: NDArray[np.bool_], size: torch.Size) -> Float[Tensor, "1 height width"]:
    """The small mask at the photo's size, with an edge about one working pixel soft."""
    soft = torch.from_numpy(mask.astype(np.float32))[None, None]
    return functional.interpolate(soft, size=tuple(size), mode="bilinear", align_corners=False)[0]


def _ring(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The photo's outermost frame, which is taken to show background."""
    width = max(1, round(0.02 * min(shape[:2])))
    ring = np.ones(shape[:2], dtype=bool)
    ring[width:-width, width:-width] = False
    return ring


def _grabcut(rgb: NDArray[np.float32]) -> NDArray[np.bool_]:
    import cv2  # the optional extra `cv`

    if min(rgb.shape[:2]) < 8:
        return np.ones(rgb.shape[:2], dtype=bool)
    # Pixels that the border's colours explain start as probable background, all others as probable object.
    key = _border_key(rgb)
    start = np.full(rgb.shape[:2], cv2.GC_PR_FGD, dtype=np.uint8)
    if EMPTY < key.mean() < FULL:
        start[~key] = cv2.GC_PR_BGD
    start[_ring(rgb.shape)] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    bytes_bgr = np.ascontiguousarray((rgb[..., ::-1] * 255).round().astype(np.uint8))
    cv2.grabCut(bytes_bgr, start, (0, 0, 1, 1), *models, 5, cv2.GC_INIT_WITH_MASK)  # the mask decides, not the box
    return _clean((start == cv2.GC_FGD) | (start == cv2.GC_PR_FGD))


def _border_key(rgb: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Everything that the border's colours, smoothly continued inwards, do not explain."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    basis = np.stack([np.ones_like(x), x, y], axis=-1)
    ring = _ring(rgb.shape)
    # A plane per channel, fitted twice: the second time without the pixels where the object meets the border.
    weights = np.ones(int(ring.sum()))
    for _ in range(2):
        plane = np.linalg.lstsq(basis[ring] * weights[:, None], rgb[ring] * weights[:, None], rcond=None)[0]
        distance = np.linalg.norm(rgb - basis @ plane, axis=-1)
        spread = np.median(distance[ring])
        weights = (distance[ring] <= 3 * spread + 0.01).astype(float)
    background = distance <= max(0.08, 3.5 * spread)
    # Patches inside the object that happen to match are not reached from the border.
    reached = ndimage.binary_propagation(ring & background, mask=background)
    return _clean(~reached)


def _clean(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks: parts smaller than a twentieth of the largest are dropped."""
    labels, count = ndimage.label(ndimage.binary_opening(mask))
    if count == 0:
        return np.zeros_like(mask)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept = areas >= 0.05 * areas.max()
    return mask & ndimage.binary_dilation(kept[labels])


def _doubt(coverage: float, touching: float, method: str) -> str | None:
    """Why a believable mask may still be wrong; `touching` is the share of the photo's border that it covers."""
    if coverage > 0.9:
        return "nearly the whole photo was taken for the object; a PNG with transparency is safer"
    if method == "border" and (touching > 0.05 or coverage > 0.8):
        return "only the border's colour told object from background; the extra `cv` or a PNG with alpha is safer"
    return None
