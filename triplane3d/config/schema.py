"""The keys of every stage's YAML: one dataclass a stage, one a section.

Architecture is not among them: `pipeline` names a folder of `pipelines/` whose JSON files state it once.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """Stage 0: `scripts/prepare_shapes.py`."""

    output: str  # receives train/ and validation/
    shapes: int
    validation_shapes: int = 256
    first_seed: int = 0
    families: tuple[str, ...] | None = None  # all that are trained on
    shard_size: int = 512  # shapes per file
    surface_points: int = 4096
    label_points: int = 8192
    views: int = 2  # from azimuth 0, in whose frame the shape stands
    around: int = 0  # more views, from anywhere, for models that read several photos
    image_size: int = 128
    around_size: int | None = None  # pixels along the edge that those are traced at, where less than image_size will do
    batch_size: int = 16  # shapes drawn at once
    workers: int = 1
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every training loop shares: length, folders, precision, how often it speaks and saves."""

    output: str
    steps: int  # optimiser updates
    batch_size: int  # samples per process and forward pass
    accumulation: int = 1  # forward passes per update
    seed: int = 0
    mixed_precision: str = "bf16"  # "no" or "bf16"
    compile: bool = False
    compile_backend: str = "inductor"  # of torch.compile; "eager" only traces
    workers: int = 1  # processes that read data ahead; 0 reads in the loop
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500
    checkpoint_limit: int = 2
    minutes: float | None = None  # save and stop after so many, to go on another time; at least one update is made
    resume: str = "latest"  # "latest", "none", or the path of a checkpoint-N folder
    trackers: tuple[str, ...] = ("tensorboard",)
    nonfinite_limit: int = 20  # updates in a row that may be skipped for a gradient that is not finite


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, or Muon beside it; warm-up and cosine decay, clipping, and the average of the weights that is kept."""

    lr: float = 1e-3
    muon: bool = False  # orthogonalised momentum for the linear layers' matrices, AdamW for the rest
    final_lr: float = 0.02  # share of `lr` left at the last step
    warmup_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.999


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Shapes drawn while training, on the device that trains, instead of read from shards (`triplane3d.data.streams`).

    A pool of shapes stays on the device and is renewed a group at a time. Batches take shapes from it at random and
    draw points, photo and noise afresh; `reuse` sets how much of the time goes into drawing (`waiting` in the log).
    """

    stream: bool = False  # in place of `folder`
    drawn: int = 64  # shapes of a group, drawn at once: more of them keep a GPU busier
    pool: int = 1024  # shapes held by each process; a multiple of `drawn`, and no fewer than a batch
    reuse: int = 8  # how often a shape is visited, on the average, before it gives way to a new one
    mirror: bool = False  # every other visit of a streamed shape is to its mirror image in x
    families: tuple[str, ...] | None = None  # of streamed shapes; all that are trained on


@dataclass(frozen=True, kw_only=True)
class ShapeDataConfig(StreamConfig):
    """Which folders of shards are read, or what is streamed, and how much of each shape."""

    folder: str | None = None
    validation: str | None = None
    surface_points: int = 2048  # shown to the encoder
    label_points: int = 2048  # whose occupancy is asked; half uniform, half near the surface
    held_surface_points: int = 4096  # of each streamed shape, from which every visit takes `surface_points`
    held_label_points: int = 8192
    validation_labels: int = 8192
    validation_shapes: int = 64
    validation_pictures: int = 4


