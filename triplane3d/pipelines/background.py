"""Finding the object of a photo: its alpha, else the best way that is at hand. Nothing is ever downloaded.

In order of preference: `rembg` where it is installed and its model lies in its cache, a `matting` model of transformers
where one is named (a folder, or what the Hugging Face cache holds), OpenCV's `grabcut`, the colour of the `border`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

METHODS = ("auto", "none", "alpha", "rembg", "matting", "grabcut", "border")
# Names the model of "matting": a folder, or a name on the Hub whose files are in the cache.
MATTING_VARIABLE = "TRIPLANE3D_MATTING_MODEL"
# rembg's models for objects of any kind under permissive licences, the best first.
REMBG_MODELS = ("birefnet-general", "isnet-general-use", "birefnet-general-lite", "u2net", "silueta", "u2netp")

# Masks are found on a copy of this size: GrabCut's time grows with the area, its edges do not improve.
WORKING_SIDE = 384
# Networks see finer edges.
NETWORK_SIDE = 1024
# Shares of the photo outside of which a mask is not believed to be the photo's object.
EMPTY, FULL = 0.002, 0.97
# Parts at least this large, as a share of the largest, are objects of their own.
COMPARABLE = 0.25
# An object that meets the photo's border along this share of its own width or height is cut off there.
CUT_OFF = 0.2
# Below this the outline is hardly steeper than the background's own texture.
DOUBTFUL = 0.95


@dataclass(frozen=True)
class Matte:
    """How an object was told from its background.

    `method` is what ran. `coverage` is the object's share of the photo. `confidence`, in 0..1, is 1 for an alpha that
    came with the photo or a photo taken whole on request, and 0 where no mask was believable. Otherwise it says how far
    the mask's outline stands out: 1 where one background pixel in a thousand is as steep, 2/3 for one in a hundred, and
    so on; times how decided a network was. It falls where the outline wanders through smooth or busy parts; it
    cannot know that a sharp outline is that of the wrong thing.
    """

    method: str
    coverage: float
    confidence: float
    warning: str | None = None


@dataclass(frozen=True)
class Remover:
    """One way to find an object: `find` gets RGB at most `side` long and gives the object's opacity in 0..1.

    `missing` says what has to be done before it can run, and None where it can.
    """

    find: Callable[[NDArray[np.float32]], NDArray]
    missing: Callable[[], str | None]
    side: int = WORKING_SIDE


def check_background_removal(method: str) -> None:
    """Refuse what `remove_background` does not know or what cannot run here, before any work is done."""
    if method in ("auto", "none", "alpha"):
        return
    remover = _removers(method).get(method) if isinstance(method, str) else None
    if remover is None:
        raise ValueError(
            f"background_removal is one of {', '.join(METHODS)}, or the folder or Hub name of a matting model, "
            f"got {method!r}"
        )
    if (missing := remover.missing()) is not None:
        raise ValueError(f"background_removal={method!r} cannot run here: {missing}")


def remove_background(
    rgba: Float[Tensor, "4 height width"], *, method: str = "auto", name: str = "the photo"
) -> tuple[Float[Tensor, "4 height width"], Matte]:
    """The photo with the object's mask as its alpha. Raises where there is no object; warns where it is doubtful.

    `method` is "auto": the photo's alpha, or else the best way at hand. "none" takes the photo as it is, whole or with
    its alpha. Every other name asks for that way and no other; a folder or Hub name is a model for "matting".
    """
    check_background_removal(method)
    alpha = rgba[3]
    if float(alpha.max()) < 0.1:
        raise ValueError(f"{name} is fully transparent: there is no object to see, check its alpha channel")
    transparent = float((alpha < 0.5).float().mean()) > 0.001
    if method == "alpha" and not transparent:
        raise ValueError(f"{name} has no transparent pixel: save it with an alpha channel, or choose another method")
    if method == "none" or (transparent and method in ("auto", "alpha")):
        solid = alpha > 0.5 * alpha.max()
        if method == "none":
            return rgba, Matte("none", float(solid.float().mean()), 1.0)
        warning = _doubts(_at_working_size(solid.float().cpu().numpy()) > 0.5, "alpha", 1.0)
        return rgba, _told(name, Matte("alpha", float(solid.float().mean()), 1.0, warning))

    # What hides behind transparency is nobody's object.
    rgb = rgba[:3] * alpha + 0.5 * (1 - alpha) if transparent else rgba[:3]
    small = _shrink(rgb, WORKING_SIDE)
    if float(np.ptp(small, axis=(0, 1)).max()) < 0.02:
        raise ValueError(f"{name} is one flat colour: there is no object to see")
    removers = _removers(method)
    ways = [way for way, remover in removers.items() if remover.missing() is None] if method == "auto" else [method]
    for way in ways:
        remover = removers[way]
        opacity = remover.find(_shrink(rgb, remover.side)).astype(np.float32)
        at_working_size = _at_working_size(opacity, small.shape[:2])
        mask = at_working_size > 0.5
        coverage = float(mask.mean())
        if EMPTY < coverage < FULL:
            decided = float((np.abs(2 * opacity - 1) * opacity).sum() / opacity.sum())
            confidence = _outline_contrast(small, mask) * decided
            matte = Matte(way, coverage, confidence, _doubts(mask, way, confidence))
            grown = _grow(opacity, rgba.shape[1:]).to(rgba)
            return torch.cat([rgba[:3], torch.minimum(grown, alpha) if transparent else grown]), _told(name, matte)
    found = "no object stands out from the background" if coverage <= EMPTY else "no background was found"
    warning = f"{found}, so the whole photo is taken for the object; cut it out first (a PNG with transparency)"
    return rgba, _told(name, Matte("none", 1.0, 0.0, warning))


def _told(name: str, matte: Matte) -> Matte:
    if matte.warning is not None:
        logger.warning("%s: %s", name, matte.warning)
    return matte


def _removers(method: str) -> dict[str, Remover]:
    """Every way to find an object, the best first; `method` may be a model that takes the place of "matting"."""
    model = os.environ.get(MATTING_VARIABLE)
    removers = {
        "rembg": Remover(_rembg, _rembg_missing, NETWORK_SIDE),
        "matting": Remover(partial(_matting, model or ""), partial(_matting_missing, model), NETWORK_SIDE),
        "grabcut": Remover(_grabcut, _grabcut_missing),
        "border": Remover(_border_key, lambda: None),
    }
    if method not in METHODS and ("/" in method or Path(method).is_dir()):
        removers[method] = Remover(partial(_matting, method), partial(_matting_missing, method), NETWORK_SIDE)
    return removers


def _shrink(rgb: Float[Tensor, "3 height width"], side: int) -> NDArray[np.float32]:
    scale = min(1.0, side / max(rgb.shape[1:]))
    size = [max(1, round(length * scale)) for length in rgb.shape[1:]]
    small = functional.interpolate(rgb[None], size=size, mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0).cpu().numpy()


def _at_working_size(opacity: NDArray, size: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    if size is None:
        scale = min(1.0, WORKING_SIDE / max(opacity.shape))
        size = tuple(max(1, round(length * scale)) for length in opacity.shape)
    opacity = torch.from_numpy(np.ascontiguousarray(opacity, dtype=np.float32))[None, None]
    resized = functional.interpolate(opacity, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].numpy()


def _grow(opacity: NDArray[np.float32], size: torch.Size) -> Float[Tensor, "1 height width"]:
    """The small mask at the photo's size, with an edge about one working pixel soft."""
    soft = torch.from_numpy(opacity)[None, None]
    return functional.interpolate(soft, size=tuple(size), mode="bilinear", align_corners=False)[0]


