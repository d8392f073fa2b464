"""Stage 1: trains the autoencoder, which encodes surface points into triplane latents and decodes an occupancy field.

    python scripts/train_autoencoder.py configs/mini/autoencoder.yaml

The architecture comes from the folder `vae` of the pipeline that the configuration names.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from triplane3d.config import AutoencoderConfig, AutoencoderLossConfig
from triplane3d.data.shards import ShardDataset
from triplane3d.data.streamed_shapes import stream_surfaces
from triplane3d.data.streams import ShapeStream
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training.checkpointing import warn
from triplane3d.training.inputs import check_model, check_pipeline
from triplane3d.training.losses import normal_loss, occupancy_loss, tetrahedra
from triplane3d.training.run_setup import start_run
from triplane3d.training.sources import check_source
from triplane3d.training.trainer import Trainer
from triplane3d.training.validation import validate_autoencoder
from triplane3d.training.warm_start import warm_start_autoencoder

NORMAL_STEP = 2 / 128
"""Distance of the finite differences for normals, in world units: a voxel of a 128³ grid."""


class AutoencoderObjective(nn.Module):
    """The losses of one batch of shapes.

    The first half of `label_points` is uniform in the cube, the second half near the surface. `label_distance` is
    signed, negative inside. `kl_share` in [0, 1] scales the KL loss during its warm-up.
    """

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
        latents = add_latent_noise(posterior.sample(), weights.latent_noise)
        field = self.vae.field(self.vae.decode(latents, return_dict=False)[0])

        # One query for all points: each query samples the planes, and its backward pass fills a gradient of their size.
        colored = slice(0, weights.color_points if field.has_color else 0)
        sloped = slice(0, weights.normal_points if weights.normal else 0)
        queries = [label_points, surface_points[:, colored], tetrahedra(surface_points[:, sloped], NORMAL_STEP)]
        logits, colors = field.occupancy_and_color(torch.cat(queries, dim=1))
        labels, _, slopes = logits.split([points.shape[1] for points in queries], dim=1)

        losses = {
            "occupancy": occupancy_loss(labels, label_distance, band=weights.band, near=weights.near_surface_share),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),  # nats per number of the latents
        }
        loss = losses["occupancy"] + kl_share * weights.kl * losses["kl"]
        if field.has_color:
            predicted = colors[:, labels.shape[1] :][:, colored].float()
            losses["color"] = functional.l1_loss(predicted, surface_colors[:, colored])
            loss = loss + weights.color * losses["color"]
        if weights.normal:
            losses["normal"] = normal_loss(slopes, surface_normals[:, sloped])
            loss = loss + weights.normal * losses["normal"]
        return {"loss": loss, **losses}


def add_latent_noise(
    latents: Float[Tensor, "batch channels height width"], noise: float
) -> Float[Tensor, "batch channels height width"]:
    """Adds Gaussian noise of up to `noise` standard deviations of each channel.

    In inference, the decoder gets latents with the errors of the denoiser.
    """
    if not noise:
        return latents
    deviation = latents.std((0, 2, 3), keepdim=True).detach()
    level = noise * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    return latents + level * deviation * torch.randn_like(latents)


def train(config: AutoencoderConfig) -> Path:
    """Trains until `config.run.steps` and returns the output folder. It then holds `vae/`."""
    check_source(config.data, "folder")
    check_pipeline(config.pipeline, "vae/config.json")
    if config.init:
        check_model("init", config.init, "vae")
    elif not config.train_encoder:
        raise ValueError("train_encoder=false keeps the encoder of `init`, but none is given; set init")
    accelerator = start_run(config)
    if config.init:
        vae = warm_start_autoencoder(config.init, config.pipeline)
    else:
        vae = AutoencoderKLTriplane.from_config(AutoencoderKLTriplane.load_config(config.pipeline, subfolder="vae"))
    if not config.train_encoder:
        vae.encoder.requires_grad_(False)
    trainer = Trainer(accelerator, config, AutoencoderObjective(vae.train(), config.loss), {"vae": vae})

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
        validation_shapes = ShardDataset(
            data.validation, surface_points=data.surface_points, label_points=data.validation_labels
        )
        measure = partial(validate_autoencoder, vae, validation_shapes, data)

    for batch in trainer.batches(shapes):
        kl_share = min(1.0, (trainer.step + 1) / max(1, config.loss.kl_warmup_steps))
        trainer.update(trainer.losses(**batch, kl_share=kl_share))
        trainer.validate_and_save(measure)

    if trainer.step == config.run.steps:
        with trainer.averaged():
            keep_statistics(vae, [folder for folder in (str(trainer.output / "vae"), config.init) if folder])
    return trainer.finish()


def keep_statistics(vae: AutoencoderKLTriplane, folders: Sequence[str]) -> None:
    """Copies latent statistics into the config of `vae` from the first of `folders` with the same encoder weights.

    Stage 2 measures these statistics. If the encoder has changed since, the config gets none, with a warning.
    """
    measured = False
    for folder in folders:
        if not (Path(folder) / "config.json").is_file():
            continue
        before = AutoencoderKLTriplane.from_pretrained(folder)
        if before.config.latents_mean is None:
            continue
        measured = True
        old, new = before.encoder.state_dict(), vae.encoder.state_dict()
        if old.keys() == new.keys() and all(torch.equal(old[name], new[name].cpu()) for name in new):
            vae.register_to_config(latents_mean=before.config.latents_mean, latents_std=before.config.latents_std)
            return
    vae.register_to_config(latents_mean=None, latents_std=None)
    if measured:
        warn(
            "the encoder has changed since stage 2 measured the mean and standard deviation of its latents, so its "
            "config has none: run scripts/encode_latents.py again before stage 3"
        )
