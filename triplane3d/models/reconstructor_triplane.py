"""TripoSR's network (Tochilkin et al. 2024), after LRM (Hong et al. 2023): one photo → a radiance field in one pass.

The frame is that of the checkpoint: right-handed, z up, the photo's camera on +x, the object within ±`radius`.
"""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.limits import check_config
from triplane3d.models.attention import (
    FeedForward,
    TriplaneAttention,
    TriplaneAttentionBlock,
    cast_for_autocast,
    run_blocks,
)
from triplane3d.models.convolutions import SafeConvolutions
from triplane3d.models.outputs import TriplaneReconstructorOutput
from triplane3d.models.pixels import IMAGE_STATISTICS, resize_square
from triplane3d.models.radiance import DENSITY_ACTIVATIONS, TriplaneRadianceField
from triplane3d.models.triplane import PlaneAxes, TriplaneFieldDecoder
from triplane3d.models.weights import StrictLoading

TRIPOSR_PLANE_AXES: PlaneAxes = ((0, 1), (0, 2), (1, 2))
"""The axes along the width and the height of each plane. The third plane is the transpose of the library's YZ."""


class VisionTransformer(nn.Module):
    """A plain ViT (Dosovitskiy et al. 2020) for images of one size. Tokens: class token, then patches row by row.

    If the image size is not a multiple of the patch size, the pixels that remain at the right and the bottom are
    ignored.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        dim: int,
        heads: int,
        num_layers: int,
        ff_dim: int,
        activation_fn: str,
        attention_bias: bool,
        eps: float,
    ):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + (image_size // patch_size) ** 2, dim) * 0.02)
        block: dict[str, Any] = {"activation_fn": activation_fn, "attention_bias": attention_bias, "ff_dim": ff_dim}
        self.blocks = nn.ModuleList(
            [TriplaneAttentionBlock(dim, heads, dim // heads, **block, eps=eps) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(dim, eps=eps)
        self.gradient_checkpointing = False

    def forward(self, pixel_values: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch tokens dim"]:
        with SafeConvolutions():
            patches = rearrange(self.patch_embed(pixel_values), "batch dim row column -> batch (row column) dim")
        class_token = self.class_token.to(patches.dtype).expand(len(patches), -1, -1)
        hidden_states = torch.cat([class_token, patches], dim=1) + self.positions.to(patches.dtype)
        return self.norm_out(run_blocks(self, self.blocks, hidden_states))


class ReconstructorBlock(nn.Module):
    """Pre-norm self-attention of the plane tokens, cross-attention to the image tokens, and feed-forward."""

    def __init__(
        self, dim: int, heads: int, head_dim: int, *, context_dim: int, attention_bias: bool, activation_fn: str
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = TriplaneAttention(dim, heads, head_dim, bias=attention_bias)
        self.norm_cross = nn.LayerNorm(dim)
        self.cross_attn = TriplaneAttention(dim, heads, head_dim, context_dim=context_dim, bias=attention_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, 4 * dim, activation_fn=activation_fn)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch tokens dim"],
        encoder_hidden_states: Float[Tensor, "batch context context_dim"],
    ) -> Float[Tensor, "batch tokens dim"]:
        hidden_states = hidden_states + self.attn(cast_for_autocast(self.norm1(hidden_states)))
        normed = cast_for_autocast(self.norm_cross(hidden_states))
        hidden_states = hidden_states + self.cross_attn(normed, encoder_hidden_states)
        return hidden_states + self.ff(cast_for_autocast(self.norm2(hidden_states)))


class TriplaneReconstructor(StrictLoading, ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin):
    """Photos → planes, and the radiance field that the planes represent.

    ```python
    planes = reconstructor(pixel_values).planes     # (batch, 3, height, width) → (batch, 3, channels, rows, columns)
    field = reconstructor.field(planes)
    field.density(points); field.color(points)      # points (batch, points, 3) within ±radius
    ```

    1. A vision transformer encodes the photo, resampled to `image_size`.
    2. Learnt tokens of three planes of `plane_size`² attend to each other and to the image tokens. Their width is that
       of the transformer, or `token_channels`.
    3. A transposed convolution doubles the planes' side and maps them to `field_channels`.
    4. The point MLP gives a raw density and a colour. Density is `density_activation`(raw density + `density_bias`);
       colour is a sigmoid.

    `num_samples_per_ray` is the number of samples with which the model was rendered in training.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["TriplaneAttentionBlock", "ReconstructorBlock", "TriplaneFieldDecoder"]
    _repeated_blocks = ["TriplaneAttentionBlock", "ReconstructorBlock"]
    _group_offload_block_modules = ["image_encoder", "field_decoder"]
    _skip_layerwise_casting_patterns = ["patch_embed", "norm", "field_decoder"]

    @register_to_config
    def __init__(
        self,
        image_size: int = 512,
        patch_size: int = 16,
        encoder_dim: int = 768,
        encoder_heads: int = 12,
        encoder_layers: int = 12,
        encoder_ff_dim: int = 3072,
        encoder_activation: str = "gelu",
        encoder_attention_bias: bool = True,
        encoder_norm_eps: float = 1e-12,
        plane_size: int = 32,
        num_layers: int = 16,
        num_attention_heads: int = 16,
        attention_head_dim: int = 64,
        attention_bias: bool = False,
        activation_fn: str = "geglu",
        norm_num_groups: int = 32,
        field_channels: int = 40,
        field_hidden_dim: int = 64,
        field_layers: int = 10,
        field_activation: str = "silu",
        field_bias: bool = True,
        radius: float = 0.87,
        density_activation: str = "exp",
        density_bias: float = -1.0,
        num_samples_per_ray: int = 128,
        token_channels: int | None = None,
    ):
        super().__init__()
        check_config(self.config, type(self).__name__)
        if not 0 < patch_size <= image_size:
            raise ValueError(f"patch_size must be 1 to image_size={image_size}, got {patch_size}")
        if density_activation not in DENSITY_ACTIVATIONS:
            raise ValueError(
                f"density_activation must be one of {sorted(DENSITY_ACTIVATIONS)}, got {density_activation!r}"
            )
        dim = num_attention_heads * attention_head_dim
        channels = dim if token_channels is None else token_channels
        self.image_encoder = VisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            dim=encoder_dim,
            heads=encoder_heads,
            num_layers=encoder_layers,
            ff_dim=encoder_ff_dim,
            activation_fn=encoder_activation,
            attention_bias=encoder_attention_bias,
            eps=encoder_norm_eps,
        )
        self.tokens = nn.Parameter(torch.randn(3, channels, plane_size, plane_size) * channels**-0.5)
        self.norm_in = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, dim)
        self.transformer_blocks = nn.ModuleList(
            [
                ReconstructorBlock(
                    dim,
                    num_attention_heads,
                    attention_head_dim,
                    context_dim=encoder_dim,
                    attention_bias=attention_bias,
                    activation_fn=activation_fn,
                )
                for _ in range(num_layers)
            ]
        )
        self.proj_out = nn.Linear(dim, channels)
        self.upsample = nn.ConvTranspose2d(channels, field_channels, kernel_size=2, stride=2)
        self.field_decoder = TriplaneFieldDecoder(
            field_channels,
            hidden_dim=field_hidden_dim,
            num_layers=field_layers,
            activation_fn=field_activation,
            color_channels=3,
            color_hidden=False,
            bias=field_bias,
            padding_mode="zeros",
            plane_axes=TRIPOSR_PLANE_AXES,
        )
        self.gradient_checkpointing = False

    def forward(
        self, pixel_values: Float[Tensor, "batch 3 height width"], return_dict: bool = True
    ) -> TriplaneReconstructorOutput | tuple[Float[Tensor, "batch 3 channels rows columns"]]:
        """The planes of each photo, (batch, 3, field_channels, 2·plane_size, 2·plane_size).

        Args:
            pixel_values: photos in 0..1, framed as in training, of any size; they are resampled to `image_size`.
            return_dict: return a `TriplaneReconstructorOutput`; otherwise a tuple with the planes.

        Raises:
            ValueError: if `pixel_values` has another shape.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 3:
            raise ValueError(
                f"expected photos of shape (batch, 3, height, width) in 0..1, got {tuple(pixel_values.shape)}"
            )
        planes = self.decode(self.encode_image(pixel_values))
        return TriplaneReconstructorOutput(planes=planes) if return_dict else (planes,)

    def encode_image(
        self, pixel_values: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens encoder_dim"]:
        """The image tokens of photos in 0..1, which are resampled (bilinear, antialiased) and normalised."""
        pixels = resize_square(pixel_values.float(), (self.config.image_size, self.config.image_size))
        mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in IMAGE_STATISTICS["imagenet"])
        return self.image_encoder(((pixels - mean) / std).to(self.dtype))

    def decode(
        self, encoder_hidden_states: Float[Tensor, "batch tokens encoder_dim"]
    ) -> Float[Tensor, "batch 3 channels rows columns"]:
        """The planes from image tokens."""
        encoder_hidden_states = cast_for_autocast(encoder_hidden_states)
        tokens = rearrange(self.tokens, "plane channel row column -> 1 channel (plane row column)")
        # Before the first attention the plane tokens are the same for all photos, so they are computed once.
        hidden_states = self.proj_in(rearrange(self.norm_in(tokens), "1 channel token -> 1 token channel"))
        hidden_states = hidden_states.expand(len(encoder_hidden_states), -1, -1)
        hidden_states = run_blocks(self, self.transformer_blocks, hidden_states, encoder_hidden_states)
        hidden_states = self.proj_out(hidden_states) + tokens.transpose(1, 2)
        # The tokens become three images again, residually: the network predicts a change of the learnt tokens.
        planes = rearrange(
            hidden_states,
            "batch (plane row column) channel -> (batch plane) channel row column",
            plane=3,
            row=self.config.plane_size,
        )
        return rearrange(self.upsample(planes), "(batch plane) ... -> batch plane ...", plane=3)

    @apply_forward_hook
    def field(self, planes: Float[Tensor, "batch 3 channels rows columns"]) -> TriplaneRadianceField:
        """The radiance fields of `planes`, one for each photo.

        Raises:
            ValueError: if `planes` has another shape than `forward` returns.
        """
        if planes.ndim != 5 or planes.shape[1] != 3 or planes.shape[2] != self.config.field_channels:
            raise ValueError(
                f"expected planes of shape (batch, 3, {self.config.field_channels}, rows, columns), got "
                f"{tuple(planes.shape)}; take them from reconstructor(pixel_values).planes"
            )
        return TriplaneRadianceField(
            planes,
            self.field_decoder,
            radius=self.config.radius,
            density_activation=self.config.density_activation,
            density_bias=self.config.density_bias,
        )
