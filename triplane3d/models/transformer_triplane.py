"""The denoiser: a diffusion transformer over patches of triplane latents, conditioned on image tokens."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import apply_lora_scale
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from triplane3d.limits import check_config
from triplane3d.models.attention import (
    ConditionCache,
    FeedForward,
    TriplaneAttention,
    cast_for_autocast,
    remembered,
)
from triplane3d.models.conditions import CameraCondition, FrontPlaneCondition
from triplane3d.models.embeddings import plane_positions, rolled_positions
from triplane3d.models.outputs import TriplaneTransformerOutput
from triplane3d.models.parallel import (
    CONTEXT_PLAN,
    TENSOR_PLAN,
    check_cache,
    check_parallelism,
    check_tokens,
    context_parallel,
)
from triplane3d.models.weights import StrictLoading

TIME_CHANNELS = 256


class TriplaneTransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward; time shifts, scales and gates the first and the last.

    With `has_skip` the block first fuses the output of its mirror image in the stack (U-ViT's long skip). That happens
    inside the block, so that a cache which leaves the block out leaves its skip out with it.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        context_dim: int,
        activation_fn: str,
        attention_bias: bool,
        qk_norm: bool,
        cross_attn_norm: bool,
        has_skip: bool,
        eps: float,
    ):
        super().__init__()
        self.skip_proj = nn.Linear(2 * dim, dim) if has_skip else None
        if has_skip:  # Starts as the plain residual stream plus a little of the skip.
            nn.init.eye_(self.skip_proj.weight[:, :dim])
            nn.init.zeros_(self.skip_proj.bias)
        self.norm1 = nn.LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.attn = TriplaneAttention(dim, heads, head_dim, bias=attention_bias, qk_norm=qk_norm, eps=eps)
        self.norm_cross = nn.LayerNorm(dim, eps=eps) if cross_attn_norm else None
        self.cross_attn = TriplaneAttention(
            dim, heads, head_dim, context_dim=context_dim, bias=attention_bias, qk_norm=qk_norm, eps=eps
        )
        self.norm2 = nn.LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.ff = FeedForward(dim, 4 * dim, activation_fn=activation_fn)
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch tokens dim"],
        encoder_hidden_states: Float[Tensor, "photos context context_dim"],
        time_modulation: Float[Tensor, "batch 6 dim"],
        pixel_hidden_states: Float[Tensor, "photos pixels dim"] | None = None,
        skip_hidden_states: Float[Tensor, "batch tokens dim"] | None = None,
        no_photo: tuple[Tensor | None, Tensor | None] = (None, None),
        cache: ConditionCache | None = None,
        encoder_attention_mask: Bool[Tensor, "photos 1 1 context"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        if self.skip_proj is not None:
            assert skip_hidden_states is not None, "a block with a skip is given its mirror image's output"
            hidden_states = self.skip_proj(torch.cat([hidden_states, skip_hidden_states], dim=-1))
        modulation = (self.scale_shift_table.to(time_modulation.dtype) + time_modulation)[:, :, None]
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = modulation.unbind(dim=1)

        normed = cast_for_autocast(self.norm1(hidden_states) * (1 + scale_attn) + shift_attn)
        # Latents read pixels and latents; what the pixels would have read is never used.
        attended = self.attn(normed, pixel_hidden_states, no_photo=no_photo[1], cache=cache)
        hidden_states = hidden_states + gate_attn * attended

        normed = hidden_states if self.norm_cross is None else self.norm_cross(hidden_states)
        hidden_states = hidden_states + self.cross_attn(
            cast_for_autocast(normed), encoder_hidden_states, encoder_attention_mask, no_photo=no_photo[0], cache=cache
        )

        normed = cast_for_autocast(self.norm2(hidden_states) * (1 + scale_ff) + shift_ff)
        return hidden_states + gate_ff * self.ff(normed)


class TriplaneTransformer(StrictLoading, ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin, CacheMixin):
    """A diffusion transformer for triplane latents (batch, in_channels, height, 3·width), planes XY, XZ, YZ in a row.

    ```python
    velocity = transformer(hidden_states=latents, timestep=t, encoder_hidden_states=tokens).sample
    ```

    `timestep` runs 0..1000, as diffusers' flow-matching schedulers pass it (sigma · 1000). Time enters through one MLP
    shared by all blocks and a learnt table per block (adaLN-single). Config options:

    - `long_skips`: the second half of the blocks reads the outputs of the first half, mirrored;
    - `cross_attention_dim`: width of `encoder_hidden_states`; `pixel_attention_dim`: width of `pixel_hidden_states`,
      which join the keys and values of self-attention (None: the model takes none);
    - `condition_projection`: None, "linear" or "mlp" (Linear, tanh-GELU, Linear) for both condition streams;
    - `time_condition`: adds a projection of the first token of `encoder_hidden_states` to the time embedding;
    - `front_plane_condition`: also adds image tokens to the latent tokens over which the camera sees them, dropping
      the first `num_prefix_tokens` and expecting the rest to be a square grid;
    - `camera_condition`: reads several photos of an object, whose tokens follow one another in
      `encoder_hidden_states`, and what is known of their `cameras`;
    - `interval_condition`: answers with the mean velocity between `timestep` and `timestep_end` (a flow map: Boffi et
      al. 2024; Frans et al. 2024, "shortcut models"), so that a few long steps of Euler's method end where many short
      ones would;
    - `position_type`: "planes" (x, y and z have channels of their own, and each plane a learnt vector) or "rolled"
      (one sin-cos image over the planes laid side by side).

    Direct3D's D3D-DiT is `position_type="rolled", condition_projection="mlp", time_condition=True,
    cross_attn_norm=False, qk_norm=False, long_skips=False, front_plane_condition=False` with `pixel_attention_dim` set.

    What `camera_condition` and `interval_condition` add is zero before training: weights trained without them, loaded
    into a model that has them, answer as before.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["TriplaneTransformerBlock"]
    _repeated_blocks = ["TriplaneTransformerBlock"]
    _skip_layerwise_casting_patterns = ["patch_embed", "norm", "time_embed", "camera_embed", "interval_embed"]
    _cp_plan = CONTEXT_PLAN
    _tp_plan = TENSOR_PLAN

    @register_to_config
    def __init__(
        self,
        in_channels: int = 8,
        out_channels: int | None = None,
        sample_size: int = 16,
        patch_size: int = 2,
        num_layers: int = 8,
        num_attention_heads: int = 4,
        attention_head_dim: int = 64,
        cross_attention_dim: int = 256,
        pixel_attention_dim: int | None = None,
        condition_projection: str | None = None,
        time_condition: bool = False,
        front_plane_condition: bool = True,
        num_prefix_tokens: int = 1,
        position_type: str = "planes",
        long_skips: bool = True,
        qk_norm: bool = True,
        cross_attn_norm: bool = True,
        attention_bias: bool = False,
        activation_fn: str = "gelu-approximate",
        norm_eps: float = 1e-6,
        camera_condition: bool = False,
        interval_condition: bool = False,
    ):
        super().__init__()
        check_config(self.config, type(self).__name__)
        if sample_size % patch_size:
            raise ValueError(f"sample_size={sample_size} must be a multiple of patch_size={patch_size}")
        if position_type not in ("planes", "rolled"):
            raise ValueError(f'position_type must be "planes" or "rolled", got {position_type!r}')
        dim = num_attention_heads * attention_head_dim
        self.out_channels = in_channels if out_channels is None else out_channels
        self.patch_embed = nn.Linear(in_channels * patch_size**2, dim)
        self.plane_embed = nn.Parameter(torch.randn(3, dim) * 0.02) if position_type == "planes" else None

        self.time_embed = TimestepEmbedding(
            TIME_CHANNELS, dim, cond_proj_dim=cross_attention_dim if time_condition else None
        )
        self.interval_embed = TimestepEmbedding(TIME_CHANNELS, dim) if interval_condition else None
        if self.interval_embed is not None:
            nn.init.zeros_(self.interval_embed.linear_2.weight)
            nn.init.zeros_(self.interval_embed.linear_2.bias)
        self.time_modulation = nn.Linear(dim, 6 * dim)

        self.camera_embed = CameraCondition(cross_attention_dim) if camera_condition else None
        self.encoder_proj = _condition_projection(condition_projection, cross_attention_dim, dim)
        self.pixel_proj = None
        if pixel_attention_dim is not None:
            if condition_projection is None and pixel_attention_dim != dim:
                raise ValueError(
                    f"pixel tokens join latent tokens of width {dim}, but pixel_attention_dim={pixel_attention_dim}; "
                    'set condition_projection to "linear" or "mlp"'
                )
            self.pixel_proj = _condition_projection(condition_projection, pixel_attention_dim, dim)
        self.front_plane = (
            FrontPlaneCondition(cross_attention_dim, dim, num_prefix_tokens) if front_plane_condition else None
        )

        self.num_skips = num_layers // 2 if long_skips else 0
        self.transformer_blocks = nn.ModuleList(
            [
                TriplaneTransformerBlock(
                    dim,
                    num_attention_heads,
                    attention_head_dim,
                    context_dim=cross_attention_dim if condition_projection is None else dim,
                    activation_fn=activation_fn,
                    attention_bias=attention_bias,
                    qk_norm=qk_norm,
                    cross_attn_norm=cross_attn_norm,
                    has_skip=index >= num_layers - self.num_skips,
                    eps=norm_eps,
                )
                for index in range(num_layers)
            ]
        )
        # `norm_eps` is the blocks'; here Direct3D's code has a number of its own.
        self.norm_out = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, self.out_channels * patch_size**2)
        self.gradient_checkpointing = False

    def enable_parallelism(self, *, config: Any, cp_plan: dict | None = None) -> None:
        """diffusers' `enable_parallelism`; refuses in a sentence what could not be computed (a ValueError)."""
        check_parallelism(self, config)
        super().enable_parallelism(config=config, cp_plan=cp_plan)

    def enable_cache(self, config: Any) -> None:
        """diffusers' `enable_cache`; refuses block caches under context parallelism (a ValueError)."""
        check_cache(config, context_parallel(self._parallel_config))
        super().enable_cache(config)

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: Float[Tensor, "batch channels height width"],
        timestep: Tensor | float,
        encoder_hidden_states: Float[Tensor, "photos context context_dim"],
        pixel_hidden_states: Float[Tensor, "photos pixels pixel_dim"] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
        num_without_photo: int = 0,
        condition_cache: ConditionCache | None = None,
        cameras: Float[Tensor, "_ _ _"] | None = None,
        encoder_attention_mask: Bool[Tensor, "_ _"] | None = None,
        timestep_end: Tensor | float | None = None,
    ) -> TriplaneTransformerOutput | tuple[Float[Tensor, "batch out_channels height width"]]:
        """The flow's velocity (or the noise, whatever it was trained on) at `timestep`.

        Args:
            hidden_states: noisy latents.
            timestep: one for all of them, or one for each.
            encoder_hidden_states: the photos' tokens, pixel_hidden_states: those of the second stream.
            attention_kwargs: may hold the LoRA `scale`.
            num_without_photo: so many of `hidden_states`, the first ones, have no photo, as guidance wants it; tokens
                are given for the others only. The same as tokens of zeros for them, at less cost.
            condition_cache: an empty one at the first step and the same one at all others: what depends on the tokens
                alone is then computed once.
            cameras: azimuth and elevation in degrees of the camera behind each view, not a number where unknown;
                azimuth 0 is the frame's own. The views' tokens follow one another in `encoder_hidden_states`. None is
                one view from azimuth 0.
            encoder_attention_mask: false for tokens that are none: an object with fewer views than others has zeros
                for tokens there, and cameras of which nothing is known.
            timestep_end: where the step that this velocity is for will end, for a model with `interval_condition`; None
                asks for the velocity at `timestep` itself.
        """
        self._check_inputs(hidden_states, encoder_hidden_states, pixel_hidden_states, num_without_photo)
        self._check_views(encoder_hidden_states, cameras, encoder_attention_mask, timestep_end)
        patch = self.config.patch_size
        height, width = (size // patch for size in hidden_states.shape[-2:])

        time_embedding = self._embed_time(
            timestep, timestep_end, hidden_states, encoder_hidden_states, num_without_photo
        )
        time_modulation = self.time_modulation(F.silu(time_embedding)).unflatten(1, (6, -1))

        hidden_states = self.patch_embed(
            rearrange(
                hidden_states,
                "batch channel (row i) (column j) -> batch (row column) (channel i j)",
                i=patch,
                j=patch,
            )
        )
        hidden_states = hidden_states + self._positions(height, width, hidden_states)
        check_tokens(hidden_states.shape[1], self._parallel_config)
        if self.camera_embed is not None:
            mark = partial(self.camera_embed, encoder_hidden_states, cameras)
            encoder_hidden_states = remembered(condition_cache, "marked tokens", mark)
        if self.front_plane is not None:
            lay_out = partial(self.front_plane, encoder_hidden_states, height, width // 3, cameras)
            seen = remembered(condition_cache, "front plane", lay_out)
            hidden_states = hidden_states + F.pad(seen, (0, 0, 0, 0, num_without_photo, 0))
        # Every block reads the same condition.
        tokens, pixels, no_photo = remembered(
            condition_cache, "tokens", lambda: self._project_tokens(encoder_hidden_states, pixel_hidden_states)
        )

        mask = None if encoder_attention_mask is None else encoder_attention_mask[:, None, None]

        skips: list[Tensor] = []
        for index, block in enumerate(self.transformer_blocks):
            skip = skips.pop() if index >= len(self.transformer_blocks) - self.num_skips else None
            cache = None if condition_cache is None else condition_cache.layer(index)
            inputs = (hidden_states, tokens, time_modulation, pixels, skip, no_photo, cache, mask)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, *inputs)
            else:
                hidden_states = block(*inputs)
            if index < self.num_skips:
                skips.append(hidden_states)

        shift, scale = (self.scale_shift_table.to(time_embedding.dtype) + time_embedding[:, None]).chunk(2, dim=1)
        sample = rearrange(
            self.proj_out(cast_for_autocast(self.norm_out(hidden_states) * (1 + scale) + shift)),
            "batch (row column) (i j channel) -> batch channel (row i) (column j)",
            row=height,
            i=patch,
            j=patch,
        )
        return TriplaneTransformerOutput(sample=sample) if return_dict else (sample,)

    def _project_tokens(
        self, tokens: Tensor, pixels: Tensor | None
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor | None]]:
        """Both streams as the blocks read them, cast once, and what a token of zeros becomes in each."""
        none = self.encoder_proj(tokens.new_zeros(1, 1, tokens.shape[-1]))
        tokens, none = cast_for_autocast(self.encoder_proj(tokens)), cast_for_autocast(none)
        if self.pixel_proj is None:
            return tokens, None, (none, None)
        none_pixel = self.pixel_proj(pixels.new_zeros(1, 1, pixels.shape[-1]))
        return tokens, cast_for_autocast(self.pixel_proj(pixels)), (none, cast_for_autocast(none_pixel))

    def _embed_time(
        self,
        timestep: Tensor | float,
        timestep_end: Tensor | float | None,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        num_without_photo: int,
    ) -> Float[Tensor, "batch dim"]:
        first_tokens = None
        if self.config.time_condition:
            first_tokens = F.pad(encoder_hidden_states[:, 0], (0, 0, num_without_photo, 0))
        timesteps = _one_each(timestep, hidden_states)
        embedding = self.time_embed(_time_waves(timesteps, hidden_states.dtype), first_tokens)
        if self.interval_embed is None:
            return embedding
        ends = timesteps if timestep_end is None else _one_each(timestep_end, hidden_states)
        return embedding + self.interval_embed(_time_waves(timesteps - ends, hidden_states.dtype))

    def _positions(self, height: int, width: int, hidden_states: Tensor) -> Float[Tensor, "tokens dim"]:
        dim, device = hidden_states.shape[-1], hidden_states.device
        if self.plane_embed is None:
            return rolled_positions(height, width, dim, device).to(hidden_states.dtype)
        base = self.config.sample_size // self.config.patch_size
        positions = plane_positions(height, width // 3, dim, base, device).to(hidden_states.dtype)
        planes = self.plane_embed.to(hidden_states.dtype).repeat_interleave(width // 3, dim=0)
        return positions + planes.repeat(height, 1)

    def _check_inputs(self, latents: Tensor, context: Tensor, pixels: Tensor | None, num_without_photo: int) -> None:
        config = self.config
        columns = config.patch_size * (3 if config.position_type == "planes" or self.front_plane is not None else 1)
        if (
            latents.ndim != 4
            or latents.shape[1] != config.in_channels
            or latents.shape[2] % config.patch_size
            or latents.shape[3] % columns
        ):
            raise ValueError(
                f"expected latents of shape (batch, {config.in_channels}, height, width), height a multiple of "
                f"{config.patch_size}, width of {columns}, natively {config.sample_size} × {3 * config.sample_size}; "
                f"got {tuple(latents.shape)}; lay the three planes side by side along the width"
            )
        photos = len(latents) - num_without_photo
        if num_without_photo < 0 or photos < 1:
            raise ValueError(
                f"num_without_photo counts entries of hidden_states, of which at least one has a photo: expected 0 to "
                f"{len(latents) - 1}, got {num_without_photo}"
            )
        if context.ndim != 3 or context.shape[0] != photos or context.shape[2] != config.cross_attention_dim:
            raise ValueError(
                f"expected encoder_hidden_states of shape ({photos}, tokens, {config.cross_attention_dim}), "
                f"got {tuple(context.shape)}; give the image encoder's last hidden states, one entry per latent"
                + (" that has a photo" if num_without_photo else "")
            )
        if (pixels is None) != (self.pixel_proj is None):
            raise ValueError(
                "this model reads a second stream of image tokens: pass pixel_hidden_states of shape "
                f"({photos}, tokens, {config.pixel_attention_dim})"
                if pixels is None
                else "this model has no stream for pixel_hidden_states (pixel_attention_dim=None); pass None"
            )

    def _check_views(
        self, context: Tensor, cameras: Tensor | None, mask: Tensor | None, timestep_end: Tensor | float | None
    ) -> None:
        photos, tokens = context.shape[:2]
        if cameras is not None:
            if self.camera_embed is None:
                raise ValueError("this model was made for one photo (camera_condition=False): leave out `cameras`")
            if cameras.ndim != 3 or len(cameras) != photos or cameras.shape[2] != 2 or tokens % cameras.shape[1]:
                raise ValueError(
                    f"expected cameras of shape ({photos}, views, 2), azimuth and elevation in degrees, where the "
                    f"views share the {tokens} tokens of encoder_hidden_states; got {tuple(cameras.shape)}"
                )
        if mask is not None and tuple(mask.shape) != (photos, tokens):
            raise ValueError(f"expected encoder_attention_mask of shape {(photos, tokens)}, got {tuple(mask.shape)}")
        if timestep_end is not None and self.interval_embed is None:
            raise ValueError("this model knows no timestep_end (interval_condition=False): leave it out")


def _one_each(timestep: Tensor | float, hidden_states: Tensor) -> Float[Tensor, " batch"]:
    """A timestep for every sample."""
    batch = len(hidden_states)
    timestep = torch.as_tensor(timestep, device=hidden_states.device)
    if timestep.ndim > 1 or timestep.numel() not in (1, batch):
        raise ValueError(
            f"expected one timestep or one for each of the {batch} samples, got shape {tuple(timestep.shape)}"
        )
    return timestep.flatten().expand(batch).float()


def _time_waves(timesteps: Float[Tensor, " batch"], dtype: torch.dtype) -> Float[Tensor, "batch waves"]:
    return get_timestep_embedding(timesteps, TIME_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0).to(dtype)


def _condition_projection(kind: str | None, context_dim: int, dim: int) -> nn.Module:
    if kind is None:
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(context_dim, dim)
    if kind == "mlp":
        return FeedForward(context_dim, dim, activation_fn="gelu-approximate", out_dim=dim)
    raise ValueError(f'condition_projection must be None, "linear" or "mlp", got {kind!r}')


def _register_with_caches() -> None:
    """diffusers' block caches ask this table, private to it, what a block returns; without it they refuse the model."""
    try:
        from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
    except ImportError:
        return
    TransformerBlockRegistry.register(
        TriplaneTransformerBlock,
        TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=None),
    )


_register_with_caches()
