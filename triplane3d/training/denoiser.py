"""Stage 3: image encoder and transformer learn together, from scratch, to turn noise into the latents of a photo.

    accelerate launch scripts/train_denoiser.py configs/mini/denoiser.yaml

What is predicted on the way from data to noise is the scheduler's (`triplane3d.training.noise`), read like the
architectures from the pipeline that the configuration names. A second encoder, if the pipeline has one, stays as it is.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers import SchedulerMixin
from einops import repeat
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedModel

from triplane3d.config import DenoiserConfig, FlowConfig, LatentDataConfig
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import check_tokens, freeze_unused, image_tokens
from triplane3d.models.pixels import resize_square
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.image_processor import (
    FOREGROUND_RATIO,
    Triplane3DImageProcessor,
    normalize_framed,
)
from triplane3d.pipelines.loading import component_class
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.training.augment import augment_views, premultiply
from triplane3d.training.encode import Latents
from triplane3d.training.losses import drop_condition, occupancy_iou
from triplane3d.training.noise import noise_path
from triplane3d.training.pictures import contact_sheet
from triplane3d.training.run import Run, gather, start

PIPELINE_SETTINGS = (
    "foreground_ratio",
    "background",
    "framing",
    "image_statistics",
    "pixel_statistics",
    "image_size",
    "pixel_size",
    "level",
)
"""What a saved pipeline says of how its photos are prepared and where its surfaces lie."""


class LatentPhotos:
    """Latents of shapes, and a photo of each drawn anew at every visit; every other visit mirrored, if encoded so."""

    def __init__(self, latents: Latents, photos: ShardDataset) -> None:
        if latents.seeds != photos.seeds:
            raise ValueError(
                f"the latents are of other shapes than the photos ({len(latents)} and {len(photos)} shapes): "
                "encode the latents of data.folder again"
            )
        self.latents, self.photos = latents, photos
        self.mirrored = latents.mirrored

    @property
    def generator(self) -> Generator | None:
        return self.photos.generator

    @generator.setter
    def generator(self, generator: Generator | None) -> None:
        self.photos.generator = generator

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        mirrored = self.mirrored and bool(torch.rand((), generator=self.generator) < 0.5)
        view = self.photos[index]["view"]
        return {"latents": self.latents.read(index, mirrored), "view": view.flip(-1) if mirrored else view}


class DenoiserObjective(nn.Module):
    """The loss of one batch; each photo's tokens serve `flow.noise_draws` noise levels."""

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

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        pixel_values: Float[Tensor, "batch pixel_channels size size"],
        regression: bool = False,
        second_pixel_values: Float[Tensor, "batch pixel_channels2 size2 size2"] | None = None,
    ) -> dict[str, Tensor]:
        streams = {"encoder_hidden_states": image_tokens(self.image_encoder, pixel_values)}
        if self.pixel_encoder is not None:
            assert second_pixel_values is not None, "a second encoder sees the photos too"
            streams["pixel_hidden_states"] = image_tokens(self.pixel_encoder, second_pixel_values)
        dropped = torch.rand(len(latents) * self.flow.noise_draws, device=latents.device) < self.flow.condition_dropout
        for name, tokens in streams.items():
            tokens = repeat(tokens, "batch token channel -> (batch draw) token channel", draw=self.flow.noise_draws)
            streams[name] = drop_condition(tokens, dropped)

        latents = repeat(latents, "batch ... -> (batch draw) ...", draw=self.flow.noise_draws)
        noise = torch.randn_like(latents)
        timesteps = self.path.draw(len(latents), regression).to(latents.device)
        noisy, target = self.path.mix(latents, timesteps, noise)
        prediction = self.transformer(hidden_states=noisy, timestep=timesteps, **streams, return_dict=False)[0]
        return {"loss": functional.mse_loss(prediction.float(), target)}


