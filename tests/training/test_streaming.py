"""Streaming stages train without files, and end with the same weights after any number of stops."""

import json

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_stages import autoencoder_config, denoiser_config

from triplane3d.data.procedural import generate_shapes, sample_surface
from triplane3d.data.streamed_shapes import stream_surfaces
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training import autoencoder as stage1
from triplane3d.training import denoiser as stage3
from triplane3d.training.checkpointing import checkpoints
from triplane3d.training.sources import check_source, latents_and_photos

STREAM = {"data.stream": True, "data.folder": None, "data.group_size": 4, "data.pool": 8, "data.validation": None,
          "run.batch_size": 4, "run.log_every": 1}  # fmt: skip
SURFACES = {**STREAM, "data.pool_surface_points": 300, "data.pool_label_points": 600}
PHOTOS = {**STREAM, "data.latents": None, "data.image_size": 32, "data.surface_points": 300, "data.mirror": True}
STAGES = {
    "autoencoder": (stage1, autoencoder_config, SURFACES, "vae/diffusion_pytorch_model.safetensors"),
    "denoiser": (stage3, denoiser_config, PHOTOS, "transformer/diffusion_pytorch_model.safetensors"),
}


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "shards"])
@pytest.mark.parametrize("name", STAGES)
def test_runs_of_one_update_each_end_with_the_weights_of_one_run(name, streamed, work, latents, tmp_path, capsys):
    """With a tiny `run.max_minutes` each run makes one update and resumes from the last checkpoint."""
    stage, config, options, weights = STAGES[name]
    quick = {"run.steps": 3, "run.accumulation": 2, "data.reuse": 1}
    quick |= options if streamed else {"data.validation": None}
    whole = stage.train(config(work, **quick, **{"run.output": tmp_path / "whole"}))

    part = config(work, **quick, **{"run.output": tmp_path / "parts", "run.max_minutes": 1e-9})
    for step in (1, 2):
        stage.train(part)
        assert [folder.name for folder in checkpoints(tmp_path / "parts")][-1] == f"checkpoint-{step}"
        assert f"at step {step} of 3" in capsys.readouterr().out
        assert not (tmp_path / "parts" / weights).exists()  # an unfinished run writes no final weights
    stage.train(part)

    expected, found = load_file(whole / weights), load_file(tmp_path / "parts" / weights)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert all(0 < line["waiting"] < 1 and 0 < line["mfu"] < 1.5 for line in lines)


def test_streamed_surfaces_are_of_the_shapes_and_of_their_mirror_images(tmp_path):
    data = autoencoder_config(tmp_path, **SURFACES, **{"data.mirror": True}).data
    source = stream_surfaces(data, torch.device("cpu"))
    shapes = generate_shapes(range(8), azimuths="random")
    generator = torch.Generator().manual_seed(0)
    batch = source.make_batch(source.make_samples(shapes, generator), generator)

    mirror = torch.tensor([-1.0, 1.0, 1.0])
    candidates = [batch["label_points"], batch["label_points"] * mirror]
    errors = torch.stack([(shapes.distance(points) - batch["label_distance"]).abs().amax(1) for points in candidates])
    assert (errors.amin(0) < 3e-3).all()
    mirrored = errors[1] < errors[0]
    assert mirrored.any() and not mirrored.all()

    turned = torch.where(mirrored[:, None, None], mirror, torch.ones(3))
    points, normals = batch["surface_points"] * turned, batch["surface_normals"] * turned
    assert shapes.distance(points).abs().max() < 5e-3
    assert torch.nn.functional.cosine_similarity(normals, shapes.normal(points), dim=-1).median() > 0.99
    # As in the shards the later half of the labels is near the surface.
    distance = batch["label_distance"].abs()
    assert distance[:, 256:].median() < 0.5 * distance[:, :256].median()


