"""Stage 4: distils the guided multi-step denoiser into a few-step flow map.

    python scripts/distill_denoiser.py configs/mini/distill.yaml

The student is the teacher with `interval_condition`. It starts with the teacher's weights and is trained to predict the
mean velocity of a step of any length (`triplane3d.training.flow_map`). Guidance is part of the target, so the student
runs with guidance scale 1 and one call per step, on trailing schedules. The image encoder is the teacher's.
"""

from functools import partial
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call

from triplane3d.config import DistillConfig
from triplane3d.images.augmentation import augment_views
from triplane3d.models.image_encoder import check_tokens
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.assembly import component_class
from triplane3d.pipelines.encoder_weights import load_encoder
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.storage.durable import writing_folder
from triplane3d.training.components import build_training_pipeline
from triplane3d.training.conditioning import check_views, choose_views, pixel_values
from triplane3d.training.flow_map import Conditions, FlowMapBatch, FlowMapSampler, Velocity, guided_velocity
from triplane3d.training.inputs import check_model, check_pipeline
from triplane3d.training.precision import check_precision
from triplane3d.training.run_setup import start_run
from triplane3d.training.sources import check_source, latents_and_photos, validation_photos
from triplane3d.training.trainer import Trainer
from triplane3d.training.validation import validate_step_counts
from triplane3d.training.warm_start import warm_start_transformer


class FlowMapObjective(nn.Module):
    """Error of the student's mean velocities; `huber` as in `sample_errors`."""

    def __init__(self, transformer: nn.Module, huber: float):
        super().__init__()
        self.transformer, self.huber = transformer, huber

    def forward(self, batch: FlowMapBatch, conditions: Conditions) -> dict[str, Tensor]:
        """The loss, and its parts: "finest" for the teacher's targets, "longer" for the student's own."""
        prediction = self.transformer(
            hidden_states=batch.latents,
            timestep=batch.timesteps,
            timestep_end=batch.timestep_ends,
            **conditions,
            return_dict=False,
        )[0]
        errors = sample_errors(prediction.float(), batch.target, self.huber)
        losses = {"loss": errors.mean(), "finest": errors[: batch.finest].mean()}
        return losses | ({"longer": errors[batch.finest :].mean()} if batch.finest < len(errors) else {})


def sample_errors(
    prediction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "batch channels height width"],
    huber: float,
) -> Float[Tensor, " batch"]:
    """Mean squared error m of each sample, or for c = `huber` > 0 the pseudo-Huber loss 2c(√(m + c²) − c).

    That is about m where m is far below c², and grows as √m far above.
    """
    square = reduce((prediction - target).square(), "batch ... -> batch", "mean")
    return 2 * huber * ((square + huber**2).sqrt() - huber) if huber else square


