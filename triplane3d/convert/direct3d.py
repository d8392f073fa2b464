"""Direct3D (Wu et al. 2024, arXiv 2405.14832) → a saved `Triplane3DPipeline`.

`model.ckpt` contains the state dicts of the autoencoder ("vae") and the denoiser ("dit"). `config.yaml` names every
class and its arguments. The two image encoders are public models outside the checkpoint: CLIP ViT-L/14 for
cross-attention, and DINOv2 ViT-L/14, whose tokens join the latents in self-attention.
"""

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, CLIPVisionModel, Dinov2Model, PreTrainedModel

from triplane3d.arguments import check_whole
from triplane3d.convert.checkpoint import check_settings, open_checkpoint, read_settings
from triplane3d.convert.pipeline import write_card, write_model
from triplane3d.convert.positions import resample_positions
from triplane3d.convert.settings import MOST, check_exists, complete, mapping
from triplane3d.convert.weights import Origin, collect, field_layer, outline, rename
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import own_image_size, token_width
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.models.weights import check_types
from triplane3d.pipelines.assembly import write_index
from triplane3d.storage.durable import writing_folder
from triplane3d.storage.writability import check_folder

SECTIONS = ("vae", "dit", "semantic_encoder", "pixel_encoder", "scheduler")

# The arguments of each class and their defaults. A type marks a required argument, None an optional one.
VAE_DEFAULTS = {
    "triplane_res": int,
    "latent_dim": int,
    "triplane_dim": 32,
    "num_freqs": 8,
    "num_attention_heads": 12,
    "attention_head_dim": 64,
    "num_encoder_layers": 8,
    "num_geodecoder_layers": 5,
    "final_activation": None,
    "block_out_channels": [128, 256, 512, 512],
    "mid_block_add_attention": True,
    "gradient_checkpointing": False,
    "latents_scale": 1.0,
    "latents_shift": 0.0,
}
DIT_DEFAULTS = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": int,
    "out_channels": None,
    "num_layers": 1,
    "dropout": 0.0,
    "attention_bias": False,
    "sample_size": list,
    "patch_size": int,
    "activation_fn": "gelu-approximate",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "semantic_channels": int,
    "pixel_channels": int,
    "interpolation_scale": None,
    "gradient_checkpointing": False,
}
ENCODER_DEFAULTS = {
    "semantic_encoder": {"version": "openai/clip-vit-large-patch14", "img_size": 224},
    "pixel_encoder": {"version": "facebook/dinov2-large", "img_size": 224},
}
CLASSES = {
    "vae": "D3D_VAE",
    "dit": "D3D_DiT",
    "semantic_encoder": "ClipImageEncoder",
    "pixel_encoder": "DinoEncoder",
}

ACTIVATIONS = {"geglu-approximate": "gelu-sigmoid", "linear-silu": "silu"}
"""diffusers' feed-forward layers that have another name here."""

ATTENTION_RULES = [
    (r"\.ff\.linear_1\.", ".mlp.0."),
    (r"\.ff\.linear_2\.", ".mlp.2."),
    (r"\.to_out\.0\.", ".to_out."),
]
VAE_RULES = [
    (r"^decoder\.image_decoder\.", "decoder."),
    (r"^decoder\.conv_latent\.", "post_latent."),
    (r"^encoder\.proj_out\.", "pre_latent."),
    (r"^encoder\.tokens$", "encoder.learnable_token"),
    (r"^encoder\.cross_block\.cross_attn\.", "encoder.cross_block.attn."),
    (r"^encoder\.cross_block\.norm_context\.", "encoder.cross_block.norm1_c."),
    (r"^encoder\.cross_block\.", "encoder.cross_attn."),
    (r"^encoder\.blocks\.", "encoder.self_attn."),
]
DIT_RULES = [
    (r"^patch_embed\.", "pos_embed.proj."),
    (r"^time_embed\.", "adaln_single.emb.timestep_embedder."),
    (r"^time_modulation\.", "adaln_single.linear."),
    (r"^encoder_proj\.", "semantic_projection."),
    (r"^pixel_proj\.", "pixel_projection."),
    (r"\.attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.ff\.linear_1\.", ".ff.net.0.proj."),
    (r"\.ff\.linear_2\.", ".ff.net.2."),
]