def _ring(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The photo's outermost frame, which is taken to show background."""
    width = max(1, round(0.02 * min(shape[:2])))
    ring = np.ones(shape[:2], dtype=bool)
    ring[width:-width, width:-width] = False
    return ring


def _rembg_model() -> str | None:
    """The best of rembg's models whose file is in rembg's cache."""
    home = os.environ.get("U2NET_HOME", os.path.join(os.environ.get("XDG_DATA_HOME", "~"), ".u2net"))
    files = {model: Path(home).expanduser() / f"{model}.onnx" for model in REMBG_MODELS}
    return next((model for model, file in files.items() if file.is_file()), None)


def _rembg_missing() -> str | None:
    # The file first: it answers at once, and without it the package is of no use.
    if _rembg_model() is None:
        return (
            "rembg needs one of its models in its cache, and nothing is downloaded from here; run "
            f"`pip install 'triplane3d[rembg]'` and `rembg d {REMBG_MODELS[1]}`"
        )
    return None if find_spec("rembg") else "pip install 'triplane3d[rembg]'"


def _rembg(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    from rembg import remove  # the optional extra `rembg`; its first import takes a while

    mask = remove(Image.fromarray((rgb * 255).round().astype(np.uint8)), session=_session(), only_mask=True)
    return np.array(mask.convert("L")).astype(np.float32) / np.float32(255)


@lru_cache(maxsize=1)
def _session() -> Any:
    from rembg import new_session

    # rembg would replace a file whose checksum it does not know by a download.
    before = os.environ.get("MODEL_CHECKSUM_DISABLED")
    os.environ["MODEL_CHECKSUM_DISABLED"] = "1"
    try:
        return new_session(_rembg_model())
    finally:
        if before is None:
            del os.environ["MODEL_CHECKSUM_DISABLED"]


def _matting_folder(model: str) -> Path | None:
    """Where the files of a transformers model lie on this machine."""
    if (Path(model) / "config.json").is_file():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _matting_missing(model: str | None) -> str | None:
    if not model:
        return f"name a model of transformers: its folder as background_removal, or in {MATTING_VARIABLE}"
    folder = _matting_folder(model)
    if folder is None or not any(folder.glob("*.safetensors")):
        return f"the files of {model!r} are not on this machine, and nothing is downloaded from here; name a folder"
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as SEMANTIC

    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") == "vitmatte":
        return None
    labels = list((config.get("id2label") or {"0": "background", "1": "object"}).values())
    if config.get("model_type") not in SEMANTIC:
        return f"{model!r} is neither a VitMatte nor a semantic segmentation model of transformers itself"
    return None if _background_label(labels) is not None else f"none of the labels of {model!r} is called 'background'"


def _background_label(labels: list[str]) -> int | None:
    """Which label is the background's: of two without names the first; a single one is the object's."""
    names = [label.lower() for label in labels]
    if "background" in names:
        return names.index("background")
    return 0 if len(names) <= 2 else None


@lru_cache(maxsize=1)
def _matting_model(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, VitMatteForImageMatting

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    vitmatte = AutoConfig.from_pretrained(folder, **local).model_type == "vitmatte"
    model_class = VitMatteForImageMatting if vitmatte else AutoModelForSemanticSegmentation
    model = model_class.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoImageProcessor.from_pretrained(folder, **local)


@torch.no_grad()
def _matting(model_name: str, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """VitMatte refines the edge of a mask found without it; a segmentation model says what is background."""
    folder = _matting_folder(model_name)
    assert folder is not None, "checked by _matting_missing"
    model, processor = _matting_model(folder)
    picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
    if model.config.model_type == "vitmatte":
        small = _shrink(torch.from_numpy(rgb).permute(2, 0, 1), WORKING_SIDE)
        mask = _grabcut(small) if find_spec("cv2") else _border_key(small)
        reach = max(2, round(0.015 * max(mask.shape)))
        sure = _at_working_size(ndimage.binary_erosion(mask, iterations=reach, border_value=1), rgb.shape[:2]) > 0.5
        possible = _at_working_size(ndimage.binary_dilation(mask, iterations=reach), rgb.shape[:2]) > 0.5
        trimap = np.where(sure, 255, np.where(possible, 128, 0)).astype(np.uint8)
        inputs = processor(images=picture, trimaps=Image.fromarray(trimap), return_tensors="pt")
        alpha = model(**inputs).alphas[0, 0, : rgb.shape[0], : rgb.shape[1]].numpy()
        return np.where(sure, 1, np.where(possible, alpha.clip(0, 1), 0)).astype(np.float32)

    # The whole photo in the model's own size: a crop would leave its edges undecided.
    whole = {"do_center_crop": False} if getattr(processor, "do_center_crop", False) else {}
    logits = model(**processor(images=picture, return_tensors="pt", **whole)).logits.float()
    logits = functional.interpolate(logits, size=rgb.shape[:2], mode="bilinear", align_corners=False)[0]
    if len(logits) == 1:
        return logits[0].sigmoid().numpy()
    background = _background_label([model.config.id2label[index] for index in range(len(logits))])
    return 1 - logits.softmax(dim=0)[background].numpy()


def _grabcut_missing() -> str | None:
    return None if find_spec("cv2") else "pip install 'triplane3d[cv]'"


def _grabcut(rgb: NDArray[np.float32]) -> NDArray[np.bool_]:
    import cv2  # the optional extra `cv`

    if min(rgb.shape[:2]) < 8:
        return np.ones(rgb.shape[:2], dtype=bool)
    # Pixels that the border's colours explain start as probable background, all others as probable object.
    key = _border_key(rgb)
    start = np.full(rgb.shape[:2], cv2.GC_PR_FGD, dtype=np.uint8)
    if EMPTY < key.mean() < FULL:
        start[~key] = cv2.GC_PR_BGD
    ring = _ring(rgb.shape)
    # Flat background is settled beforehand: cuts through it all cost the same, and finding the least takes very long.
    flat = np.abs(rgb - np.median(rgb[ring], axis=0)).max(axis=-1) < 0.01
    start[ring | ndimage.binary_propagation(ring & flat, mask=flat)] = cv2.GC_BGD
    if not (start == cv2.GC_PR_FGD).any():
        return np.zeros(rgb.shape[:2], dtype=bool)
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


def _outline_contrast(rgb: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """How far the mask's outline stands out: 1 where one background pixel in a thousand is as steep, 0 where all are.

    Each pixel of the outline counts the nines of its rank among what is well outside, up to three of them.
    """
    channels = [ndimage.gaussian_gradient_magnitude(channel, 1.0) for channel in np.moveaxis(rgb, -1, 0)]
    steepness = np.linalg.norm(channels, axis=0)
    outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
    outside = ~ndimage.binary_dilation(mask, iterations=4)
    if not outline.any() or not outside.any():
        return 0.0
    rank = np.searchsorted(np.sort(steepness[outside]), ndimage.maximum_filter(steepness, 3)[outline])
    return float(np.mean(-np.log10(np.maximum(1 - rank / outside.sum(), 1e-3)) / 3))


def _doubts(mask: NDArray[np.bool_], method: str, confidence: float) -> str | None:
    """Why a believable mask may still be wrong, and what to do."""
    doubts = []
    parts = _comparable_parts(mask)
    if parts > 1:
        doubts.append(f"{parts} separate objects of similar size were found and become one mesh; crop the photo to one")
    if sides := _cut_off(mask, method):
        where = " and ".join(sides)
        doubts.append(f"the object is cut off at the photo's {where}; take the photo from further away")
    if mask.mean() <= EMPTY:
        doubts.append("hardly a pixel is opaque; check the alpha channel")
    elif mask.mean() > 0.9:
        remedy = "check the alpha channel" if method == "alpha" else "a PNG with transparency is safer"
        doubts.append(f"nearly the whole photo was taken for the object; {remedy}")
    elif confidence < DOUBTFUL:
        doubts.append(
            f"object and background are hard to tell apart (confidence {confidence:.2f}); "
            "take the photo before a plain background, or cut the object out (a PNG with transparency)"
        )
    return ". Also, ".join(doubts) or None


def _comparable_parts(mask: NDArray[np.bool_]) -> int:
    """How many parts are at least `COMPARABLE` to the largest; a hairline gap does not part an object."""
    labels, count = ndimage.label(ndimage.binary_dilation(mask, iterations=2))
    areas = ndimage.sum_labels(mask, labels, range(1, count + 1))
    return int((areas >= COMPARABLE * areas.max()).sum()) if count else 0


def _cut_off(mask: NDArray[np.bool_], method: str) -> list[str]:
    """The sides of the photo beyond which the object seems to go on."""
    height, width = mask.shape
    # GrabCut is told that the outermost frame is background, so an object that goes on ends just inside.
    frame = max(1, round(0.02 * min(height, width))) if method == "grabcut" else 0
    inner = mask[frame : height - frame, frame : width - frame]
    if min(inner.shape) < 2:
        return []
    edges = {"top": inner[0], "bottom": inner[-1], "left": inner[:, 0], "right": inner[:, -1]}
    # A picture trimmed to its object touches all four sides and is whole.
    if method == "alpha" and all(edge.any() for edge in edges.values()):
        return []
    extents = {"top": mask.any(axis=0).sum(), "left": mask.any(axis=1).sum()}
    extents |= {"bottom": extents["top"], "right": extents["left"]}
    return [side for side, edge in edges.items() if edge.sum() > CUT_OFF * extents[side]]
