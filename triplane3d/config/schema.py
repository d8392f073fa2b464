"""The keys of every stage's YAML: one dataclass a stage, one a section.

Architecture is not among them: `pipeline` names a folder of `pipelines/` whose JSON files state it once. An annotation
says which values make sense (`triplane3d.config.values`); all others are refused when a configuration is read.
"""

from dataclasses import dataclass, field
from typing import Literal

from triplane3d.config.values import (
    AtLeastTwo,
    Count,
    Name,
    Natural,
    NotNegative,
    Positive,
    PowerOfTwo,
    Section,
    Seed,
    Share,
    ShareAboveZero,
    ShareBelowOne,
)


@dataclass(frozen=True, kw_only=True)
class ShapesConfig(Section):
    """Stage 0: `scripts/prepare_shapes.py`."""

    output: Name  # receives train/ and validation/
    shapes: Count
    validation_shapes: Natural = 256
    first_seed: Natural = 0
    families: tuple[Name, ...] | None = None  # all that are trained on
    shard_size: Count = 512  # shapes per file
    surface_points: Count = 4096
    label_points: AtLeastTwo = 8192
    views: Natural = 2  # from azimuth 0, in whose frame the shape stands
    around: Natural = 0  # more views, from anywhere, for models that read several photos; only with `views`
    image_size: Count = 128
    around_size: Count | None = None  # pixels along the edge that those are traced at; image_size if not given
    batch_size: Count = 16  # shapes drawn at once
    workers: Count = 1
    device: Name = "cpu"


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """What every training loop shares: length, folders, precision, how often it speaks and saves."""

    output: Name
    steps: Count  # optimiser updates
    batch_size: Count  # samples per process and forward pass
    accumulation: Count = 1  # forward passes per update
    seed: Seed = 0
    mixed_precision: Literal["no", "bf16"] = "bf16"
    compile: bool = False
    compile_backend: Name = "inductor"  # of torch.compile; "eager" only traces
    workers: Natural = 1  # processes that read data ahead; 0 reads in the loop
    log_every: Count = 50
    validate_every: Count = 1000
    checkpoint_every: Count = 500
    checkpoint_limit: Count = 2
    minutes: Positive | None = None  # save and stop after so many, to go on another time; at least one update is made
    # "latest" checkpoint of `output`, whose settings must be the same; "changed": the latest, with other settings;
    # "none": begin anew; or the path of a checkpoint-N folder, to begin with its weights
    resume: Name = "latest"
    trackers: tuple[Name, ...] = ("tensorboard",)
    nonfinite_limit: Natural = 20  # updates in a row that may be skipped for a gradient that is not finite


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Section):
    """AdamW, or Muon beside it; warm-up and cosine decay, clipping, and the average of the weights that is kept."""

    lr: Positive = 1e-3
    muon: bool = False  # orthogonalised momentum for the linear layers' matrices, AdamW for the rest
    final_lr: Share = 0.02  # share of `lr` left at the last step
    warmup_steps: Natural = 200
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.98)
    weight_decay: NotNegative = 0.01
    clip_norm: Positive = 1.0
    ema_decay: ShareBelowOne = 0.999


@dataclass(frozen=True, kw_only=True)
class StreamConfig(Section):
    """Shapes drawn while training, on the device that trains, instead of read from shards (`triplane3d.data.streams`).

    A pool of shapes stays on the device and is renewed a group at a time. Batches take shapes from it at random and
    draw points, photo and noise afresh; `reuse` sets how much of the time goes into drawing (`waiting` in the log).
    """

    stream: bool = False  # in place of `folder`
    drawn: Count = 64  # shapes of a group, drawn at once: more of them keep a GPU busier
    pool: Count = 1024  # shapes held by each process; a multiple of `drawn`, and no fewer than a batch
    reuse: Count = 8  # how often a shape is visited, on the average, before it gives way to a new one
    mirror: bool = False  # every other visit of a streamed shape is to its mirror image in x
    families: tuple[Name, ...] | None = None  # of streamed shapes; all that are trained on


@dataclass(frozen=True, kw_only=True)
class ShapeDataConfig(StreamConfig):
    """Which folders of shards are read, or what is streamed, and how much of each shape."""

    folder: Name | None = None
    validation: Name | None = None
    surface_points: Count = 2048  # shown to the encoder
    label_points: AtLeastTwo = 2048  # whose occupancy is asked; half uniform, half near the surface
    held_surface_points: Count = 4096  # of each streamed shape, from which every visit takes `surface_points`
    held_label_points: AtLeastTwo = 8192
    validation_labels: AtLeastTwo = 8192
    validation_shapes: Count = 64
    validation_pictures: Count = 4


@dataclass(frozen=True, kw_only=True)
class AutoencoderLossConfig(Section):
    """Weights of the autoencoder's objective."""

    band: Positive = 2 / 128  # half-width of the occupancy ramp, in world units: a voxel of a 128³ grid
    near: Share = 0.5  # share of the loss that the labels near the surface carry
    kl: NotNegative = 1e-3  # per latent number, in nats
    kl_warmup_steps: Natural = 0  # until `kl` counts in full: asked too early, the posterior forgets before it is used
    latent_noise: NotNegative = 0.0  # decode latents with noise of up to so many deviations: a denoiser's are not exact
    color: NotNegative = 0.5  # mean absolute error at surface points; only for a vae with colours
    color_points: Count = 256
    normal: NotNegative = 0.0  # one minus the cosine between the surface's normal and the way occupancy falls there
    normal_points: Count = 256  # each asks the field four times more


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(Section):
    """Stage 1: `scripts/train_autoencoder.py`."""

    pipeline: Name
    run: RunConfig
    data: ShapeDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    init: Name | None = None  # a saved vae folder to start from
    train_encoder: bool = True  # false keeps that of `init`, so that denoisers trained on its latents fit the result


