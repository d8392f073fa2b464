"""Sections that several training stages have in common."""

from dataclasses import dataclass
from typing import Literal

from triplane3d.config.values import (
    BatchSize,
    Deviation,
    Guidance,
    LabelPoints,
    LearningRate,
    Limit,
    LimitOrNone,
    Minutes,
    Name,
    Norm,
    Pictures,
    Pixels,
    Points,
    PoolSize,
    Reuse,
    SamplingSteps,
    Section,
    Seed,
    Shapes,
    Share,
    ShareBelowOne,
    Steps,
    StepsOrNone,
    Views,
    ViewsOrNone,
    Weight,
    WorkersOrNone,
)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """Length, folders, precision, logging and checkpoints of a training run."""

    output: Name
    steps: Steps  # optimiser updates
    batch_size: BatchSize  # samples per process and forward pass
    accumulation: BatchSize = 1  # forward passes per update
    seed: Seed = 0
    mixed_precision: Literal["no", "bf16"] = "bf16"
    compile: bool = False
    compile_backend: Name = "inductor"  # of torch.compile; "eager" only traces
    workers: WorkersOrNone = 1  # processes that read data ahead; 0 reads in the training process
    log_every: Steps = 50
    validate_every: Steps = 1000
    checkpoint_every: Steps = 500
    checkpoint_limit: Limit = 2  # how many checkpoints are kept
    max_minutes: Minutes | None = None  # write a checkpoint and stop after this time; at least one update is made
    # "latest": go on from the latest checkpoint in `output`, whose settings must be equal. "changed": the same, but
    # other settings are accepted. "none": start a new run. Path of a checkpoint-N folder: start with its weights.
    resume: Name = "latest"
    trackers: tuple[Name, ...] = ("tensorboard",)
    nonfinite_limit: LimitOrNone = 20  # consecutive updates that may be skipped because their gradient is not finite


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Section):
    """AdamW or Muon, warm-up and cosine decay, gradient clipping, exponential moving average of the weights."""

    lr: LearningRate = 1e-3
    muon: bool = False  # Muon (orthogonalised momentum) for the matrices of linear layers, AdamW for all others
    final_lr: Share = 0.02  # learning rate at the last step, as a share of `lr`
    warmup_steps: StepsOrNone = 200
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.98)
    weight_decay: Weight = 0.01
    clip_norm: Norm = 1.0
    ema_decay: ShareBelowOne = 0.999


@dataclass(frozen=True, kw_only=True)
class StreamConfig(Section):
    """Shapes generated on the training device during training, in place of shards (`triplane3d.data.streams`).

    A pool of shapes stays on the device. One group of shapes after another is replaced by new ones. Every batch takes
    random shapes from the pool, and new random points, photos and noise. A larger `reuse` spends less time on
    generating shapes (`waiting` in the log).
    """

    stream: bool = False  # in place of `folder`
    group_size: PoolSize = 64  # shapes generated at once; larger groups use a GPU better
    pool: PoolSize = 1024  # shapes per process; a multiple of `group_size`, at least `batch_size`
    reuse: Reuse = 8  # average number of batches with a given shape before it is replaced
    mirror: bool = False  # every second use of a streamed shape is mirrored in x
    families: tuple[Name, ...] | None = None  # of streamed shapes; by default all training families


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(Section):
    """Number of photos per object and their camera labels; only for transformers with `camera_condition`."""

    max_views: Views = 1  # at most as many as the shards contain
    single: Share = 0.5  # share of the batches with one photo per object; the others have 2 to max_views
    unknown_elevation: Share = 0.5  # share of the cameras whose elevation is hidden from the model
    unknown_azimuth: Share = 0.1  # the same for the azimuth, except that of the first camera, which is 0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Section):
    """Random changes to the photos, independent for each photo."""

    brightness: Share = 0.2
    contrast: Share = 0.2
    color: Share = 0.2
    scale: ShareBelowOne = 0.06
    shift: Share = 0.03  # of the width
    blur: Share = 0.3  # probability of a 3x3 blur
    noise: Deviation = 0.02  # largest standard deviation of the added noise


@dataclass(frozen=True, kw_only=True)
class LatentDataConfig(StreamConfig):
    """Latents of stage 2 with the shards that contain photos of the same shapes; or both generated while training."""

    folder: Name | None = None
    latents: Name | None = None
    vae: Name  # folder of the autoencoder that encoded `latents`, or that encodes the streamed shapes
    views: Views = 2  # photos of each streamed shape from azimuth 0; every use takes one of them
    random_views: ViewsOrNone = 0  # photos of each streamed shape from random directions, for models of several photos
    image_size: Pixels = 128  # pixels along an edge of the photos
    random_view_size: Pixels | None = None  # render `random_views` with fewer pixels; by default `image_size`
    surface_points: Points = 4096  # of each streamed shape, input of the autoencoder
    validation: Name | None = None
    validation_shapes: Shapes = 16
    validation_pictures: Pictures = 4
    validation_labels: LabelPoints = 4096
    validation_steps: SamplingSteps = 8
    validation_guidance: Guidance = 2.0
