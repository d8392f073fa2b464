"""Stage 4: the student starts with the teacher's weights, approximates its flow map, and is saved as a pipeline."""

import json
import shutil
from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from tiny_stages import ROOT, distill_config

from triplane3d import Triplane3DPipeline, TriplaneTransformer
from triplane3d.config import AugmentConfig
from triplane3d.data.batches import gather
from triplane3d.data.shards import ShardDataset
from triplane3d.training.assemble_pipeline import assemble_pipeline
from triplane3d.training.distill import (
    averaged_flow_map,
    batch_conditions,
    build_student_pipeline,
    sample_errors,
    train,
)
from triplane3d.training.flow_map import TimeGrid, Velocity, guided_velocity
from triplane3d.training.warm_start import warm_start_transformer


def logged(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def mean_velocity_of(transformer: TriplaneTransformer) -> Velocity:
    """The transformer's mean velocities, one call per step and without guidance."""

    def velocity(latents, timesteps, timestep_ends, conditions):
        return transformer(latents, timesteps, **conditions, timestep_end=timestep_ends).sample

    return velocity


@torch.no_grad()
def integrate(velocity: Velocity, steps: int, conditions: dict[str, torch.Tensor]) -> torch.Tensor:
    """The end of a trailing schedule with that many steps, from fixed noise."""
    grid = TimeGrid(FlowMatchEulerDiscreteScheduler(), 64)
    photos = len(conditions["encoder_hidden_states"])
    noise = torch.randn(photos, 4, 4, 12, generator=torch.Generator().manual_seed(0))
    route = [torch.full((photos,), place) for place in range(0, 65, 64 // steps)]
    return noise + grid.displacement(velocity, noise, route, conditions)


@pytest.fixture(scope="module")
def conditions(work, distilled) -> dict[str, torch.Tensor]:
    """Tokens of photos of the eight shapes."""
    config = distill_config(work)
    transformer = warm_start_transformer(distilled, config.pipeline)
    batch = gather(ShardDataset(work / "data", keys=("views",)), range(8), torch.Generator().manual_seed(0))
    pipeline = build_student_pipeline(config, transformer, torch.device("cpu"))
    no_augmentation = AugmentConfig(brightness=0, contrast=0, color=0, scale=0, shift=0, blur=0, noise=0)
    return batch_conditions(pipeline, batch, replace(config, augment=no_augmentation))


def test_the_student_approximates_its_guided_teacher(work, distilled, conditions):
    losses = [line for line in logged(distilled) if "loss" in line]
    assert losses[-1]["loss"] < 0.6 * losses[0]["loss"]
    assert losses[-1]["longer"] < losses[0]["longer"] and losses[-1]["finest"] < losses[0]["finest"]

    guidance = distill_config(work).flow_map.guidance
    initial = warm_start_transformer(work / "denoiser", distill_config(work).pipeline).eval()
    student = TriplaneTransformer.from_pretrained(distilled / "transformer")
    end = integrate(guided_velocity(initial, guidance), 64, conditions)
    for steps in (1, 2, 4, 8):
        before, after = (
            (integrate(mean_velocity_of(model), steps, conditions) - end).square().mean()
            for model in (initial, student)
        )
        assert after < 0.5 * before


def test_validation_scores_each_number_of_steps(distilled):
    scores = logged(distilled)[-1]
    for steps in (1, 2, 4, 8):
        assert isfinite(scores[f"val_iou_at_{steps}"]) and isfinite(scores[f"val_iou_swapped_at_{steps}"])
    assert list((distilled / "pictures").glob("validation-*.png"))


def test_a_killed_run_resumes_exactly(work, denoiser, tmp_path):
    quick = {"run.steps": 6, "run.checkpoint_every": 3, "data.validation": None, "flow_map.on_policy": 0.5}
    whole = train(distill_config(work, **quick, **{"run.output": tmp_path / "whole"}))
    (tmp_path / "killed").mkdir()
    (whole / "checkpoint-3").rename(tmp_path / "killed" / "checkpoint-3")
    killed = train(distill_config(work, **quick, **{"run.output": tmp_path / "killed"}))
    for name in ("transformer/diffusion_pytorch_model.safetensors", "image_encoder/model.safetensors"):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected), name


def test_the_image_encoder_is_that_of_the_teacher(denoiser, distilled):
    expected, found = (load_file(run / "image_encoder" / "model.safetensors") for run in (denoiser, distilled))
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
    assert not (distilled / "teacher").exists()


def test_the_result_is_assembled_into_a_pipeline(work, autoencoder, distilled, conditions, tmp_path):
    folder = Path(shutil.copytree(distill_config(work).pipeline, tmp_path / "pipeline"))
    assemble_pipeline(autoencoder, distilled, folder)
    pipe = Triplane3DPipeline.from_pretrained(folder)
    expected = TriplaneTransformer.from_pretrained(distilled / "transformer")
    ends = [integrate(mean_velocity_of(model), 2, conditions) for model in (pipe.transformer, expected)]
    assert (ends[0] - ends[1]).abs().max() < 0.05


def test_assembling_needs_a_pipeline_with_interval_condition(autoencoder, distilled, tmp_path):
    folder = Path(shutil.copytree(ROOT / "pipelines" / "tiny", tmp_path / "pipeline"))
    with pytest.raises(ValueError, match="interval_condition=False, but the weights were trained with True"):
        assemble_pipeline(autoencoder, distilled, folder)


def test_training_needs_a_pipeline_with_interval_condition(work, denoiser, tmp_path):
    config = distill_config(work, **{"pipeline": ROOT / "pipelines" / "tiny", "run.output": tmp_path})
    with pytest.raises(ValueError, match="should have interval_condition=true"):
        train(config)


def test_targets_of_the_student_come_from_its_averaged_weights():
    config = TriplaneTransformer.load_config(ROOT / "pipelines" / "tiny", subfolder="transformer")
    transformer = TriplaneTransformer.from_config({**config, "interval_condition": True})
    average = EMAModel(transformer.parameters())
    velocity = averaged_flow_map(transformer, average)
    average.shadow_params = [0.1 * torch.randn_like(parameter) for parameter in transformer.parameters()]
    latents, timesteps, ends = torch.randn(2, 4, 4, 12), torch.tensor([900.0, 500.0]), torch.tensor([400.0, 0.0])
    tokens = {"encoder_hidden_states": torch.randn(2, 17, 32)}
    before = transformer(latents, timesteps, **tokens, timestep_end=ends).sample
    prediction = velocity(latents, timesteps, ends, tokens)
    assert torch.equal(transformer(latents, timesteps, **tokens, timestep_end=ends).sample, before)
    average.copy_to(transformer.parameters())
    assert torch.allclose(prediction, transformer(latents, timesteps, **tokens, timestep_end=ends).sample, atol=1e-6)
    assert not torch.allclose(prediction, before, atol=1e-2)


def test_errors_are_per_sample_and_huber_reduces_outliers():
    target = torch.zeros(2, 4, 4, 12)
    prediction = torch.stack([torch.full((4, 4, 12), 0.01), torch.full((4, 4, 12), 10.0)])
    assert torch.allclose(sample_errors(prediction, target, 0.0), torch.tensor([1e-4, 100.0]))
    small, large = sample_errors(prediction, target, 1.0)
    assert small == pytest.approx(1e-4, rel=1e-2) and large == pytest.approx(2 * (101**0.5 - 1))
