"""Normalisation of latents: zero mean and unit standard deviation per channel.

A diffusion model expects data of unit variance, because the signal-to-noise ratios of its schedule assume it (Rombach
et al. 2022, section 3.1 and appendix G). The statistics are measured once, over the training shapes, and are stored in
the autoencoder's config.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


class LatentStatistics(NamedTuple):
    """Mean and standard deviation of each latent channel."""

    mean: Float[Tensor, "channels 1 1"]
    std: Float[Tensor, "channels 1 1"]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LatentStatistics":
        """The statistics in a config of `AutoencoderKLTriplane`: its keys `latents_mean` and `latents_std`.

        Raises:
            ValueError: if the config has no statistics.
        """
        if config["latents_mean"] is None:
            raise ValueError(
                "the vae's config has no latents_mean: run scripts/encode_latents.py, which encodes latents and "
                "measures their statistics"
            )
        mean, std = (torch.tensor(config[key]) for key in ("latents_mean", "latents_std"))
        return cls(*(rearrange(values, "channel -> channel 1 1") for values in (mean, std)))

    def normalize(
        self, latents: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """(latents - mean) / std: what the denoiser is trained on."""
        return (latents - self.mean.to(latents)) / self.std.to(latents)

    def denormalize(
        self, latents: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """latents · std + mean: what the decoder takes."""
        return latents * self.std.to(latents) + self.mean.to(latents)
