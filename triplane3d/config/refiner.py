"""Stage 5, the refiner: the keys of the YAML file of `scripts/train_refiner.py`."""

from dataclasses import dataclass, field

from triplane3d.config.shared import AugmentConfig, OptimConfig, RunConfig
from triplane3d.config.values import LabelPoints, Length, Name, Points, Section, Shapes, Share, StepsOrNone, Weight


@dataclass(frozen=True, kw_only=True)
class RefinerDataConfig(Section):
    """Shards with photos and their cameras, and the latents that the pipeline generated from the photos."""

    folder: Name
    latents: Name  # output of scripts/draw_latents.py for `folder`
    validation: Name | None = None
    validation_latents: Name | None = None  # output of scripts/draw_latents.py for `validation`
    label_points: LabelPoints = 1536  # points with occupancy labels: half uniform, half near the surface
    validation_labels: LabelPoints = 8192
    validation_shapes: Shapes = 256


@dataclass(frozen=True, kw_only=True)
class RefinerLossConfig(Section):
    """Weights of the terms of the loss, and how cameras are chosen while training."""

    band: Length = 2 / 128  # half-width of the occupancy ramp, in world units
    near_surface_share: Share = 0.33  # share of the occupancy loss that the labels near the surface have
    iou: Weight = 1.0  # one minus the soft IoU of the labels that are uniform in the cube
    camera: Weight = 0.05  # negative log-likelihood of the camera's parameters
    color: Weight = 0.2  # mean absolute error at surface points
    color_points: Points = 192
    predicted_cameras: Share = 0.5  # share of the photos that are used with the predicted camera
    true_camera_steps: StepsOrNone = 200  # first steps, in which no predicted camera is used
    camera_noise: Weight = 0.2  # standard deviation of the noise on the true cameras, in units of their parameters


@dataclass(frozen=True, kw_only=True)
class RefinerConfig(Section):
    """All keys of stage 5."""

    pipeline: Name  # folder of a trained pipeline; `refiner/config.json` in it has the refiner's architecture
    run: RunConfig
    data: RefinerDataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: RefinerLossConfig = field(default_factory=RefinerLossConfig)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(scale=0.0, shift=0.0))
    init: Name | None = None  # folder of a saved refiner to start from
    backbone_lr: Share = 0.3  # learning rate of the pretrained features, as a share of `optim.lr`; 0 keeps them fixed
    backbone: Name | None = None  # file of EfficientNet-Lite0's weights, for a refiner with pretrained features
