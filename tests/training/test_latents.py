"""Stage 2: normalized latents in the order of the shards, which decode to the shapes."""

import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny_stages import latents_config

from triplane3d.data.latents import LatentDataset, LatentPhotoDataset
from triplane3d.data.procedural import generate_shapes, sample_surface
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.latent_statistics import LatentStatistics
from triplane3d.training.latents import encode
from triplane3d.training.losses import occupancy_iou


def test_latents_are_normalized_per_channel_over_the_data(autoencoder, latents):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae")
    stored = LatentDataset(latents, vae.config)
    values = torch.stack([stored[index] for index in range(len(stored))])
    assert len(list(latents.glob("latents-*.safetensors"))) == 2  # eight shapes in files of five
    assert values.mean((0, 2, 3)).abs().max() < 1e-2
    assert (values.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_each_row_decodes_to_the_shape_of_its_seed(work, autoencoder, latents):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae").eval()
    stored = LatentDataset(latents, vae.config)
    shapes = ShardDataset(work / "data", keys=("labels",), label_points=2048)
    assert stored.seeds == shapes.seeds == list(range(8))

    values = torch.stack([stored.statistics.denormalize(stored[index]) for index in range(8)])
    labels = [shapes[index] for index in range(8)]
    with torch.no_grad():
        field = vae.field(vae.decode(values).planes)
        ious = torch.stack([
            occupancy_iou(field.occupancy(one["label_points"].expand(8, -1, -1)), one["label_distance"].expand(8, -1))
            for one in labels
        ])  # fmt: skip
    assert (ious.argmax(dim=1) == torch.arange(8)).all()


def test_mirrored_latents_decode_to_the_mirror_image(work, autoencoder, tmp_path):
    shutil.copytree(autoencoder / "vae", tmp_path / "vae")
    overrides = {"mirror": True, "vae": tmp_path / "vae", "output": tmp_path / "latents"}
    stored = LatentDataset(
        encode(latents_config(work, **overrides)), AutoencoderKLTriplane.load_config(tmp_path / "vae")
    )
    assert stored.has_mirrored
    vae = AutoencoderKLTriplane.from_pretrained(tmp_path / "vae").eval()
    shapes = ShardDataset(work / "data", keys=("labels", "view"), label_points=2048)
    labels = [shapes[index] for index in range(8)]
    points = torch.stack([one["label_points"] for one in labels]) * torch.tensor([-1.0, 1.0, 1.0])
    distance = torch.stack([one["label_distance"] for one in labels])
    ious = []
    for side in (False, True):
        values = stored.statistics.denormalize(torch.stack([stored.read(index, side) for index in range(8)]))
        with torch.no_grad():
            ious.append(occupancy_iou(vae.field(vae.decode(values).planes).occupancy(points), distance).mean())
    assert ious[1] > ious[0] + 0.02

    samples = LatentPhotoDataset(stored, ShardDataset(work / "data", keys=("views",)))
    samples.generator = torch.Generator().manual_seed(0)
    samples_of_shape = [samples[0] for _ in range(16)]
    for sample in samples_of_shape:
        flipped = torch.equal(sample["latents"], stored.read(0, mirrored=True))
        views = [shapes[0]["view"] for _ in range(8)]
        views = [view.flip(-1) if flipped else view for view in views]
        assert flipped or torch.equal(sample["latents"], stored.read(0))
        assert any(torch.equal(sample["views"][0], view) for view in views)
    assert len({float(sample["latents"].sum()) for sample in samples_of_shape}) == 2


def test_damaged_files_of_latents_are_named(latents, tmp_path):
    whole = (latents / "latents-00000.safetensors").read_bytes()
    (tmp_path / "latents-00000.safetensors").write_bytes(whole[: len(whole) // 2])
    statistics = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    with pytest.raises(ValueError, match="latents-00000.safetensors is not a whole file of latents.*encode_latents.py"):
        LatentDataset(tmp_path, statistics)
    save_file({"seeds": torch.arange(3)}, tmp_path / "latents-00000.safetensors")
    with pytest.raises(ValueError, match="lacks latents, which this stage reads; it has seeds"):
        LatentDataset(tmp_path, statistics)


def test_without_shards_the_statistics_are_those_of_fresh_shapes(work, autoencoder, tmp_path):
    shutil.copytree(autoencoder / "vae", tmp_path / "vae")
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae")
    overrides = {"data": None, "output": None, "vae": tmp_path / "vae", "fresh_shapes": 8, "surface_points": 512}
    assert encode(latents_config(work, **overrides)) == tmp_path / "vae"
    mean, std = LatentStatistics.from_config(AutoencoderKLTriplane.load_config(tmp_path / "vae"))

    shapes = generate_shapes(range(8), azimuths="random")
    points, normals = sample_surface(shapes, 512, torch.Generator().manual_seed(3))
    with torch.no_grad():
        latents = vae.encode(points, normals, shapes.color(points)).latent_dist.mode()
    assert ((latents.mean((0, 2, 3), keepdim=True)[0] - mean).abs() < 0.05 * std).all()
    assert torch.allclose(latents.std((0, 2, 3), keepdim=True)[0], std, rtol=0.05)

    with pytest.raises(ValueError, match="takes `data` .* and `output` .* together, or neither"):
        encode(latents_config(work, output=None))


def test_latents_without_statistics_are_refused(latents):
    with pytest.raises(ValueError, match="no latents_mean"):
        LatentDataset(latents, {"latents_mean": None})
