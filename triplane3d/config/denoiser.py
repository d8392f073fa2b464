"""Stage 3, the denoiser: the keys of the YAML file of `scripts/train_denoiser.py`."""

from dataclasses import dataclass, field

from triplane3d.config.shared import AugmentConfig, LatentDataConfig, OptimConfig, RunConfig, ViewsConfig
from triplane3d.config.values import (
    DeviationAboveZero,
    Logit,
    Name,
    NoiseLevels,
    Section,
    Share,
    ShareBelowOne,
    Weight,
)


@dataclass(frozen=True, kw_only=True)
class FlowConfig(Section):
    """Distribution of the noise levels, dropout of the condition, further terms of the loss."""

    logit_mean: Logit = 0.0
    logit_std: DeviationAboveZero = 1.0
    regression_warmup: Share = 0.15  # share of the steps, at the start, at sigma = 1: regression trains the encoder
    condition_dropout: Share = 0.1  # share of the samples without image tokens, for classifier-free guidance
    noise_draws: NoiseLevels = 2  # noise levels per photo; its tokens are computed once
    contrast: ShareBelowOne = 0.0  # weight of contrastive flow matching, away from the velocities of other samples
    coarse_occupancy: Weight = 0.0  # weight of an auxiliary loss: 8³ occupancies from the front view's tokens


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig(Section):
    """All keys of stage 3."""

    pipeline: Name
    run: RunConfig
    data: LatentDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    init: Name | None = None  # a run folder with image_encoder/ and transformer/ to start from
    train_image_encoder: bool = True  # false keeps that of `pipeline`; a second encoder is never trained
    init_image_encoder: Name | None = None  # a folder saved by transformers, for the image encoder alone
