"""The models of stages 3 and 4, put together as a pipeline: frozen ones from folders, trained ones as they are."""

import torch
from transformers import AutoConfig, PreTrainedModel

from triplane3d.config import DenoiserConfig
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.models.weights import check_finite
from triplane3d.pipelines.assembly import component_class
from triplane3d.pipelines.encoder_weights import load_encoder
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

PIPELINE_SETTINGS = (
    "foreground_ratio",
    "background",
    "framing",
    "image_statistics",
    "pixel_statistics",
    "image_size",
    "pixel_size",
    "level",
    "timestep_spacing",
)
"""Settings of a saved pipeline that training uses: preparation of photos, timesteps, level of the surface."""


def build_training_pipeline(
    folder: str,
    vae: str,
    image_encoder: PreTrainedModel,
    transformer: TriplaneTransformer,
    device: torch.device,
    **settings: object,
) -> Triplane3DPipeline:
    """A pipeline around the trained models, for preparing photos and for validation.

    The autoencoder and the second encoder, if the transformer has a second stream of tokens, are loaded in float32,
    frozen and moved to `device`. Image encoder and transformer are not changed.

    Args:
        folder: the pipeline's folder, whose `model_index.json` has settings, scheduler and second encoder.
        vae: folder of the autoencoder.
        image_encoder: of the pipeline.
        transformer: of the pipeline.
        device: of the frozen models.
        settings: settings that differ from those in the folder.
    """
    autoencoder = AutoencoderKLTriplane.from_pretrained(vae).to(device).requires_grad_(False).eval()
    pixel_encoder = None
    if transformer.config.pixel_attention_dim is not None:
        encoder_class = component_class(folder, "pixel_encoder")
        pixel_encoder = load_encoder(folder, encoder_class, subfolder="pixel_encoder", dtype=torch.float32)
        pixel_encoder.to(device).requires_grad_(False).eval()
    scheduler = component_class(folder, "scheduler").from_pretrained(folder, subfolder="scheduler")
    saved = Triplane3DPipeline.load_config(folder).items()
    options = {name: value for name, value in saved if name in PIPELINE_SETTINGS} | settings
    pipeline = Triplane3DPipeline(image_encoder, transformer, autoencoder, scheduler, pixel_encoder, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def build_image_encoder(config: DenoiserConfig) -> PreTrainedModel:
    """The image encoder of the pipeline's architecture, in float32, with the weights that the configuration selects.

    These are random weights, or those of `init_image_encoder`, of `init`, or of the pipeline if the encoder is not
    trained. Raises `ValueError` if they do not fit the architecture.
    """
    encoder_class = component_class(config.pipeline, "image_encoder")
    declared = AutoConfig.from_pretrained(config.pipeline, subfolder="image_encoder")
    if not isinstance(declared, encoder_class.config_class):
        raise ValueError(
            f"{config.pipeline}: model_index.json names {encoder_class.__name__} as image_encoder, but "
            f"image_encoder/config.json is of model_type {declared.model_type!r}, which is not its; change one of them"
        )
    if config.init_image_encoder:
        folder = config.init_image_encoder
    elif config.init or not config.train_image_encoder:
        folder = f"{config.init if config.init and config.train_image_encoder else config.pipeline}/image_encoder"
    else:
        return encoder_class(declared)
    encoder, found = encoder_class.from_pretrained(
        folder, config=declared, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    # transformers fills missing tensors with random numbers and ignores surplus ones. Only a folder from elsewhere may
    # hold more than the encoder, such as CLIP's text model.
    other = [*found["mismatched_keys"], *found["missing_keys"]]
    if not config.init_image_encoder:
        other += found["unexpected_keys"]
    if other:
        raise ValueError(
            f"{folder} does not fit what {config.pipeline} declares: {len(other)} tensors differ, such as "
            f"{min(map(str, other))}; train with the pipeline that it was made for, or start from other weights"
        )
    check_finite(folder, encoder)
    return encoder
