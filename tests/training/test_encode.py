"""Stage 2: latents of unit variance, in the order of the shards, that decode to the shapes."""

import pytest
import torch

from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training.encode import Latents
from triplane3d.training.losses import occupancy_iou


def test_latents_are_normalised_per_channel_over_the_data(autoencoder, latents):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae")
    stored = Latents(latents, vae.config)
    values = torch.stack([stored[index] for index in range(len(stored))])
    assert len(list(latents.glob("latents-*.safetensors"))) == 2  # eight shapes in files of five
    assert values.mean((0, 2, 3)).abs().max() < 1e-2
    assert (values.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_each_row_decodes_to_the_shape_of_its_seed(work, autoencoder, latents):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae").eval()
    stored = Latents(latents, vae.config)
    shapes = ShardDataset(work / "data", keys=("labels",), label_points=2048)
    assert stored.seeds == shapes.seeds == list(range(8))

    values = torch.stack([stored[index] * stored.std + stored.mean for index in range(8)])
    labels = [shapes[index] for index in range(8)]
    with torch.no_grad():
        field = vae.field(vae.decode(values).planes)
        ious = torch.stack([
            occupancy_iou(field.occupancy(one["label_points"].expand(8, -1, -1)), one["label_distance"].expand(8, -1))
            for one in labels
        ])  # fmt: skip
    assert (ious.argmax(dim=1) == torch.arange(8)).all()


def test_latents_without_statistics_are_refused(latents):
    with pytest.raises(ValueError, match="no latents_mean"):
        Latents(latents, {"latents_mean": None})
