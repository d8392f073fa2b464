"""TripoSR (Tochilkin et al. 2024, arXiv 2403.02151) → a saved `TriplaneReconstructionPipeline`.

`model.ckpt` is one flat state dict, which includes the vision transformer's weights. `config.yaml` names every class
and its arguments. Neither describes the structure of the vision transformer: it is DINO's ViT-B/16, or that of a
`vit_config.json` beside them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import ViTConfig

from triplane3d.arguments import check_whole
from triplane3d.convert.checkpoint import check_settings, open_checkpoint, read_settings
from triplane3d.convert.pipeline import write_card, write_model
from triplane3d.convert.positions import resample_positions
from triplane3d.convert.settings import MOST, check_exists, complete, mapping
from triplane3d.convert.weights import Origin, collect, field_layer, outline, rename
from triplane3d.limits import check_config, read_json
from triplane3d.models.reconstructor_triplane import TriplaneReconstructor
from triplane3d.pipelines.assembly import write_index
from triplane3d.pipelines.pipeline_triplane_reconstruction import PRESETS
from triplane3d.storage.durable import writing_folder
from triplane3d.storage.writability import check_folder

# For each section: its class, the arguments and their defaults. A type marks a required argument, None an optional one.
SECTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "image_tokenizer": (
        "DINOSingleImageTokenizer",
        {"pretrained_model_name_or_path": "facebook/dino-vitb16", "enable_gradient_checkpointing": False},
    ),
    "tokenizer": ("Triplane1DTokenizer", {"plane_size": int, "num_channels": int}),
    "backbone": (
        "Transformer1D",
        {
            "in_channels": int,
            "num_attention_heads": 16,
            "attention_head_dim": 88,
            "num_layers": 1,
            "cross_attention_dim": int,
            "norm_num_groups": 32,
            "attention_bias": False,
            "activation_fn": "geglu",
            "out_channels": None,
            "dropout": 0.0,
            "only_cross_attention": False,
            "double_self_attention": False,
            "upcast_attention": False,
            "norm_type": "layer_norm",
            "norm_elementwise_affine": True,
            "gradient_checkpointing": False,
        },
    ),
    "post_processor": ("TriplaneUpsampleNetwork", {"in_channels": int, "out_channels": int}),
    "decoder": (
        "NeRFMLP",
        {
            "in_channels": int,
            "n_neurons": int,
            "n_hidden_layers": int,
            "activation": "relu",
            "bias": True,
            "weight_init": "kaiming_uniform",
            "bias_init": None,
        },
    ),
    "renderer": (
        "TriplaneNeRFRenderer",
        {
            "radius": float,
            "feature_reduction": "concat",
            "density_activation": "trunc_exp",
            "density_bias": -1.0,
            "color_activation": "sigmoid",
            "num_samples_per_ray": 128,
            "randomized": False,
        },
    ),
}
# Arguments with only one supported value, that of the published model.
UNSUPPORTED: dict[str, dict[str, Any]] = {
    "backbone": {
        "only_cross_attention": False,
        "double_self_attention": False,
        "upcast_attention": False,
        "norm_type": "layer_norm",
        "norm_elementwise_affine": True,
    },
    "renderer": {"color_activation": "sigmoid"},
}

ACTIVATIONS = {"geglu-approximate": "gelu-sigmoid"}
VIT_ACTIVATIONS = {
    "gelu_new": "gelu-approximate",
    "gelu_pytorch_tanh": "gelu-approximate",
    "quick_gelu": "gelu-sigmoid",
    "swish": "silu",
}
"""Activations of diffusers' feed-forward layers and of transformers that have another name here."""

VIT_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "patch_size",
    "hidden_act",
    "qkv_bias",
    "layer_norm_eps",
)

