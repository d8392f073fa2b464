"""Stage 4, distillation: the keys of the YAML file of `scripts/distill_denoiser.py`."""

from dataclasses import dataclass, field

from triplane3d.config.shared import AugmentConfig, LatentDataConfig, OptimConfig, RunConfig, ViewsConfig
from triplane3d.config.values import (
    Guidance,
    Name,
    SamplingSteps,
    ScheduleSteps,
    Section,
    Share,
    ShareAboveZero,
    Weight,
)


@dataclass(frozen=True, kw_only=True)
class FlowMapConfig(Section):
    """Which steps the few-step student is trained on, and how their targets are computed."""

    guidance: Guidance = 3.0  # guidance scale of the teacher; the student is sampled without guidance
    finest: ScheduleSteps = 16  # steps of the longest trained schedule; the others have a half, a quarter, …
    teacher_steps: SamplingSteps = 1  # guided Euler steps of the teacher per step of the longest schedule
    finest_share: ShareAboveZero = 0.5  # share of the samples with a target of the teacher; others: two half steps
    on_policy: Share = 0.0  # share of the samples that start from states of the student, not from noised data
    huber: Weight = 0.0  # root mean square error per sample above which the loss is linear; 0 switches it off


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Section):
    """All keys of stage 4."""

    pipeline: Name  # its transformer has interval_condition
    teacher: Name  # a run folder or a pipeline, with the trained image_encoder/ and transformer/
    run: RunConfig
    data: LatentDataConfig  # without validation_steps and validation_guidance, see `validate_at`
    optim: OptimConfig = field(default_factory=OptimConfig)
    flow_map: FlowMapConfig = field(default_factory=FlowMapConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validate_at: tuple[SamplingSteps, ...] = (1, 2, 4, 8)  # numbers of steps, each without guidance
