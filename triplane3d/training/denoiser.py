"""Stage 3: image encoder and transformer learn together, from scratch, to turn noise into the latents of a photo.

    python scripts/train_denoiser.py configs/mini/denoiser.yaml

What is predicted on the way from data to noise is the scheduler's (`triplane3d.training.noise`), read like the
architectures from the pipeline that the configuration names. A second encoder, if the pipeline has one, stays as it is.
"""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers import SchedulerMixin
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedModel

from triplane3d.config import DenoiserConfig, FlowConfig, LatentDataConfig, ViewsConfig
from triplane3d.data.batches import gather
from triplane3d.data.shards import ShardDataset
from triplane3d.images.augmentation import augment_views, premultiply
from triplane3d.images.image_processor import (
    FOREGROUND_RATIO,
    Triplane3DImageProcessor,
    normalize_framed,
)
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import check_tokens, freeze_unused, image_tokens, token_width
from triplane3d.models.pixels import resize_square
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.models.weights import check_finite
from triplane3d.pipelines.assembly import component_class
from triplane3d.pipelines.encoder_weights import load_encoder
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.training.growth import grown_transformer
from triplane3d.training.inputs import check_model, check_pipeline
from triplane3d.training.losses import drop_condition, occupancy_iou
from triplane3d.training.noise import noise_path
from triplane3d.training.pictures import contact_sheet
from triplane3d.training.sources import check_source, latents_and_photos, validation_photos
from triplane3d.training.trainer import Run, start

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
"""What a saved pipeline says of how its photos are prepared, how its steps lie and where its surfaces."""


COARSE_CELLS = 8
"""Depths that a token of the front view tells apart."""