def test_streamed_latents_equal_those_of_stage_2(work, latents, autoencoder):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae").eval()
    data = denoiser_config(work, **{**PHOTOS, "data.surface_points": 512}).data
    source = latents_and_photos(data, vae, Accelerator(mixed_precision="no"))
    shapes = generate_shapes(range(8), azimuths="random")
    pooled = source.make_samples(shapes, torch.Generator().manual_seed(0))

    points, normals = sample_surface(shapes, 512, torch.Generator().manual_seed(1))
    means = [vae.encode(points * side, normals * side, shapes.color(points)).latent_dist.mode()
             for side in (torch.ones(3), torch.tensor([-1.0, 1.0, 1.0]))]  # fmt: skip
    expected = vae.normalize_latents(torch.stack(means, 1))
    # Only the points differ: the nearest latents are those of the same shape and the same side.
    distances = torch.cdist(pooled["latents"].float().flatten(0, 1).flatten(1), expected.flatten(0, 1).flatten(1))
    assert (distances.argmin(1) == torch.arange(16)).float().mean() > 0.8

    batch = source.make_batch(pooled, torch.Generator().manual_seed(2))
    for row in range(8):
        side = int(torch.equal(batch["latents"][row], pooled["latents"][row, 1].float()))
        views = pooled["views"][row].float() / 255
        views = views.flip(-1) if side else views
        assert torch.equal(batch["latents"][row], pooled["latents"][row, side].float())
        assert any(torch.equal(batch["views"][row, 0], view) for view in views)


def test_streamed_photos_match_their_cameras(work, latents, autoencoder):
    """The first photo is from the front, each has its own camera, and mirroring applies to all of them."""
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae").eval()
    views = {"data.views": 2, "data.random_views": 3, "data.random_view_size": 16, "data.mirror": True}
    data = denoiser_config(work, **{**PHOTOS, "data.surface_points": 512, **views}).data
    source = latents_and_photos(data, vae, Accelerator(mixed_precision="no"), label_points=64)
    pooled = source.make_samples(generate_shapes(range(8), azimuths="random"), torch.Generator().manual_seed(0))
    batch = source.make_batch(pooled, torch.Generator().manual_seed(2))
    assert batch["views"].shape[:2] == (8, 5) and (batch["cameras"][:, 0, 0] == 0).all()
    sides = set()
    for row in range(8):
        side = int(torch.equal(batch["latents"][row], pooled["latents"][row, 1].float()))
        sides.add(side)
        for photo, camera in zip(batch["views"][row], batch["cameras"][row]):
            shown = photo.flip(-1) if side else photo
            found = [torch.equal(shown, view.float() / 255) for view in pooled["views"][row]].index(True)
            assert torch.equal(camera * torch.tensor([-1.0 if side else 1.0, 1.0]), pooled["cameras"][row, found])
        turned = batch["label_points"][row] * torch.tensor([-1.0 if side else 1.0, 1.0, 1.0])
        assert torch.equal(turned, pooled["label_points"][row].float())
    assert sides == {0, 1}


def test_data_are_either_in_a_folder_or_streamed(work, tmp_path):
    data = autoencoder_config(work).data
    with pytest.raises(ValueError, match="nothing to train on: data.latents is missing.*set data.stream to true"):
        check_source(denoiser_config(tmp_path, **{"data.latents": None}).data, "folder", "latents")
    with pytest.raises(ValueError, match="data.folder=.* is given too: remove data.folder"):
        check_source(autoencoder_config(tmp_path, **{"data.stream": True}).data, "folder")
    check_source(data, "folder")
    with pytest.raises(ValueError, match="data.families: there is no family dragon of shapes"):
        check_source(autoencoder_config(work, **SURFACES, **{"data.families": "car,dragon"}).data, "folder")
    with pytest.raises(ValueError, match="raise data.pool_surface_points"):
        data = autoencoder_config(tmp_path, **SURFACES, **{"data.surface_points": 301}).data
        stream_surfaces(data, torch.device("cpu"))
