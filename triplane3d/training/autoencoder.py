"""Stage 1: the autoencoder learns to carry a shape, given as surface points, through three small planes.

    python scripts/train_autoencoder.py configs/mini/autoencoder.yaml

The architecture is read from the `vae` folder of the pipeline that the configuration names.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from triplane3d.config import AutoencoderConfig, AutoencoderLossConfig, ShapeDataConfig
from triplane3d.data.batches import gather
from triplane3d.data.shards import ShardDataset
from triplane3d.data.streamed_shapes import stream_surfaces
from triplane3d.data.streams import ShapeStream
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.triplane import TriplaneField
from triplane3d.training.checkpointing import warn
from triplane3d.training.growth import grown_autoencoder
from triplane3d.training.inputs import check_model, check_pipeline
from triplane3d.training.losses import normal_loss, occupancy_iou, occupancy_loss, tetrahedra
from triplane3d.training.pictures import contact_sheet
from triplane3d.training.sources import check_source
from triplane3d.training.trainer import Run, start

SLOPE = 2 / 128
"""How far about a point its slope is asked for, in world units: a voxel of a 128³ grid."""


class AutoencoderObjective(nn.Module):
    """The losses of one batch of shapes; `label_points` are half uniform, then half near the surface."""

    def __init__(self, vae: AutoencoderKLTriplane, weights: AutoencoderLossConfig):
        super().__init__()
        self.vae, self.weights = vae, weights

    def forward(
        self,
        surface_points: Float[Tensor, "batch points 3"],
        surface_normals: Float[Tensor, "batch points 3"],
        surface_colors: Float[Tensor, "batch points 3"],
        label_points: Float[Tensor, "batch labels 3"],
        label_distance: Float[Tensor, "batch labels"],
        kl_share: float = 1.0,
    ) -> dict[str, Tensor]:
        weights = self.weights
        posterior = self.vae.encode(surface_points, surface_normals, surface_colors).latent_dist
        latents = disturb(posterior.sample(), weights.latent_noise)
        field = self.vae.field(self.vae.decode(latents, return_dict=False)[0])

        # One query for all questions: each would sample the planes, and backward would fill them, anew.
        colored = slice(0, weights.color_points if field.has_color else 0)
        sloped = slice(0, weights.normal_points if weights.normal else 0)
        asked = [label_points, surface_points[:, colored], tetrahedra(surface_points[:, sloped], SLOPE)]
        logits, colors = field.occupancy_and_color(torch.cat(asked, dim=1))
        labels, _, slopes = logits.split([points.shape[1] for points in asked], dim=1)

        losses = {
            "occupancy": occupancy_loss(labels, label_distance, band=weights.band, near=weights.near_surface_share),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),  # nats per latent number
        }
        loss = losses["occupancy"] + kl_share * weights.kl * losses["kl"]
        if field.has_color:
            answered = colors[:, labels.shape[1] :][:, colored].float()
            losses["color"] = functional.l1_loss(answered, surface_colors[:, colored])
            loss = loss + weights.color * losses["color"]
        if weights.normal:
            losses["normal"] = normal_loss(slopes, surface_normals[:, sloped])
            loss = loss + weights.normal * losses["normal"]
        return {"loss": loss, **losses}


def disturb(
    latents: Float[Tensor, "batch channels height width"], noise: float
) -> Float[Tensor, "batch channels height width"]:
    """Noise of up to `noise` deviations of each channel: a denoiser's errors are what the decoder will have to bear."""
    if not noise:
        return latents
    deviation = latents.std((0, 2, 3), keepdim=True).detach()
    level = noise * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    return latents + level * deviation * torch.randn_like(latents)


