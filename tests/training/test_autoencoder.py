"""Stage 1 with the tiny configuration, which overfits eight shapes in seconds."""

import json
import shutil

import pytest
import torch
from models.tiny_models import tiny_vae
from safetensors.torch import load_file
from tiny_stages import autoencoder_config

from triplane3d.config import AutoencoderLossConfig
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training.autoencoder import AutoencoderObjective, train


def test_the_autoencoder_fits_its_training_shapes(autoencoder):
    lines = [json.loads(line) for line in (autoencoder / "log.jsonl").read_text().splitlines()]
    losses = [line["occupancy"] for line in lines if "occupancy" in line]
    assert losses[-1] < 0.6 * losses[0]
    assert lines[-1]["val_iou"] > 0.5  # the fields of other shapes reach 0.2


def test_the_run_writes_a_vae_that_loads_and_a_picture(autoencoder):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae")
    assert all(torch.isfinite(parameter).all() for parameter in vae.parameters())
    assert list((autoencoder / "pictures").glob("validation-*.png"))


def test_the_loss_of_normals_is_included_if_its_weight_is_set(work, tmp_path):
    weights = {"kl": 0.0, "color": 0.0, "normal": 0.5, "normal_points": 32}
    settings = {"run.steps": 1, "run.log_every": 1, "data.validation": None, "run.output": tmp_path / "run"}
    run = train(autoencoder_config(work, **settings, **{f"loss.{name}": value for name, value in weights.items()}))
    line = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert 0 < line["normal"] < 2
    assert line["loss"] == pytest.approx(line["occupancy"] + 0.5 * line["normal"], rel=1e-3)


class Ball:
    """An exact field: a ball of radius 0.6 whose colours depend on the position."""

    has_color = True

    def occupancy_and_color(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 50 * (0.6 - points.norm(dim=-1)), (points + 1) / 2


def test_each_group_of_query_points_contributes_to_its_own_loss():
    normals = torch.nn.functional.normalize(torch.randn(2, 40, 3), dim=-1)
    labels = torch.cat([torch.rand(2, 30, 3) * 2 - 1, 0.6 * normals[:, :30]], dim=1)
    objective = AutoencoderObjective(tiny_vae(), AutoencoderLossConfig(color_points=25, normal=1.0, normal_points=15))
    objective.vae.field = lambda planes: Ball()
    surface = {"surface_points": 0.6 * normals, "surface_normals": normals, "surface_colors": (0.6 * normals + 1) / 2}
    losses = objective(**surface, label_points=labels, label_distance=labels.norm(dim=-1) - 0.6)
    assert losses["color"] < 1e-6 and losses["normal"] < 1e-3 and losses["occupancy"] < 0.5
    turned = objective(**{**surface, "surface_normals": -normals}, label_points=labels,
                       label_distance=0.6 - labels.norm(dim=-1))  # fmt: skip
    assert turned["normal"] > 1.99 and turned["occupancy"] > 2 and turned["color"] < 1e-6


def test_a_killed_run_resumes_exactly(work, tmp_path):
    quick = {"run.steps": 6, "run.checkpoint_every": 3, "data.validation": None}
    whole = train(autoencoder_config(work, **quick, **{"run.output": tmp_path / "whole"}))
    (tmp_path / "killed").mkdir()
    (whole / "checkpoint-3").rename(tmp_path / "killed" / "checkpoint-3")
    killed = train(autoencoder_config(work, **quick, **{"run.output": tmp_path / "killed"}))
    expected, found = (load_file(run / "vae/diffusion_pytorch_model.safetensors") for run in (whole, killed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_initial_weights_of_another_architecture_are_refused(work, autoencoder, tmp_path):
    other = AutoencoderKLTriplane.load_config(autoencoder / "vae") | {"field_hidden_dim": 24, "latents_mean": None}
    AutoencoderKLTriplane.from_config(other).save_pretrained(tmp_path / "vae")
    settings = {"init": tmp_path / "vae", "run.output": tmp_path / "run", "run.steps": 1}
    with pytest.raises(ValueError, match=r"another architecture than .*tiny/vae: field_hidden_dim=24 there, \d+ here"):
        train(autoencoder_config(work, **settings))


def test_the_encoder_is_unchanged_without_train_encoder(work, autoencoder, tmp_path):
    settings = {"init": autoencoder / "vae", "run.output": tmp_path / "run", "run.steps": 2, "data.validation": None}
    run = train(autoencoder_config(work, train_encoder=False, **settings))
    before, after = (load_file(folder / "vae/diffusion_pytorch_model.safetensors") for folder in (autoencoder, run))
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "field_decoder"}


def test_latent_statistics_are_kept_with_an_unchanged_encoder(work, latents, tmp_path, capsys):
    """Stage 1 after stage 2: on the same folder, with an unchanged encoder, and with an encoder that is trained."""
    shutil.copytree(latents.parent / "autoencoder", tmp_path / "run")
    vae = tmp_path / "run" / "vae"
    measured = AutoencoderKLTriplane.load_config(vae)["latents_mean"]
    assert measured is not None
    train(autoencoder_config(work, **{"run.output": tmp_path / "run"}))
    assert AutoencoderKLTriplane.load_config(vae)["latents_mean"] == measured

    further = {"init": vae, "run.steps": 1, "data.validation": None, "optim.warmup_steps": 0}
    kept = train(autoencoder_config(work, train_encoder=False, **{**further, "run.output": tmp_path / "kept"}))
    assert AutoencoderKLTriplane.load_config(kept / "vae")["latents_mean"] == measured
    assert "the encoder has changed" not in capsys.readouterr().err
    changed = train(autoencoder_config(work, **{**further, "run.output": tmp_path / "changed"}))
    assert AutoencoderKLTriplane.load_config(changed / "vae")["latents_mean"] is None
    assert "the encoder has changed since stage 2" in capsys.readouterr().err


def test_keeping_the_encoder_needs_init(work, tmp_path):
    with pytest.raises(ValueError, match="keeps the encoder of `init`, but none is given; set init"):
        train(autoencoder_config(work, train_encoder=False, **{"run.output": tmp_path / "run"}))