@dataclass(frozen=True, kw_only=True)
class LatentsConfig(Section):
    """Stage 2: `scripts/encode_latents.py`."""

    vae: Name  # folder with the trained vae
    data: Name | None = None  # shards; without them and without `output` only the mean and deviation are measured
    output: Name | None = None
    fresh_shapes: Count = 4096  # drawn for that, where there are no shards
    surface_points: Count = 4096
    measure: bool = True  # write the latents' mean and deviation into the vae's config; false keeps those it has
    mirror: bool = False  # also encode every shape mirrored in x: its photo flipped is a second example for free
    batch_size: Count = 64
    shard_size: Count = 8192  # shapes per file
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"


@dataclass(frozen=True, kw_only=True)
class LatentDataConfig(StreamConfig):
    """Latents of stage 2 beside the shards that hold the same shapes' photos; or both made while training."""

    folder: Name | None = None
    latents: Name | None = None
    vae: Name  # the folder of the vae that wrote `latents`, or that encodes the streamed shapes
    views: Count = 2  # photos of each streamed shape from azimuth 0, of which every visit sees one
    around: Natural = 0  # and photos from anywhere, for models that read several
    image_size: Count = 128  # of those photos
    around_size: Count | None = None  # pixels that those from anywhere are traced at, where fewer will do
    surface_points: Count = 4096  # of each streamed shape, shown to the vae
    validation: Name | None = None
    validation_shapes: Count = 16
    validation_pictures: Count = 4
    validation_labels: AtLeastTwo = 4096
    validation_steps: Count = 8
    validation_guidance: NotNegative = 2.0


@dataclass(frozen=True, kw_only=True)
class FlowConfig(Section):
    """How noise levels are drawn and the condition dropped."""

    logit_mean: float = 0.0
    logit_std: Positive = 1.0
    regression_warmup: Share = 0.15  # first share of the steps at sigma = 1: the encoder learns shape before noise
    condition_dropout: Share = 0.1
    noise_draws: Count = 2  # noise levels per photo, so that its tokens are computed once
    contrast: ShareBelowOne = 0.0  # weight of contrastive flow matching: away from other samples' velocities
    coarse_occupancy: NotNegative = 0.0  # weight of a task on the side: the front view's tokens tell 8³ occupancies


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(Section):
    """How many photos of an object are shown, and what is told of their cameras; only with `camera_condition`."""

    max_views: Count = 1  # at most as many as the shards hold
    single: Share = 0.5  # share of the batches with one photo an object; the rest has 2 to max_views
    unknown_elevation: Share = 0.5  # share of the cameras whose elevation is not told
    unknown_azimuth: Share = 0.1  # likewise, of all but the first, whose azimuth is 0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Section):
    """Light damage to the photos, each drawn per photo."""

    brightness: Share = 0.2
    contrast: Share = 0.2
    color: Share = 0.2
    scale: ShareBelowOne = 0.06
    shift: Share = 0.03  # of the width
    blur: Share = 0.3  # probability of a 3x3 blur
    noise: NotNegative = 0.02  # largest deviation of added noise


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig(Section):
    """Stage 3: `scripts/train_denoiser.py`."""

    pipeline: Name
    run: RunConfig
    data: LatentDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    init: Name | None = None  # a run folder with image_encoder/ and transformer/ to start from
    train_image_encoder: bool = True  # false keeps it as `pipeline` has it; a second encoder is never trained
    init_image_encoder: Name | None = None  # a folder that transformers saved, for the image encoder alone


@dataclass(frozen=True, kw_only=True)
class FlowMapConfig(Section):
    """Which steps the student of few steps learns, and from whom."""

    guidance: NotNegative = 3.0  # of the teacher; the student then does without
    finest: PowerOfTwo = 16  # steps of the longest schedule that is learnt; the others have half, a quarter, …
    teacher_steps: Count = 1  # of Euler's method, guided, for one of those
    finest_share: ShareAboveZero = 0.5  # of the samples, whose step the teacher says; of the others two halves say it
    on_policy: Share = 0.0  # share of the samples that begin where the student itself comes by, not at noised data
    huber: NotNegative = 0.0  # error (root mean square of a sample) above which the loss grows linearly; 0: none


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Section):
    """Stage 4: `scripts/distill_denoiser.py`."""

    pipeline: Name  # its transformer has interval_condition
    teacher: Name  # a folder with the trained image_encoder/ and transformer/: a run's, or a pipeline
    run: RunConfig
    data: LatentDataConfig  # but of its validation_steps and validation_guidance, see `validate_at`
    optim: OptimConfig = field(default_factory=OptimConfig)
    flow_map: FlowMapConfig = field(default_factory=FlowMapConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validate_at: tuple[Count, ...] = (1, 2, 4, 8)  # steps, each without guidance


SCRIPTS = {
    ShapesConfig: "scripts/prepare_shapes.py",
    AutoencoderConfig: "scripts/train_autoencoder.py",
    LatentsConfig: "scripts/encode_latents.py",
    DenoiserConfig: "scripts/train_denoiser.py",
    DistillConfig: "scripts/distill_denoiser.py",
}
"""The script of each stage, in their order from stage 0 on."""
