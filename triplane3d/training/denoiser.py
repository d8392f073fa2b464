"""Stage 3: image encoder and transformer learn together, from scratch, to turn noise into the latents of a photo.

    accelerate launch scripts/train_denoiser.py configs/mini/denoiser.yaml

Flow matching: on the straight path from data to noise the network predicts the velocity, noise − data. The path and
its noise levels are the scheduler's, read like both architectures from the pipeline that the configuration names.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling
from einops import repeat
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedModel

from triplane3d.config import DenoiserConfig, FlowConfig
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import check_tokens, freeze_unused, image_tokens
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.image_processor import normalize_framed
from triplane3d.pipelines.loading import image_encoder_class
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.training.augment import augment_views, premultiply
from triplane3d.training.encode import Latents
from triplane3d.training.losses import drop_condition, occupancy_iou
from triplane3d.training.pictures import contact_sheet
from triplane3d.training.run import Run, gather, start


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
    """The flow-matching loss of one batch; each photo's tokens serve `flow.noise_draws` noise levels."""

    def __init__(
        self,
        image_encoder: nn.Module,
        transformer: nn.Module,
        scheduler: FlowMatchEulerDiscreteScheduler,
        flow: FlowConfig,
    ):
        super().__init__()
        self.image_encoder, self.transformer = image_encoder, transformer
        self.scheduler, self.flow = scheduler, flow

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        pixel_values: Float[Tensor, "batch pixel_channels size size"],
        regression: bool = False,
    ) -> dict[str, Tensor]:
        tokens = image_tokens(self.image_encoder, pixel_values)
        tokens = repeat(tokens, "batch token channel -> (batch draw) token channel", draw=self.flow.noise_draws)
        tokens = drop_condition(tokens, torch.rand(len(tokens), device=tokens.device) < self.flow.condition_dropout)

        latents = repeat(latents, "batch ... -> (batch draw) ...", draw=self.flow.noise_draws)
        noise = torch.randn_like(latents)
        timesteps = self.draw_timesteps(len(latents), regression).to(latents.device)
        noisy = self.scheduler.scale_noise(latents, timesteps, noise)
        velocity = self.transformer(
            hidden_states=noisy, timestep=timesteps, encoder_hidden_states=tokens, return_dict=False
        )[0]
        return {"loss": functional.mse_loss(velocity.float(), noise - latents)}

    def draw_timesteps(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        """The scheduler's timesteps at logit-normal places; all at pure noise during the regression warm-up."""
        if regression:
            return self.scheduler.timesteps[:1].expand(count)
        places = compute_density_for_timestep_sampling(
            "logit_normal", batch_size=count, logit_mean=self.flow.logit_mean, logit_std=self.flow.logit_std
        )
        steps = len(self.scheduler.timesteps)
        return self.scheduler.timesteps[(places * steps).long().clamp(max=steps - 1)]


def train(config: DenoiserConfig) -> Path:
    """Trains until `config.run.steps`; the output folder then holds `image_encoder/` and `transformer/`."""
    accelerator = start(config)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(config.pipeline, subfolder="scheduler")
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
                if name in ("foreground_ratio", "background", "image_statistics", "image_size")}  # fmt: skip
    pipeline = Triplane3DPipeline(image_encoder, transformer, vae, deepcopy(scheduler), **settings)
    pipeline.set_progress_bar_config(disable=True)

    check_tokens(image_encoder, transformer, pipeline.image_processor.image_size)
    freeze_unused(image_encoder, pipeline.image_processor.image_size)
    objective = DenoiserObjective(image_encoder.train(), transformer.train(), scheduler, config.flow)
    run = Run(accelerator, config, objective, {"image_encoder": image_encoder, "transformer": transformer})

    photos = LatentPhotos(Latents(data.latents, vae.config), ShardDataset(data.folder, keys=("view",)))
    held_out = None
    if data.validation:
        held_out = ShardDataset(data.validation, keys=("labels", "view"), label_points=data.validation_labels)

    for batch in run.batches(photos):
        pixel_values = normalize(pipeline, augment_views(batch["view"], config.augment))
        regression = run.step < config.flow.regression_warmup * config.run.steps
        run.update(run.objective(batch["latents"], pixel_values, regression))

        if held_out is not None and run.due(config.run.validate_every) and accelerator.is_main_process:
            with run.averaged(), accelerator.autocast():
                scores, picture = validate(pipeline, held_out, config)
            run.log(scores)
            run.picture("validation", picture)
        if run.due(config.run.checkpoint_every):
            run.save()

    return run.finish()


def build_image_encoder(config: DenoiserConfig) -> PreTrainedModel:
    """The encoder that the pipeline's JSON describes, in float32: of random weights unless the run names others."""
    encoder_class = image_encoder_class(config.pipeline)
    declared = AutoConfig.from_pretrained(config.pipeline, subfolder="image_encoder")
    if not isinstance(declared, encoder_class.config_class):
        raise ValueError(
            f"{config.pipeline}: model_index.json names {encoder_class.__name__} as image_encoder, but "
            f"image_encoder/config.json is of model_type {declared.model_type!r}, which is not its; change one of them"
        )
    if config.init_image_encoder:
        return encoder_class.from_pretrained(config.init_image_encoder, config=declared, dtype=torch.float32)
    if config.init:
        return encoder_class.from_pretrained(
            config.init, subfolder="image_encoder", config=declared, dtype=torch.float32
        )
    return encoder_class(declared)


def normalize(
    pipeline: Triplane3DPipeline, framed: Float[Tensor, "batch 4 size size"]
) -> Float[Tensor, "batch channels image_size image_size"]:
    """Premultiplied photos as the pipeline's own image processor would hand them to the encoder."""
    processor = pipeline.image_processor
    if framed.shape[-1] != processor.image_size:
        framed = functional.interpolate(framed, (processor.image_size,) * 2, mode="bilinear", antialias=True)
    return normalize_framed(
        framed,
        background=processor.background,
        statistics=processor.statistics,
        mask_channel=processor.mask_channel,
    )


@torch.no_grad()
def validate(
    pipeline: Triplane3DPipeline, shapes: ShardDataset, config: DenoiserConfig
) -> tuple[dict[str, float], np.ndarray]:
    """V-IoU of shapes generated from held-out photos, also after handing each photo to its neighbour, and a picture."""
    data = config.data
    device = pipeline.transformer.device
    count = min(data.validation_shapes, len(shapes))
    batch = gather(shapes, range(count), Generator().manual_seed(0))
    batch = {name: tensor.to(device) for name, tensor in batch.items()}

    embeds = pipeline.encode_image(normalize(pipeline, premultiply(batch["view"])))
    latents = pipeline(
        image_embeds=embeds,
        num_inference_steps=data.validation_steps,
        guidance_scale=data.validation_guidance,
        generator=Generator().manual_seed(0),
        output_type="latent",
        return_dict=False,
    )[0]
    field = pipeline.decode_latents(latents)

    uniform = batch["label_points"].shape[1] // 2
    points, distance = batch["label_points"][:, :uniform], batch["label_distance"][:, :uniform]
    logits = field.occupancy(points)
    swapped = field.occupancy(points.roll(1, dims=0))
    scores = {
        "val_iou": occupancy_iou(logits.float(), distance).mean().item(),
        "val_iou_swapped": occupancy_iou(swapped.float(), distance.roll(1, dims=0)).mean().item(),
    }
    shown = min(data.validation_pictures, count)
    return scores, contact_sheet(pipeline.decode_latents(latents[:shown]), batch["view"][:shown])
