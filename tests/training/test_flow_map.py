"""Targets of flow maps are exact for flows with a known solution, at every step length and from teacher and student."""

from math import exp

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from models.tiny_models import denoiser_inputs, tiny_transformer

from triplane3d.config import FlowMapConfig
from triplane3d.training.flow_map import FlowMapSampler, TimeGrid, guided_velocity, take_conditions

RATE = 0.7


class LinearFlow:
    """dx/dsigma = RATE · x + drift, with a known solution and one drift per sample."""

    def velocity(self, latents, timesteps, timestep_ends, conditions):
        return RATE * latents + conditions["drift"]

    def mean_velocity(self, latents, timesteps, timestep_ends, conditions):
        """Mean velocity of the exact solution (x + drift / RATE) · exp(RATE · Δsigma)."""
        span = ((timestep_ends - timesteps) / 1000).view(-1, 1, 1, 1)
        return (latents + conditions["drift"] / RATE) * torch.expm1(RATE * span) / span


def drifts(count: int) -> dict[str, torch.Tensor]:
    return {"drift": torch.randn(count, 4, 1, 1)}


def latents(count: int) -> torch.Tensor:
    return torch.randn(count, 4, 4, 12)


@pytest.mark.parametrize("shift", [1.0, 4.0])
def test_the_grid_has_the_sigmas_of_trailing_schedules(shift):
    scheduler, teacher_steps = FlowMatchEulerDiscreteScheduler(shift=shift), 3
    grid = TimeGrid(scheduler, 16, teacher_steps)
    for steps in (1, 2, 4, 8, 16, 48):
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
        assert torch.allclose(grid.sigmas[:: 48 // steps], scheduler.sigmas, atol=1e-6)
        assert torch.allclose(grid.timesteps[:: 48 // steps][:-1], scheduler.timesteps, atol=1e-3)
        u = torch.linspace(1, 0, steps + 1)
        assert torch.allclose(scheduler.sigmas, shift * u / (1 + (shift - 1) * u), atol=1e-6)


def test_exactly_the_steps_of_each_schedule_are_sampled():
    grid = TimeGrid(FlowMatchEulerDiscreteScheduler(), 8, 2)
    for level in range(4):
        starts, ends = grid.sample_steps(torch.full((400,), level))
        length = 16 >> level
        assert set(zip(starts.tolist(), ends.tolist())) == {(at, at + length) for at in range(0, 16, length)}


def test_noisy_data_lie_on_the_path_of_the_scheduler():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=4.0)
    grid, data, noise = TimeGrid(scheduler, 4), latents(4), latents(4)
    sigma = grid.sigmas[:4].view(-1, 1, 1, 1)
    assert torch.allclose(grid.add_noise(data, torch.arange(4), noise), (1 - sigma) * data + sigma * noise)
    assert torch.equal(grid.add_noise(data[:1], torch.tensor([0]), noise[:1]), noise[:1])


@pytest.mark.parametrize("on_policy", [0.0, 0.5])
@pytest.mark.parametrize("shift", [1.0, 4.0])
def test_targets_of_a_straight_flow_are_its_velocity(shift, on_policy):
    """For every length of step, from teacher and student."""
    conditions = drifts(64)

    def straight(latents, timesteps, timestep_ends, conditions):
        return conditions["drift"].expand_as(latents)

    config = FlowMapConfig(teacher_steps=2, finest_share=0.25, on_policy=on_policy)
    batch = FlowMapSampler(straight, straight, FlowMatchEulerDiscreteScheduler(shift=shift), config).sample(
        latents(64), conditions
    )
    assert batch.finest == 16
    assert torch.allclose(batch.target, conditions["drift"].expand_as(batch.target), atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 4.0])
def test_an_exact_flow_map_is_its_own_target(shift):
    """Two exact half steps, and many small steps of the teacher, give the exact mean velocity."""
    flow, conditions = LinearFlow(), drifts(256)
    config = FlowMapConfig(teacher_steps=64, finest_share=0.5, on_policy=0.3)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    batch = FlowMapSampler(flow.velocity, flow.mean_velocity, scheduler, config).sample(latents(256), conditions)
    exact = flow.mean_velocity(batch.latents, batch.timesteps, batch.timestep_ends, conditions)
    longer = slice(batch.finest, None)
    assert torch.allclose(batch.target[longer], exact[longer], atol=1e-4)
    assert torch.allclose(batch.target, exact, atol=5e-3)  # Euler's error, a 64th of the finest step
    assert len((batch.timesteps - batch.timestep_ends)[longer].unique()) >= 4  # of 1, 2, 4 and 8 steps
    # The target differs from the velocity at the start of the step.
    wrong = flow.velocity(batch.latents, batch.timesteps, batch.timestep_ends, conditions)
    assert (wrong - exact)[longer].abs().max() > 0.3


def test_one_step_of_the_exact_mean_velocity_reaches_the_end_of_the_flow():
    flow, conditions, noise = LinearFlow(), drifts(3), latents(3)
    grid = TimeGrid(FlowMatchEulerDiscreteScheduler(shift=4.0), 8)
    end = exp(-RATE) * (noise + conditions["drift"] / RATE) - conditions["drift"] / RATE
    for steps in (1, 2, 8):
        route = [torch.full((3,), place) for place in range(0, 9, 8 // steps)]
        moved = grid.displacement(flow.mean_velocity, noise, route, conditions)
        assert torch.allclose(noise + moved, end, atol=1e-5)


def test_integration_from_noise_follows_the_flow_in_the_fewest_steps():
    flow, conditions, noise = LinearFlow(), drifts(8), latents(8)
    grid, calls = TimeGrid(FlowMatchEulerDiscreteScheduler(shift=4.0), 8, 2), []

    def recorded(latents, timesteps, timestep_ends, conditions):
        calls.append((timesteps, timestep_ends))
        return flow.mean_velocity(latents, timesteps, timestep_ends, conditions)

    ends = torch.arange(0, 16, 2)
    reached = grid.integrate_from_noise(recorded, noise, ends, conditions)
    span = (grid.sigmas[ends] - 1).view(-1, 1, 1, 1)
    drift = conditions["drift"] / RATE
    assert torch.allclose(reached, (noise + drift) * torch.exp(RATE * span) - drift, atol=1e-5)
    assert torch.equal(reached[0], noise[0])
    assert len(calls) == 3 and sum(len(timesteps) for timesteps, _ in calls) == 12  # 0 to 7 in binary have 12 ones
    steps = {(grid.timesteps[at].item(), grid.timesteps[at + length].item())
              for length in (8, 4, 2) for at in range(0, 16, length)}  # fmt: skip
    assert all(step in steps for call in calls for step in zip(*(times.tolist() for times in call)))


@pytest.mark.parametrize("guidance", [0.5, 1.0, 3.0])
def test_guidance_is_part_of_the_targets_of_the_finest_steps(guidance):
    """Predictions with tokens and with zeros, combined as in the pipeline."""
    teacher, tokens = tiny_transformer(), denoiser_inputs(6)["encoder_hidden_states"]
    config = FlowMapConfig(guidance=guidance, finest_share=1.0)
    velocity = guided_velocity(teacher, guidance)
    sampler = FlowMapSampler(velocity, velocity, FlowMatchEulerDiscreteScheduler(shift=4.0), config)
    batch = sampler.sample(latents(6), {"encoder_hidden_states": tokens})
    with torch.no_grad():
        conditional, unconditional = (teacher(batch.latents, batch.timesteps, condition).sample
                          for condition in (tokens, torch.zeros_like(tokens)))  # fmt: skip
    assert torch.allclose(batch.target, unconditional + guidance * (conditional - unconditional), atol=1e-5)
    assert not torch.allclose(conditional, unconditional, atol=1e-2)
    assert torch.allclose(take_conditions({"tokens": tokens}, torch.tensor([4, 1]))["tokens"], tokens[[4, 1]])


@pytest.mark.parametrize(
    "scheduler, finest, message",
    [
        (FlowMatchEulerDiscreteScheduler(), 12, "a power of two, 2 or more, not 12"),
        (FlowMatchEulerDiscreteScheduler(), 1, "not 1"),
        (DDIMScheduler(), 8, "not DDIMScheduler"),
        (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), 8, "without use_dynamic_shifting"),
        (FlowMatchEulerDiscreteScheduler(shift_terminal=0.1), 8, "share their timesteps at all numbers"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), 8, "share their timesteps at all numbers"),
    ],
)
def test_schedules_that_do_not_share_timesteps_are_refused(scheduler, finest, message):
    with pytest.raises(ValueError, match=message):
        TimeGrid(scheduler, finest)
