"""The training target is what the scheduler integrates, for all supported schedulers of diffusers."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from triplane3d.config import FlowConfig
from triplane3d.pipelines.noise_levels import input_scaling, step_kwargs
from triplane3d.training.noise import noise_path

SCHEDULERS = {
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
    **{
        f"{scheduler.__name__} {kind}": scheduler(prediction_type=kind, **options)
        for scheduler, options in (
            (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": True}),
            (EulerDiscreteScheduler, {}),
        )
        for kind in ("epsilon", "sample", "v_prediction")
    },
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_exact_predictions_lead_to_the_data(name: str) -> None:
    """With exact predictions at every timestep, sampling ends at the data."""
    scheduler, data = SCHEDULERS[name], torch.randn(2, 4, 4, 12)
    path = noise_path(scheduler, FlowConfig())
    assert path.sample_timesteps(7, regression=True).unique().numel() == 1

    scheduler.set_timesteps(20)
    latents = torch.randn_like(data) * getattr(scheduler, "init_noise_sigma", 1.0)
    scale_input, options = input_scaling(scheduler), step_kwargs(scheduler, torch.Generator())
    for timestep in scheduler.timesteps:
        scaled = scale_input(latents, timestep)
        # The noise that gives these latents when it is mixed with the data determines the target.
        at = (timestep if name == "flow" else timestep.round()).expand(2).float()
        without, _ = path.mix(data, at, torch.zeros_like(data))
        unit, _ = path.mix(torch.zeros_like(data), at, torch.ones_like(data))
        _, target = path.mix(data, at, (scaled - without) / unit)
        latents = scheduler.step(target, timestep, latents, **options)[0]
    assert (latents - data).abs().max() < 0.02


@pytest.mark.parametrize("options", [{}, {"shift": 3.0}, {"num_train_timesteps": 500, "shift": 0.5}])
def test_the_flow_path_adds_noise_as_its_scheduler_does(options: dict) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    path, (data, noise) = noise_path(scheduler, FlowConfig()), torch.randn(2, 64, 4, 4, 12)
    timesteps = path.sample_timesteps(64, regression=False)
    assert torch.allclose(path.mix(data, timesteps, noise)[0], scheduler.scale_noise(data, timesteps, noise), atol=1e-6)


def test_timesteps_cover_the_schedule() -> None:
    timesteps = noise_path(DDIMScheduler(), FlowConfig()).sample_timesteps(20_000, regression=False)
    assert timesteps.min() == 0 and timesteps.max() == 999 and abs(timesteps.mean() - 499.5) < 10


def test_unsupported_schedulers_are_refused() -> None:
    with pytest.raises(ValueError, match="does not support FlowMatchHeunDiscreteScheduler as configured"):
        noise_path(FlowMatchHeunDiscreteScheduler(), FlowConfig())
    continuous, flow = EulerDiscreteScheduler(timestep_type="continuous"), UniPCMultistepScheduler(use_flow_sigmas=True)
    for scheduler in (continuous, flow):
        with pytest.raises(ValueError, match="as configured"):
            noise_path(scheduler, FlowConfig())
