"""Stage 1 learns: from the tiny config, in seconds, on the shapes it is shown."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_stages import autoencoder_config

from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training.autoencoder import train


def test_it_learns_the_shapes_it_is_shown(autoencoder):
    lines = [json.loads(line) for line in (autoencoder / "log.jsonl").read_text().splitlines()]
    losses = [line["occupancy"] for line in lines if "occupancy" in line]
    assert losses[-1] < 0.6 * losses[0]
    assert lines[-1]["val_iou"] > 0.5  # the fields of other shapes reach 0.2


def test_it_leaves_a_vae_that_loads_and_a_picture(autoencoder):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae")
    assert all(torch.isfinite(parameter).all() for parameter in vae.parameters())
    assert list((autoencoder / "pictures").glob("validation-*.png"))


def test_a_killed_run_resumes_exactly(work, tmp_path):
    quick = {"run.steps": 6, "run.checkpoint_every": 3, "data.validation": None}
    whole = train(autoencoder_config(work, **quick, **{"run.output": tmp_path / "whole"}))
    (tmp_path / "killed").mkdir()
    (whole / "checkpoint-3").rename(tmp_path / "killed" / "checkpoint-3")
    killed = train(autoencoder_config(work, **quick, **{"run.output": tmp_path / "killed"}))
    expected, found = (load_file(run / "vae/diffusion_pytorch_model.safetensors") for run in (whole, killed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_weights_of_another_architecture_to_begin_with_are_refused(work, autoencoder, tmp_path):
    other = AutoencoderKLTriplane.load_config(autoencoder / "vae") | {"field_hidden_dim": 24, "latents_mean": None}
    AutoencoderKLTriplane.from_config(other).save_pretrained(tmp_path / "vae")
    settings = {"init": tmp_path / "vae", "run.output": tmp_path / "run", "run.steps": 1}
    with pytest.raises(ValueError, match=r"another architecture than .*tiny/vae: field_hidden_dim=24 there, \d+ here"):
        train(autoencoder_config(work, **settings))


def test_the_encoder_can_stay_as_it_was(work, autoencoder, tmp_path):
    settings = {"init": autoencoder / "vae", "run.output": tmp_path / "run", "run.steps": 2, "data.validation": None}
    run = train(autoencoder_config(work, train_encoder=False, **settings))
    before, after = (load_file(folder / "vae/diffusion_pytorch_model.safetensors") for folder in (autoencoder, run))
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "field_decoder"}


def test_an_encoder_of_nowhere_cannot_stay(work, tmp_path):
    with pytest.raises(ValueError, match="keeps the encoder of `init`, but none is given; set init"):
        train(autoencoder_config(work, train_encoder=False, **{"run.output": tmp_path / "run"}))
