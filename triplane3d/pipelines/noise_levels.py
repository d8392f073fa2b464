"""The noise levels of one run: how they are spaced, and where each step ends."""

import inspect

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import SchedulerMixin
from jaxtyping import Float
from torch import Tensor

SPACINGS = (None, "trailing")
"""None: the scheduler's own. "trailing": evenly from 1 to 1/steps, before the scheduler's shift, so that the last step,
to 0, is as long as the others; a scheduler of flows by itself spends its last one below its least noise level."""


def check_spacing(spacing: object) -> None:
    if spacing not in SPACINGS:
        raise ValueError(f"timestep_spacing must be one of {SPACINGS}, got {spacing!r}")


def check_noise_levels(scheduler: SchedulerMixin, spacing: str | None, to_the_end_of_steps: bool) -> None:
    """The scheduler can space its levels so, and knows where steps end for a model that asks."""
    if spacing is not None and not _takes_noise_levels(scheduler):
        raise ValueError(
            f"timestep_spacing={spacing!r} is for schedulers of flows that take noise levels, as "
            f"FlowMatchEulerDiscreteScheduler does; set that of {type(scheduler).__name__} in its own config, and the "
            "pipeline's to None"
        )
    steps_are_straight = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    if to_the_end_of_steps and (not steps_are_straight or scheduler.config.stochastic_sampling):
        raise ValueError(
            "this transformer answers with the mean velocity of a step (interval_condition), along which "
            f"FlowMatchEulerDiscreteScheduler goes, without stochastic_sampling; {type(scheduler).__name__} as "
            "configured does otherwise: give the pipeline that one"
        )


def set_noise_levels(scheduler: SchedulerMixin, steps: int, device: torch.device, spacing: str | None) -> None:
    if spacing is None:
        scheduler.set_timesteps(steps, device=device)
    else:
        scheduler.set_timesteps(steps, device=device, sigmas=np.linspace(1, 1 / steps, steps))


def ends_of_steps(scheduler: FlowMatchEulerDiscreteScheduler) -> Float[Tensor, " steps"]:
    """The timestep at which each step ends: that of the next one, and 0."""
    return scheduler.sigmas[1:] * scheduler.config.num_train_timesteps


def _takes_noise_levels(scheduler: SchedulerMixin) -> bool:
    """Levels of a flow, from 0 to 1; others take sigmas too, but of noise that is added to data of full size."""
    takes_sigmas = "sigmas" in inspect.signature(scheduler.set_timesteps).parameters
    of_a_flow = scheduler.config.get("use_flow_sigmas", True) and getattr(scheduler, "init_noise_sigma", 1.0) == 1.0
    return bool(takes_sigmas and of_a_flow)