def train(config: DenoiserConfig) -> Path:
    """Trains until `config.run.steps`; the output folder then holds what was trained: `transformer/`, and
    `image_encoder/` unless that was kept as it was."""
    accelerator = start(config)
    scheduler = component_class(config.pipeline, "scheduler").from_pretrained(config.pipeline, subfolder="scheduler")
    if config.init:
        transformer = TriplaneTransformer.from_pretrained(config.init, subfolder="transformer")
    else:
        transformer = TriplaneTransformer.from_config(
            TriplaneTransformer.load_config(config.pipeline, subfolder="transformer")
        )
    image_encoder = build_image_encoder(config)

    data = config.data
    vae = AutoencoderKLTriplane.from_pretrained(data.vae).to(accelerator.device).requires_grad_(False).eval()
    settings = {name: value for name, value in Triplane3DPipeline.load_config(config.pipeline).items()
                if name in PIPELINE_SETTINGS}  # fmt: skip
    pixel_encoder = None
    if transformer.config.pixel_attention_dim is not None:
        pixel_encoder = component_class(config.pipeline, "pixel_encoder").from_pretrained(
            config.pipeline, subfolder="pixel_encoder", dtype=torch.float32
        )
        pixel_encoder.to(accelerator.device).requires_grad_(False).eval()
    pipeline = Triplane3DPipeline(image_encoder, transformer, vae, deepcopy(scheduler), pixel_encoder, **settings)
    pipeline.set_progress_bar_config(disable=True)

    check_tokens(image_encoder, transformer, pipeline.image_processor.image_size)
    components = {"transformer": transformer.train()}
    if config.train_image_encoder:
        freeze_unused(image_encoder, pipeline.image_processor.image_size)
        components = {"image_encoder": image_encoder.train(), **components}
    else:
        image_encoder.to(accelerator.device).requires_grad_(False).eval()
    objective = DenoiserObjective(image_encoder, transformer, scheduler, config.flow, pixel_encoder)
    run = Run(accelerator, config, objective, components)

    photos = LatentPhotos(Latents(data.latents, vae.config), ShardDataset(data.folder, keys=("view",)))
    held_out = None
    if data.validation:
        held_out = ShardDataset(data.validation, keys=("labels", "view"), label_points=data.validation_labels)

    for batch in run.batches(photos):
        framed = augment_views(batch["view"], config.augment)
        pixel_values = normalize(pipeline.image_processor, framed)
        second = None if pixel_encoder is None else normalize(pipeline.pixel_processor, framed)
        regression = run.step < config.flow.regression_warmup * config.run.steps
        run.update(run.objective(batch["latents"], pixel_values, regression, second))

        if held_out is not None and run.due(config.run.validate_every) and accelerator.is_main_process:
            with run.averaged(), accelerator.autocast():
                scores, picture = validate(pipeline, held_out, data)
            run.log(scores)
            run.picture("validation", picture)
        if run.due(config.run.checkpoint_every):
            run.save()

    return run.finish()


def build_image_encoder(config: DenoiserConfig) -> PreTrainedModel:
    """The encoder that the pipeline's JSON describes, in float32: of random weights unless the run names others."""
    encoder_class = component_class(config.pipeline, "image_encoder")
    declared = AutoConfig.from_pretrained(config.pipeline, subfolder="image_encoder")
    if not isinstance(declared, encoder_class.config_class):
        raise ValueError(
            f"{config.pipeline}: model_index.json names {encoder_class.__name__} as image_encoder, but "
            f"image_encoder/config.json is of model_type {declared.model_type!r}, which is not its; change one of them"
        )
    if config.init_image_encoder:
        return encoder_class.from_pretrained(config.init_image_encoder, config=declared, dtype=torch.float32)
    if config.init:
        trained = config.init if config.train_image_encoder else config.pipeline
        return encoder_class.from_pretrained(trained, subfolder="image_encoder", config=declared, dtype=torch.float32)
    return encoder_class(declared)


def normalize(
    processor: Triplane3DImageProcessor | None, framed: Float[Tensor, "batch 4 size size"]
) -> Float[Tensor, "batch channels image_size image_size"]:
    """Premultiplied photos of the shards as a pipeline's own image processor would hand them to its encoder."""
    assert processor is not None, "trained pipelines have their encoders"
    size, side = processor.image_size, framed.shape[-1]
    # The shards leave the border of the library's own framing; other framings leave less, or more.
    border = round(side * (1 - FOREGROUND_RATIO / processor.filled) / 2)
    framed = functional.pad(framed, (-border,) * 4)
    return normalize_framed(
        resize_square(framed, (size, size)),
        background=processor.background,
        statistics=processor.statistics,
        mask_channel=processor.mask_channel,
    )


@torch.no_grad()
def validate(
    pipeline: Triplane3DPipeline, shapes: ShardDataset, data: LatentDataConfig
) -> tuple[dict[str, float], np.ndarray]:
    """V-IoU of shapes generated from held-out photos, also after handing each photo to its neighbour, and a picture."""
    device = pipeline.transformer.device
    count = min(data.validation_shapes, len(shapes))
    batch = gather(shapes, range(count), Generator().manual_seed(0))
    batch = {name: tensor.to(device) for name, tensor in batch.items()}

    framed = premultiply(batch["view"])
    streams: dict[str, Any] = {"image_embeds": pipeline.encode_image(normalize(pipeline.image_processor, framed))}
    if pipeline.pixel_encoder is not None:
        pixel_values = normalize(pipeline.pixel_processor, framed)
        streams["pixel_embeds"] = pipeline.encode_image(pixel_values, pipeline.pixel_encoder)
    latents = pipeline(
        **streams,
        num_inference_steps=data.validation_steps,
        guidance_scale=data.validation_guidance,
        generator=Generator().manual_seed(0),
        output_type="latent",
        return_dict=False,
    )[0]
    field = pipeline.decode_latents(latents)

    uniform = batch["label_points"].shape[1] // 2
    points, distance = batch["label_points"][:, :uniform], batch["label_distance"][:, :uniform]
    logits = field.occupancy(points) - pipeline.config.level
    swapped = field.occupancy(points.roll(1, dims=0)) - pipeline.config.level
    scores = {
        "val_iou": occupancy_iou(logits.float(), distance).mean().item(),
        "val_iou_swapped": occupancy_iou(swapped.float(), distance.roll(1, dims=0)).mean().item(),
    }
    shown = min(data.validation_pictures, count)
    return scores, contact_sheet(pipeline.decode_latents(latents[:shown]), batch["view"][:shown])