COARSE_LABELS = 8192
"""Labels read for that, half of which are uniform: eight a cell."""


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
        """`pixel_values` are one photo of each shape, or with `cameras` several; labels: what the tokens tell."""
        tokens = view_tokens(self.image_encoder, pixel_values)
        losses = {}
        if self.coarse_head is not None:
            assert label_points is not None and label_distance is not None, "coarse occupancy is counted from labels"
            of_front = tokens[:, : tokens.shape[1] // (1 if cameras is None else cameras.shape[1])]
            losses["coarse"] = self.coarse_head(of_front, label_points, label_distance)
        streams = {"encoder_hidden_states": tokens}
        if self.pixel_encoder is not None:
            assert second_pixel_values is not None, "a second encoder sees the photos too"
            streams["pixel_hidden_states"] = image_tokens(self.pixel_encoder, second_pixel_values)
        dropped = torch.rand(len(latents) * self.flow.noise_draws, device=latents.device) < self.flow.condition_dropout
        for name, tokens in streams.items():
            tokens = repeat(tokens, "batch token channel -> (batch draw) token channel", draw=self.flow.noise_draws)
            streams[name] = drop_condition(tokens, dropped)

        known = {}
        if cameras is not None:
            known = {"cameras": repeat(cameras, "batch ... -> (batch draw) ...", draw=self.flow.noise_draws)}
        latents = repeat(latents, "batch ... -> (batch draw) ...", draw=self.flow.noise_draws)
        noise = torch.randn_like(latents)
        timesteps = self.path.draw(len(latents), regression).to(latents.device)
        noisy, target = self.path.mix(latents, timesteps, noise)
        prediction = self.transformer(hidden_states=noisy, timestep=timesteps, **streams, **known, return_dict=False)[0]
        losses["velocity"] = functional.mse_loss(prediction.float(), target)
        loss = losses["velocity"] + self.flow.coarse_occupancy * losses.get("coarse", 0.0)
        if self.flow.contrast:
            losses["contrast"] = functional.mse_loss(prediction.float(), target.roll(self.flow.noise_draws, dims=0))
            loss = loss - self.flow.contrast * losses["contrast"]
        return {"loss": loss, **(losses if len(losses) > 1 else {})}


class CoarseOccupancy(nn.Module):
    """How much of each cell of a coarse grid is inside, told by the front view's tokens: each one's column of depth.

    It is dropped after training: a task with labels that cost nothing, which says what the tokens should know.
    """

    def __init__(self, token_dim: int, num_prefix_tokens: int):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.depths = nn.Linear(token_dim, COARSE_CELLS)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        label_points: Float[Tensor, "batch labels 3"],
        label_distance: Float[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy, over the cells that a label fell into, with the share of those that are inside."""
        logits = self.depths(tokens[:, self.num_prefix_tokens :]).float()
        side = round(logits.shape[1] ** 0.5)
        uniform = label_points.shape[1] // 2  # the others crowd around the surface
        x, y, z = label_points[:, :uniform].unbind(dim=-1)
        column, row, depth = (((value + 1) / 2 * count).long().clamp(0, count - 1)
                              for value, count in ((x, side), (-y, side), (z, COARSE_CELLS)))  # fmt: skip
        cell = (row * side + column) * COARSE_CELLS + depth
        inside = (label_distance[:, :uniform] < 0).float()
        empty = torch.zeros(len(logits), logits[0].numel(), device=logits.device)
        count = empty.scatter_add(1, cell, torch.ones_like(inside))
        share = empty.scatter_add(1, cell, inside) / count.clamp(min=1)
        each = functional.binary_cross_entropy_with_logits(logits.flatten(1), share, reduction="none")
        return (each * count).sum() / count.sum()


def view_tokens(
    encoder: nn.Module, pixel_values: Float[Tensor, "batch *views channels size size"]
) -> Float[Tensor, "batch tokens features"]:
    """The tokens of every photo; those of several photos of a shape follow one another."""
    if pixel_values.ndim == 4:
        return image_tokens(encoder, pixel_values)
    tokens = image_tokens(encoder, rearrange(pixel_values, "batch view ... -> (batch view) ..."))
    return rearrange(tokens, "(batch view) token feature -> batch (view token) feature", view=pixel_values.shape[1])


def check_views(config: ViewsConfig, transformer: TriplaneTransformer) -> None:
    """A model of one photo is not shown several."""
    declared = transformer.config
    if config.max_views > 1 and (not declared.camera_condition or declared.pixel_attention_dim is not None):
        raise ValueError(
            f"views.max_views={config.max_views} wants a transformer with camera_condition and without a second stream "
            f"of tokens, but this one says camera_condition={declared.camera_condition} and pixel_attention_dim="
            f"{declared.pixel_attention_dim}; set views.max_views=1, or write camera_condition=true into the "
            "pipeline's transformer/config.json"
        )


def choose_views(
    views: Float[Tensor, "batch stored 4 height width"],
    cameras: Float[Tensor, "batch stored 2"],
    config: ViewsConfig,
    common: Generator | None = None,
) -> tuple[Float[Tensor, "batch views 4 height width"], Float[Tensor, "batch views 2"]]:
    """As many photos of each shape as this batch shows, and of their cameras what is told.

    The number is drawn from `common`, the same on all processes: none then waits for one that looks at more.
    """
    most = min(config.max_views, views.shape[1])
    several = most > 1 and torch.rand((), generator=common) >= config.single
    count = int(torch.randint(2, most + 1, (), generator=common)) if several else 1
    views, cameras = views[:, :count], cameras[:, :count]
    hidden = torch.rand(cameras.shape, device=cameras.device) < cameras.new_tensor(
        [config.unknown_azimuth, config.unknown_elevation]
    )
    hidden[:, 0, 0] = False
    return views, cameras.masked_fill(hidden, torch.nan)


def train(config: DenoiserConfig) -> Path:
    """Trains until `config.run.steps`; the output folder then holds what was trained: `transformer/`, and
    `image_encoder/` unless that was kept as it was."""
    check_inputs(config)
    accelerator = start(config)
    scheduler = component_class(config.pipeline, "scheduler").from_pretrained(config.pipeline, subfolder="scheduler")
    if config.init:
        transformer = grown_transformer(config.init, config.pipeline)
    else:
        transformer = TriplaneTransformer.from_config(
            TriplaneTransformer.load_config(config.pipeline, subfolder="transformer")
        )
    if transformer.interval_embed is not None:
        # Here steps have no length; what their length means is for stage 4 to teach, and nothing until then.
        transformer.interval_embed.requires_grad_(False)
    check_views(config.views, transformer)
    image_encoder = build_image_encoder(config)

    data = config.data
    vae = AutoencoderKLTriplane.from_pretrained(data.vae).to(accelerator.device).requires_grad_(False).eval()
    settings = {name: value for name, value in Triplane3DPipeline.load_config(config.pipeline).items()
                if name in PIPELINE_SETTINGS}  # fmt: skip
    pixel_encoder = None
    if transformer.config.pixel_attention_dim is not None:
        pixel_encoder = load_encoder(
            config.pipeline, component_class(config.pipeline, "pixel_encoder"), subfolder="pixel_encoder",
            dtype=torch.float32,
        )  # fmt: skip
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

    labels = COARSE_LABELS if config.flow.coarse_occupancy else 0
    photos = latents_and_photos(data, vae, accelerator, label_points=labels)
    measure = None
    if (held_out := validation_photos(data)) is not None:
        measure = accelerator.autocast()(partial(validate, pipeline, held_out, data))

    for batch in run.batches(photos):
        views, cameras = choose_views(batch["views"], batch["cameras"], config.views, run.common)
        framed = augment_views(rearrange(views, "batch view ... -> (batch view) ..."), config.augment)
        pixel_values = rearrange(
            normalize(pipeline.image_processor, framed), "(batch view) ... -> batch view ...", view=views.shape[1]
        )
        second = None if pixel_encoder is None else normalize(pipeline.pixel_processor, framed)
        regression = run.step < config.flow.regression_warmup * config.run.steps
        run.update(
            run.losses(
                batch["latents"],
                pixel_values,
                regression,
                second,
                cameras if transformer.config.camera_condition else None,
                batch.get("label_points"),
                batch.get("label_distance"),
            )
        )
        run.pause(measure)

    return run.finish()


def check_inputs(config: DenoiserConfig) -> None:
    """Everything that this stage reads is there, or a `ValueError` says what is missing and which stage writes it."""
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
        folder = config.init_image_encoder
    elif config.init or not config.train_image_encoder:
        folder = f"{config.init if config.init and config.train_image_encoder else config.pipeline}/image_encoder"
    else:
        return encoder_class(declared)
    encoder, found = encoder_class.from_pretrained(
        folder, config=declared, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    # transformers would fill missing tensors with random numbers and leave out surplus ones. Only a folder from
    # elsewhere may hold more than the encoder, such as CLIP's text model.
    other = [*found["mismatched_keys"], *found["missing_keys"]]
    if not config.init_image_encoder:
        other += found["unexpected_keys"]
    if other:
        raise ValueError(
            f"{folder} does not fit what {config.pipeline} declares: {len(other)} tensors differ, such as "
            f"{min(map(str, other))}; train with the pipeline that it was made for, or begin with others"
        )
    check_finite(folder, encoder)
    return encoder


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
