"""Warm start: a model initialized with trained weights of a smaller architecture.

Modules that the trained weights lack must output zero when they are initialized. The model then computes the same as
the trained one until it is trained further.
"""

from pathlib import Path
from typing import TypeVar

from diffusers.models.modeling_utils import ModelMixin

from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.training.architecture import STATISTICS, check_init

EXTENSIONS = {"transformer": ("camera_condition", "interval_condition"), "vae": ("decoder_resnet_layers",)}
"""Config keys, by component, that add modules whose initial output is zero."""

Model = TypeVar("Model", bound=ModelMixin)


def warm_start_transformer(trained: str | Path, pipeline: str | Path) -> TriplaneTransformer:
    """The transformer of `pipeline`'s architecture with the weights in `trained`; both folders hold `transformer/`.

    Raises `ValueError` if the architectures differ in more than `EXTENSIONS`.
    """
    # The config comes from the model: keys that were added after its file was written then have their defaults.
    weights = TriplaneTransformer.from_pretrained(trained, subfolder="transformer")
    return _warm_start(weights, f"{trained}/transformer", pipeline, "transformer")


def warm_start_autoencoder(trained: str | Path, pipeline: str | Path) -> AutoencoderKLTriplane:
    """The autoencoder of `pipeline`'s architecture (`vae/`) with weights and latent statistics of the folder `trained`.

    Raises `ValueError` if the architectures differ in more than `EXTENSIONS`.
    """
    weights = AutoencoderKLTriplane.from_pretrained(trained)
    vae = _warm_start(weights, str(trained), pipeline, "vae")
    vae.register_to_config(**{key: weights.config[key] for key in STATISTICS})
    return vae


def _warm_start(weights: Model, trained: str, pipeline: str | Path, component: str) -> Model:
    model_class = type(weights)
    model = model_class.from_config(model_class.load_config(pipeline, subfolder=component))
    check_init(trained, weights.config, f"{pipeline}/{component}", model.config, extensions=EXTENSIONS[component])
    model.load_state_dict(weights.float().state_dict(), strict=False)
    return model