SETTINGS: dict[str, Any] = {
    "background": 1.0,
    "framing": "direct3d",
    "image_statistics": "clip",
    "pixel_statistics": "imagenet",
    "level": -1.0,  # as in its authors' example
    "presets": {
        "draft": {"num_inference_steps": 20, "guidance_scale": 4.0, "resolution": 128},
        "balanced": {"num_inference_steps": 50, "guidance_scale": 4.0, "resolution": 256},
        "high": {"num_inference_steps": 50, "guidance_scale": 4.0, "resolution": 512},
    },
}
"""Settings of the pipeline: how the authors frame photos, and the arguments that they use."""

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-3d
base_model: DreamTechAI/Direct3D
tags: [image-to-3d, triplane3d, diffusers]
---

# Direct3D, as a triplane3d pipeline

One photo in, a mesh out: a diffusion transformer denoises triplane latents conditioned on CLIP and DINOv2 tokens.
Converted by triplane3d from the weights that DreamTechAI published as
[DreamTechAI/Direct3D](https://huggingface.co/DreamTechAI/Direct3D) under Apache-2.0; they belong to their authors.

```python
import triplane3d
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("path/to/this/folder")
pipe("chair.png").meshes[0].save("chair.glb")
```

The results equal those of the authors' code up to rounding in float32, with these differences:

- Vertices lie where the field crosses the level. The authors' code divides by one cell too many, which shrinks meshes
  by 1/(resolution + 1) and shifts them towards the low corner.
- Initial noise is scaled by the scheduler's `init_noise_sigma`, which the authors' code does not do.
- Greyscale and palette photos work.
- DINOv2's positions were resampled once, to the size of the photos, as the transformers library did when the model was
  trained.

Paper: Wu et al., *Direct3D: Scalable Image-to-3D Generation via 3D Latent Diffusion Transformer*, NeurIPS 2024,
[arXiv 2405.14832](https://arxiv.org/abs/2405.14832).
"""


def convert_direct3d(
    checkpoint: str | Path,
    output: str | Path,
    *,
    settings: str | Path | None = None,
    skip_encoders: bool = False,
    image_encoder: str | Path | None = None,
    pixel_encoder: str | Path | None = None,
    variant: str | None = None,
    max_shard_size: int | str = "10GB",
) -> Path:
    """Writes the saved pipeline to `output`, completely or not at all, and returns the folder.

    The checkpoint is copied tensor by tensor; each image encoder is in memory once.

    Args:
        checkpoint: `model.ckpt`, or a folder with it or with `vae.safetensors` and `dit.safetensors`.
        output: the new folder.
        settings: the checkpoint's `config.yaml`, if it is not beside it.
        skip_encoders: do not save the two image encoders; pass them when the pipeline is loaded. The published DINOv2
            then resamples its positions by another rule than in training, which changes the result slightly;
            `load_encoder` makes an encoder that does not.
        image_encoder: CLIP's vision model, a folder or a name on the Hub; by default the one in the settings.
        pixel_encoder: likewise for DINOv2.
        variant: "fp16" or "bf16" also writes the weights in half precision.
        max_shard_size: larger files are split.

    Raises:
        ValueError: if checkpoint or settings are not Direct3D's, or incomplete.
        OSError: if a file does not exist, the folder exists, or the disk is full.
    """
    check_exists(checkpoint)
    check_folder(output)
    described = read_settings(checkpoint if settings is None else settings)
    if missing := [name for name in ("vae", "dit") if name not in described]:
        raise ValueError(
            f"config.yaml has no section {missing[0]!r}: is it Direct3D's? It has {', '.join(map(str, described))}"
        )
    check_settings(described, SECTIONS, "config.yaml")
    params = {name: _params(described[name], name) for name in CLASSES if name in described}
    encoders = {name: params.get(name, defaults) for name, defaults in ENCODER_DEFAULTS.items()}
    parts = open_checkpoint(checkpoint, ("vae", "dit"))
    vae = outline(AutoencoderKLTriplane, vae_config(params["vae"]))
    transformer = outline(TriplaneTransformer, transformer_config(params["dit"]))
    vae_entries = collect(vae, partial(vae_origin, vae.config.field_layers), parts["vae"], where="the vae")
    transformer_entries = collect(transformer, transformer_origin, parts["dit"], where="the dit")
    scheduler = build_scheduler(described["scheduler"]) if "scheduler" in described else None

    with writing_folder(output) as folder:
        components: dict[str, Any] = {"vae": vae, "transformer": transformer, "scheduler": scheduler}
        components |= {"image_encoder": None, "pixel_encoder": None}
        if not skip_encoders:  # first, because an encoder may not fit
            for name, component, source, width in (
                ("semantic_encoder", "image_encoder", image_encoder, transformer.config.cross_attention_dim),
                ("pixel_encoder", "pixel_encoder", pixel_encoder, transformer.config.pixel_attention_dim),
            ):
                encoder = load_encoder(name, source, encoders[name], width)
                write_model(folder / component, encoder, None, variant, max_shard_size)
                components[component] = type(encoder)
                del encoder
        write_model(folder / "vae", vae, vae_entries, variant, max_shard_size)
        write_model(folder / "transformer", transformer, transformer_entries, variant, max_shard_size)
        if scheduler is not None:
            scheduler.save_pretrained(folder / "scheduler")
        write_index(
            folder,
            "Triplane3DPipeline",
            components,
            image_size=encoders["semantic_encoder"]["img_size"],
            pixel_size=encoders["pixel_encoder"]["img_size"],
            **SETTINGS,
        )
        write_card(folder, CARD)
    return Path(output)


def vae_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """`AutoencoderKLTriplane`'s config for the arguments of Direct3D's VAE."""
    size, blocks = params["triplane_res"], list(params["block_out_channels"])
    if params["final_activation"] is not None:
        raise ValueError(
            f"config.yaml, vae: final_activation={params['final_activation']!r} is not supported; "
            "only None is, which the published model has"
        )
    if params["latents_scale"] == 0:
        raise ValueError("config.yaml, vae: latents_scale must not be 0, because latents are multiplied by it")
    return {
        "latent_channels": params["latent_dim"],
        "latent_size": size,
        "plane_channels": params["triplane_dim"],
        "plane_size": size * 2 ** (len(blocks) - 1),
        "encoder_type": "perceiver",
        "encoder_dim": params["num_attention_heads"] * params["attention_head_dim"],
        "encoder_heads": params["num_attention_heads"],
        "encoder_layers": params["num_encoder_layers"],
        "num_freqs": params["num_freqs"],
        "decoder_type": "conv",
        "decoder_dim": params["num_attention_heads"] * params["attention_head_dim"],
        "block_out_channels": blocks,
        "mid_block_attention": params["mid_block_add_attention"],
        "field_layers": params["num_geodecoder_layers"],
        "padding_mode": "zeros",
        # Direct3D's denoiser is trained on (z - shift) · scale.
        "latents_mean": [params["latents_shift"]] * params["latent_dim"],
        "latents_std": [1 / params["latents_scale"]] * params["latent_dim"],
    }


def transformer_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """`TriplaneTransformer`'s config for the arguments of Direct3D's DiT."""
    height, *width = params["sample_size"]
    if width != [3 * height]:
        raise ValueError(
            f"config.yaml, dit: sample_size must be [n, 3·n], three planes side by side, got {params['sample_size']}"
        )
    if params["norm_elementwise_affine"] or params["interpolation_scale"] not in (None, 1):
        raise ValueError(
            "config.yaml, dit: only norm_elementwise_affine=false and interpolation_scale=1 are supported, which the "
            f"published model has; got {params['norm_elementwise_affine']} and {params['interpolation_scale']!r}"
        )
    if params["out_channels"] is not None:
        check_whole("config.yaml, dit: out_channels", params["out_channels"], 1, MOST)
    return {
        "in_channels": params["in_channels"],
        "out_channels": params["out_channels"],
        "sample_size": height,
        "patch_size": params["patch_size"],
        "num_layers": params["num_layers"],
        "num_attention_heads": params["num_attention_heads"],
        "attention_head_dim": params["attention_head_dim"],
        "cross_attention_dim": params["semantic_channels"],
        "pixel_attention_dim": params["pixel_channels"],
        "condition_projection": "mlp",
        "time_condition": True,
        "front_plane_condition": False,
        "position_type": "rolled",
        "long_skips": False,
        "qk_norm": False,
        "cross_attn_norm": False,
        "attention_bias": params["attention_bias"],
        "activation_fn": ACTIVATIONS.get(params["activation_fn"], params["activation_fn"]),
        "norm_eps": params["norm_eps"],
    }


def vae_origin(field_layers: int, name: str) -> Origin:
    """The tensor of `vae` for the autoencoder's parameter `name`."""
    if name.startswith("field_decoder."):
        index, leaf = field_layer(name, field_layers)
        return Origin(f"occ_decoder.net.{2 * index}.{leaf}")
    key = rename(name, VAE_RULES)
    if name.startswith("encoder."):
        key = rename(key, ATTENTION_RULES)
    return Origin(key, _flat_kernel) if name == "encoder.proj_out.weight" else Origin(key)


def transformer_origin(name: str) -> Origin:
    """The tensor of `dit` for the denoiser's parameter `name`."""
    key = rename(name, DIT_RULES)
    return Origin(key, _flat_kernel) if name == "patch_embed.weight" else Origin(key)


def _flat_kernel(weight: Tensor) -> Tensor:
    """The weights of a convolution over disjoint patches as those of a linear layer."""
    return weight.flatten(1)


def build_scheduler(section: Any) -> SchedulerMixin:
    """The scheduler that the settings name: a class of diffusers with its arguments.

    Raises:
        ValueError: if diffusers has no such scheduler, or it cannot be built.
    """
    section = mapping(section, "config.yaml, scheduler")
    check_settings(section, ("target", "params"), "config.yaml, scheduler")
    name = str(section.get("target")).rpartition(".")[2]
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        raise ValueError(
            f"config.yaml: scheduler is {section.get('target')!r}, which is not a scheduler of diffusers; write "
            "the class of diffusers.schedulers with the same steps instead, with its params"
        )
    params = mapping(section.get("params"), f"config.yaml, scheduler ({name})")
    accepted = [name for name in inspect.signature(found).parameters if name != "kwargs"]
    check_settings(params, accepted, f"config.yaml, scheduler ({name})")
    try:
        scheduler = found(**params)
        scheduler.set_timesteps(2)
    except (ArithmeticError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"config.yaml: cannot build {name} from its params {dict(params)} ({error})") from error
    return scheduler


def load_encoder(section: str, given: str | Path | None, params: Mapping[str, Any], width: int) -> PreTrainedModel:
    """CLIP's vision model or DINOv2, from the Hub or a folder, for images of `img_size` pixels.

    Raises:
        OSError: if it cannot be loaded.
        ValueError: if it is incomplete or another model, or if its tokens do not have the width `width`.
    """
    source = str(params["version"] if given is None else given)
    model_class = CLIPVisionModel if section == "semantic_encoder" else AutoModel
    remedy = (
        "pass a folder that contains it, or leave out both encoders (skip_encoders) and pass them when the pipeline is "
        "loaded"
    )
    try:
        encoder, report = model_class.from_pretrained(
            source, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, RuntimeError, SafetensorError, StrictDataclassError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if source.count("/") > 1 and not Path(source).exists():
            reason = "there is no such folder"
        raise OSError(f"the {section} {source!r} could not be loaded ({reason}): {remedy}") from error
    if report["missing_keys"] or not hasattr(encoder.config, "patch_size"):
        raise ValueError(
            f"{source!r} does not contain a complete {section}, but probably a {type(encoder).__name__}: {remedy}"
        )
    check_types(Path(source), encoder)
    if token_width(encoder.config) != width:
        raise ValueError(
            f"the {section} {source!r} has tokens of width {token_width(encoder.config)}, but the dit needs {width}"
        )
    size = params["img_size"]
    if isinstance(encoder, Dinov2Model):
        table = encoder.embeddings.position_embeddings
        table.data = resample_positions(table.data, size // encoder.config.patch_size)
        encoder.config.image_size = size
    elif own_image_size(encoder.config) != size:
        raise ValueError(
            f"config.yaml: {section} has img_size {size}, but {source!r} is for {encoder.config.image_size} pixels"
        )
    return encoder


def _params(section: Any, name: str) -> dict[str, Any]:
    """The arguments of one section's class, with defaults."""
    where = f"config.yaml, {name}"
    given = section = mapping(section, where)
    if "target" in section or "params" in section:
        check_settings(section, ("target", "params"), where)
        target = str(section.get("target", CLASSES[name]))
        if target.rpartition(".")[2] != CLASSES[name]:
            raise ValueError(f"config.yaml: {name} is {target!r}, not Direct3D's {CLASSES[name]}: is it another model?")
        given = mapping(section.get("params"), where)
    every: dict[str, dict[str, Any]] = {"vae": VAE_DEFAULTS, "dit": DIT_DEFAULTS, **ENCODER_DEFAULTS}
    defaults = every[name]
    check_settings(given, tuple(defaults), where)
    return complete(given, defaults, where)
