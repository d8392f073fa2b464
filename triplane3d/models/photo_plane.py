"""A fourth plane beside the three: features of the photo, which correct a triplane's field where the photo shows it.

A triplane model reads its photo as a few tokens. Here every query point is projected into the photo, and the features
at its own pixel are joined to the triplane's (pixel-aligned features, Saito et al. 2019, "PIFu", equation 2). They
follow the outline to the pixel and carry the colour that the photo shows. The depth along the ray, the triplane's
features and three coarse planes that a transformer predicts from the whole photo decide what is inside.

The camera of a photo is not known. A head on the same features predicts it, with its uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.geometry.cameras import CameraBatch
from triplane3d.geometry.distance_transform import squared_distance
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import NUM_PARAMETERS, FramedCameras, photo_coordinates
from triplane3d.models.attention import TriplaneAttentionBlock
from triplane3d.models.efficientnet_lite import FEATURE_CHANNELS, EfficientNetLite0
from triplane3d.models.embeddings import fourier_features
from triplane3d.models.pixels import IMAGE_STATISTICS
from triplane3d.models.shape_planes import ShapePlanes, sample_shape
from triplane3d.models.triplane import TriplaneField
from triplane3d.models.weights import StrictLoading

LOGIT_RANGE = 4.0
"""Logits of the triplane's field enter the point MLP as tanh(logit / LOGIT_RANGE)."""
LOG_SCALES = (-5.0, 2.0)
"""Range of the logarithms of the camera's uncertainties."""