@dataclass(frozen=True, kw_only=True)
class AutoencoderLossConfig:
    """Weights of the autoencoder's objective."""

    band: float = 2 / 128  # half-width of the occupancy ramp, in world units: a voxel of a 128³ grid
    near: float = 0.5  # share of the loss that the labels near the surface carry
    kl: float = 1e-3  # per latent number, in nats
    kl_warmup_steps: int = 0  # until `kl` counts in full: asked too early, the posterior forgets before it is used
    latent_noise: float = 0.0  # decode latents with noise of up to so many deviations: a denoiser's are not exact
    color: float = 0.5  # mean absolute error at surface points; only for a vae with colours
    color_points: int = 256
    normal: float = 0.0  # one minus the cosine between the surface's normal and the way occupancy falls there
    normal_points: int = 256  # each asks the field four times more


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Stage 1: `scripts/train_autoencoder.py`."""

    pipeline: str
    run: RunConfig
    data: ShapeDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    init: str | None = None  # a saved vae folder to start from
    train_encoder: bool = True  # false keeps that of `init`, so that denoisers trained on its latents fit the result


@dataclass(frozen=True, kw_only=True)
class LatentsConfig:
    """Stage 2: `scripts/encode_latents.py`."""

    vae: str  # folder with the trained vae
    data: str | None = None  # shards; without them and without `output` only the mean and deviation are measured
    output: str | None = None
    fresh_shapes: int = 4096  # drawn for that, where there are no shards
    surface_points: int = 4096
    measure: bool = True  # write the latents' mean and deviation into the vae's config; false keeps those it has
    mirror: bool = False  # also encode every shape mirrored in x: its photo flipped is a second example for free
    batch_size: int = 64
    shard_size: int = 8192  # shapes per file
    mixed_precision: str = "bf16"


@dataclass(frozen=True, kw_only=True)
class LatentDataConfig(StreamConfig):
    """Latents of stage 2 beside the shards that hold the same shapes' photos; or both made while training."""

    folder: str | None = None
    latents: str | None = None
    vae: str  # the folder of the vae that wrote `latents`, or that encodes the streamed shapes
    views: int = 2  # photos of each streamed shape from azimuth 0, of which every visit sees one
    around: int = 0  # and photos from anywhere, for models that read several
    image_size: int = 128  # of those photos
    around_size: int | None = None  # pixels that those from anywhere are traced at, where fewer will do
    surface_points: int = 4096  # of each streamed shape, shown to the vae
    validation: str | None = None
    validation_shapes: int = 16
    validation_pictures: int = 4
    validation_labels: int = 4096
    validation_steps: int = 8
    validation_guidance: float = 2.0


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How noise levels are drawn and the condition dropped."""

    logit_mean: float = 0.0
    logit_std: float = 1.0
    regression_warmup: float = 0.15  # first share of the steps at sigma = 1: the encoder learns shape before noise
    condition_dropout: float = 0.1
    noise_draws: int = 2  # noise levels per photo, so that its tokens are computed once
    contrast: float = 0.0  # how far answers are pushed off other samples' velocities (contrastive flow matching)
    coarse_occupancy: float = 0.0  # weight of a task on the side: the front view's tokens tell 8³ occupancies


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """How many photos of an object are shown, and what is told of their cameras; only with `camera_condition`."""

    max_views: int = 1  # at most as many as the shards hold
    single: float = 0.5  # share of the batches with one photo an object; the rest has 2 to max_views
    unknown_elevation: float = 0.5  # share of the cameras whose elevation is not told
    unknown_azimuth: float = 0.1  # likewise, of all but the first, whose azimuth is 0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Light damage to the photos, each drawn per photo."""

    brightness: float = 0.2
    contrast: float = 0.2
    color: float = 0.2
    scale: float = 0.06
    shift: float = 0.03  # of the width
    blur: float = 0.3  # probability of a 3x3 blur
    noise: float = 0.02  # largest deviation of added noise


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Stage 3: `scripts/train_denoiser.py`."""

    pipeline: str
    run: RunConfig
    data: LatentDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    init: str | None = None  # a run folder with image_encoder/ and transformer/ to start from
    train_image_encoder: bool = True  # false keeps it as `pipeline` has it; a second encoder is never trained
    init_image_encoder: str | None = None  # a folder that transformers saved, for the image encoder alone


@dataclass(frozen=True, kw_only=True)
class FlowMapConfig:
    """Which steps the student of few steps learns, and from whom."""

    guidance: float = 3.0  # of the teacher; the student then does without
    finest: int = 16  # steps of the longest schedule that is learnt, a power of two; the others have half, a quarter, …
    teacher_steps: int = 1  # of Euler's method, guided, for one of those
    finest_share: float = 0.5  # of the samples, whose step the teacher says; of the others two halves say it
    on_policy: float = 0.0  # share of the samples that begin where the student itself comes by, not at noised data
    huber: float = 0.0  # error (root mean square of a sample) from which on the loss grows less than squared; 0: none


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Stage 4: `scripts/distill_denoiser.py`."""

    pipeline: str  # its transformer has interval_condition
    teacher: str  # a folder with the trained image_encoder/ and transformer/: a run's, or a pipeline
    run: RunConfig
    data: LatentDataConfig  # but of its validation_steps and validation_guidance, see `validate_at`
    optim: OptimConfig = field(default_factory=OptimConfig)
    flow_map: FlowMapConfig = field(default_factory=FlowMapConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validate_at: tuple[int, ...] = (1, 2, 4, 8)  # steps, each without guidance
