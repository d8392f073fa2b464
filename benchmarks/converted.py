"""The models that `benchmarks/checkpoints.py` compares: reference code with random weights, and the same converted.

The weights are saved in the published format (a pickle and its settings), so that conversion is measured too. The MLPs
of the fields are not random: their output is the sum of the planes' first channels, so that `solid_planes` can define
the surface.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from reference import Direct3DTransformer, Direct3DVAE, TripoSR, random_checkpoint
from reference.triposr import PUBLISHED
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, PreTrainedModel

from triplane3d import Triplane3DPipeline
from triplane3d.convert.checkpoint import open_checkpoint
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.pipeline_triplane_reconstruction import TriplaneReconstructionPipeline

SEED = 0
NOISE = 0.005
"""Amplitude of the noise in the weights, such that activations stay finite through all blocks."""
LEVELS = {"direct3d": -1.0, "triposr": 25.0}
"""The logit and the density at which the published examples extract the surface."""
SLOPE, BALL, AMPLITUDE, FREQUENCY = 20.0, 0.4, 0.08, 2 * math.pi
"""Of the surface in `solid_planes`: slope of the field, size of the ball, amplitude and frequency of the waves."""


@dataclass(frozen=True)
class Size:
    """The settings of both models as in their config files, the resolutions of meshes, and the size of a view."""

    vae: dict[str, Any]
    dit: dict[str, Any]
    clip: dict[str, Any]
    dino: dict[str, Any]
    triposr: dict[str, Any]
    resolutions: tuple[int, ...]
    view: int


ENCODER = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 224, "patch_size": 14}
TINY_ENCODER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
SIZES = {
    "published": Size(
        vae={
            "triplane_res": 32, "latent_dim": 16, "triplane_dim": 32, "num_freqs": 8, "num_attention_heads": 12,
            "attention_head_dim": 64, "num_encoder_layers": 8, "num_geodecoder_layers": 5,
            "block_out_channels": [128, 256, 512, 512],
        },
        dit={
            "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 16, "num_layers": 28,
            "sample_size": [32, 96], "patch_size": 2, "semantic_channels": 1024, "pixel_channels": 1024,
        },
        clip={**ENCODER, "intermediate_size": 4096},
        dino=ENCODER,
        triposr=PUBLISHED,
        resolutions=(256, 512),
        view=256,
    ),
    "small": Size(
        vae={
            "triplane_res": 8, "latent_dim": 4, "triplane_dim": 8, "num_freqs": 8, "num_attention_heads": 2,
            "attention_head_dim": 16, "num_encoder_layers": 1, "num_geodecoder_layers": 5,
            "block_out_channels": [32, 32, 64],
        },
        dit={
            "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "num_layers": 2,
            "sample_size": [8, 24], "patch_size": 2, "semantic_channels": 32, "pixel_channels": 32,
        },
        clip={**TINY_ENCODER, "intermediate_size": 64},
        dino=TINY_ENCODER,
        triposr={
            "cond_image_size": 80,
            "vit": {
                "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
                "image_size": 32, "patch_size": 16, "layer_norm_eps": 1e-12,
            },
            "tokenizer": {"plane_size": 16, "num_channels": 64},
            "backbone": {
                "num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 1, "cross_attention_dim": 32,
            },
            "post_processor": {"in_channels": 64, "out_channels": 8},
            "decoder": {"in_channels": 24, "n_neurons": 16, "n_hidden_layers": 9},
            "renderer": {"radius": 0.87, "density_bias": -1.0, "num_samples_per_ray": 32},
        },
        resolutions=(32, 48),
        view=32,
    ),
}  # fmt: skip


# ---- published checkpoints


def write_checkpoint(folder: Path, size: Size, model: str) -> Path:
    """Writes a checkpoint in the published format with random weights, unless it exists. Returns its folder."""
    target = folder / model
    if (target / "model.ckpt").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    if model == "direct3d":
        vae, transformer = Direct3DVAE(**size.vae), Direct3DTransformer(**size.dit)
        random_checkpoint(vae, SEED, amount=NOISE)
        random_checkpoint(transformer, SEED + 1, amount=NOISE)
        pass_first_channels(vae.occ_decoder.net, bias=LEVELS[model])
        weights: Any = {"vae": vae.state_dict(), "dit": transformer.state_dict()}
        settings = {
            "vae": {"target": "direct3d.D3D_VAE", "params": size.vae},
            "dit": {"target": "direct3d.D3D_DiT", "params": size.dit},
            "semantic_encoder": {"params": {"img_size": size.clip["image_size"]}},
            "pixel_encoder": {"params": {"img_size": size.dino["image_size"]}},
            "scheduler": {"target": "diffusers.EulerDiscreteScheduler"},
        }
    else:
        triposr = TripoSR(size.triposr)
        random_checkpoint(triposr, SEED + 2, amount=NOISE)
        pass_first_channels(triposr.decoder["layers"], bias=math.log(LEVELS[model]) - triposr.density_bias)
        weights = triposr.state_dict()
        settings = {**size.triposr, "renderer": {**size.triposr["renderer"], "density_activation": "exp"}}
        settings["decoder"] = {**settings["decoder"], "activation": "silu"}
        settings["backbone"] = {**settings["backbone"], "in_channels": settings["tokenizer"]["num_channels"]}
        (target / "vit_config.json").write_text(json.dumps(settings.pop("vit")))
    (target / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.save(weights, target / "model.ckpt")
    return target


@torch.no_grad()
def pass_first_channels(layers: nn.Sequential, bias: float) -> None:
    """Sets weights so that the first output is the sum of the three planes' first channels, plus `bias`.

    Two units of each layer carry a value v as act(v) and act(-v); their difference is v for ReLU and for SiLU. The
    other outputs stay random.
    """
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for index, layer in enumerate(linear):
        row = torch.zeros_like(layer.weight[0])
        if index == 0:
            row.view(3, -1)[:, 0] = 1
        else:
            row[0], row[1] = 1, -1
        layer.weight[0], layer.bias[0] = row, 0
        if index < len(linear) - 1:
            layer.weight[1], layer.bias[1] = -row, 0
    linear[-1].bias[0] = bias


def solid_planes(
    channels: int, size: int, plane_axes: Sequence[tuple[int, int]]
) -> Float[Tensor, "1 3 channels size size"]:
    """Planes of a ball with the waves of a gyroid, which are sums over pairs of coordinates."""
    generator = torch.Generator().manual_seed(SEED)
    planes = 0.1 * torch.randn(1, 3, channels, size, size, generator=generator)
    pixels = (2 * torch.arange(size) + 1) / size - 1
    for plane, axes in enumerate(plane_axes):
        rows, columns = torch.meshgrid(pixels, pixels, indexing="ij")
        coordinates = dict(zip(axes, (columns, rows)))
        first, second = (2, 0) if set(axes) == {0, 2} else sorted(axes)
        waves = torch.sin(FREQUENCY * coordinates[first]) * torch.cos(FREQUENCY * coordinates[second])
        ball = BALL / 3 - (coordinates[first].square() + coordinates[second].square()) / 2
        planes[0, plane, 0] = SLOPE * (ball + AMPLITUDE * waves)
    return planes


def original(folder: Path, size: Size, model: str, part: str | None = None) -> nn.Module:
    """The reference model with the weights of `write_checkpoint`; for Direct3D, its `part` "vae" or "dit"."""
    parts = open_checkpoint(folder / model, ("vae", "dit") if model == "direct3d" else (model,))
    weights = parts[model if part is None else part]
    with torch.device("meta"):
        if model == "triposr":
            module: nn.Module = TripoSR(size.triposr)
        else:
            module = Direct3DVAE(**size.vae) if part == "vae" else Direct3DTransformer(**size.dit)
    # Copied: pages of a mapped file would make the first passes slower, and are not counted as memory of the process.
    module.load_state_dict({name: weights[name].clone() for name in weights}, assign=True)
    return module.requires_grad_(False)


def encoders(size: Size, dtype: torch.dtype) -> dict[str, PreTrainedModel]:
    """Both image encoders with random weights; the checkpoint does not contain them."""
    torch.manual_seed(SEED)
    clip, dino = CLIPVisionModel(CLIPVisionConfig(**size.clip)), Dinov2Model(Dinov2Config(**size.dino))
    return {"image_encoder": clip.eval().to(dtype), "pixel_encoder": dino.eval().to(dtype)}


# ---- converted pipelines


def converted_folder(folder: Path, model: str) -> Path:
    return folder / f"{model}-converted"


@lru_cache(maxsize=1)
def converted_direct3d(
    folder: Path, size_name: str, dtype: torch.dtype, device: torch.device | None, with_encoders: bool = False
) -> Triplane3DPipeline:
    """The converted pipeline on the device, or where `from_pretrained` leaves it (None), for offloading."""
    parts = encoders(SIZES[size_name], dtype) if with_encoders else {"image_encoder": None, "pixel_encoder": None}
    pipe = Triplane3DPipeline.from_pretrained(converted_folder(folder, "direct3d"), dtype=dtype, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe if device is None else pipe.to(device)


@lru_cache(maxsize=1)
def converted_triposr(folder: Path, dtype: torch.dtype, device: torch.device) -> TriplaneReconstructionPipeline:
    source = converted_folder(folder, "triposr")
    return TriplaneReconstructionPipeline.from_pretrained(source, dtype=dtype).to(device)


def fused(transformer: TriplaneTransformer) -> TriplaneTransformer:
    """A copy with fused projections, which shares all other weights."""
    duplicate = copy.deepcopy(transformer, {id(parameter): parameter for parameter in transformer.parameters()})
    duplicate.fuse_qkv_projections()
    return duplicate
