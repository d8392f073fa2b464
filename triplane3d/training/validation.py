"""Validation on held-out shapes: volumetric IoU and a picture, for the autoencoder and for the denoisers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from triplane3d.config import DistillConfig, LatentDataConfig, ShapeDataConfig
from triplane3d.data.batches import SampleSource, gather
from triplane3d.data.shards import ShardDataset
from triplane3d.images.augmentation import premultiply
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.triplane import TriplaneField
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.training.conditioning import pixel_values
from triplane3d.training.field_pictures import field_pictures
from triplane3d.training.losses import occupancy_iou

AUTOENCODER_BATCH = 16
"""Shapes that are reconstructed at once."""


def validation_batch(shapes: SampleSource, indices: Sequence[int], device: torch.device) -> dict[str, Tensor]:
    """These shapes on the device, with the same points at every validation."""
    batch = gather(shapes, indices, Generator().manual_seed(0))
    return {name: tensor.to(device) for name, tensor in batch.items()}


@torch.no_grad()
def validate_autoencoder(
    vae: AutoencoderKLTriplane, shapes: ShardDataset, data: ShapeDataConfig
) -> tuple[dict[str, float], np.ndarray]:
    """Scores of reconstructions from the posterior's mean, and a picture of some of them.

    Scores are the mean (`val_iou`) and the 10% quantile (`val_iou_worst_decile`) of the volumetric IoU, estimated on
    the label points that are uniform in the cube, in float32.
    """
    indices = range(min(data.validation_shapes, len(shapes)))
    ious = []
    for start in range(0, len(indices), AUTOENCODER_BATCH):
        batch = validation_batch(shapes, indices[start : start + AUTOENCODER_BATCH], vae.device)
        field = reconstruct(vae, batch)
        uniform = batch["label_points"].shape[1] // 2
        logits = field.occupancy(batch["label_points"][:, :uniform])
        ious.append(occupancy_iou(logits.float(), batch["label_distance"][:, :uniform]))
    iou = torch.cat(ious)
    scores = {"val_iou": iou.mean().item(), "val_iou_worst_decile": iou.quantile(0.1).item()}
    shown = validation_batch(shapes, range(min(data.validation_pictures, len(shapes))), vae.device)
    return scores, field_pictures(reconstruct(vae, shown), shown["view"])


def reconstruct(vae: AutoencoderKLTriplane, batch: dict[str, Tensor]) -> TriplaneField:
    """The field of a batch of shapes, encoded to the posterior's mean and decoded."""
    posterior = vae.encode(batch["surface_points"], batch["surface_normals"], batch["surface_colors"]).latent_dist
    return vae.field(vae.decode(posterior.mode(), return_dict=False)[0])


@torch.no_grad()
def validate_denoiser(
    pipeline: Triplane3DPipeline, shapes: ShardDataset, data: LatentDataConfig
) -> tuple[dict[str, float], np.ndarray]:
    """Scores of shapes that are generated from held-out photos, and a picture of some of them.

    `val_iou` is the mean volumetric IoU with the photo's shape. `val_iou_swapped` is the IoU with the next shape of
    the batch. Both are equal if the photo has no influence.
    """
    count = min(data.validation_shapes, len(shapes))
    batch = validation_batch(shapes, range(count), pipeline.transformer.device)

    framed = premultiply(batch["view"])
    streams: dict[str, Any] = {"image_embeds": pipeline.encode_image(pixel_values(pipeline.image_processor, framed))}
    if pipeline.pixel_encoder is not None:
        pixels = pixel_values(pipeline.pixel_processor, framed)
        streams["pixel_embeds"] = pipeline.encode_image(pixels, pipeline.pixel_encoder)
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
    return scores, field_pictures(pipeline.decode_latents(latents[:shown]), batch["view"][:shown])


def validate_step_counts(
    pipeline: Triplane3DPipeline, shapes: ShardDataset, config: DistillConfig
) -> tuple[dict[str, float], np.ndarray]:
    """`validate_denoiser` without guidance for each number of steps in `config.validate_at`.

    The names of the scores end in `_at_STEPS`; the picture is that of the last number.
    """
    scores: dict[str, float] = {}
    for steps in config.validate_at:
        data = replace(config.data, validation_steps=steps, validation_guidance=1.0)
        measured, picture = validate_denoiser(pipeline, shapes, data)
        scores |= {f"{name}_at_{steps}": value for name, value in measured.items()}
    return scores, picture
