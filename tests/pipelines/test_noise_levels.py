"""Few steps: the spacing of noise levels, and a model of mean velocities, which needs one step only."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from pipelines.tiny_pipeline import build_tiny, build_tiny_for_views, grids, photo, seeded

from triplane3d import Triplane3DPipeline


def latents_of(pipe: Triplane3DPipeline, **options: Any) -> torch.Tensor:
    return grids(pipe, output_type="latent", **options)


def with_spacing(pipe: Triplane3DPipeline, spacing: str | None, **components: Any) -> Triplane3DPipeline:
    other = Triplane3DPipeline(
        **{**pipe.components, **components}, presets=pipe.config.presets, timestep_spacing=spacing
    )
    other.set_progress_bar_config(disable=True)
    return other


def timesteps_of(pipe: Triplane3DPipeline, steps: int) -> list[float]:
    values: list[float] = []
    latents_of(pipe, num_inference_steps=steps, callback_on_step_end=lambda *now: values.append(float(now[2])))
    return values


def test_trailing_steps_are_equally_long_before_the_shift() -> None:
    pipe = build_tiny()
    assert timesteps_of(with_spacing(pipe, "trailing"), 4) == pytest.approx([1000, 750, 500, 250])
    assert timesteps_of(with_spacing(pipe, None), 4)[-1] == pytest.approx(1)
    shifted = FlowMatchEulerDiscreteScheduler(shift=3.0)
    assert timesteps_of(with_spacing(pipe, "trailing", scheduler=shifted), 4) == pytest.approx([1000, 900, 750, 500])
    flow_scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    assert timesteps_of(with_spacing(pipe, "trailing", scheduler=flow_scheduler), 2) == pytest.approx(
        [1000, 500], abs=1
    )


def test_the_spacing_is_saved_and_the_default_is_that_of_the_scheduler(tmp_path: Path) -> None:
    pipe = build_tiny()
    with_spacing(pipe, "trailing").save_pretrained(tmp_path)
    loaded = Triplane3DPipeline.from_pretrained(tmp_path)
    assert loaded.config.timestep_spacing == "trailing" and pipe.config.timestep_spacing is None
    loaded.set_progress_bar_config(disable=True)
    assert not torch.allclose(latents_of(loaded), latents_of(pipe), atol=1e-4)
    assert torch.equal(latents_of(Triplane3DPipeline.from_pipe(loaded, timestep_spacing=None)), latents_of(pipe))


def predict_mean_velocity(pipe: Triplane3DPipeline) -> list[tuple[float, float]]:
    """Replaces the transformer by the flow map of dx/dσ = x: x(r) = x(t) exp(r - t). Returns the list of its steps."""
    steps: list[tuple[float, float]] = []

    def forward(hidden_states: torch.Tensor, timestep: torch.Tensor, timestep_end: torch.Tensor, **_: Any) -> tuple:
        start, end = float(timestep[0]) / 1000, float(timestep_end) / 1000
        steps.append((start, end))
        return (hidden_states * (1 - math.exp(end - start)) / (start - end),)

    pipe.transformer.forward = forward
    return steps


@pytest.mark.parametrize("spacing", [None, "trailing"])
@pytest.mark.parametrize("shift", [1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_exact_mean_velocity_is_integrated_exactly(spacing: str | None, shift: float, steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    pipe = with_spacing(build_tiny_for_views(interval_condition=True), spacing, scheduler=scheduler)
    passed = predict_mean_velocity(pipe)
    noise = pipe.prepare_latents(1, torch.device("cpu"), seeded(), None)
    result = latents_of(pipe, latents=noise, num_inference_steps=steps)
    assert torch.allclose(result, noise * math.exp(-1), atol=1e-5)
    starts, ends = np.array(passed).T
    assert starts[0] == 1 and ends[-1] == 0 and len(passed) == steps
    assert np.allclose(starts[1:], ends[:-1])


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_the_end_of_the_step_is_passed_to_the_transformer(guidance_scale: float) -> None:
    pipe = build_tiny_for_views(interval_condition=True)
    expected = latents_of(pipe, guidance_scale=guidance_scale)
    forward = pipe.transformer.forward
    pipe.transformer.forward = lambda timestep_end, **rest: forward(**rest)
    assert float((latents_of(pipe, guidance_scale=guidance_scale) - expected).abs().max()) > 1e-2


@pytest.mark.parametrize("scheduler", [DDIMScheduler(), EulerDiscreteScheduler(), UniPCMultistepScheduler()])
def test_a_scheduler_that_is_not_for_flow_matching_is_named(scheduler: Any) -> None:
    pipe = with_spacing(build_tiny(), "trailing", scheduler=scheduler)
    with pytest.raises(ValueError, match=f"'trailing' is for .* set that of {type(scheduler).__name__}"):
        pipe(photo())


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(),
        FlowMatchHeunDiscreteScheduler(),
        FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
    ],
)
def test_a_scheduler_with_other_steps_is_refused_for_a_flow_map(scheduler: Any) -> None:
    pipe = with_spacing(build_tiny_for_views(interval_condition=True), None, scheduler=scheduler)
    with pytest.raises(ValueError, match=f"mean velocity of a step .* {type(scheduler).__name__} as configured"):
        pipe(photo())


def test_another_spacing_is_refused() -> None:
    with pytest.raises(ValueError, match="timestep_spacing must be one of .None, 'trailing'., got 'leading'"):
        with_spacing(build_tiny(), "leading")
