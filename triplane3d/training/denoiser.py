"""Stage 3: trains transformer and image encoder to generate the latents of the shape in a photo.

    python scripts/train_denoiser.py configs/mini/denoiser.yaml

Architectures and scheduler come from the pipeline that the configuration names. The scheduler determines the training
target (`triplane3d.training.noise`). A second image encoder, if the pipeline has one, is not trained.
"""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers import SchedulerMixin
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from triplane3d.config import DenoiserConfig, FlowConfig
from triplane3d.images.augmentation import augment_views
from triplane3d.models.image_encoder import check_tokens, freeze_unused, image_tokens, token_width
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.training.coarse_occupancy import LABEL_POINTS, CoarseOccupancy
from triplane3d.training.components import build_image_encoder, build_training_pipeline
from triplane3d.training.conditioning import check_views, choose_views, pixel_values, view_tokens
from triplane3d.training.inputs import check_model, check_pipeline
from triplane3d.training.losses import drop_condition
from triplane3d.training.noise import noise_path
from triplane3d.training.run_setup import start_run
from triplane3d.training.sources import check_source, latents_and_photos, validation_photos
from triplane3d.training.trainer import Trainer
from triplane3d.training.validation import validate_denoiser
from triplane3d.training.warm_start import warm_start_transformer


