"""Tiny vision models of transformers: one of each class that can be an image encoder, and its config.json."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
# Class → config.json. Each maps 32 × 32 pixels to a 4 × 4 grid of tokens of width 32.
VISION_MODELS: dict[str, dict[str, Any]] = {
    "Dinov2Model": {"model_type": "dinov2", **VIT, "mlp_ratio": 2},
    "Dinov2WithRegistersModel": {
        "model_type": "dinov2_with_registers", **VIT, "mlp_ratio": 2, "num_register_tokens": 4,
    },
    "CLIPVisionModel": {"model_type": "clip_vision_model", **VIT, "intermediate_size": 64},
    "CLIPVisionModelWithProjection": {"model_type": "clip_vision_model", **VIT, "intermediate_size": 64},
    "SiglipVisionModel": {"model_type": "siglip_vision_model", **VIT, "intermediate_size": 64},
    "ViTModel": {"model_type": "vit", **VIT, "intermediate_size": 64},
    "ResNetModel": {
        "model_type": "resnet", "layer_type": "bottleneck", "embedding_size": 8, "hidden_sizes": [16, 32],
        "depths": [1, 1],
    },
}  # fmt: skip
PREFIX_TOKENS = {
    "Dinov2Model": 1,
    "Dinov2WithRegistersModel": 5,
    "CLIPVisionModel": 1,
    "CLIPVisionModelWithProjection": 1,
    "SiglipVisionModel": 0,
    "ViTModel": 1,
    "ResNetModel": 0,
}


def vision_model(name: str, **changes: Any) -> PreTrainedModel:
    """A vision model with random weights, in evaluation mode."""
    config = transformers.AutoConfig.for_model(**{**VISION_MODELS[name], **changes})
    torch.manual_seed(0)
    return getattr(transformers, name)(config).eval()


def choose_encoder(pipeline: Path, name: str, **index: Any) -> Path:
    """Changes the image encoder in the JSON files of a copy of `pipelines/tiny`, and returns its folder."""
    statistics = {"CLIP": "clip", "Sigl": "half", "ViTM": "half"}.get(name[:4], "imagenet")
    changes = {
        "model_index.json": {"image_encoder": ["transformers", name], "image_statistics": statistics, **index},
        "transformer/config.json": {"num_prefix_tokens": PREFIX_TOKENS[name]},
    }
    for file, values in changes.items():
        path = pipeline / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=2))
    encoder = {"architectures": [name], **VISION_MODELS[name], "num_channels": 4}
    (pipeline / "image_encoder" / "config.json").write_text(json.dumps(encoder, indent=2))
    return pipeline
