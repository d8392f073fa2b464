"""The models of `pipelines/tiny` with random weights, and inputs for them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer

PIPELINES = Path(__file__).parents[2] / "pipelines"

DIRECT3D_VAE = {
    "latent_channels": 4,
    "latent_size": 8,
    "plane_channels": 8,
    "plane_size": 64,
    "encoder_type": "perceiver",
    "encoder_dim": 32,
    "encoder_heads": 2,
    "encoder_layers": 2,
    "num_freqs": 8,
    "decoder_type": "conv",
    "decoder_dim": 32,
    "block_out_channels": [32, 32, 32, 64],
    "field_layers": 5,
    "padding_mode": "zeros",
}

DIRECT3D_TRANSFORMER = {
    "in_channels": 4,
    "sample_size": 8,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "cross_attention_dim": 12,
    "pixel_attention_dim": 10,
    "condition_projection": "mlp",
    "time_condition": True,
    "front_plane_condition": False,
    "position_type": "rolled",
    "long_skips": False,
    "qk_norm": False,
    "cross_attn_norm": False,
}


def tiny_vae(**changes: Any) -> AutoencoderKLTriplane:
    """The autoencoder of `pipelines/tiny`, with `changes` to its config."""
    config = AutoencoderKLTriplane.load_config(PIPELINES / "tiny", subfolder="vae")
    return AutoencoderKLTriplane.from_config({**config, **changes}).eval()


def tiny_transformer(**changes: Any) -> TriplaneTransformer:
    """The denoiser of `pipelines/tiny`, with `changes` to its config."""
    config = TriplaneTransformer.load_config(PIPELINES / "tiny", subfolder="transformer")
    return TriplaneTransformer.from_config({**config, **changes}).eval()


def surface(batch: int = 2, points: int = 200) -> dict[str, Tensor]:
    """Points on spheres of different sizes, with normals and colours."""
    normals = torch.nn.functional.normalize(torch.randn(batch, points, 3), dim=-1)
    radii = torch.linspace(0.5, 0.9, batch)[:, None, None]
    return {"surface_points": radii * normals, "normals": normals, "colors": torch.rand(batch, points, 3)}


def denoiser_inputs(batch: int = 2, tokens: int = 17) -> dict[str, Tensor]:
    """Random latents, timesteps and image tokens for `tiny_transformer`."""
    return {
        "hidden_states": torch.randn(batch, 4, 4, 12),
        "timestep": torch.linspace(30, 970, batch),
        "encoder_hidden_states": torch.randn(batch, tokens, 32),
    }
