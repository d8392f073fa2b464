"""Stage 4: a student learns to walk in a few long steps, without guidance, where its guided teacher takes many.

    python scripts/distill_denoiser.py configs/mini/distill.yaml

The student is the teacher with `interval_condition`: it begins with the teacher's weights and answers with the mean
velocity of a step. Guidance is part of what it is taught, so it runs at guidance scale 1, one call a step, on trailing
schedules. The image encoder stays the teacher's.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call

from triplane3d.config import DistillConfig
from triplane3d.data.shards import ShardDataset
from triplane3d.images.augmentation import augment_views
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import check_tokens
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.assembly import component_class
from triplane3d.pipelines.encoder_weights import load_encoder
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.storage.durable import writing_folder
from triplane3d.training.denoiser import PIPELINE_SETTINGS, check_views, choose_views, normalize, validate
from triplane3d.training.flow_map import Conditions, Lecturer, Lessons, Velocity, guided_velocity
from triplane3d.training.growth import grown_transformer
from triplane3d.training.inputs import check_model, check_pipeline
from triplane3d.training.precision import check_precision
from triplane3d.training.sources import check_source, latents_and_photos, validation_photos
from triplane3d.training.trainer import Run, start


class FlowMapObjective(nn.Module):
    """How far the student's mean velocities are from those of its lessons."""

    def __init__(self, transformer: nn.Module, huber: float):
        super().__init__()
        self.transformer, self.huber = transformer, huber

    def forward(self, lessons: Lessons, conditions: Conditions) -> dict[str, Tensor]:
        """The loss, and its two parts: what the teacher says, and what the student's own halves say."""
        prediction = self.transformer(
            hidden_states=lessons.latents,
            timestep=lessons.timesteps,
            timestep_end=lessons.timestep_ends,
            **conditions,
            return_dict=False,
        )[0]
        error = sample_error(prediction.float(), lessons.target, self.huber)
        losses = {"loss": error.mean(), "finest": error[: lessons.finest].mean()}
        return losses | ({"longer": error[lessons.finest :].mean()} if lessons.finest < len(error) else {})


def sample_error(
    prediction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "batch channels height width"],
    huber: float,
) -> Float[Tensor, " batch"]:
    """Each sample's mean square, or with c = `huber` the pseudo-Huber loss 2c(√(mean square + c²) − c).

    That is the mean square where it is far below c², and grows like its root far above.
    """
    square = reduce((prediction - target).square(), "batch ... -> batch", "mean")
    return 2 * huber * ((square + huber**2).sqrt() - huber) if huber else square


def train(config: DistillConfig) -> Path:
    """Trains until `config.run.steps`; the output folder then holds `transformer/`, and the teacher's `image_encoder/`
    from the beginning."""
    check_source(config.data, "folder", "latents")
    check_pipeline(config.pipeline, "model_index.json", "transformer/config.json", "scheduler/scheduler_config.json")
    check_model("data.vae", config.data.vae, "vae")
    for component in ("transformer", "image_encoder"):
        check_model("teacher", f"{config.teacher}/{component}", "denoiser")
    accelerator = start(config)
    teacher = TriplaneTransformer.from_pretrained(config.teacher, subfolder="transformer").float()
    teacher.to(accelerator.device).requires_grad_(False).eval()
    transformer = grown_transformer(config.teacher, config.pipeline)
    if transformer.interval_embed is None:
        raise ValueError(
            f"{config.pipeline}/transformer/config.json should say interval_condition=true: a model of few steps is "
            "told where its steps end; write it there, or name another pipeline"
        )
    check_views(config.views, transformer)
    pipeline = build_pipeline(config, transformer, accelerator.device)
    check_tokens(pipeline.image_encoder, transformer, pipeline.image_processor.image_size)
    if accelerator.is_main_process:
        with writing_folder(Path(config.run.output) / "image_encoder", replace=True) as unfinished:
            pipeline.image_encoder.save_pretrained(unfinished)

    objective = FlowMapObjective(transformer.train(), config.flow_map.huber)
    run = Run(accelerator, config, objective, {"transformer": transformer})
    lecturer = Lecturer(
        guided_velocity(teacher, config.flow_map.guidance),
        averaged_flow_map(transformer, run.averages["transformer"]),
        pipeline.scheduler,
        config.flow_map,
    )

    measure = None
    if config.validate_at and (held_out := validation_photos(config.data)) is not None:
        measure = accelerator.autocast()(partial(validate_few, pipeline, held_out, config))

    encoders = {"image_encoder": pipeline.image_encoder, "pixel_encoder": pipeline.pixel_encoder}
    encoders = {name: encoder for name, encoder in encoders.items() if encoder is not None}
    for number, batch in enumerate(run.batches(latents_and_photos(config.data, pipeline.vae, accelerator))):
        if number == 0:  # frozen and outside of the objective, whose precision `run.losses` checks
            check_precision(accelerator, encoders, partial(seen, pipeline, batch, config))
        with accelerator.autocast():
            conditions = seen(pipeline, batch, config, run.common)
            lessons = lecturer.draw(batch["latents"], conditions)
        run.update(run.losses(lessons, conditions))
        run.pause(measure)

    return run.finish()