def train(config: AutoencoderConfig) -> Path:
    """Trains until `config.run.steps` and returns the output folder, which then holds `vae/`."""
    check_source(config.data, "folder")
    check_pipeline(config.pipeline, "vae/config.json")
    if config.init:
        check_model("init", config.init, "vae")
    elif not config.train_encoder:
        raise ValueError("train_encoder=false keeps the encoder of `init`, but none is given; set init")
    accelerator = start(config)
    if config.init:
        vae = grown_autoencoder(config.init, config.pipeline)
    else:
        vae = AutoencoderKLTriplane.from_config(AutoencoderKLTriplane.load_config(config.pipeline, subfolder="vae"))
    if not config.train_encoder:
        vae.encoder.requires_grad_(False)
    run = Run(accelerator, config, AutoencoderObjective(vae.train(), config.loss), {"vae": vae})

    data = config.data
    shapes: ShapeStream | ShardDataset
    if data.stream:
        shapes = stream_surfaces(data, accelerator.device)
    else:
        assert data.folder is not None, "checked above"
        shapes = ShardDataset(
            data.folder, ("surface", "labels"), surface_points=data.surface_points, label_points=data.label_points
        )
    measure = None
    if data.validation:
        held_out = ShardDataset(
            data.validation, surface_points=data.surface_points, label_points=data.validation_labels
        )
        measure = partial(validate, vae, held_out, data)

    for batch in run.batches(shapes):
        kl_share = min(1.0, (run.step + 1) / max(1, config.loss.kl_warmup_steps))
        run.update(run.losses(**batch, kl_share=kl_share))
        run.pause(measure)

    if run.step == config.run.steps:
        with run.averaged():
            keep_statistics(vae, [folder for folder in (str(run.output / "vae"), config.init) if folder])
    return run.finish()


def keep_statistics(vae: AutoencoderKLTriplane, folders: Sequence[str]) -> None:
    """Mean and deviation of the latents, which stage 2 has measured for one of `folders`, if the encoder is still that.

    Otherwise the config of `vae` gets none, and a warning names the stage that measures them.
    """
    measured = False
    for folder in folders:
        if not (Path(folder) / "config.json").is_file():
            continue
        before = AutoencoderKLTriplane.from_pretrained(folder)
        if before.config.latents_mean is None:
            continue
        measured = True
        then, now = before.encoder.state_dict(), vae.encoder.state_dict()
        if then.keys() == now.keys() and all(torch.equal(then[name], now[name].cpu()) for name in now):
            vae.register_to_config(latents_mean=before.config.latents_mean, latents_std=before.config.latents_std)
            return
    vae.register_to_config(latents_mean=None, latents_std=None)
    if measured:
        warn(
            "the encoder has changed since stage 2 measured the mean and deviation of its latents, so its config has "
            "none: run scripts/encode_latents.py again before stage 3"
        )


@torch.no_grad()
def validate(
    vae: AutoencoderKLTriplane, shapes: ShardDataset, data: ShapeDataConfig
) -> tuple[dict[str, float], np.ndarray]:
    """Mean and worst-decile V-IoU of the posterior mean's field on the uniform labels, in full precision; a picture."""
    indices = range(min(data.validation_shapes, len(shapes)))
    ious = []
    for start_of_chunk in range(0, len(indices), 16):
        batch = on_device(gather(shapes, indices[start_of_chunk : start_of_chunk + 16], fixed_generator()), vae.device)
        field = reconstruct(vae, batch)
        uniform = batch["label_points"].shape[1] // 2
        logits = field.occupancy(batch["label_points"][:, :uniform])
        ious.append(occupancy_iou(logits.float(), batch["label_distance"][:, :uniform]))
    iou = torch.cat(ious)
    scores = {"val_iou": iou.mean().item(), "val_iou_worst_decile": iou.quantile(0.1).item()}
    return scores, picture(vae, shapes, range(min(data.validation_pictures, len(shapes))))


@torch.no_grad()
def picture(vae: AutoencoderKLTriplane, shapes: ShardDataset, indices: Sequence[int]) -> np.ndarray:
    """A row for each shape: its photo, and the reconstruction from four sides."""
    batch = on_device(gather(shapes, indices, fixed_generator()), vae.device)
    return contact_sheet(reconstruct(vae, batch), batch["view"])


def reconstruct(vae: AutoencoderKLTriplane, batch: dict[str, Tensor]) -> TriplaneField:
    """The field of a batch of shapes after a trip through the posterior's mean."""
    posterior = vae.encode(batch["surface_points"], batch["surface_normals"], batch["surface_colors"]).latent_dist
    return vae.field(vae.decode(posterior.mode(), return_dict=False)[0])


def on_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def fixed_generator() -> torch.Generator:
    """The same points of the same shapes at every validation."""
    return torch.Generator().manual_seed(0)
