"""Networks that find the object of a photo, from files that are already on this machine. Nothing is downloaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from triplane3d.images.background.resampling import resampled

# Names the model of "matting": a folder, or a name on the Hub whose files are in the cache.
MATTING_VARIABLE = "TRIPLANE3D_MATTING_MODEL"
# rembg's models for objects of any kind under permissive licences, the best first.
REMBG_MODELS = ("birefnet-general", "isnet-general-use", "birefnet-general-lite", "u2net", "silueta", "u2netp")

Photo = Float[np.ndarray, "height width 3"]
Mask = Bool[np.ndarray, "height width"]
Opacity = Float[np.ndarray, "height width"]


def _rembg_model() -> str | None:
    """The best of rembg's models whose file is in rembg's cache."""
    home = os.environ.get("U2NET_HOME", os.path.join(os.environ.get("XDG_DATA_HOME", "~"), ".u2net"))
    files = {model: Path(home).expanduser() / f"{model}.onnx" for model in REMBG_MODELS}
    return next((model for model, file in files.items() if file.is_file()), None)


def rembg_missing() -> str | None:
    """What has to be done before rembg can run, or None."""
    # The file first: that check takes no time, and without it the package is of no use.
    if _rembg_model() is None:
        return (
            "rembg needs one of its models in its cache, and nothing is downloaded from here; run "
            f"`pip install 'triplane3d[rembg]'` and `rembg d {REMBG_MODELS[1]}`"
        )
    return None if find_spec("rembg") else "pip install 'triplane3d[rembg]'"


def rembg(rgb: Photo) -> Opacity:
    """The object's opacity by rembg and the best of its models that is in its cache."""
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


def matting_missing(model: str | None) -> str | None:
    """What has to be done before this model can run, or None."""
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
def matting(model_name: str, coarse: Callable[[Photo], Mask], rgb: Photo) -> Opacity:
    """The object's opacity by a model of transformers.

    VitMatte only decides the edge of a mask, which `coarse` finds on the photo, at whatever size. A semantic
    segmentation model gives the probability that a pixel is no background.
    """
    folder = _matting_folder(model_name)
    assert folder is not None, "checked by matting_missing"
    model, processor = _matting_model(folder)
    picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
    if model.config.model_type == "vitmatte":
        mask = coarse(rgb)
        reach = max(2, round(0.015 * max(mask.shape)))
        sure = resampled(ndimage.binary_erosion(mask, iterations=reach, border_value=1), rgb.shape[:2]) > 0.5
        possible = resampled(ndimage.binary_dilation(mask, iterations=reach), rgb.shape[:2]) > 0.5
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