class DenoiserObjective(nn.Module):
    """The losses of one batch. The tokens of each photo are used for `flow.noise_draws` noise levels."""

    def __init__(
        self,
        image_encoder: nn.Module,
        transformer: nn.Module,
        scheduler: SchedulerMixin,
        flow: FlowConfig,
        pixel_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.image_encoder, self.transformer, self.pixel_encoder = image_encoder, transformer, pixel_encoder
        self.path, self.flow = noise_path(scheduler, flow), flow
        self.coarse_head = None
        if flow.coarse_occupancy:
            prefix: Any = transformer.config.num_prefix_tokens
            self.coarse_head = CoarseOccupancy(token_width(image_encoder.config), prefix)

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        pixel_values: Float[Tensor, "batch *views pixel_channels size size"],
        regression: bool = False,
        second_pixel_values: Float[Tensor, "batch pixel_channels2 size2 size2"] | None = None,
        cameras: Float[Tensor, "batch views 2"] | None = None,
        label_points: Float[Tensor, "batch labels 3"] | None = None,
        label_distance: Float[Tensor, "batch labels"] | None = None,
    ) -> dict[str, Tensor]:
        """Loss, and its parts if there are several.

        Args:
            latents: of each shape, normalized.
            pixel_values: one photo of each shape, or with `cameras` several.
            regression: whether all samples are pure noise, as in the regression warm-up.
            second_pixel_values: the photos for the second encoder.
            cameras: azimuth and elevation in degrees; NaN where unknown.
            label_points: for coarse occupancy.
            label_distance: signed distances of these points.
        """
        tokens = view_tokens(self.image_encoder, pixel_values)
        losses = {}
        if self.coarse_head is not None:
            assert label_points is not None and label_distance is not None, "coarse occupancy needs labels"
            of_front = tokens[:, : tokens.shape[1] // (1 if cameras is None else cameras.shape[1])]
            losses["coarse"] = self.coarse_head(of_front, label_points, label_distance)
        streams = {"encoder_hidden_states": tokens}
        if self.pixel_encoder is not None:
            assert second_pixel_values is not None, "the second encoder needs photos"
            streams["pixel_hidden_states"] = image_tokens(self.pixel_encoder, second_pixel_values)
        draws = self.flow.noise_draws
        dropped = torch.rand(len(latents) * draws, device=latents.device) < self.flow.condition_dropout
        for name, tokens in streams.items():
            tokens = repeat(tokens, "batch token channel -> (batch draw) token channel", draw=draws)
            streams[name] = drop_condition(tokens, dropped)
        if cameras is not None:
            streams["cameras"] = repeat(cameras, "batch ... -> (batch draw) ...", draw=draws)

        latents = repeat(latents, "batch ... -> (batch draw) ...", draw=draws)
        noise = torch.randn_like(latents)
        timesteps = self.path.sample_timesteps(len(latents), regression).to(latents.device)
        noisy, target = self.path.mix(latents, timesteps, noise)
        prediction = self.transformer(hidden_states=noisy, timestep=timesteps, **streams, return_dict=False)[0]
        losses["velocity"] = functional.mse_loss(prediction.float(), target)
        loss = losses["velocity"] + self.flow.coarse_occupancy * losses.get("coarse", 0.0)
        if self.flow.contrast:
            # Contrastive flow matching (Stoica et al. 2025): away from the target of another sample of the batch.
            losses["contrast"] = functional.mse_loss(prediction.float(), target.roll(draws, dims=0))
            loss = loss - self.flow.contrast * losses["contrast"]
        return {"loss": loss, **(losses if len(losses) > 1 else {})}


def train(config: DenoiserConfig) -> Path:
    """Trains until `config.run.steps` and returns the output folder.

    It then holds `transformer/`, and `image_encoder/` if that was trained.
    """
    check_inputs(config)
    accelerator = start_run(config)
    transformer = build_transformer(config)
    check_views(config.views, transformer)
    image_encoder = build_image_encoder(config)
    pipeline = build_training_pipeline(config.pipeline, config.data.vae, image_encoder, transformer, accelerator.device)

    check_tokens(image_encoder, transformer, pipeline.image_processor.image_size)
    components = {"transformer": transformer.train()}
    if config.train_image_encoder:
        freeze_unused(image_encoder, pipeline.image_processor.image_size)
        components = {"image_encoder": image_encoder.train(), **components}
    else:
        image_encoder.to(accelerator.device).requires_grad_(False).eval()
    # A copy of the scheduler: validation sets its timesteps, training reads them.
    objective = DenoiserObjective(
        image_encoder, transformer, deepcopy(pipeline.scheduler), config.flow, pipeline.pixel_encoder
    )
    trainer = Trainer(accelerator, config, objective, components)

    label_points = LABEL_POINTS if config.flow.coarse_occupancy else 0
    source = latents_and_photos(config.data, pipeline.vae, accelerator, label_points=label_points)
    measure = None
    if (shapes := validation_photos(config.data)) is not None:
        measure = accelerator.autocast()(partial(validate_denoiser, pipeline, shapes, config.data))

    for batch in trainer.batches(source):
        views, cameras = choose_views(batch["views"], batch["cameras"], config.views, trainer.common)
        framed = augment_views(rearrange(views, "batch view ... -> (batch view) ..."), config.augment)
        pixels = pixel_values(pipeline.image_processor, framed)
        second = None if pipeline.pixel_encoder is None else pixel_values(pipeline.pixel_processor, framed)
        trainer.update(
            trainer.losses(
                batch["latents"],
                rearrange(pixels, "(batch view) ... -> batch view ...", view=views.shape[1]),
                trainer.step < config.flow.regression_warmup * config.run.steps,
                second,
                cameras if transformer.config.camera_condition else None,
                batch.get("label_points"),
                batch.get("label_distance"),
            )
        )
        trainer.validate_and_save(measure)

    return trainer.finish()


def check_inputs(config: DenoiserConfig) -> None:
    """Raises `ValueError` if an input of this stage is missing, with the stage that writes it."""
    check_source(config.data, "folder", "latents")
    described = ("model_index.json", "transformer/config.json", "image_encoder/config.json")
    check_pipeline(config.pipeline, *described, "scheduler/scheduler_config.json")
    check_model("data.vae", config.data.vae, "vae")
    if config.init:
        check_model("init", f"{config.init}/transformer", "denoiser")
    if config.init_image_encoder:
        check_model("init_image_encoder", config.init_image_encoder, "denoiser")
    elif not config.train_image_encoder:
        check_model("train_image_encoder=false", f"{config.pipeline}/image_encoder", "denoiser")
    elif config.init:
        check_model("init", f"{config.init}/image_encoder", "denoiser")


def build_transformer(config: DenoiserConfig) -> TriplaneTransformer:
    """The transformer of the pipeline's architecture, with random weights or those of `init`."""
    if config.init:
        transformer = warm_start_transformer(config.init, config.pipeline)
    else:
        declared = TriplaneTransformer.load_config(config.pipeline, subfolder="transformer")
        transformer = TriplaneTransformer.from_config(declared)
    if transformer.interval_embed is not None:
        # Stage 3 trains velocities, which do not depend on the length of a step. Stage 4 trains this embedding.
        transformer.interval_embed.requires_grad_(False)
    return transformer
