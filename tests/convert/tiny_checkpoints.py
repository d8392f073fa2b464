"""Small checkpoints in the published formats, with random weights or those of the fixtures."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from reference import Direct3DTransformer, Direct3DVAE, TripoSR, random_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

FIXTURES = Path(__file__).parent / "fixtures"

EULER = {
    "target": "diffusers.EulerDiscreteScheduler",
    "params": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}
ENCODER_SIZE = 28
"""Image size of the tiny encoders in the settings; DINOv2's own is different."""


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FIXTURES / f"{name}.npz") as file:
        return {key: torch.from_numpy(array) for key, array in file.items()}


def agrees(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether the largest difference is at most `tolerance`, relative to the largest value if that exceeds 1."""
    assert ours.shape == theirs.shape
    return bool((ours - theirs).abs().max() <= tolerance * max(1.0, theirs.abs().max().item()))


def lies_on_the_surface(indices: Tensor, grid: Tensor, level: Tensor) -> bool:
    """Whether vertices divide the edges of the grid as linear interpolation does.

    One per cent may differ: marching cubes places a few vertices inside ambiguous cells.
    """
    # The reference vertices were stored in float32, which moves some across a node.
    indices = indices.round(decimals=5)
    low, high = indices.floor().long(), indices.ceil().long()
    start, end = grid[tuple(low.T)], grid[tuple(high.T)]
    share = torch.where(start == end, 0, (level - start) / (end - start))
    errors = (low + share[:, None] * (high - low) - indices).abs().amax(dim=1)
    return errors.quantile(0.99).item() < 1e-3


def block(seed: int = 0, height: int = 50, width: int = 37) -> Image.Image:
    """A photo of a coloured block with a soft edge, on a transparent background."""
    values = np.random.default_rng(seed)
    pixels = values.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[6:-9, 5:-4, 3] = 140
    pixels[8:-11, 8:-7, 3] = 255
    return Image.fromarray(pixels)


# ---- Direct3D

FIXTURE = json.loads((FIXTURES / "direct3d_config.json").read_text())
SMALL_VAE = {
    "triplane_res": 4, "latent_dim": 4, "triplane_dim": 6, "num_freqs": 3, "num_attention_heads": 2,
    "attention_head_dim": 16, "num_encoder_layers": 1, "num_geodecoder_layers": 3, "block_out_channels": [32, 32],
}  # fmt: skip
SMALL_DIT = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "num_layers": 2, "sample_size": [4, 12],
    "patch_size": 2, "semantic_channels": 16, "pixel_channels": 24,
}  # fmt: skip


def direct3d_fixture() -> dict[str, dict[str, Tensor]]:
    return {part: load_file(FIXTURES / f"direct3d_{part}.safetensors") for part in ("vae", "dit")}


def random_direct3d(vae: dict[str, Any], dit: dict[str, Any], seed: int) -> tuple[Direct3DVAE, Direct3DTransformer]:
    """The reference models, with noise added to every weight."""
    models = Direct3DVAE(**vae).eval(), Direct3DTransformer(**dit).eval()
    for model in models:
        random_checkpoint(model, seed)
    return models


def save_direct3d(
    folder: Path,
    params: dict[str, dict[str, Any]],
    weights: dict[str, dict[str, Tensor]],
    *,
    pickled: bool = False,
    **sections: Any,
) -> Path:
    """Writes a checkpoint with `params` of "vae" and "dit", and more `sections` of config.yaml."""
    targets = {"vae": "direct3d.models.D3D_VAE", "dit": "direct3d.models.D3D_DiT"}
    settings = {part: {"target": targets[part], "params": deepcopy(dict(params[part]))} for part in ("vae", "dit")}
    return _save(folder, {**settings, "scheduler": EULER, **sections}, weights, weights if pickled else None)


def save_encoders(folder: Path, semantic: int = 16, pixel: int = 24) -> tuple[Path, Path]:
    """Saves tiny encoders with tokens of these widths, and returns their folders."""
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    clip = CLIPVisionConfig(hidden_size=semantic, intermediate_size=32, image_size=ENCODER_SIZE, **shape)
    dino = Dinov2Config(hidden_size=pixel, mlp_ratio=2, image_size=70, **shape)
    for name, model in (("clip", CLIPVisionModel(clip)), ("dino", Dinov2Model(dino))):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder / name)
    return folder / "clip", folder / "dino"


def encoder_sections(size: int = ENCODER_SIZE) -> dict[str, Any]:
    params = {"version": "none/such", "img_size": size}
    return {
        "semantic_encoder": {"target": "direct3d.ClipImageEncoder", "params": dict(params)},
        "pixel_encoder": {"target": "direct3d.DinoEncoder", "params": dict(params)},
    }


# ---- TripoSR

TRIPOSR_FIXTURE = json.loads((FIXTURES / "triposr_config.json").read_text())
SMALL_TRIPOSR: dict[str, Any] = {
    "cond_image_size": 32,
    "tokenizer": {"plane_size": 4, "num_channels": 32},
    "backbone": {
        "in_channels": "${tokenizer.num_channels}", "num_attention_heads": 2, "attention_head_dim": 16,
        "num_layers": 2, "cross_attention_dim": 24,
    },
    "post_processor": {"in_channels": 32, "out_channels": 6},
    "decoder": {"in_channels": 18, "n_neurons": 16, "n_hidden_layers": 3, "activation": "silu"},
    "renderer": {"radius": 0.87, "density_activation": "exp", "density_bias": -1.0, "num_samples_per_ray": 32},
}  # fmt: skip
SMALL_VIT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 24,
    "patch_size": 8, "layer_norm_eps": 1e-12, "qkv_bias": True,
}  # fmt: skip


def random_triposr(
    settings: dict[str, Any], vit: dict[str, Any], seed: int, model_class: type[TripoSR] = TripoSR
) -> TripoSR:
    model = model_class({**settings, "vit": vit}).eval()
    random_checkpoint(model, seed)
    return model


def save_triposr(
    folder: Path,
    settings: dict[str, Any],
    vit: dict[str, Any] | None,
    weights: dict[str, Tensor],
    *,
    pickled: bool = False,
) -> Path:
    _save(folder, settings, {"triposr": weights}, weights if pickled else None)
    if vit is not None:
        (folder / "vit_config.json").write_text(json.dumps(vit))
    return folder


def _save(folder: Path, settings: dict[str, Any], weights: dict[str, dict[str, Tensor]], pickle: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(deepcopy(settings)))
    if pickle is not None:
        torch.save(pickle, folder / "model.ckpt")
    else:
        for part, tensors in weights.items():
            copies = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
            save_file(copies, folder / f"{part}.safetensors")
    return folder
