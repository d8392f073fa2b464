"""Stage 5 on eight shapes: latents from photos, and a refiner that corrects their fields."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_stages import CONFIGS, ROOT

from triplane3d.config import DrawsConfig, RefinerConfig, load_config
from triplane3d.models.photo_plane import PhotoPlaneRefiner
from triplane3d.training.assemble_pipeline import assemble_pipeline
from triplane3d.training.draws import draw
from triplane3d.training.losses import soft_iou_loss
from triplane3d.training.refiner import train


@pytest.fixture(scope="session")
def trained_pipeline(work, autoencoder, denoiser) -> Path:
    """The tiny pipeline with the weights of stages 1 and 3."""
    folder = work / "trained_pipeline"
    shutil.copytree(ROOT / "pipelines" / "tiny", folder)
    assemble_pipeline(autoencoder, denoiser, folder)
    return folder


def draws_config(work: Path, trained: Path, **overrides: object) -> DrawsConfig:
    paths = {"pipeline": trained, "data": work / "data", "output": work / "draws"}
    return load_config(DrawsConfig, CONFIGS / "draws.yaml", {**paths, **overrides})


def refiner_config(work: Path, trained: Path, **overrides: object) -> RefinerConfig:
    paths = {
        "pipeline": trained,
        "data.folder": work / "data",
        "data.latents": work / "draws",
        "data.validation": work / "data",
        "data.validation_latents": work / "draws",
        "run.output": work / "refiner",
        "run.trackers": (),
    }
    return load_config(RefinerConfig, CONFIGS / "refiner.yaml", {**paths, **overrides})


@pytest.fixture(scope="session")
def draws(work, trained_pipeline) -> Path:
    return draw(draws_config(work, trained_pipeline))


@pytest.fixture(scope="session")
def refiner(work, trained_pipeline, draws) -> Path:
    return train(refiner_config(work, trained_pipeline))


def test_draws_depend_on_the_shape_and_not_on_the_batch(work, trained_pipeline, draws, tmp_path) -> None:
    again = draw(draws_config(work, trained_pipeline, output=tmp_path / "again", batch_size=3))
    for name in ("latents-00000.safetensors", "latents-00001.safetensors"):
        first, second = load_file(draws / name), load_file(again / name)
        assert torch.equal(first["seeds"], second["seeds"])
        assert torch.allclose(first["latents"].float(), second["latents"].float(), atol=2e-2)
    assert not torch.equal(first["latents"][0], first["latents"][1])


def test_a_stopped_command_continues_and_other_settings_are_refused(work, trained_pipeline, draws, tmp_path) -> None:
    copy = tmp_path / "draws"
    shutil.copytree(draws, copy)
    (copy / "latents-00001.safetensors").unlink()
    kept = (copy / "latents-00000.safetensors").stat().st_mtime_ns
    draw(draws_config(work, trained_pipeline, output=copy))
    assert (copy / "latents-00000.safetensors").stat().st_mtime_ns == kept
    assert torch.equal(
        load_file(copy / "latents-00001.safetensors")["latents"],
        load_file(draws / "latents-00001.safetensors")["latents"],
    )
    with pytest.raises(ValueError, match="num_inference_steps: 2, now 3"):
        draw(draws_config(work, trained_pipeline, output=copy, num_inference_steps=3))


def test_the_refiner_brings_the_fields_nearer_to_the_shapes(refiner) -> None:
    log = [json.loads(line) for line in (refiner / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    scores = next(line for line in log if "val_iou" in line)
    assert losses[-1] < losses[0]
    assert scores["val_iou_true_camera"] > scores["val_iou_before"] + 0.05
    assert {"elevation", "offset", "scale", "perspective"} <= scores.keys()
    assert isinstance(PhotoPlaneRefiner.from_pretrained(refiner / "refiner"), PhotoPlaneRefiner)


def test_a_run_starts_from_a_saved_refiner(work, trained_pipeline, refiner, tmp_path) -> None:
    further = train(
        refiner_config(
            work, trained_pipeline, **{"init": refiner / "refiner", "run.steps": 1, "run.output": tmp_path / "further"}
        )
    )
    before, after = (
        load_file(folder / "refiner" / "diffusion_pytorch_model.safetensors") for folder in (refiner, further)
    )
    assert max((before[name] - after[name]).abs().max() for name in before) < 0.02


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.latents": "nothing"}, "stage 5, scripts/draw_latents.py"),
        ({"data.validation_latents": None}, "go together"),
        ({"pipeline": "pipelines/base"}, "refiner/config.json"),
        ({"init": "nothing"}, "stage 5, scripts/train_refiner.py"),
    ],
)
def test_missing_inputs_are_named(work, trained_pipeline, draws, overrides, message, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match=message):
        train(refiner_config(work, trained_pipeline, **overrides))


def test_pretrained_features_need_a_file(work, trained_pipeline, draws, tmp_path) -> None:
    pipeline = tmp_path / "pipeline"
    shutil.copytree(trained_pipeline, pipeline)
    path = pipeline / "refiner" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pretrained_features": True}))
    with pytest.raises(ValueError, match="`backbone` names no file"):
        train(refiner_config(work, pipeline, **{"run.output": tmp_path / "run"}))


def test_the_soft_iou_is_that_of_certain_predictions() -> None:
    distance = torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    logits = torch.tensor([[50.0, -50.0, 50.0, -50.0]])
    assert soft_iou_loss(logits, distance, band=0.01) == pytest.approx(1 - 1 / 3)
    assert soft_iou_loss(-100 * distance, distance, band=0.01) == pytest.approx(0)


def test_the_soft_iou_is_lowest_for_a_surface_outside_of_probability_one_half() -> None:
    """Points of certainty, and points that are inside in 40% of the shapes: for the IoU they should be inside."""
    generator = torch.Generator().manual_seed(0)
    uncertain = torch.where(torch.rand(500, 40, generator=generator) < 0.4, -1.0, 1.0)
    distance = torch.cat([-torch.ones(500, 20), uncertain, torch.ones(500, 40)], dim=1)

    def loss(logit: float) -> float:
        logits = torch.cat([torch.full((20,), 9.0), torch.full((40,), logit), torch.full((40,), -9.0)])
        return float(soft_iou_loss(logits.expand(500, -1), distance, band=0.01))

    assert loss(3.0) < loss(0.0) < loss(-3.0)
