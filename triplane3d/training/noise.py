"""Noise paths: how data and noise are mixed for training, and what the network predicts.

The path follows from the pipeline's scheduler, so that the trained prediction is the one that the scheduler integrates.
"""

from typing import Protocol, runtime_checkable

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers import SchedulerMixin
from diffusers.training_utils import compute_density_for_timestep_sampling
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from triplane3d.config import FlowConfig


@runtime_checkable
class NoisePath(Protocol):
    """Mixing of latents with noise, and the training target."""

    def sample_timesteps(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        """Random timesteps of `count` samples. With `regression` (its warm-up) all are the timestep of pure noise."""
        ...

    def mix(
        self, latents: Tensor, timesteps: Tensor, noise: Tensor
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """The noisy latents at these timesteps, and the target of the network's prediction."""
        ...


def mix_flow(
    data: Float[Tensor, "batch channels height width"],
    noise: Float[Tensor, "batch channels height width"],
    sigmas: Float[Tensor, " batch"],
) -> Float[Tensor, "batch channels height width"]:
    """sigma · noise + (1 − sigma) · data, with one sigma in [0, 1] for each sample."""
    sigmas = rearrange(sigmas, "batch -> batch 1 1 1")
    return sigmas * noise + (1 - sigmas) * data


class FlowPath:
    """Rectified flow (Liu et al. 2022, eq. 1): a straight line from data to noise, with target noise − data.

    Timesteps are logit-normal (Esser et al. 2024, section 3.1).
    """

    def __init__(self, scheduler: FlowMatchEulerDiscreteScheduler, flow: FlowConfig):
        self.scheduler, self.flow = scheduler, flow

    def sample_timesteps(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        if regression:
            return self.scheduler.timesteps[:1].expand(count)
        positions = compute_density_for_timestep_sampling(
            "logit_normal", batch_size=count, logit_mean=self.flow.logit_mean, logit_std=self.flow.logit_std
        )
        steps = len(self.scheduler.timesteps)
        return self.scheduler.timesteps[(positions * steps).long().clamp(max=steps - 1)]

    def mix(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        # The scheduler's `scale_noise` gives the same, but synchronizes with the device for every timestep.
        sigmas = timesteps / self.scheduler.config.num_train_timesteps
        return mix_flow(latents, noise, sigmas), noise - latents


class DiffusionPath:
    """Denoising diffusion (Ho et al. 2020, eq. 4): √ᾱ data + √(1 − ᾱ) noise, with uniform timesteps.

    The scheduler's `prediction_type` determines the target: the noise, the data, or v (Salimans & Ho 2022).
    """

    def __init__(self, scheduler: SchedulerMixin):
        self.alphas_cumprod = scheduler.alphas_cumprod.float()
        self.prediction_type = scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "sample", "v_prediction"):
            raise ValueError(
                f"cannot train for prediction_type={self.prediction_type!r} of {type(scheduler).__name__}: expected "
                "epsilon, sample or v_prediction; for flows train with FlowMatchEulerDiscreteScheduler"
            )

    def sample_timesteps(self, count: int, regression: bool) -> Float[Tensor, " count"]:
        steps = len(self.alphas_cumprod)
        timesteps = torch.full((count,), steps - 1) if regression else torch.randint(steps, (count,))
        return timesteps.float()

    def mix(self, latents: Tensor, timesteps: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas_cumprod.to(latents.device)[timesteps.long()].view(-1, 1, 1, 1)
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        targets = {"epsilon": noise, "sample": latents, "v_prediction": signal * noise - spread * latents}
        return signal * latents + spread * noise, targets[self.prediction_type]


def noise_path(scheduler: SchedulerMixin, flow: FlowConfig) -> NoisePath:
    """The noise path of a scheduler of diffusers. Raises `ValueError` for a scheduler whose path is not known here."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return FlowPath(scheduler, flow)
    config = scheduler.config
    otherwise = config.get("use_flow_sigmas") or config.get("timestep_type", "discrete") != "discrete"
    if hasattr(scheduler, "alphas_cumprod") and not otherwise:
        return DiffusionPath(scheduler)
    raise ValueError(
        f"training does not support {type(scheduler).__name__} as configured: train with "
        "FlowMatchEulerDiscreteScheduler, or a scheduler of diffusers with alphas_cumprod and discrete timesteps"
    )