def train(config: DistillConfig) -> Path:
    """Trains until `config.run.steps` and returns the output folder.

    It then holds `transformer/`. The teacher's `image_encoder/` is written at the start.
    """
    check_source(config.data, "folder", "latents")
    check_pipeline(config.pipeline, "model_index.json", "transformer/config.json", "scheduler/scheduler_config.json")
    check_model("data.vae", config.data.vae, "vae")
    for component in ("transformer", "image_encoder"):
        check_model("teacher", f"{config.teacher}/{component}", "denoiser")
    accelerator = start_run(config)
    teacher = TriplaneTransformer.from_pretrained(config.teacher, subfolder="transformer").float()
    teacher.to(accelerator.device).requires_grad_(False).eval()
    transformer = warm_start_transformer(config.teacher, config.pipeline)
    if transformer.interval_embed is None:
        raise ValueError(
            f"{config.pipeline}/transformer/config.json should have interval_condition=true: a few-step model needs "
            "the end of each step as an input; add it there, or name another pipeline"
        )
    check_views(config.views, transformer)
    pipeline = build_student_pipeline(config, transformer, accelerator.device)
    check_tokens(pipeline.image_encoder, transformer, pipeline.image_processor.image_size)
    if accelerator.is_main_process:
        with writing_folder(Path(config.run.output) / "image_encoder", replace=True) as unfinished:
            pipeline.image_encoder.save_pretrained(unfinished)

    objective = FlowMapObjective(transformer.train(), config.flow_map.huber)
    trainer = Trainer(accelerator, config, objective, {"transformer": transformer})
    sampler = FlowMapSampler(
        guided_velocity(teacher, config.flow_map.guidance),
        averaged_flow_map(transformer, trainer.averages["transformer"]),
        pipeline.scheduler,
        config.flow_map,
    )

    measure = None
    if config.validate_at and (shapes := validation_photos(config.data)) is not None:
        measure = accelerator.autocast()(partial(validate_step_counts, pipeline, shapes, config))

    encoders = {"image_encoder": pipeline.image_encoder, "pixel_encoder": pipeline.pixel_encoder}
    encoders = {name: encoder for name, encoder in encoders.items() if encoder is not None}
    source = latents_and_photos(config.data, pipeline.vae, accelerator)
    for number, batch in enumerate(trainer.batches(source)):
        if number == 0:  # the encoders are not part of the objective, whose precision `trainer.losses` checks
            check_precision(accelerator, encoders, partial(batch_conditions, pipeline, batch, config))
        with accelerator.autocast():
            conditions = batch_conditions(pipeline, batch, config, trainer.common)
            steps = sampler.sample(batch["latents"], conditions)
        trainer.update(trainer.losses(steps, conditions))
        trainer.validate_and_save(measure)

    return trainer.finish()


def build_student_pipeline(
    config: DistillConfig, transformer: TriplaneTransformer, device: torch.device
) -> Triplane3DPipeline:
    """The student's pipeline with trailing timesteps. All models except the transformer are frozen."""
    encoder_class = component_class(config.pipeline, "image_encoder")
    image_encoder = load_encoder(config.teacher, encoder_class, subfolder="image_encoder", dtype=torch.float32)
    image_encoder.to(device).requires_grad_(False).eval()
    return build_training_pipeline(
        config.pipeline, config.data.vae, image_encoder, transformer, device, timestep_spacing="trailing"
    )


@torch.no_grad()
def batch_conditions(
    pipeline: Triplane3DPipeline, batch: dict[str, Tensor], config: DistillConfig, common: Generator | None = None
) -> Conditions:
    """Image tokens and cameras of a batch, for teacher and student, from photos augmented as in stage 3."""
    views, cameras = choose_views(batch["views"], batch["cameras"], config.views, common)
    framed = augment_views(rearrange(views, "batch view ... -> (batch view) ..."), config.augment)
    tokens = pipeline.encode_image(pixel_values(pipeline.image_processor, framed))
    conditions = {
        "encoder_hidden_states": rearrange(
            tokens, "(batch view) token feature -> batch (view token) feature", view=views.shape[1]
        )
    }
    if pipeline.transformer.config.camera_condition:
        conditions["cameras"] = cameras
    if pipeline.pixel_encoder is not None:
        pixels = pixel_values(pipeline.pixel_processor, framed)
        conditions["pixel_hidden_states"] = pipeline.encode_image(pixels, pipeline.pixel_encoder)
    return conditions


def averaged_flow_map(transformer: TriplaneTransformer, average: EMAModel) -> Velocity:
    """The mean velocities that the student's averaged weights predict. As targets they are more stable than those of
    its present weights."""
    names = [name for name, _ in transformer.named_parameters()]

    def velocity(latents: Tensor, timesteps: Tensor, timestep_ends: Tensor, conditions: Conditions) -> Tensor:
        weights = dict(zip(names, average.shadow_params, strict=True))
        inputs = {"hidden_states": latents, "timestep": timesteps, "timestep_end": timestep_ends, **conditions}
        return functional_call(transformer, weights, (), {**inputs, "return_dict": False})[0].float()

    return velocity
