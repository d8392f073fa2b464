"""Tiny pipelines with random weights, a photo for them, and a call that takes little time."""

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

import triplane3d
from triplane3d import (
    Triplane3DPipeline,
    TriplaneReconstructionPipeline,
    TriplaneReconstructor,
    TriplaneTransformer,
)

TINY = Path(__file__).parents[2] / "pipelines" / "tiny"


def build_tiny(folder: Path = TINY) -> Triplane3DPipeline:
    """A `Triplane3DPipeline` from the JSON files of `folder`, always with the same weights; its fields cross zero."""
    torch.manual_seed(0)
    components = {}
    index = json.loads((folder / "model_index.json").read_text())
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list):
            continue
        library, class_name = entry
        if library == "transformers":
            config = transformers.AutoConfig.from_pretrained(folder / name)
            components[name] = getattr(transformers, class_name)(config).eval()
        elif library is not None:
            component_class = getattr(triplane3d if library == "triplane3d" else diffusers, class_name)
            component = component_class.from_config(component_class.load_config(folder, subfolder=name))
            components[name] = component.eval() if isinstance(component, torch.nn.Module) else component
    # Parameters that are zero at the start of training would hide errors of the inputs that they multiply.
    for parameter in components["transformer"].parameters():
        if float(parameter.detach().abs().max()) == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    preset = {"num_inference_steps": 2, "guidance_scale": 3.0, "resolution": 12}
    presets = {"draft": {**preset, "resolution": 6}, "balanced": preset}
    photos = {name: index[name] for name in ("image_statistics", "image_size") if name in index}
    pipe = Triplane3DPipeline(**components, **photos, presets=presets)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def build_tiny_for_views(**config: Any) -> Triplane3DPipeline:
    """The tiny pipeline with a transformer for several photos of an object, without parameters that are zero."""
    pipe = build_tiny()
    known = TriplaneTransformer.load_config(TINY, subfolder="transformer")
    pipe.transformer = TriplaneTransformer.from_config({**known, "camera_condition": True, **config}).eval()
    with torch.no_grad():
        for parameter in pipe.transformer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return pipe


def build_tiny_reconstruction() -> TriplaneReconstructionPipeline:
    """A `TriplaneReconstructionPipeline`, always with the same weights."""
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 8, "encoder_dim": 24, "encoder_heads": 2, "encoder_layers": 1}
    planes = {"plane_size": 4, "num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16}
    field = {"field_channels": 6, "field_hidden_dim": 16, "field_layers": 2, "num_samples_per_ray": 16}
    reconstructor = TriplaneReconstructor(**sizes, encoder_ff_dim=40, **planes, **field).eval()
    pipe = TriplaneReconstructionPipeline(reconstructor)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def photo(hue: int = 0, size: int = 40) -> Image.Image:
    """A coloured block on a transparent background."""
    picture = Image.new("RGBA", (size, size - 8))
    picture.paste(tuple(np.roll((220, 60, 20), hue)) + (255,), (8, 4, size - 6, size - 14))
    return picture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grids(pipe: Triplane3DPipeline, image: Any = None, **options: Any) -> torch.Tensor:
    """Logits on a small grid: the complete path from a photo to a field, in little time."""
    defaults = {"generator": seeded(), "num_inference_steps": 2, "resolution": 6, "output_type": "pt"}
    return pipe(photo() if image is None and "image_embeds" not in options else image, **{**defaults, **options})[0]
