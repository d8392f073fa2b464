"""Reference code for Direct3D (Wu et al. 2024): what the published code computes, without optimisation.

    vae, transformer = Direct3DVAE(**params["vae"]), Direct3DTransformer(**params["dit"])
    vae.load_state_dict(checkpoint["vae"])

Constructors take the keywords of the published config. State dicts have the published names and shapes.
`benchmarks/checkpoints.py` measures against it, and tests make checkpoints of any size with it.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding, Timesteps
from einops import rearrange, repeat
from jaxtyping import Float, Num, UInt8
from torch import Tensor, nn

TIME_CHANNELS = 256
FIELD_WIDTH = 64
PLANE_AXES = ((0, 1), (0, 2), (2, 1))
"""The axes along each plane's width and height: xy, xz, zy."""


def attend(
    queries: Float[Tensor, "batch queries dim"],
    keys: Float[Tensor, "batch keys dim"],
    values: Float[Tensor, "batch keys dim"],
    heads: int,
) -> Float[Tensor, "batch queries dim"]:
    """Multi-head attention of projected queries, keys and values."""
    queries, keys, values = (
        rearrange(x, "batch tokens (head dim) -> batch head tokens dim", head=heads) for x in (queries, keys, values)
    )
    out = F.scaled_dot_product_attention(queries, keys, values)
    return rearrange(out, "batch head tokens dim -> batch tokens (head dim)")


