"""Stage 1, the autoencoder: the keys of the YAML file of `scripts/train_autoencoder.py`."""

from dataclasses import dataclass, field

from triplane3d.config.shared import OptimConfig, RunConfig, StreamConfig
from triplane3d.config.values import (
    Deviation,
    LabelPoints,
    Length,
    Name,
    Pictures,
    Points,
    Section,
    Shapes,
    Share,
    StepsOrNone,
    Weight,
)


@dataclass(frozen=True, kw_only=True)
class ShapeDataConfig(StreamConfig):
    """Folders of shards, or streamed shapes, and the number of points that are used of each shape."""

    folder: Name | None = None
    validation: Name | None = None
    surface_points: Points = 2048  # input of the encoder
    label_points: LabelPoints = 2048  # points with occupancy labels: half uniform, half near the surface
    pool_surface_points: Points = 4096  # points of each streamed shape in the pool; a batch takes `surface_points`
    pool_label_points: LabelPoints = 8192
    validation_labels: LabelPoints = 8192
    validation_shapes: Shapes = 64
    validation_pictures: Pictures = 4


@dataclass(frozen=True, kw_only=True)
class AutoencoderLossConfig(Section):
    """Weights of the terms of the loss."""

    band: Length = 2 / 128  # half-width of the occupancy ramp, in world units: one voxel of a 128³ grid
    near_surface_share: Share = 0.5  # share of the occupancy loss that the labels near the surface have
    kl: Weight = 1e-3  # per latent number, in nats
    kl_warmup_steps: StepsOrNone = (
        0  # steps until `kl` has its full weight; from the start it can collapse the posterior
    )
    latent_noise: Deviation = 0.0  # largest noise on decoded latents, in deviations: latents of a denoiser are noisy
    color: Weight = 0.5  # mean absolute error at surface points; only for autoencoders with colours
    color_points: Points = 256
    normal: Weight = 0.0  # 1 - cosine between the surface normal and the negative gradient of occupancy
    normal_points: Points = 256  # each needs four further evaluations of the field


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(Section):
    """All keys of stage 1."""

    pipeline: Name
    run: RunConfig
    data: ShapeDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    init: Name | None = None  # a saved autoencoder folder to start from
    train_encoder: bool = True  # false keeps the encoder of `init`: denoisers of its latents stay usable
