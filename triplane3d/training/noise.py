"""What a denoiser is taught: how its scheduler mixes data with noise, and what is then to be predicted.

A pipeline's own scheduler decides, so that whatever is trained is what it will integrate.
"""

from typing import Protocol, runtime_checkable

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import SchedulerMixin
from diffusers.training_utils import compute_density_for_timestep_sampling
from jaxtyping import Float
from torch import Tensor

from triplane3d.config import FlowConfig


@runtime_checkable
class NoisePath(Protocol):
    """From data to noise."""

    def draw(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        """Timesteps to learn at; all those of pure noise in the regression warm-up."""
        ...

    def mix(
        self, latents: Tensor, timesteps: Tensor, noise: Tensor
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """What the network sees at these timesteps, and what it should answer."""
        ...


class FlowPath:
    """Rectified flow (Liu et al. 2022): a straight line, whose velocity is noise − data; logit-normal timesteps."""

    def __init__(self, scheduler: FlowMatchEulerDiscreteScheduler, flow: FlowConfig):
        self.scheduler, self.flow = scheduler, flow

    def draw(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        if regression:
            return self.scheduler.timesteps[:1].expand(count)
        places = compute_density_for_timestep_sampling(
            "logit_normal", batch_size=count, logit_mean=self.flow.logit_mean, logit_std=self.flow.logit_std
        )
        steps = len(self.scheduler.timesteps)
        return self.scheduler.timesteps[(places * steps).long().clamp(max=steps - 1)]

    def mix(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        # As `scale_noise` of the scheduler, which looks every timestep up by itself: a wait for the device each.
        sigmas = (timesteps / self.scheduler.config.num_train_timesteps).view(-1, 1, 1, 1)
        return sigmas * noise + (1 - sigmas) * latents, noise - latents


class DiffusionPath:
    """Denoising diffusion (Ho et al. 2020, eq. 4): √ᾱ data + √(1 − ᾱ) noise, timesteps drawn evenly.

    The answer is what the scheduler's `prediction_type` says: the noise, the data, or v (Salimans & Ho 2022).
    """

    def __init__(self, scheduler: SchedulerMixin):
        self.alphas_cumprod = scheduler.alphas_cumprod.float()
        self.prediction_type = scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "sample", "v_prediction"):
            raise ValueError(
                f"cannot train for prediction_type={self.prediction_type!r} of {type(scheduler).__name__}: expected "
                "epsilon, sample or v_prediction; for flows train with FlowMatchEulerDiscreteScheduler"
            )

    def draw(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        steps = len(self.alphas_cumprod)
        timesteps = torch.full((count,), steps - 1) if regression else torch.randint(steps, (count,))
        return timesteps.float()

    def mix(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas_cumprod.to(latents.device)[timesteps.long()].view(-1, 1, 1, 1)
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        targets = {"epsilon": noise, "sample": latents, "v_prediction": signal * noise - spread * latents}
        return signal * latents + spread * noise, targets[self.prediction_type]


def noise_path(scheduler: SchedulerMixin, flow: FlowConfig) -> NoisePath:
    """The path that a scheduler of diffusers integrates backwards."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return FlowPath(scheduler, flow)
    config = scheduler.config
    otherwise = config.get("use_flow_sigmas") or config.get("timestep_type", "discrete") != "discrete"
    if hasattr(scheduler, "alphas_cumprod") and not otherwise:
        return DiffusionPath(scheduler)
    raise ValueError(
        f"do not know how {type(scheduler).__name__} as configured mixes data and noise: train with "
        "FlowMatchEulerDiscreteScheduler, or a scheduler of diffusers with alphas_cumprod and discrete timesteps"
    )