VIT_RULES = [
    (r"^image_encoder\.class_token$", "embeddings.cls_token"),
    (r"^image_encoder\.positions$", "embeddings.position_embeddings"),
    (r"^image_encoder\.patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^image_encoder\.norm_out\.", "layernorm."),
    (r"^image_encoder\.blocks\.", "encoder.layer."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.to_q\.", ".attention.attention.query."),
    (r"\.attn\.to_k\.", ".attention.attention.key."),
    (r"\.attn\.to_v\.", ".attention.attention.value."),
    (r"\.attn\.to_out\.0\.", ".attention.output.dense."),
    (r"\.ff\.linear_1\.", ".intermediate.dense."),
    (r"\.ff\.linear_2\.", ".output.dense."),
]
RULES = [
    (r"^tokens$", "tokenizer.embeddings"),
    (r"^norm_in\.", "backbone.norm."),
    (r"^(proj_in|proj_out|transformer_blocks)\.", r"backbone.\1."),
    (r"^upsample\.", "post_processor.upsample."),
    (r"\.norm2\.", ".norm3."),
    (r"\.norm_cross\.", ".norm2."),
    (r"\.attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.ff\.linear_1\.", ".ff.net.0.proj."),
    (r"\.ff\.linear_2\.", ".ff.net.2."),
]
UNUSED = ("image_tokenizer.model.pooler.dense.weight", "image_tokenizer.model.pooler.dense.bias")
"""Tensors in the checkpoint that its code does not use."""

SETTINGS: dict[str, Any] = {
    "background": 0.5,
    "foreground_ratio": 0.85,
    "framing": "triposr",
    "level": 25.0,
    "presets": PRESETS,
}
"""Settings of the pipeline: how the authors frame photos, and the density at which they extract the surface."""


CARD = """---
license: mit
library_name: diffusers
pipeline_tag: image-to-3d
base_model: stabilityai/TripoSR
tags: [image-to-3d, triplane3d, diffusers]
---

# TripoSR, as a triplane3d pipeline

One photo in, a coloured mesh out, in a single pass of the network; its radiance field can also be rendered.
Converted by triplane3d from the weights that Tripo AI and Stability AI published as
[stabilityai/TripoSR](https://huggingface.co/stabilityai/TripoSR) under MIT; they belong to their authors.

```python
import triplane3d
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("path/to/this/folder")
out = pipe("chair.png")
out.meshes[0].save("chair.glb")
views = pipe.render(24, out.planes).color
```

The results equal those of the authors' code up to rounding in float32, with these differences:

- Meshes stand upright in glTF's frame, y up, the photo's camera on +z, and are closed where they meet the box.
- A `resolution` counts cells, not samples.
- The vision transformer's positions were resampled once, to the size of the photos, as the transformers library did
  when the model was trained. Its pooler, which is not used, is left out.

Paper: Tochilkin et al., *TripoSR: Fast 3D Object Reconstruction from a Single Image*,
[arXiv 2403.02151](https://arxiv.org/abs/2403.02151).
"""


def convert_triposr(
    checkpoint: str | Path,
    output: str | Path,
    *,
    settings: str | Path | None = None,
    variant: str | None = None,
    max_shard_size: int | str = "10GB",
) -> Path:
    """Writes the saved pipeline to `output`, completely or not at all, and returns the folder.

    The checkpoint is copied tensor by tensor.

    Args:
        checkpoint: `model.ckpt`, or a folder with it or with `triposr.safetensors`.
        output: the new folder.
        settings: the checkpoint's `config.yaml`, if it is not beside it. A `vit_config.json` is searched beside it.
        variant: "fp16" or "bf16" also writes the weights in half precision.
        max_shard_size: larger files are split.

    Raises:
        ValueError: if checkpoint or settings are not TripoSR's, or incomplete.
        OSError: if a file does not exist, the folder exists, or the disk is full.
    """
    check_exists(checkpoint)
    check_folder(output)
    place = Path(checkpoint if settings is None else settings)
    config = reconstructor_config(read_settings(place), _read_vit(place if place.is_dir() else place.parent))
    averaged = config.pop("averaged")
    source = open_checkpoint(checkpoint, ("triposr",))["triposr"]
    model = outline(TriplaneReconstructor, config)
    origin = partial(reconstructor_origin, model.config, averaged)
    entries = collect(model, origin, source, where="the checkpoint", unused=UNUSED)
    with writing_folder(output) as folder:
        write_model(folder / "reconstructor", model, entries, variant, max_shard_size)
        write_index(folder, "TriplaneReconstructionPipeline", {"reconstructor": model}, **SETTINGS)
        write_card(folder, CARD)
    return Path(output)


def reconstructor_config(settings: Mapping[str, Any], vit: ViTConfig) -> dict[str, Any]:
    """`TriplaneReconstructor`'s config, and the key `averaged`: whether features of the planes are averaged."""
    if "cond_image_size" not in settings:
        raise ValueError(f"config.yaml has no cond_image_size: is it TripoSR's? It has {', '.join(map(str, settings))}")
    check_whole("config.yaml: cond_image_size", settings["cond_image_size"], 1, MOST)
    check_settings(settings, ("cond_image_size", *SECTIONS, *(f"{name}_cls" for name in SECTIONS)), "config.yaml")
    params = {name: _params(settings, name) for name in SECTIONS}
    backbone, decoder, renderer = params["backbone"], params["decoder"], params["renderer"]
    channels, planes = params["tokenizer"]["num_channels"], params["post_processor"]["out_channels"]
    averaged = renderer["feature_reduction"] == "mean"
    if renderer["feature_reduction"] not in ("concat", "mean"):
        raise ValueError(
            f"config.yaml: renderer.feature_reduction must be concat or mean, got {renderer['feature_reduction']!r}"
        )
    for name, (value, expected) in {
        "backbone.in_channels": (backbone["in_channels"], channels),
        "post_processor.in_channels": (params["post_processor"]["in_channels"], channels),
        "backbone.cross_attention_dim": (backbone["cross_attention_dim"], vit.hidden_size),
        "decoder.in_channels": (decoder["in_channels"], planes if averaged else 3 * planes),
    }.items():  # fmt: skip
        if value != expected:
            hint = "; if its ViT is not DINO's ViT-B/16, put its vit_config.json beside it" if "cross" in name else ""
            raise ValueError(f"config.yaml: {name} is {value}, but the other settings imply {expected}{hint}")
    if renderer["radius"] <= 0:
        raise ValueError(f"config.yaml: renderer.radius must be above 0, got {renderer['radius']}")
    return {
        "image_size": settings["cond_image_size"],
        "patch_size": vit.patch_size,
        "encoder_dim": vit.hidden_size,
        "encoder_heads": vit.num_attention_heads,
        "encoder_layers": vit.num_hidden_layers,
        "encoder_ff_dim": vit.intermediate_size,
        "encoder_activation": VIT_ACTIVATIONS.get(vit.hidden_act, vit.hidden_act),
        "encoder_attention_bias": vit.qkv_bias,
        "encoder_norm_eps": vit.layer_norm_eps,
        "plane_size": params["tokenizer"]["plane_size"],
        "num_layers": backbone["num_layers"],
        "num_attention_heads": backbone["num_attention_heads"],
        "attention_head_dim": backbone["attention_head_dim"],
        "attention_bias": backbone["attention_bias"],
        "activation_fn": ACTIVATIONS.get(backbone["activation_fn"], backbone["activation_fn"]),
        "norm_num_groups": backbone["norm_num_groups"],
        "field_channels": planes,
        "field_hidden_dim": decoder["n_neurons"],
        "field_layers": decoder["n_hidden_layers"] + 1,
        "field_activation": decoder["activation"],
        "field_bias": decoder["bias"],
        "radius": renderer["radius"],
        # The truncated exponential equals the exponential; only its gradient is clamped.
        "density_activation": renderer["density_activation"].removeprefix("trunc_"),
        "density_bias": renderer["density_bias"],
        "num_samples_per_ray": renderer["num_samples_per_ray"],
        "token_channels": channels,
        "averaged": averaged,
    }


def reconstructor_origin(config: Any, averaged: bool, name: str) -> Origin:
    """The tensor of the checkpoint for the reconstructor's parameter `name`, or of which the parameter is a part."""
    if name.startswith("image_encoder."):
        key = "image_tokenizer.model." + rename(name, VIT_RULES)
        if name == "image_encoder.positions":
            return Origin(key, partial(resample_positions, side=config.image_size // config.patch_size))
        return Origin(key)
    if not name.startswith("field_decoder."):
        return Origin(rename(name, RULES))
    index, leaf = field_layer(name, config.field_layers)
    key = f"decoder.layers.{2 * index}.{leaf}"
    if index == config.field_layers - 1:  # one layer in the checkpoint: density, then red, green, blue
        rows = slice(1, 4) if "color_out" in name else slice(0, 1)
        return Origin(key, lambda tensor: tensor[rows])
    if index == 0 and averaged and leaf == "weight":
        return Origin(key, _concatenation_of_mean)
    return Origin(key)


def _concatenation_of_mean(weight: Tensor) -> Tensor:
    """Weights for the concatenated features of three planes that are equal to `weight` for their mean."""
    return torch.cat([weight / 3] * 3, dim=1)


def _params(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The arguments of one section's class, with defaults."""
    class_name, defaults = SECTIONS[name]
    target = str(settings.get(f"{name}_cls", class_name)).rpartition(".")[2]
    if target != class_name:
        raise ValueError(f"config.yaml: {name}_cls is {target!r}, not TripoSR's {class_name}: it is another model")
    where = f"config.yaml, {name}"
    given = mapping(settings.get(name), where)
    check_settings(given, tuple(defaults), where)
    params = complete(given, defaults, where)
    for key, only in UNSUPPORTED.get(name, {}).items():
        if params[key] != only:
            raise ValueError(f"config.yaml: {name}.{key} is {params[key]!r}; only {only!r} is supported")
    return params


def _read_vit(folder: Path) -> ViTConfig:
    """The vision transformer's structure: that of `vit_config.json` in the folder, or DINO's ViT-B/16."""
    path = folder / "vit_config.json"
    base = ViTConfig(layer_norm_eps=1e-12)
    if not path.is_file():
        return base
    given = read_json(path)
    check_config(given, str(path))
    known = {*base.to_dict(), "architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path"}
    check_settings(given, sorted(known), "vit_config.json")
    if given.get("model_type", "vit") != "vit":
        raise ValueError(f"{path} describes a {given['model_type']!r}, but TripoSR has a ViT")
    # Only the keys that define the network.
    defaults = {key: getattr(base, key) for key in VIT_KEYS}
    params = complete({key: given[key] for key in VIT_KEYS if key in given}, defaults, "vit_config.json")
    # transformers accepts no whole number where it expects a float.
    params = {key: float(value) if isinstance(defaults[key], float) else value for key, value in params.items()}
    try:
        return ViTConfig(**params)
    except StrictDataclassError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
