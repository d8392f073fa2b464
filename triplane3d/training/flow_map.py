"""Training targets for few-step flow maps: the mean velocity of a step of any length (Boffi et al. 2024, "Flow maps").

A transformer with `interval_condition` predicts the mean velocity of the step from one timestep to another. For the
shortest steps, the target comes from the guided multi-step teacher. For every longer step, it comes from the student
itself: two steps of half the length lead to the end of the long one (Frans et al. 2024, "One step diffusion via
shortcut models", eq. 5).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import SchedulerMixin
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from triplane3d.config import FlowMapConfig
from triplane3d.pipelines.guidance import guided_prediction
from triplane3d.training.noise import mix_flow

Conditions = dict[str, Tensor]
"""Conditions of a batch, by the names of the transformer's arguments: image tokens, cameras."""

Velocity = Callable[[Tensor, Tensor, Tensor, Conditions], Tensor]
"""(latents, timesteps, timestep_ends, conditions) → velocities for the steps between these timesteps."""


@dataclass(frozen=True)
class FlowMapBatch:
    """Steps of random place and length, each with its target. The first `finest` steps have the shortest length."""

    latents: Float[Tensor, "batch channels height width"]
    """At the start of each step."""
    timesteps: Float[Tensor, " batch"]
    timestep_ends: Float[Tensor, " batch"]
    target: Float[Tensor, "batch channels height width"]
    """Mean velocity of the step."""
    finest: int


