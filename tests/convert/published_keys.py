"""Tensors of published checkpoints and the parameters that they become: `python -m convert.published_keys`.

Run in `tests/`, with the repository on PYTHONPATH, this writes `keys/*.txt`. `test_published_sizes.py` compares them
with the converters and with the published lists in `fixtures/*_keys.txt`.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import ViTConfig

from triplane3d.convert.direct3d import (
    DIT_DEFAULTS,
    VAE_DEFAULTS,
    transformer_config,
    transformer_origin,
    vae_config,
    vae_origin,
)
from triplane3d.convert.triposr import UNUSED, reconstructor_config, reconstructor_origin
from triplane3d.convert.weights import Origin, outline
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.reconstructor_triplane import TriplaneReconstructor
from triplane3d.models.transformer_triplane import TriplaneTransformer

HERE = Path(__file__).parent
LISTS = ("direct3d", "triposr")

# The settings at the beginning of the published lists.
VAE = {**VAE_DEFAULTS, "triplane_res": 32, "latent_dim": 16}
DIT = {
    **DIT_DEFAULTS, "in_channels": 16, "num_layers": 28, "sample_size": [32, 96], "patch_size": 2,
    "semantic_channels": 1024, "pixel_channels": 1024,
}  # fmt: skip
TRIPOSR: dict[str, Any] = {
    "cond_image_size": 512,
    "tokenizer": {"plane_size": 32, "num_channels": 1024},
    "backbone": {
        "in_channels": 1024, "num_attention_heads": 16, "attention_head_dim": 64, "num_layers": 16,
        "cross_attention_dim": 768,
    },
    "post_processor": {"in_channels": 1024, "out_channels": 40},
    "decoder": {"in_channels": 120, "n_neurons": 64, "n_hidden_layers": 9, "activation": "silu"},
    "renderer": {"radius": 0.87, "num_samples_per_ray": 128},
}  # fmt: skip

Row = tuple[str, tuple[int, ...], str, tuple[int, ...] | None]
"""Our name and shape; the published name and its shape, if known."""


def published(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published code."""
    lines = [line.split("\t") for line in (HERE / "fixtures" / f"{name}_keys.txt").read_text().splitlines()]
    return {line[0]: tuple(json.loads(line[1])) for line in lines if len(line) == 3}


def rows(name: str) -> list[Row]:
    """A row for each tensor of the converted pipeline, then one for each unused tensor of the checkpoint."""
    shapes = published(name)
    if name == "direct3d":
        vae = outline(AutoencoderKLTriplane, vae_config(VAE))
        transformer = outline(TriplaneTransformer, transformer_config(DIT))
        found = _rows("vae", vae, partial(vae_origin, vae.config.field_layers), shapes)
        return found + _rows("transformer", transformer, transformer_origin, shapes)
    config = reconstructor_config(TRIPOSR, ViTConfig(layer_norm_eps=1e-12))
    averaged = config.pop("averaged")
    model = outline(TriplaneReconstructor, config)
    found = _rows("reconstructor", model, partial(reconstructor_origin, model.config, averaged), shapes)
    return found + [("(unused)", (), key, shapes.get(key)) for key in UNUSED]


def _rows(part: str, model: Any, origin: Callable[[str], Origin], shapes: dict[str, tuple[int, ...]]) -> list[Row]:
    found: list[Row] = []
    for name, tensor in model.state_dict().items():
        key = origin(name).key
        found.append((f"{part}.{name}", tuple(tensor.shape), key, shapes.get(key)))
    return found


def listing(name: str) -> str:
    """The text of `keys/<name>.txt`."""
    lines = [
        "\t".join([ours, str(list(shape)), key, str(list(theirs or ()))]) for ours, shape, key, theirs in rows(name)
    ]
    return "\n".join(["# ours\tshape\tpublished\tshape", *lines]) + "\n"


def path(name: str) -> Path:
    return HERE / "keys" / f"{name}.txt"


if __name__ == "__main__":
    for each in LISTS:
        path(each).write_text(listing(each))
