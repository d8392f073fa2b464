"""Background removal by a model of transformers whose files are on this machine. Nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from triplane3d.images.background.arrays import Mask, Opacity, Rgb
from triplane3d.images.background.resampling import resampled

MATTING_VARIABLE = "TRIPLANE3D_MATTING_MODEL"
"""The environment variable that names the model of "matting": a folder, or a name on the Hub whose files are cached."""


def matting_missing(model: str | None) -> str | None:
    """What has to be done before this model can run; None where it can."""
    if not model:
        return f"name a model of transformers: its folder as background_removal, or in {MATTING_VARIABLE}"
    folder = _model_folder(model)
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


@torch.no_grad()
def matting_opacity(model_name: str, coarse_mask: Callable[[Rgb], Mask], rgb: Rgb) -> Opacity:
    """The object's opacity by a model of transformers.

    A VitMatte computes only the edge of a coarse mask: pixels well inside and well outside keep the mask's values
    (a trimap). A semantic segmentation model gives the probability that a pixel is not background.

    Args:
        model_name: a folder or a name on the Hub, accepted by `matting_missing`.
        coarse_mask: finds a mask of a photo, at any size.
        rgb: the photo.
    """
    folder = _model_folder(model_name)
    assert folder is not None, "checked by matting_missing"
    model, processor = _load_model(folder)
    picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
    if model.config.model_type == "vitmatte":
        mask = coarse_mask(rgb)
        reach = max(2, round(0.015 * max(mask.shape)))
        certain = resampled(ndimage.binary_erosion(mask, iterations=reach, border_value=1), rgb.shape[:2]) > 0.5
        possible = resampled(ndimage.binary_dilation(mask, iterations=reach), rgb.shape[:2]) > 0.5
        trimap = np.where(certain, 255, np.where(possible, 128, 0)).astype(np.uint8)
        inputs = processor(images=picture, trimaps=Image.fromarray(trimap), return_tensors="pt")
        alpha = model(**inputs).alphas[0, 0, : rgb.shape[0], : rgb.shape[1]].numpy()
        return np.where(certain, 1, np.where(possible, alpha.clip(0, 1), 0)).astype(np.float32)

    # The whole photo at the model's own size: a centre crop would give no opacity at the photo's edges.
    whole = {"do_center_crop": False} if getattr(processor, "do_center_crop", False) else {}
    logits = model(**processor(images=picture, return_tensors="pt", **whole)).logits.float()
    logits = functional.interpolate(logits, size=rgb.shape[:2], mode="bilinear", align_corners=False)[0]
    if len(logits) == 1:
        return logits[0].sigmoid().numpy()
    background = _background_label([model.config.id2label[index] for index in range(len(logits))])
    return 1 - logits.softmax(dim=0)[background].numpy()


def _model_folder(model: str) -> Path | None:
    """The folder with the files of a model: `model` itself, or its place in the Hugging Face cache."""
    if (Path(model) / "config.json").is_file():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _background_label(labels: list[str]) -> int | None:
    """The index of the background's label; of one or two labels without that name, the first is the background's."""
    names = [label.lower() for label in labels]
    if "background" in names:
        return names.index("background")
    return 0 if len(names) <= 2 else None


@lru_cache(maxsize=1)
def _load_model(folder: Path) -> tuple[Any, Any]:
    """The model and its processor of pictures."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, VitMatteForImageMatting

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    vitmatte = AutoConfig.from_pretrained(folder, **local).model_type == "vitmatte"
    model_class = VitMatteForImageMatting if vitmatte else AutoModelForSemanticSegmentation
    model = model_class.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoImageProcessor.from_pretrained(folder, **local)