class Attention(nn.Module):
    """Attention from query tokens to context tokens, with the parameter names of diffusers' attention."""

    def __init__(self, dim: int, context_dim: int, heads: int, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_k = nn.Linear(context_dim, dim, bias=bias)
        self.to_v = nn.Linear(context_dim, dim, bias=bias)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def forward(
        self, hidden_states: Float[Tensor, "batch queries dim"], context: Float[Tensor, "batch keys width"]
    ) -> Float[Tensor, "batch queries dim"]:
        return self.to_out(attend(self.to_q(hidden_states), self.to_k(context), self.to_v(context), self.heads))


# ---- the autoencoder


class PointAttention(nn.Module):
    """As `Attention`, with other parameter names."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(dim, dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(
        self, hidden_states: Float[Tensor, "batch queries dim"], context: Float[Tensor, "batch keys dim"]
    ) -> Float[Tensor, "batch queries dim"]:
        return self.to_out(attend(self.to_q(hidden_states), self.to_k(context), self.to_v(context), self.heads))


class PointBlock(nn.Module):
    """Pre-norm attention and MLP: tokens attend to points if they are given, otherwise to each other."""

    def __init__(self, dim: int, heads: int, cross: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm1_c = nn.LayerNorm(dim) if cross else nn.Identity()
        self.attn = PointAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(
        self, tokens: Float[Tensor, "batch tokens dim"], points: Float[Tensor, "batch points dim"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        normed = self.norm1(tokens)
        tokens = tokens + self.attn(normed, normed if points is None else self.norm1_c(points))
        return tokens + self.mlp(self.norm2(tokens))


class PointEncoder(nn.Module):
    """Trainable tokens, one per pixel of the three latent planes, attend to the points, then to each other."""

    def __init__(self, dim: int, heads: int, num_layers: int, triplane_res: int, num_freqs: int):
        super().__init__()
        self.num_freqs = num_freqs
        self.learnable_token = nn.Parameter(torch.randn(3 * triplane_res**2, dim) * dim**-0.5)
        self.proj_in = nn.Linear(3 + 2 * 3 * num_freqs + 3, dim)
        self.cross_attn = PointBlock(dim, heads, cross=True)
        self.self_attn = nn.ModuleList([PointBlock(dim, heads, cross=False) for _ in range(num_layers)])
        self.norm_out = nn.LayerNorm(dim)

    def forward(
        self, points: Float[Tensor, "batch points 3"], normals: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch tokens dim"]:
        frequencies = 2.0 ** torch.arange(self.num_freqs, device=points.device, dtype=points.dtype)
        phases = (points[..., None] * frequencies).flatten(-2)
        context = self.proj_in(torch.cat([points, phases.sin(), phases.cos(), normals], dim=-1))
        tokens = repeat(self.learnable_token, "tokens dim -> batch tokens dim", batch=len(points))
        tokens = self.cross_attn(tokens, context)
        for block in self.self_attn:
            tokens = block(tokens)
        return self.norm_out(tokens)


class OccupancyDecoder(nn.Module):
    """The point MLP."""

    def __init__(self, in_channels: int, num_layers: int):
        super().__init__()
        widths = [in_channels] + [FIELD_WIDTH] * (num_layers - 1) + [1]
        layers = [layer for pair in zip(widths, widths[1:]) for layer in (nn.Linear(*pair), nn.ReLU())]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, features: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch points"]:
        return self.net(features)[..., 0]


class Direct3DVAE(nn.Module):
    """Surface points ↔ latents (three planes side by side) → planes of features → occupancy logits."""

    def __init__(
        self,
        *,
        triplane_res: int = 32,
        latent_dim: int = 16,
        triplane_dim: int = 32,
        num_freqs: int = 8,
        num_attention_heads: int = 12,
        attention_head_dim: int = 64,
        num_encoder_layers: int = 8,
        num_geodecoder_layers: int = 5,
        block_out_channels: Sequence[int] = (128, 256, 512, 512),
        mid_block_add_attention: bool = True,
        latents_scale: float = 1.0,
        latents_shift: float = 0.0,
    ):
        super().__init__()
        dim = num_attention_heads * attention_head_dim
        self.triplane_res = triplane_res
        self.latents_scale, self.latents_shift = latents_scale, latents_shift
        self.encoder = PointEncoder(dim, num_attention_heads, num_encoder_layers, triplane_res, num_freqs)
        self.pre_latent = nn.Conv2d(dim, 2 * latent_dim, 1)
        self.post_latent = nn.Conv2d(latent_dim, dim, 1)
        self.decoder = Decoder(
            in_channels=dim,
            out_channels=triplane_dim,
            up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=2,
            mid_block_add_attention=mid_block_add_attention,
        )
        self.occ_decoder = OccupancyDecoder(3 * triplane_dim, num_geodecoder_layers)
        self.gains = {f"occ_decoder.net.{2 * layer}.weight": 2.0 for layer in range(num_geodecoder_layers)}
        """Factors for random weights, so that the field varies in space."""

    def encode(
        self, points: Float[Tensor, "batch points 3"], normals: Float[Tensor, "batch points 3"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """Mean and log-variance of the latents."""
        image = rearrange(
            self.encoder(points, normals),
            "batch (plane row column) channel -> batch channel row (plane column)",
            plane=3,
            row=self.triplane_res,
        )
        mean, logvar = self.pre_latent(image).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def from_denoised(
        self, latents: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Latents for `decode` from latents of the denoiser."""
        return latents / self.latents_scale + self.latents_shift

    def decode(
        self, latents: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 3 features rows columns"]:
        """Planes of features. The decoder treats the three planes side by side as one image."""
        image = self.decoder(self.post_latent(latents))
        return rearrange(image, "batch channel row (plane column) -> batch plane channel row column", plane=3)

    def occupancy(
        self, planes: Float[Tensor, "batch 3 features rows columns"], points: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """Logits at points in [-1, 1]³, positive inside."""
        return self.occ_decoder(sample_planes(planes, points, PLANE_AXES))

    def dense_grid(
        self, planes: Float[Tensor, "batch 3 features rows columns"], resolution: int, chunk_size: int = 50_000
    ) -> Float[Tensor, "batch x y z"]:
        """Logits at all (resolution + 1)³ nodes, in chunks that are collected in a list."""
        axis = torch.linspace(-1, 1, resolution + 1, device=planes.device)
        nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        logits = [
            self.occupancy(planes, repeat(chunk, "points coordinate -> batch points coordinate", batch=len(planes)))
            for chunk in nodes.split(chunk_size)
        ]
        return torch.cat(logits, dim=1).unflatten(1, (resolution + 1,) * 3)


def sample_planes(
    planes: Float[Tensor, "batch 3 features rows columns"],
    points: Float[Tensor, "batch points 3"],
    plane_axes: tuple[tuple[int, int], ...],
) -> Float[Tensor, "batch points all_features"]:
    """Concatenated features of the three planes, zero outside the planes."""
    places = torch.stack([points[..., axes] for axes in plane_axes], dim=1)
    features = F.grid_sample(
        rearrange(planes, "batch plane channel row column -> (batch plane) channel row column"),
        rearrange(places, "batch plane points coordinate -> (batch plane) 1 points coordinate"),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return rearrange(features, "(batch plane) channel 1 points -> batch points (plane channel)", plane=3)


# ---- the denoiser


class TransformerBlock(nn.Module):
    """Self-attention with pixel tokens, cross-attention to semantic tokens, and feed-forward."""

    def __init__(self, dim: int, heads: int, attention_bias: bool, activation_fn: str, norm_eps: float):
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim, eps=norm_eps, elementwise_affine=False)
        self.attn1 = Attention(dim, dim, heads, attention_bias)
        self.attn2 = Attention(dim, dim, heads, attention_bias)
        self.ff = FeedForward(dim, activation_fn=activation_fn)

    def forward(
        self,
        latents: Float[Tensor, "batch latents dim"],
        semantic: Float[Tensor, "batch semantic dim"],
        pixel: Float[Tensor, "batch pixel dim"],
        modulation: Float[Tensor, "batch 6 dim"],
    ) -> Float[Tensor, "batch latents dim"]:
        """Pixel tokens join self-attention without modulation; their outputs are discarded."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (self.scale_shift_table + modulation).chunk(6, dim=1)

        joined = torch.cat([pixel, self.norm(latents) * (1 + scale) + shift], dim=1)
        latents = latents + gate * self.attn1(joined, joined)[:, pixel.shape[1] :]
        latents = latents + self.attn2(latents, semantic)
        return latents + mlp_gate * self.ff(self.norm(latents) * (1 + mlp_scale) + mlp_shift)


class Direct3DTransformer(nn.Module):
    """The denoiser: a prediction from noisy latents, a time and the tokens of two image encoders."""

    def __init__(
        self,
        *,
        num_attention_heads: int = 16,
        attention_head_dim: int = 72,
        in_channels: int = 16,
        num_layers: int = 28,
        sample_size: Sequence[int] = (32, 96),
        patch_size: int = 2,
        semantic_channels: int = 1024,
        pixel_channels: int = 1024,
        attention_bias: bool = False,
        activation_fn: str = "gelu-approximate",
        norm_eps: float = 1e-6,
    ):
        super().__init__()
        dim = num_attention_heads * attention_head_dim
        self.sample_size = tuple(sample_size)
        self.patch_size = patch_size
        self.pos_embed = nn.ModuleDict({"proj": nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)})
        self.time_proj = Timesteps(TIME_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0)
        time_embedder = TimestepEmbedding(TIME_CHANNELS, dim, cond_proj_dim=semantic_channels)
        self.adaln_single = nn.ModuleDict(
            {
                "emb": nn.ModuleDict({"timestep_embedder": time_embedder}),
                "linear": nn.Linear(dim, 6 * dim),
            }
        )
        self.semantic_projection = PixArtAlphaTextProjection(semantic_channels, dim)
        self.pixel_projection = PixArtAlphaTextProjection(pixel_channels, dim)
        self.transformer_blocks = nn.ModuleList(
            [
                TransformerBlock(dim, num_attention_heads, attention_bias, activation_fn, norm_eps)
                for _ in range(num_layers)
            ]
        )
        self.norm_out = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) * dim**-0.5)
        self.proj_out = nn.Linear(dim, patch_size**2 * in_channels)
        self.gains: dict[str, float] = {}

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        timestep: Num[Tensor, " batch"],
        semantic: Float[Tensor, "batch semantic semantic_channels"],
        pixel: Float[Tensor, "batch pixel pixel_channels"],
    ) -> Float[Tensor, "batch channels height width"]:
        rows, columns = (size // self.patch_size for size in latents.shape[-2:])
        tokens = rearrange(self.pos_embed["proj"](latents), "batch dim row column -> batch (row column) dim")
        tokens = tokens + position_table(rows, columns, tokens.shape[-1]).to(tokens)

        waves = self.time_proj(timestep).to(tokens)
        time = self.adaln_single.get_submodule("emb.timestep_embedder")(waves, semantic[:, 0])
        modulation = self.adaln_single["linear"](F.silu(time)).unflatten(1, (6, -1))
        semantic, pixel = self.semantic_projection(semantic), self.pixel_projection(pixel)
        for block in self.transformer_blocks:
            tokens = block(tokens, semantic, pixel, modulation)

        shift, scale = (self.scale_shift_table + time[:, None]).chunk(2, dim=1)
        patches = self.proj_out(self.norm_out(tokens) * (1 + scale) + shift)
        return rearrange(
            patches,
            "batch (row column) (p q channel) -> batch channel (row p) (column q)",
            row=rows,
            p=self.patch_size,
            q=self.patch_size,
        )

    def guided_step(
        self,
        latents: Float[Tensor, "batch channels height width"],
        timestep: Num[Tensor, ""] | float,
        semantic: Float[Tensor, "batch semantic semantic_channels"],
        pixel: Float[Tensor, "batch pixel pixel_channels"],
        guidance: float,
    ) -> Float[Tensor, "batch channels height width"]:
        """One guided prediction, from a batch of [tokens of zeros, tokens of the images]."""
        unconditional, conditional = self(
            torch.cat([latents, latents]),
            torch.as_tensor(timestep, device=latents.device).expand(2 * len(latents)),
            torch.cat([torch.zeros_like(semantic), semantic]),
            torch.cat([torch.zeros_like(pixel), pixel]),
        ).chunk(2)
        return unconditional + guidance * (conditional - unconditional)


@cache
def position_table(rows: int, columns: int, dim: int) -> Float[Tensor, "tokens dim"]:
    """A fixed table: sines and cosines of the column in the first half of the channels, of the row in the second.

    The published code also computes it once.
    """
    row, column = np.indices((rows, columns), dtype=np.float64).reshape(2, -1, 1)
    frequencies = 10000 ** (-np.arange(dim // 4) / (dim / 4))
    waves = [wave(place * frequencies) for place in (column, row) for wave in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate(waves, axis=1)).float()


# ---- preprocessing of images


def direct3d_preprocess(image: UInt8[np.ndarray, "height width channels"]) -> Float[Tensor, "3 size size"]:
    """Crops RGBA to its opaque part, on a white square, with a border of 4 % of the width on each side."""
    rgba = image if image.shape[-1] == 4 else np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    rows, columns = np.nonzero(rgba[..., 3] > 100)
    if len(rows) >= 0.001 * rgba[..., 3].size:
        rgba = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rgba = pad_to_square(rgba, color=(255, 255, 255, 0))
    rgb = composite(rgba / 255, background=1.0)
    border = int(0.04 * rgb.shape[1])
    rgb = np.pad(rgb, ((border, border), (border, border), (0, 0)), constant_values=255)
    return rearrange(torch.from_numpy(rgb).float() / 255, "row column channel -> channel row column")


def composite(rgba: Float[np.ndarray, "height width 4"], background: float) -> UInt8[np.ndarray, "height width 3"]:
    """Colours over a grey `background`, truncated to 8 bits.

    Because of the truncation the precision of `rgba` matters: Direct3D uses float64, TripoSR float32.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    return ((rgb * alpha + background * (1 - alpha)) * 255).astype(np.uint8)


def pad_to_square(
    image: UInt8[np.ndarray, "height width channels"], color: tuple[int, ...]
) -> UInt8[np.ndarray, "size size channels"]:
    """`image` in the middle of a square of `color`."""
    height, width, channels = image.shape
    size = max(height, width)
    square = np.full((size, size, channels), color, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image
    return square
