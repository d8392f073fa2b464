"""The noise levels of one run and the scheduler's options: how levels are spaced, and where each step ends."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import SchedulerMixin
from jaxtyping import Float
from torch import Tensor

SPACINGS = (None, "trailing")
"""Values of the pipeline's `timestep_spacing`.

None: the scheduler's own spacing. "trailing": even from 1 to 1/steps before the scheduler's shift, so that the last
step, to 0, is as long as the others. By itself a flow-matching scheduler spends its last step below its lowest level.
"""


def check_spacing(spacing: object) -> None:
    """Raise a ValueError for a value that is not one of `SPACINGS`."""
    if spacing not in SPACINGS:
        raise ValueError(f"timestep_spacing must be one of {SPACINGS}, got {spacing!r}")


def check_noise_levels(scheduler: SchedulerMixin, spacing: str | None, needs_step_ends: bool) -> None:
    """Check that the scheduler supports the spacing and, if `needs_step_ends`, that its steps are straight lines.

    Raises:
        ValueError: with the scheduler's class and what to change.
    """
    if spacing is not None and not _takes_flow_levels(scheduler):
        raise ValueError(
            f"timestep_spacing={spacing!r} is for flow-matching schedulers that take noise levels, such as "
            f"FlowMatchEulerDiscreteScheduler; set that of {type(scheduler).__name__} in its own config, and the "
            "pipeline's to None"
        )
    steps_are_straight = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    if needs_step_ends and (not steps_are_straight or scheduler.config.stochastic_sampling):
        raise ValueError(
            "this transformer predicts the mean velocity of a step (interval_condition). Its pipeline needs "
            "FlowMatchEulerDiscreteScheduler without stochastic_sampling, whose steps are straight; "
            f"{type(scheduler).__name__} as configured takes other steps: give the pipeline the former"
        )


def set_noise_levels(scheduler: SchedulerMixin, steps: int, device: torch.device, spacing: str | None) -> None:
    """Set the scheduler's timesteps for a run of `steps` steps; `spacing` is one of `SPACINGS`.

    Raises:
        ValueError: the scheduler cannot make a single step.
    """
    if steps == 1 and scheduler.config.get("shift_terminal"):
        raise ValueError(
            f"{type(scheduler).__name__} with shift_terminal={scheduler.config['shift_terminal']} stretches the levels "
            "between the first and the last: it needs num_inference_steps of 2 or more"
        )
    if spacing is None:
        scheduler.set_timesteps(steps, device=device)
    else:
        scheduler.set_timesteps(steps, device=device, sigmas=np.linspace(1, 1 / steps, steps))


def try_scheduler(scheduler: SchedulerMixin) -> None:
    """Denoise a small latent of zeros in up to ten steps, as a test of the scheduler's settings.

    Raises:
        ValueError: if the result is not finite.
        Exception: whatever diffusers raises for settings that it cannot use.
    """
    latents = torch.zeros(1, 1, 2, 2)
    kwargs = step_kwargs(scheduler, torch.Generator().manual_seed(0))
    scheduler.set_timesteps(min(10, scheduler.config.get("num_train_timesteps", 10)))
    for timestep in scheduler.timesteps:
        scaled = input_scaling(scheduler)(latents, timestep)
        latents = scheduler.step(torch.zeros_like(scaled), timestep, latents, **kwargs)[0]
    if not bool(latents.isfinite().all()):
        raise ValueError("the result is not finite")


def step_ends(scheduler: FlowMatchEulerDiscreteScheduler) -> Float[Tensor, " steps"]:
    """The timestep at which each step ends: that of the next step, and 0."""
    return scheduler.sigmas[1:] * scheduler.config.num_train_timesteps


def input_scaling(scheduler: SchedulerMixin) -> Callable[[Tensor, Tensor], Tensor]:
    """`(latents, timestep)` → the transformer's input; the identity for schedulers without `scale_model_input`."""
    return getattr(scheduler, "scale_model_input", lambda latents, timestep: latents)


def step_kwargs(scheduler: SchedulerMixin, generator: torch.Generator | list[torch.Generator] | None) -> dict[str, Any]:
    """Keyword arguments of `scheduler.step`. Only schedulers that add noise in a step take a generator."""
    kwargs: dict[str, Any] = {"return_dict": False}
    if "generator" in inspect.signature(scheduler.step).parameters:
        kwargs["generator"] = generator
    return kwargs


def _takes_flow_levels(scheduler: SchedulerMixin) -> bool:
    """Whether `set_timesteps` takes noise levels of a flow, from 0 to 1.

    Other schedulers have an argument `sigmas` too, for noise that is added to data of full size.
    """
    takes_sigmas = "sigmas" in inspect.signature(scheduler.set_timesteps).parameters
    is_flow = scheduler.config.get("use_flow_sigmas", True) and getattr(scheduler, "init_noise_sigma", 1.0) == 1.0
    return bool(takes_sigmas and is_flow)
