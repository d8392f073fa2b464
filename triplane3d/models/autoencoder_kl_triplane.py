"""The autoencoder: surface points → latents (three small planes) → feature planes → a field.

It is a variational autoencoder (Kingma and Welling 2013) of shapes, as in latent diffusion (Rombach et al. 2022): a
denoiser then models the distribution of its latents.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from diffusers.models.autoencoders.vae import AutoencoderMixin, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.limits import check_config
from triplane3d.models.attention import TriplaneAttentionBlock, cast_for_autocast, run_blocks
from triplane3d.models.embeddings import fourier_features
from triplane3d.models.latent_statistics import LatentStatistics
from triplane3d.models.outputs import TriplaneDecoderOutput
from triplane3d.models.plane_decoders import ConvDecoder, TokenDecoder
from triplane3d.models.triplane import DEPTH_AXES, TriplaneField, TriplaneFieldDecoder, plane_coordinates
from triplane3d.models.weights import StrictLoading

INITIAL_LOGVAR = -5.0
"""Log-variance of the posterior before training."""


class ProjectionEncoder(nn.Module):
    """Projects surface points to the planes' pixels as moments, then applies a transformer to patches of pixels.

    A pixel of a plane is a column of space. The mean of exp(i·k·depth) over its points is the Fourier transform of
    the histogram of their depths. The sign of the normal along the depth separates the points where the column
    enters the solid from those where it leaves. The occupancy along the column is therefore nearly linear in these
    moments.

    The moments have no parameters, so backward needs no pass over the points.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        num_layers: int,
        latent_channels: int,
        latent_size: int,
        patch_size: int,
        resolution: int,
        num_freqs: int,
        color_channels: int,
        activation_fn: str,
    ):
        super().__init__()
        self.resolution = resolution
        self.num_freqs = num_freqs
        self.color_channels = color_channels
        self.grid_size = latent_size // patch_size
        self.latent_patch = patch_size
        pixels = (resolution // self.grid_size) ** 2
        self.proj_in = nn.Linear(pixels * (8 + 4 * num_freqs + color_channels), dim)
        self.positions = nn.Parameter(torch.randn(3 * self.grid_size**2, dim) * 0.02)
        self.blocks = nn.ModuleList(
            [TriplaneAttentionBlock(dim, heads, dim // heads, activation_fn=activation_fn) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, 2 * latent_channels * patch_size**2)
        # A narrow posterior at first: with unit deviation the first latents would be noise without information.
        nn.init.constant_(self.proj_out.bias[latent_channels * patch_size**2 :], INITIAL_LOGVAR)
        self.gradient_checkpointing = False

    def forward(
        self,
        surface_points: Float[Tensor, "batch points 3"],
        normals: Float[Tensor, "batch points 3"],
        colors: Float[Tensor, "batch points 3"] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "batch moments height width"]:
        pixels = self._pixel_moments(surface_points.float(), normals.float(), colors)
        hidden_states = self.proj_in(cast_for_autocast(pixels.to(dtype))) + self.positions.to(dtype)
        hidden_states = run_blocks(self, self.blocks, hidden_states)
        moments = self.proj_out(cast_for_autocast(self.norm_out(hidden_states)))
        return rearrange(
            moments,
            "batch (plane row column) (channel i j) -> batch channel (row i) (plane column j)",
            plane=3,
            row=self.grid_size,
            i=self.latent_patch,
            j=self.latent_patch,
        )

    def _pixel_moments(
        self, points: Tensor, normals: Tensor, colors: Tensor | None
    ) -> Float[Tensor, "batch tokens features"]:
        """The mean over each pixel's points of these features, patch by patch.

        They are: 1 (whether the pixel has points), log(1 + number of points), depth, its sines and cosines, the normal
        along the depth times 1 and times these waves, the position inside the pixel, the normal, and the colour.
        """
        # 1. Scatter: the pixel of each point on each plane, and the number of points in that pixel.
        positions = (plane_coordinates(points) + 1) * (self.resolution / 2)
        cells = positions.floor().clamp(0, self.resolution - 1)
        index, total = self._pixel_index(cells.long())
        weights = cells.new_ones(1).expand(len(index))
        counts = cells.new_zeros(total).index_add_(0, index, weights)[index].view(*cells.shape[:3], 1)

        # 2. Features of each point on each plane. `facing` is the normal along the depth.
        depth, facing = (
            torch.stack([tensor[..., axis] for axis in DEPTH_AXES], dim=1)[..., None] for tensor in (points, normals)
        )
        sines, cosines = fourier_features(depth, self.num_freqs, base=torch.pi / 2)
        waves = torch.cat([depth, sines, cosines], dim=-1)
        parts = [torch.ones_like(counts), counts.log1p(), waves, facing * waves[..., 1:], positions - cells - 0.5]
        parts.append(normals[:, None].expand(-1, 3, -1, -1))
        if self.color_channels:
            parts.append(colors.float()[:, None].expand(-1, 3, -1, -1))
        # 3. Sum over the points of a pixel. Each feature was divided by their number, so the sum is the mean.
        features = torch.cat(parts, dim=-1).div_(counts).flatten(0, 2)
        means = features.new_zeros(total, features.shape[-1]).index_add_(0, index, features)
        return means.view(len(points), 3 * self.grid_size**2, -1)

    def _pixel_index(self, cells: Tensor) -> tuple[Tensor, int]:
        """The index of each point's pixel among all pixels of the batch, in the order of patches, and their number."""
        # The pixels of a patch are adjacent, so that the moments of a patch reshape to one token.
        side = self.resolution // self.grid_size
        columns, rows = cells[..., 0], cells[..., 1]
        patch = rows.div(side, rounding_mode="floor") * self.grid_size + columns.div(side, rounding_mode="floor")
        pixels = patch * side**2 + (rows % side) * side + columns % side
        images = torch.arange(pixels.shape[0] * 3, device=pixels.device).view(-1, 3, 1)
        return (pixels + images * self.resolution**2).flatten(), images.numel() * self.resolution**2


class PerceiverEncoder(nn.Module):
    """Learnt plane tokens that attend to the surface points (Direct3D's encoder, Wu et al. 2024).

    Cross-attention from a fixed set of learnt tokens is that of Perceiver (Jaegle et al. 2021).
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        num_layers: int,
        latent_channels: int,
        latent_size: int,
        num_freqs: int,
        color_channels: int,
        activation_fn: str,
    ):
        super().__init__()
        self.latent_size = latent_size
        self.num_freqs = num_freqs
        self.color_channels = color_channels
        self.tokens = nn.Parameter(torch.randn(3 * latent_size**2, dim) * dim**-0.5)
        self.proj_in = nn.Linear(3 + 6 * num_freqs + 3 + color_channels, dim)
        head_dim = dim // heads
        self.cross_block = TriplaneAttentionBlock(
            dim, heads, head_dim, activation_fn=activation_fn, is_cross_attention=True
        )
        self.blocks = nn.ModuleList(
            [TriplaneAttentionBlock(dim, heads, head_dim, activation_fn=activation_fn) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, 2 * latent_channels)
        self.gradient_checkpointing = False

    def forward(
        self,
        surface_points: Float[Tensor, "batch points 3"],
        normals: Float[Tensor, "batch points 3"],
        colors: Float[Tensor, "batch points 3"] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "batch moments height width"]:
        parts = [surface_points.float(), *fourier_features(surface_points, self.num_freqs), normals.float()]
        if self.color_channels:
            parts.append(colors.float())
        context = self.proj_in(torch.cat(parts, dim=-1).to(dtype))
        hidden_states = self.tokens.to(dtype).expand(len(surface_points), -1, -1)
        hidden_states = self.cross_block(hidden_states, context)
        hidden_states = run_blocks(self, self.blocks, hidden_states)
        moments = self.proj_out(cast_for_autocast(self.norm_out(hidden_states)))
        return rearrange(
            moments,
            "batch (plane row column) channel -> batch channel row (plane column)",
            plane=3,
            row=self.latent_size,
        )


class AutoencoderKLTriplane(StrictLoading, ModelMixin, AttentionMixin, AutoencoderMixin, ConfigMixin):
    """A variational autoencoder of shapes: surface points with normals → latents → planes → field.

    `latents` are (batch, latent_channels, latent_size, 3·latent_size), the planes XY, XZ, YZ side by side.

    ```python
    latents = vae.encode(surface_points, normals).latent_dist.mode()
    field = vae.field(vae.decode(latents).planes)
    field.occupancy(points)   # (batch, points) logits, positive inside
    ```

    Config options:

    - `encoder_type`: "projection" (points are projected to the planes' pixels; fast on a CPU) or "perceiver" (learnt
      tokens attend to the points);
    - `decoder_type`: "tokens" (a transformer with a head that maps each token to a patch) or "conv" (an image decoder
      over the planes side by side);
    - `latents_mean`, `latents_std`: statistics of each latent channel, or None; see `normalize_latents`;
    - `mid_block_attention`: self-attention of all pixels in the middle of the convolutional decoder;
    - `decoder_resnet_layers`: residual blocks that remove seams between the patches of the token decoder;
    - `color_seam_reach`: pixels on each side of such a seam that are smoothed in the planes for colours
      (`triplane3d.models.seams`); occupancy and the training loss use the planes without smoothing.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["TriplaneAttentionBlock", "TriplaneFieldDecoder", "ResnetBlock2D"]
    _repeated_blocks = ["TriplaneAttentionBlock"]
    _group_offload_block_modules = ["encoder", "decoder", "field_decoder"]
    _skip_layerwise_casting_patterns = ["norm", "field_decoder"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        latent_size: int = 16,
        plane_channels: int = 32,
        plane_size: int = 64,
        encoder_type: str = "projection",
        encoder_dim: int = 256,
        encoder_heads: int = 4,
        encoder_layers: int = 4,
        encoder_patch_size: int = 2,
        projection_resolution: int = 64,
        num_freqs: int = 6,
        decoder_type: str = "tokens",
        decoder_dim: int = 256,
        decoder_heads: int = 4,
        decoder_layers: int = 4,
        decoder_patch_size: int = 2,
        block_out_channels: tuple[int, ...] | list[int] = (128, 256, 512, 512),
        activation_fn: str = "gelu",
        field_hidden_dim: int = 64,
        field_layers: int = 4,
        field_activation: str = "relu",
        field_num_freqs: int = 0,
        padding_mode: str = "border",
        color_channels: int = 0,
        surface_color_channels: int = 0,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        mid_block_attention: bool = True,
        decoder_resnet_layers: int = 0,
        color_seam_reach: int = 0,
    ):
        super().__init__()
        check_config(self.config, type(self).__name__)
        self.encoder: nn.Module
        self.decoder: nn.Module
        if encoder_type == "projection":
            _check_divides(latent_size, encoder_patch_size, "latent_size", "encoder_patch_size")
            grid_size = latent_size // encoder_patch_size
            _check_divides(projection_resolution, grid_size, "projection_resolution", "latent_size/encoder_patch_size")
            self.encoder = ProjectionEncoder(
                dim=encoder_dim,
                heads=encoder_heads,
                num_layers=encoder_layers,
                latent_channels=latent_channels,
                latent_size=latent_size,
                patch_size=encoder_patch_size,
                resolution=projection_resolution,
                num_freqs=num_freqs,
                color_channels=surface_color_channels,
                activation_fn=activation_fn,
            )
        elif encoder_type == "perceiver":
            self.encoder = PerceiverEncoder(
                dim=encoder_dim,
                heads=encoder_heads,
                num_layers=encoder_layers,
                latent_channels=latent_channels,
                latent_size=latent_size,
                num_freqs=num_freqs,
                color_channels=surface_color_channels,
                activation_fn=activation_fn,
            )
        else:
            raise ValueError(f'encoder_type must be "projection" or "perceiver", got {encoder_type!r}')

        if decoder_type == "tokens":
            _check_divides(latent_size, decoder_patch_size, "latent_size", "decoder_patch_size")
            _check_divides(
                plane_size, latent_size // decoder_patch_size, "plane_size", "latent_size/decoder_patch_size"
            )
            self.decoder = TokenDecoder(
                dim=decoder_dim,
                heads=decoder_heads,
                num_layers=decoder_layers,
                latent_channels=latent_channels,
                latent_size=latent_size,
                patch_size=decoder_patch_size,
                plane_channels=plane_channels,
                plane_size=plane_size,
                activation_fn=activation_fn,
                resnet_layers=decoder_resnet_layers,
            )
        elif decoder_type == "conv":
            if decoder_resnet_layers:
                raise ValueError(
                    f'decoder_resnet_layers={decoder_resnet_layers} is for decoder_type="tokens"; "conv" has '
                    "residual blocks of its own, see block_out_channels"
                )
            upsampled = latent_size * 2 ** (len(block_out_channels) - 1)
            if plane_size != upsampled:
                raise ValueError(
                    f"{len(block_out_channels)} block_out_channels upsample latent_size={latent_size} to {upsampled}, "
                    f"but plane_size={plane_size}; set plane_size={upsampled}"
                )
            self.decoder = ConvDecoder(
                dim=decoder_dim,
                latent_channels=latent_channels,
                plane_channels=plane_channels,
                block_out_channels=block_out_channels,
                mid_block_attention=mid_block_attention,
            )
        else:
            raise ValueError(f'decoder_type must be "tokens" or "conv", got {decoder_type!r}')
        patch = plane_size * decoder_patch_size // latent_size
        self.color_seams = (patch, color_seam_reach) if color_seam_reach else None
        if color_seam_reach:
            if decoder_type != "tokens" or not 0 < color_seam_reach <= patch // 2:
                raise ValueError(
                    f'color_seam_reach={color_seam_reach} must be 0, or for decoder_type="tokens" up to half of a '
                    f"patch, {patch // 2} pixels"
                )

        self.field_decoder = TriplaneFieldDecoder(
            plane_channels,
            hidden_dim=field_hidden_dim,
            num_freqs=field_num_freqs,
            num_layers=field_layers,
            activation_fn=field_activation,
            color_channels=color_channels,
            padding_mode=padding_mode,
        )
        self.use_slicing = False
        self.use_tiling = False
        self.tile_points = 65536

    @apply_forward_hook
    def encode(
        self,
        surface_points: Float[Tensor, "batch points 3"],
        normals: Float[Tensor, "batch points 3"],
        colors: Float[Tensor, "batch points 3"] | None = None,
        return_dict: bool = True,
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """The posterior of the latents, given points on the surface and their unit normals.

        Args:
            surface_points: points in [-1, 1]³.
            normals: outward unit normals at the points.
            colors: RGB in 0..1 at the points, for an encoder with `surface_color_channels`; None: mid-grey.
            return_dict: return an `AutoencoderKLOutput`; otherwise a tuple with the distribution.

        Raises:
            ValueError: if the shapes differ from each other.
        """
        self._check_surface(surface_points, normals, colors)
        if colors is None and self.config.surface_color_channels:
            colors = torch.full_like(surface_points, 0.5)
        if self.use_slicing and len(surface_points) > 1:
            color_slices = [None] * len(surface_points) if colors is None else colors.split(1)
            slices = zip(surface_points.split(1), normals.split(1), color_slices, strict=True)
            moments = torch.cat([self.encoder(*entry, self.dtype) for entry in slices])
        else:
            moments = self.encoder(surface_points, normals, colors, self.dtype)
        posterior = DiagonalGaussianDistribution(moments)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(
        self, latents: Float[Tensor, "batch channels height width"], return_dict: bool = True
    ) -> TriplaneDecoderOutput | tuple[Float[Tensor, "batch 3 plane_channels plane_height plane_width"]]:
        """The feature planes of latents as `encode` returns them; a denoiser's need `denormalize_latents` first.

        Raises:
            ValueError: if `latents` has another shape.
        """
        size = self.config.latent_size
        expected = (self.config.latent_channels, size, 3 * size)
        if latents.ndim != 4 or tuple(latents.shape[1:]) != expected:
            raise ValueError(
                f"expected latents of shape (batch, {', '.join(map(str, expected))}), got {tuple(latents.shape)}; "
                "the three planes lie side by side along the width"
            )
        latents = latents.to(self.dtype)
        if self.use_slicing and len(latents) > 1:
            planes = torch.cat([self.decoder(entry) for entry in latents.split(1)])
        else:
            planes = self.decoder(latents)
        return TriplaneDecoderOutput(planes=planes) if return_dict else (planes,)

    def normalize_latents(
        self, latents: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Latents of the posterior as the denoiser uses them: zero mean and unit deviation per channel.

        They stay as they are if the config has no `latents_mean` and `latents_std`.
        """
        if self.config.latents_mean is None:
            return latents
        return LatentStatistics.from_config(self.config).normalize(latents)

    def denormalize_latents(
        self, latents: Float[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """The inverse of `normalize_latents`: the denoiser's latents as `decode` takes them."""
        if self.config.latents_mean is None:
            return latents
        return LatentStatistics.from_config(self.config).denormalize(latents)

    @apply_forward_hook
    def field(self, planes: Float[Tensor, "batch 3 channels height width"]) -> TriplaneField:
        """The fields of `planes`. With tiling enabled they are evaluated in chunks of `tile_points` points.

        Raises:
            ValueError: if `planes` has another shape than `decode` returns.
        """
        if planes.ndim != 5 or planes.shape[1] != 3 or planes.shape[2] != self.config.plane_channels:
            raise ValueError(
                f"expected planes of shape (batch, 3, {self.config.plane_channels}, height, width), "
                f"got {tuple(planes.shape)}; take them from decode(latents).planes"
            )
        return TriplaneField(
            planes,
            self.field_decoder,
            has_color=self.config.color_channels > 0,
            chunk_size=self.tile_points if self.use_tiling else None,
            seams=self.color_seams,
        )

    def forward(
        self,
        surface_points: Float[Tensor, "batch points 3"],
        normals: Float[Tensor, "batch points 3"],
        colors: Float[Tensor, "batch points 3"] | None = None,
        query_points: Float[Tensor, "batch queries 3"] | None = None,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> TriplaneDecoderOutput | tuple:
        """Encodes, takes the mode or a sample, and decodes. With `query_points`, also returns inputs of the losses."""
        posterior = self.encode(surface_points, normals, colors).latent_dist
        latents = posterior.sample(generator) if sample_posterior else posterior.mode()
        output = TriplaneDecoderOutput(planes=self.decode(latents).planes)
        if query_points is not None:
            occupancy_logits, colors = self.field(output.planes).occupancy_and_color(query_points)
            output = TriplaneDecoderOutput(
                planes=output.planes, occupancy_logits=occupancy_logits, colors=colors, latent_dist=posterior
            )
        return output if return_dict else output.to_tuple()

    def _check_surface(self, points: Tensor, normals: Tensor, colors: Tensor | None) -> None:
        if points.ndim != 3 or points.shape[-1] != 3 or normals.shape != points.shape:
            raise ValueError(
                "expected surface_points and normals of one shape (batch, points, 3), "
                f"got {tuple(points.shape)} and {tuple(normals.shape)}"
            )
        if colors is not None and colors.shape != points.shape:
            raise ValueError(f"expected colors of shape {tuple(points.shape)} in 0..1, got {tuple(colors.shape)}")


def _check_divides(size: int, part: int, size_name: str, part_name: str) -> None:
    if size % part:
        raise ValueError(f"{size_name}={size} must be a multiple of {part_name}={part}")
