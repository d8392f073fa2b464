"""Weights that were trained before their architecture learnt something more."""

from pathlib import Path
from typing import TypeVar

from diffusers.models.modeling_utils import ModelMixin

from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.training.architecture import STATISTICS, check_init

# What adds modules that answer zero before they are trained, so that weights without them still mean the same.
GROWING = {"transformer": ("camera_condition", "interval_condition"), "vae": ("decoder_resnet_layers",)}

Model = TypeVar("Model", bound=ModelMixin)


def grown_transformer(trained: str | Path, pipeline: str | Path) -> TriplaneTransformer:
    """The architecture of `pipeline` with the weights of `trained`, both folders with `transformer/`.

    What `pipeline` has and `trained` has not may only be what starts as nothing.
    """
    # As a model, not as the JSON of its config: keys that are younger than the file then say what they mean by default.
    weights = TriplaneTransformer.from_pretrained(trained, subfolder="transformer")
    return _grown(weights, f"{trained}/transformer", pipeline, "transformer")


def grown_autoencoder(trained: str | Path, pipeline: str | Path) -> AutoencoderKLTriplane:
    """Likewise the `vae/` of `pipeline` with the weights of the folder `trained`, and with the scale of its latents."""
    weights = AutoencoderKLTriplane.from_pretrained(trained)
    vae = _grown(weights, str(trained), pipeline, "vae")
    vae.register_to_config(**{key: weights.config[key] for key in STATISTICS})
    return vae


def _grown(weights: Model, trained: str, pipeline: str | Path, component: str) -> Model:
    kind = type(weights)
    model = kind.from_config(kind.load_config(pipeline, subfolder=component))
    check_init(trained, weights.config, f"{pipeline}/{component}", model.config, growing=GROWING[component])
    model.load_state_dict(weights.float().state_dict(), strict=False)
    return model