class TimeGrid:
    """The timesteps of trailing schedules with 1, 2, 4, … `finest` steps, on one grid.

    Every second timestep of a schedule belongs to the next coarser one. An integer index therefore addresses the
    timesteps of all schedules: index 0 is pure noise, index `count` is data, and a step of the finest schedule spans
    `substeps` indices. The scheduler determines the sigma of each index.

    Raises `ValueError` for a scheduler whose schedules do not share their timesteps.
    """

    def __init__(self, scheduler: SchedulerMixin, finest: int, substeps: int = 1):
        if finest < 2 or finest & (finest - 1):
            raise ValueError(f"flow_map.finest should be a power of two, 2 or more, not {finest}")
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler) or scheduler.config.use_dynamic_shifting:
            raise ValueError(
                "distillation needs FlowMatchEulerDiscreteScheduler without use_dynamic_shifting, not "
                f"{type(scheduler).__name__} as the pipeline has it; train a denoiser with the former"
            )
        self.scheduler = deepcopy(scheduler)
        self.levels, self.count = finest.bit_length() - 1, finest * substeps
        # Steps are nested: two steps of one level span one step of the next coarser level. The
        # target of a long step is therefore computed from two steps of half the length.
        coarser = [self._trailing_sigmas(2**level) for level in range(self.levels + 1)]
        self.sigmas = self._trailing_sigmas(self.count)
        for sigmas in coarser:
            shared = self.sigmas[:: self.count // (len(sigmas) - 1)]
            if sigmas[0] != 1 or not torch.allclose(sigmas, shared, atol=1e-6):
                raise ValueError(
                    "distillation needs schedules that run from sigma 1 to 0 and share their timesteps at all numbers "
                    "of steps; leave out the scheduler's use_…_sigmas, shift_terminal and invert_sigmas"
                )
        self.timesteps = self.sigmas * self.scheduler.config.num_train_timesteps

    def _trailing_sigmas(self, steps: int) -> Float[Tensor, " sigmas"]:
        self.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
        return self.scheduler.sigmas

    def sample_steps(self, levels: Int[Tensor, " batch"]) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
        """Start and end index of a random step of the schedule with 2^level steps, for each of `levels`."""
        starts = (torch.rand(len(levels)) * 2**levels).long()
        lengths = self.count // 2**levels
        return starts * lengths, (starts + 1) * lengths

    def add_noise(
        self,
        data: Float[Tensor, "batch channels height width"],
        indices: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Data mixed with noise at the sigmas of `indices`."""
        return mix_flow(data, noise, self.sigmas[indices].to(data))

    def displacement(
        self,
        velocity: Velocity,
        latents: Float[Tensor, "batch channels height width"],
        route: list[Int[Tensor, " batch"]],
        conditions: Conditions,
    ) -> Float[Tensor, "batch channels height width"]:
        """By how much Euler's method moves latents from the first index of `route` over all others to the last."""
        moved = torch.zeros_like(latents)
        timesteps = self.timesteps.to(latents.device)
        for start, end in pairwise(route):
            sigma, sigma_end = _per_sample(self.sigmas[start], latents), _per_sample(self.sigmas[end], latents)
            # Euler's method: x(σ_end) = x(σ) + (σ_end - σ) v(x, σ).
            current = latents + moved
            moved = moved + (sigma_end - sigma) * velocity(current, timesteps[start], timesteps[end], conditions)
        return moved

    def mean_velocity(
        self,
        velocity: Velocity,
        latents: Float[Tensor, "batch channels height width"],
        starts: Int[Tensor, " batch"],
        ends: Int[Tensor, " batch"],
        steps: int,
        conditions: Conditions,
    ) -> Float[Tensor, "batch channels height width"]:
        """The constant velocity from `starts` to the point that `steps` Euler steps of `velocity` reach at `ends`.

        The Euler steps span equal numbers of indices, which are not equal differences of sigma.
        """
        route = [starts + (ends - starts) * step // steps for step in range(steps + 1)]
        moved = self.displacement(velocity, latents, route, conditions)
        return moved / _per_sample(self.sigmas[ends] - self.sigmas[starts], latents)

    def integrate_from_noise(
        self,
        velocity: Velocity,
        noise: Float[Tensor, "batch channels height width"],
        ends: Int[Tensor, " batch"],
        conditions: Conditions,
    ) -> Float[Tensor, "batch channels height width"]:
        """The latents that `velocity` reaches from pure noise at `ends`, with the fewest steps of these schedules.

        The steps are the binary digits of an index, the longest first: each level is used at most once per sample.
        """
        latents, indices = noise.clone(), torch.zeros_like(ends)
        for level in range(1, self.levels + 1):
            length = self.count // 2**level
            # Invariant: less than 2 · length remains, so one step of this level is enough.
            moving = (ends - indices >= length).nonzero()[:, 0]
            if len(moving):
                route = [indices[moving], indices[moving] + length]
                moved = self.displacement(velocity, latents[moving], route, take_conditions(conditions, moving))
                latents[moving] = latents[moving] + moved
                indices[moving] += length
        return latents


class FlowMapSampler:
    """Samples training batches for a flow map.

    A share `config.finest_share` of the samples has the shortest steps, with targets from `teacher`. The others have
    longer steps, with targets from `student`. All lengths are equally frequent. A given long step is therefore sampled
    more often than a given short one, of which there are more; targets of long steps depend on all shorter ones.
    """

    def __init__(self, teacher: Velocity, student: Velocity, scheduler: SchedulerMixin, config: FlowMapConfig):
        self.teacher, self.student, self.config = teacher, student, config
        self.grid = TimeGrid(scheduler, config.finest, config.teacher_steps)

    @torch.no_grad()
    def sample(self, data: Float[Tensor, "batch channels height width"], conditions: Conditions) -> FlowMapBatch:
        """One step for each of the latents `data`.

        How many samples go through teacher and student is not random, which keeps tensor shapes constant.
        """
        config, grid = self.config, self.grid
        finest = ceil(config.finest_share * len(data))
        longer = torch.randint(0, grid.levels, (len(data) - finest,))
        starts, ends = grid.sample_steps(torch.cat([torch.full((finest,), grid.levels), longer]))
        noise = torch.randn_like(data)
        latents = grid.add_noise(data, starts, noise)
        # In inference, the student starts from its own outputs. Guidance makes these differ from noisy data.
        on_policy = (torch.rand(len(data)) < config.on_policy).nonzero()[:, 0]
        if len(on_policy):
            latents[on_policy] = grid.integrate_from_noise(
                self.student, noise[on_policy], starts[on_policy], take_conditions(conditions, on_policy)
            )

        # Shortest steps: several Euler steps of the guided teacher. Longer steps: two half steps of the student.
        target = []
        for velocity, steps, chosen in (
            (self.teacher, config.teacher_steps, torch.arange(finest)),
            (self.student, 2, torch.arange(finest, len(data))),
        ):
            if len(chosen):
                step = latents[chosen], starts[chosen], ends[chosen]
                target.append(grid.mean_velocity(velocity, *step, steps, take_conditions(conditions, chosen)))
        timesteps = grid.timesteps.to(data.device)
        return FlowMapBatch(latents, timesteps[starts], timesteps[ends], torch.cat(target), finest)


def guided_velocity(transformer: nn.Module, guidance: float) -> Velocity:
    """The velocity with classifier-free guidance (Ho & Salimans 2022), as the pipeline uses it. Ends are ignored."""

    def velocity(latents: Tensor, timesteps: Tensor, timestep_ends: Tensor, conditions: Conditions) -> Tensor:
        def predict(latents: Tensor, num_without_photo: int) -> Tensor:
            if not num_without_photo:
                return transformer(latents, timesteps, **conditions, return_dict=False)[0]
            times = torch.cat([timesteps, timesteps])
            options = {"num_without_photo": num_without_photo, "return_dict": False}
            return transformer(latents, times, **conditions, **options)[0]

        return guided_prediction(predict, latents, guidance)

    return velocity


def take_conditions(conditions: Conditions, chosen: Int[Tensor, " chosen"]) -> Conditions:
    """The conditions of these samples of a batch."""
    return {name: values[chosen.to(values.device)] for name, values in conditions.items()}


def _per_sample(values: Float[Tensor, " batch"], latents: Tensor) -> Float[Tensor, "batch 1 1 1"]:
    return rearrange(values.to(latents), "batch -> batch 1 1 1")