@dataclass(frozen=True)
class PhotoFeatures:
    """What `PhotoPlaneRefiner.encode` computes of framed photos."""

    fine: Float[Tensor, "batch fine_channels half_side half_side"]
    """Features at half of the photo's side."""
    coarse: Float[Tensor, "batch coarse_channels quarter_side quarter_side"]
    """Features at a quarter of the photo's side."""
    summary: Float[Tensor, "batch width"]
    """One vector for the whole photo."""
    tokens: Float[Tensor, "batch tokens width"]
    """The transformer's output for each 16 × 16 pixels of the photo."""
    camera: Float[Tensor, "batch 5"]
    """Parameters of the most likely camera (`FramedCameras.from_parameters`)."""
    camera_scale: Float[Tensor, "batch 5"]
    """Mean absolute errors to expect of these parameters: scales of Laplace distributions."""

    @property
    def cameras(self) -> FramedCameras:
        """The most likely cameras."""
        return FramedCameras.from_parameters(self.camera)

    def __getitem__(self, index: int) -> "PhotoFeatures":
        chosen = slice(index, index + 1)
        return PhotoFeatures(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


class ResidualBlock(nn.Module):
    """x + two 3 × 3 convolutions. The second begins with zeros, so that the block begins as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch channels rows columns"]:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class PhotoPlaneRefiner(StrictLoading, ModelMixin, ConfigMixin):
    """Corrects a triplane's field by the photo that it was generated from.

    ```python
    features = refiner.encode(pixel_values)                      # framed photos, normalised, with the mask
    field = refiner.refine(vae.field(planes), features)          # a field like the given one
    field.occupancy(points); field.color(points)
    ```

    1. `encode`: a U-Net over the colours, the mask and the mask's signed distance (Ronneberger et al. 2015), with
       transformer layers in its middle. Features of EfficientNet-Lite0, trained on photographs, are added at each of
       its sizes if the config has `pretrained_features`.
    2. A small MLP on the class token predicts the camera and its uncertainty.
    3. `shape_planes`: tokens of the generated planes attend to the photo's and become three coarse planes.
    4. `correct`: a small residual MLP at each query point reads the photo's features at the point's pixel, those of the
       coarse planes, the point's coordinates and its depth, the hidden state of the triplane's own MLP, and the photo's
       summary. It changes the logit and the colour. Its last layers begin with zeros: an untrained refiner changes
       nothing.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 192,
        field_dim: int = 96,
        hidden_dim: int = 96,
        num_layers: int = 2,
        num_freqs: int = 4,
        block_out_channels: Sequence[int] = (24, 48, 96, 192),
        fine_channels: int = 32,
        coarse_channels: int = 64,
        attention_layers: int = 3,
        attention_heads: int = 6,
        plane_channels: int = 32,
        shape_tokens: int = 8,
        shape_layers: int = 3,
        shape_channels: int = 32,
        pretrained_features: bool = True,
    ):
        """
        Args:
            image_size: side of the framed photo in pixels, a multiple of 32.
            field_dim: width of the hidden states of the triplane's point MLP.
            hidden_dim: width of the point MLP.
            num_layers: residual layers of the point MLP.
            num_freqs: frequencies of the Fourier features of a point's coordinates and depth.
            block_out_channels: channels of the U-Net at 1/2, 1/4, 1/8 and 1/16 of the side.
            fine_channels: channels of the sampled features at 1/2 of the side.
            coarse_channels: channels of the sampled features at 1/4 of the side.
            attention_layers: transformer layers at 1/16 of the side.
            attention_heads: heads of each.
            plane_channels: channels of the generated planes.
            shape_tokens: tokens along the side of each of the three planes in `shape_planes`.
            shape_layers: pairs of cross- and self-attention blocks in `shape_planes`.
            shape_channels: channels of the coarse planes.
            pretrained_features: whether the model contains EfficientNet-Lite0.
        """
        super().__init__()
        if image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32 pixels, got {image_size}")
        first, second, third, width = block_out_channels
        if width % attention_heads:
            raise ValueError(f"the last of block_out_channels, {width}, must be a multiple of {attention_heads} heads")
        self.backbone = EfficientNetLite0() if pretrained_features else None
        if self.backbone is not None:
            targets = (*block_out_channels, width)
            self.laterals = nn.ModuleList(
                nn.Conv2d(channels, target, 1) for channels, target in zip(FEATURE_CHANNELS, targets, strict=True)
            )
        self.conv_in = nn.Conv2d(5, first, 3, stride=2, padding=1)
        self.down1 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.block1 = ResidualBlock(second)
        self.down2 = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.block2 = ResidualBlock(third)
        self.down3 = nn.Conv2d(third, width, 3, stride=2, padding=1)

        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (image_size // 16) ** 2, width))
        self.transformer_blocks = nn.ModuleList(
            TriplaneAttentionBlock(width, attention_heads, width // attention_heads, ff_dim=3 * width)
            for _ in range(attention_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.camera_head = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 2 * NUM_PARAMETERS))

        self.shape_planes = ShapePlanes(
            plane_channels,
            width,
            heads=attention_heads,
            num_layers=shape_layers,
            side=shape_tokens,
            out_channels=shape_channels,
        )

        self.up2 = nn.Conv2d(width, third, 1)
        self.up_block2 = ResidualBlock(third)
        self.up1, self.skip1 = nn.Conv2d(third, coarse_channels, 1), nn.Conv2d(second, coarse_channels, 1)
        self.up_block1 = ResidualBlock(coarse_channels)
        self.up0, self.skip0 = nn.Conv2d(coarse_channels, fine_channels, 1), nn.Conv2d(first, fine_channels, 1)
        self.up_block0 = ResidualBlock(fine_channels)

        self.field_in = nn.Linear(field_dim, hidden_dim)
        self.photo_in = nn.Linear(fine_channels + coarse_channels, hidden_dim)
        self.shape_in = nn.Linear(3 * shape_channels, hidden_dim)
        # A point's three coordinates and its depth, their Fourier features, the field's logit and colour.
        self.point_in = nn.Linear(4 + 8 * num_freqs + 4, hidden_dim)
        self.summary_in = nn.Linear(width, hidden_dim)
        self.layers = nn.ModuleList([nn.Linear(hidden_dim, hidden_dim) for _ in range(num_layers)])
        self.occupancy_out = nn.Linear(hidden_dim, 1)
        self.color_out = nn.Linear(hidden_dim, 3)
        for layer in (self.occupancy_out, self.color_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @apply_forward_hook
    def encode(self, pixel_values: Float[Tensor, "batch 4 side side"]) -> PhotoFeatures:
        """Features and camera of framed photos.

        Args:
            pixel_values: composited over grey, normalised by ImageNet's statistics, with the mask in 0..1 as fourth
                channel (`triplane3d.images.image_processor`).

        Raises:
            ValueError: for photos of another size than the config's.
        """
        size = self.config.image_size
        if tuple(pixel_values.shape[1:]) != (4, size, size):
            raise ValueError(f"expected pixel_values (batch, 4, {size}, {size}), got {tuple(pixel_values.shape)}")
        mask = pixel_values[:, 3:]
        x = torch.cat([pixel_values, signed_distance(mask).to(mask.dtype)], dim=1)
        pretrained = self._pretrained(pixel_values)

        x0 = F.silu(self.conv_in(x) + pretrained[0])
        x1 = self.block1(self.down1(x0) + pretrained[1])
        x2 = self.block2(self.down2(x1) + pretrained[2])
        x3 = self.down3(x2) + pretrained[3] + pretrained[4]

        side = x3.shape[-1]
        tokens = rearrange(x3, "batch channel row column -> batch (row column) channel") + self.positions
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        summary = tokens[:, 0]
        camera, log_scale = self.camera_head(summary).float().chunk(2, dim=-1)

        x3 = rearrange(tokens[:, 1:], "batch (row column) channel -> batch channel row column", row=side)
        y2 = self.up_block2(x2 + _doubled(self.up2(x3)))
        coarse = self.up_block1(self.skip1(x1) + _doubled(self.up1(y2)))
        fine = self.up_block0(self.skip0(x0) + _doubled(self.up0(coarse)))
        return PhotoFeatures(fine, coarse, summary, tokens[:, 1:], camera, log_scale.clamp(*LOG_SCALES).exp())

    def _pretrained(self, pixel_values: Float[Tensor, "batch 4 side side"]) -> list[Tensor] | list[float]:
        """What the pretrained features add at each size: zeros without them."""
        if self.backbone is None:
            return [0.0] * len(FEATURE_CHANNELS)
        mean, std = (pixel_values.new_tensor(values).view(3, 1, 1) for values in IMAGE_STATISTICS["imagenet"])
        maps = self.backbone((255 * (pixel_values[:, :3] * std + mean) - 127) / 128)
        added = [lateral(features) for lateral, features in zip(self.laterals, maps, strict=True)]
        return [*added[:4], _doubled(added[4])]

    @apply_forward_hook
    def correct(
        self,
        features: PhotoFeatures,
        shape: Float[Tensor, "batch 3 shape_channels size size"],
        cameras: CameraBatch,
        points: Float[Tensor, "batch points 3"],
        hidden_states: Float[Tensor, "batch points field_dim"],
        logits: Float[Tensor, "batch points"],
        colors: Float[Tensor, "batch points 3"],
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        """Corrected logits and colours of the triplane's field at `points`.

        Args:
            features: of the photos, from `encode`.
            shape: the coarse planes, from `shape_planes`.
            cameras: of the photos; windows are the framed squares.
            points: query points in [-1, 1]³.
            hidden_states: outputs of the trunk of the triplane's point MLP.
            logits: occupancy logits of the triplane's field.
            colors: RGB in 0..1 of the triplane's field.
        """
        pixels, nearness = photo_coordinates(cameras, points)
        sampled = [
            F.grid_sample(plane.float(), pixels[:, None], padding_mode="border", align_corners=False)[:, :, 0].mT
            for plane in (features.fine, features.coarse)
        ]
        place = torch.cat([points, nearness[..., None]], dim=-1)
        place = torch.cat([place, *fourier_features(place, self.config.num_freqs, base=torch.pi / 2)], dim=-1)
        guess = torch.cat([torch.tanh(logits / LOGIT_RANGE)[..., None], colors], dim=-1)
        dtype = self.photo_in.weight.dtype
        x = self.field_in(hidden_states.to(dtype)) + self.photo_in(torch.cat(sampled, dim=-1).to(dtype))
        x = x + self.point_in(torch.cat([place, guess], dim=-1).to(dtype)) + self.summary_in(features.summary)[:, None]
        x = x + self.shape_in(sample_shape(shape, points).to(dtype))
        for layer in self.layers:
            x = x + layer(F.relu(x))
        x = F.relu(x)
        color_logits = torch.logit(colors.float().clamp(1e-3, 1 - 1e-3)) + self.color_out(x).float()
        return logits + self.occupancy_out(x)[..., 0].to(logits.dtype), color_logits.sigmoid().to(colors.dtype)

    def refine(
        self, field: TriplaneField, features: PhotoFeatures, cameras: FramedCameras | None = None
    ) -> RefinedField:
        """The corrected field. `cameras` are those of the photos; None: the most likely ones."""
        cameras = features.cameras if cameras is None else cameras
        return RefinedField(field, self, features, self.shape_planes(field.planes, features.tokens), cameras)

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 4 side side"],
        field: TriplaneField,
        points: Float[Tensor, "batch points 3"],
        cameras: FramedCameras | None = None,
    ) -> tuple[Tensor, Tensor, PhotoFeatures]:
        """Corrected logits and colours at `points`, and the photo's features; for training.

        `cameras` None: the most likely ones, through which no gradient flows.
        """
        features = self.encode(pixel_values)
        cameras = FramedCameras.from_parameters(features.camera.detach()) if cameras is None else cameras
        shape = self.shape_planes(field.planes, features.tokens)
        logits, colors = self.correct(features, shape, cameras.cameras, points, *field.point_states(points))
        return logits, colors, features


class RefinedField(FieldBatch):
    """A batch of triplane fields corrected by their photos: occupancy and colour at points in [-1, 1]³.

    It is used as a `TriplaneField`: called as a function of (points, 3), or by `occupancy`, `color` and `grid`.
    """

    def __init__(
        self,
        field: TriplaneField,
        refiner: PhotoPlaneRefiner,
        features: PhotoFeatures,
        shape: Float[Tensor, "batch 3 shape_channels size size"],
        cameras: FramedCameras,
    ):
        if not len(field) == len(features.summary) == len(cameras):
            raise ValueError(
                f"{len(field)} fields need as many photos and cameras, got {len(features.summary)} and {len(cameras)}"
            )
        self.field, self.refiner, self.features, self.shape, self.cameras = field, refiner, features, shape, cameras
        self.has_color: bool = field.has_color

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside, surface at 0."""
        return self.logits_and_colors(points)[0]

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """RGB in 0..1 at `points`; meaningful near the surface."""
        return self.logits_and_colors(points)[1]

    def logits_and_colors(self, points: Float[Tensor, "batch points 3"]) -> tuple[Tensor, Tensor]:
        """Both at `points`, for the cost of one."""
        return self.refiner.correct(
            self.features, self.shape, self.cameras.cameras, points.to(self.device), *self.field.point_states(points)
        )

    def __getitem__(self, index: int) -> RefinedField:
        index = range(len(self))[index]
        one = slice(index, index + 1)
        return RefinedField(self.field[index], self.refiner, self.features[index], self.shape[one], self.cameras[one])

    def __len__(self) -> int:
        return len(self.field)

    @property
    def device(self) -> torch.device:
        return self.field.device


def signed_distance(mask: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch 1 side side"]:
    """Distance of each pixel to the mask's edge, positive outside, in quarters of the picture's side.

    Computed exactly at a quarter of the size, then resized: the mask itself has the fine detail.
    """
    small = F.avg_pool2d(mask.float(), 4)[:, 0] > 0.5
    distance = squared_distance(small).sqrt() - squared_distance(~small).sqrt()
    return F.interpolate(4 / small.shape[-1] * distance[:, None], size=mask.shape[-2:], mode="bilinear")


def _doubled(x: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch channels 2*rows 2*columns"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