def build_pipeline(config: DistillConfig, transformer: TriplaneTransformer, device: torch.device) -> Triplane3DPipeline:
    """The student's pipeline; all but its transformer is frozen."""
    encoder_class = component_class(config.pipeline, "image_encoder")
    image_encoder = load_encoder(config.teacher, encoder_class, subfolder="image_encoder", dtype=torch.float32)
    vae = AutoencoderKLTriplane.from_pretrained(config.data.vae)
    pixel_encoder = None
    if transformer.config.pixel_attention_dim is not None:
        pixel_encoder = load_encoder(
            config.pipeline, component_class(config.pipeline, "pixel_encoder"), subfolder="pixel_encoder",
            dtype=torch.float32,
        )  # fmt: skip
    for model in (image_encoder, vae, pixel_encoder):
        if model is not None:
            model.to(device).requires_grad_(False).eval()
    settings = {name: value for name, value in Triplane3DPipeline.load_config(config.pipeline).items()
                if name in PIPELINE_SETTINGS} | {"timestep_spacing": "trailing"}  # fmt: skip
    scheduler = component_class(config.pipeline, "scheduler").from_pretrained(config.pipeline, subfolder="scheduler")
    pipeline = Triplane3DPipeline(image_encoder, transformer, vae, scheduler, pixel_encoder, **settings)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def seen(
    pipeline: Triplane3DPipeline, batch: dict[str, Tensor], config: DistillConfig, common: Generator | None = None
) -> Conditions:
    """What teacher and student are told of a batch: tokens of photos of each shape, damaged as for the denoiser."""
    views, cameras = choose_views(batch["views"], batch["cameras"], config.views, common)
    framed = augment_views(rearrange(views, "batch view ... -> (batch view) ..."), config.augment)
    tokens = pipeline.encode_image(normalize(pipeline.image_processor, framed))
    conditions = {
        "encoder_hidden_states": rearrange(
            tokens, "(batch view) token feature -> batch (view token) feature", view=views.shape[1]
        )
    }
    if pipeline.transformer.config.camera_condition:
        conditions["cameras"] = cameras
    if pipeline.pixel_encoder is not None:
        pixel_values = normalize(pipeline.pixel_processor, framed)
        conditions["pixel_hidden_states"] = pipeline.encode_image(pixel_values, pipeline.pixel_encoder)
    return conditions


def averaged_flow_map(transformer: TriplaneTransformer, average: EMAModel) -> Velocity:
    """The mean velocities of the student's averaged weights, which are steadier than those it has right now."""
    names = [name for name, _ in transformer.named_parameters()]

    def velocity(latents: Tensor, timesteps: Tensor, timestep_ends: Tensor, conditions: Conditions) -> Tensor:
        weights = dict(zip(names, average.shadow_params, strict=True))
        told = {"hidden_states": latents, "timestep": timesteps, "timestep_end": timestep_ends, **conditions}
        return functional_call(transformer, weights, (), {**told, "return_dict": False})[0].float()

    return velocity


def validate_few(
    pipeline: Triplane3DPipeline, shapes: ShardDataset, config: DistillConfig
) -> tuple[dict[str, float], np.ndarray]:
    """V-IoU of held-out photos at each number of steps, one call a step; the picture is of the last number."""
    scores: dict[str, float] = {}
    for steps in config.validate_at:
        data = replace(config.data, validation_steps=steps, validation_guidance=1.0)
        measured, picture = validate(pipeline, shapes, data)
        scores |= {f"{name}_at_{steps}": value for name, value in measured.items()}
    return scores, picture
