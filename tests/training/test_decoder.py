"""Stage 4: the decoder gets better at what the denoiser writes and stays good at shapes' own latents."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_stages import decoder_config

from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training.decoder import train
from triplane3d.training.encode import Latents
from triplane3d.training.losses import occupancy_iou
from triplane3d.training.run import gather


@pytest.fixture(scope="module")
def decoder(work, denoiser):
    return train(decoder_config(work))


@torch.no_grad()
def iou(vae, latents, stored, work):
    shapes = ShardDataset(work / "data", keys=("labels",), label_points=2048)
    labels = gather(shapes, range(8), torch.Generator().manual_seed(0))
    field = vae.field(vae.decode(latents.float() * stored.std + stored.mean).planes)
    return float(occupancy_iou(field.occupancy(labels["label_points"]), labels["label_distance"]).mean())


def test_it_reads_what_the_denoiser_writes_and_shapes_own_latents_still(work, autoencoder, latents, decoder):
    before, after = (AutoencoderKLTriplane.from_pretrained(folder / "vae").eval() for folder in (autoencoder, decoder))
    stored = Latents(latents, before.config)
    own = torch.stack([stored[index] for index in range(8)])
    files = sorted((decoder / "written").glob("*.safetensors"))
    written = torch.cat([load_file(path)["latents"] for path in files])
    assert len(files) == 2 and written.shape == own.shape
    assert iou(after, written, stored, work) > iou(before, written, stored, work) + 0.01
    assert iou(after, own, stored, work) > iou(before, own, stored, work) - 0.02


def test_everything_but_the_decoder_is_as_it_was(autoencoder, decoder):
    weights = "vae/diffusion_pytorch_model.safetensors"
    before, after = (load_file(folder / weights) for folder in (autoencoder, decoder))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "field_decoder"}
    for key in ("latents_mean", "latents_std"):
        configs = [json.loads((folder / "vae" / "config.json").read_text())[key] for folder in (autoencoder, decoder)]
        assert configs[0] == configs[1]


def test_what_was_written_is_not_written_again(work, decoder):
    files = {path: path.stat().st_mtime_ns for path in (decoder / "written").iterdir()}
    train(decoder_config(work, **{"run.steps": 60}))
    assert files == {path: path.stat().st_mtime_ns for path in (decoder / "written").iterdir()}
