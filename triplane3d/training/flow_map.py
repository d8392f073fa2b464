"""What a denoiser of few steps is taught: the mean velocity of a step, however long (Boffi et al. 2024, "flow maps").

A teacher, slow and guided, says it for the shortest steps. For every other one the student is its own teacher: two
steps of half the length end where one should (Frans et al. 2024, "One step diffusion via shortcut models").
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

Conditions = dict[str, Tensor]
"""What the transformer knows of each sample's photos, by the names of its arguments."""

Velocity = Callable[[Tensor, Tensor, Tensor, Conditions], Tensor]
"""Of latents at a timestep, for the step to another, under these conditions: the velocity to take it with."""


@dataclass(frozen=True)
class Lessons:
    """Steps, and the velocity each should be taken with; the first `finest` are of the shortest kind."""

    latents: Float[Tensor, "batch channels height width"]
    timesteps: Float[Tensor, " batch"]
    timestep_ends: Float[Tensor, " batch"]
    target: Float[Tensor, "batch channels height width"]
    finest: int


class Stops:
    """Where trailing schedules of 1, 2, 4 … `finest` steps stop on their way from noise to data.

    Each stops wherever the one before does, so a place is a number: how many steps of the finest schedule lie behind,
    each cut into `substeps`. The scheduler says what sigma a place has.
    """

    def __init__(self, scheduler: SchedulerMixin, finest: int, substeps: int = 1):
        if finest < 2 or finest & (finest - 1):
            raise ValueError(f"flow_map.finest should be a power of two, 2 or more, not {finest}")
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler) or scheduler.config.use_dynamic_shifting:
            raise ValueError(
                "few steps are learnt along the flow of FlowMatchEulerDiscreteScheduler without use_dynamic_shifting, "
                f"not of {type(scheduler).__name__} as the pipeline has it; train a denoiser for the former"
            )
        self.scheduler = deepcopy(scheduler)
        self.levels, self.count = finest.bit_length() - 1, finest * substeps
        coarser = [self._trailing(2**level) for level in range(self.levels + 1)]
        self.sigmas = self._trailing(self.count)
        for sigmas in coarser:
            own = self.sigmas[:: self.count // (len(sigmas) - 1)]
            if sigmas[0] != 1 or not torch.allclose(sigmas, own, atol=1e-6):
                raise ValueError(
                    "few steps are learnt where schedules of any length meet on the way from sigma 1 to 0, but this "
                    "scheduler's do not; leave out its use_…_sigmas, shift_terminal and invert_sigmas"
                )
        self.timesteps = self.sigmas * self.scheduler.config.num_train_timesteps

    def _trailing(self, steps: int) -> Float[Tensor, " stops"]:
        self.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
        return self.scheduler.sigmas

    def draw(self, levels: Int[Tensor, " batch"]) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
        """Start and end of any of the 2^level steps that a schedule of that many has."""
        starts = (torch.rand(len(levels)) * 2**levels).long()
        lengths = self.count // 2**levels
        return starts * lengths, (starts + 1) * lengths

    def mix(
        self,
        data: Float[Tensor, "batch channels height width"],
        places: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Data with as much noise as it has at these places, none of which is the last."""
        sigmas = _each(self.sigmas[places], data)
        return sigmas * noise + (1 - sigmas) * data

    def displacement(
        self,
        velocity: Velocity,
        latents: Float[Tensor, "batch channels height width"],
        route: list[Int[Tensor, " batch"]],
        conditions: Conditions,
    ) -> Float[Tensor, "batch channels height width"]:
        """How far Euler's method moves latents that are at the first place of `route`, stopping at all the others."""
        moved = torch.zeros_like(latents)
        timesteps = self.timesteps.to(latents.device)
        for start, end in pairwise(route):
            sigma, sigma_end = _each(self.sigmas[start], latents), _each(self.sigmas[end], latents)
            now = latents + moved
            moved = moved + (sigma_end - sigma) * velocity(now, timesteps[start], timesteps[end], conditions)
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
        """The one velocity that takes latents from `starts` to where `steps` of Euler's method end.

        Steps are of equal length in places, not in sigma: the mean is over what the schedule makes of them.
        """
        route = [starts + (ends - starts) * step // steps for step in range(steps + 1)]
        moved = self.displacement(velocity, latents, route, conditions)
        return moved / _each(self.sigmas[ends] - self.sigmas[starts], latents)

    def from_noise(
        self,
        velocity: Velocity,
        noise: Float[Tensor, "batch channels height width"],
        ends: Int[Tensor, " batch"],
        conditions: Conditions,
    ) -> Float[Tensor, "batch channels height width"]:
        """Where `velocity` leads from pure noise, in the fewest and longest steps that there are to these places."""
        latents, places = noise.clone(), torch.zeros_like(ends)
        for level in range(1, self.levels + 1):
            length = self.count // 2**level
            going = (ends - places >= length).nonzero()[:, 0]
            if len(going):
                route = [places[going], places[going] + length]
                moved = self.displacement(velocity, latents[going], route, rows(conditions, going))
                latents[going] = latents[going] + moved
                places[going] += length
        return latents


class Lecturer:
    """Draws the lessons of a batch: a share of them from `teacher`, the others from what the student knows by now.

    Those others are as often of each length. One of the longest, of which a schedule has one, comes up twice as often
    as either of the two next, and so on: it is the hardest to learn, and stands on all the others.
    """

    def __init__(self, teacher: Velocity, student: Velocity, scheduler: SchedulerMixin, config: FlowMapConfig):
        self.teacher, self.student, self.config = teacher, student, config
        self.stops = Stops(scheduler, config.finest, config.teacher_steps)

    @torch.no_grad()
    def draw(self, data: Float[Tensor, "batch channels height width"], conditions: Conditions) -> Lessons:
        """A step for each of the latents `data`; sizes of what is computed do not depend on chance, for speed."""
        config, stops = self.config, self.stops
        finest = ceil(config.finest_share * len(data))
        longer = torch.randint(0, stops.levels, (len(data) - finest,))
        starts, ends = stops.draw(torch.cat([torch.full((finest,), stops.levels), longer]))
        noise = torch.randn_like(data)
        latents = stops.mix(data, starts, noise)
        # What the student meets on its own way is not noised data, least of all where guidance leads away from those.
        own = (torch.rand(len(data)) < config.on_policy).nonzero()[:, 0]
        if len(own):
            latents[own] = stops.from_noise(self.student, noise[own], starts[own], rows(conditions, own))

        target = []
        for velocity, steps, chosen in (
            (self.teacher, config.teacher_steps, torch.arange(finest)),
            (self.student, 2, torch.arange(finest, len(data))),
        ):
            if len(chosen):
                step = latents[chosen], starts[chosen], ends[chosen]
                target.append(stops.mean_velocity(velocity, *step, steps, rows(conditions, chosen)))
        timesteps = stops.timesteps.to(data.device)
        return Lessons(latents, timesteps[starts], timesteps[ends], torch.cat(target), finest)


def guided_velocity(transformer: nn.Module, guidance: float) -> Velocity:
    """What a pipeline steps along at that guidance scale: the velocity at a timestep, wherever the step will end."""

    def velocity(latents: Tensor, timesteps: Tensor, timestep_ends: Tensor, conditions: Conditions) -> Tensor:
        def predict(latents: Tensor, num_without_photo: int) -> Tensor:
            if not num_without_photo:
                return transformer(latents, timesteps, **conditions, return_dict=False)[0]
            times = torch.cat([timesteps, timesteps])
            options = {"num_without_photo": num_without_photo, "return_dict": False}
            return transformer(latents, times, **conditions, **options)[0]

        return guided_prediction(predict, latents, guidance)

    return velocity


def rows(conditions: Conditions, chosen: Int[Tensor, " chosen"]) -> Conditions:
    """The conditions of these samples of a batch."""
    return {name: values[chosen.to(values.device)] for name, values in conditions.items()}


def _each(values: Float[Tensor, " batch"], latents: Tensor) -> Float[Tensor, "batch 1 1 1"]:
    return rearrange(values.to(latents), "batch -> batch 1 1 1")
