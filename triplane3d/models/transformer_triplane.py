"""The denoiser: a diffusion transformer over patches of triplane latents, conditioned on image tokens."""

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
from triplane3d.models.attention import FeedForward, cast_for_autocast
from triplane3d.models.condition_cache import ConditionCache, PreparedConditions
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
from triplane3d.models.transformer_block import TriplaneTransformerBlock
from triplane3d.models.weights import StrictLoading

TIME_CHANNELS = 256
"""Width of the sinusoidal features of a timestep, before the time MLP."""


class TriplaneTransformer(StrictLoading, ModelMixin, AttentionMixin, ConfigMixin, PeftAdapterMixin, CacheMixin):
    """A diffusion transformer (DiT, Peebles and Xie 2023) for triplane latents, conditioned on image tokens.

    Latents are (batch, in_channels, height, 3·width), the planes XY, XZ, YZ side by side.

    ```python
    velocity = transformer(hidden_states=latents, timestep=t, encoder_hidden_states=tokens).sample
    ```

    `timestep` is 0..1000, as diffusers' flow-matching schedulers pass it (sigma · 1000). The network predicts what it
    was trained to predict: in the bundled pipelines the velocity (noise - latents) of rectified flow (Liu et al. 2022;
    Lipman et al. 2022, "Flow matching"). The scheduler defines the noise path; this file does not contain it.

    One MLP embeds time, one linear layer modulates all blocks with it, and each block has a learnt table (adaLN-single,
    see `TriplaneTransformerBlock`).

    Config options:

    - `long_skips`: each block in the second half also takes the output of its mirror image in the first half;
    - `cross_attention_dim`: width of `encoder_hidden_states`;
    - `pixel_attention_dim`: width of `pixel_hidden_states`, which join the keys and values of self-attention; None for
      a model without them;
    - `condition_projection`: None, "linear" or "mlp" (Linear, tanh-GELU, Linear), for both streams of tokens;
    - `time_condition`: adds a projection of the first token of `encoder_hidden_states` to the time embedding;
    - `front_plane_condition`: also adds image tokens to the latent tokens over which the camera sees them; without the
      first `num_prefix_tokens`, the tokens must form a square grid;
    - `camera_condition`: takes several photos of an object, whose tokens are concatenated in `encoder_hidden_states`,
      and their `cameras`;
    - `interval_condition`: predicts the mean velocity between `timestep` and `timestep_end`, that is, a flow map (Boffi
      et al. 2024; Frans et al. 2024, "One step diffusion via shortcut models"), so that a few long Euler steps replace
      many short ones;
    - `position_type`: "planes" (each of x, y and z has a third of the channels, and each plane a learnt vector) or
      "rolled" (one sin-cos image over the planes side by side).

    Direct3D's D3D-DiT is `position_type="rolled", condition_projection="mlp", time_condition=True,
    cross_attn_norm=False, qk_norm=False, long_skips=False, front_plane_condition=False` with `pixel_attention_dim` set.

    The modules of `camera_condition` and `interval_condition` are initialised to add zero. A model with them that is
    loaded from weights without them computes the same as before.
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
            # Adds zero at first, so that a flow map starts as the velocity of the model it is trained from.
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
        # `norm_eps` belongs to the blocks. Direct3D's code fixes another value here.
        self.norm_out = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, self.out_channels * patch_size**2)
        self.gradient_checkpointing = False

    def enable_parallelism(self, *, config: Any, cp_plan: dict | None = None) -> None:
        """diffusers' `enable_parallelism`, with a ValueError for configurations that cannot be computed."""
        check_parallelism(self, config)
        super().enable_parallelism(config=config, cp_plan=cp_plan)

    def enable_cache(self, config: Any) -> None:
        """diffusers' `enable_cache`, with a ValueError for a block cache under context parallelism."""
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
        """The prediction at `timestep`: a velocity, or another quantity that the model was trained to predict.

        Args:
            hidden_states: noisy latents.
            timestep: one number, or one for each entry, 0..1000.
            encoder_hidden_states: image tokens of each photo.
            pixel_hidden_states: tokens of the second image encoder, for a model with `pixel_attention_dim`.
            attention_kwargs: may contain the LoRA `scale`.
            return_dict: return a `TriplaneTransformerOutput`; otherwise a tuple with the prediction.
            num_without_photo: the number of entries of `hidden_states` without a photo, which come first. Tokens are
                passed for the others only. The result is the same as with tokens of zeros, at less cost.
            condition_cache: an empty cache at the first step, and the same one at all later steps. What depends on the
                tokens alone is then computed once.
            cameras: azimuth and elevation in degrees of each view's camera, NaN where unknown; azimuth 0 is the front.
                The views' tokens are concatenated in `encoder_hidden_states`. None: one view from azimuth 0.
            encoder_attention_mask: False for padding tokens. An object with fewer views than the others has zeros for
                the tokens of its missing views, and NaN for their cameras.
            timestep_end: where the step ends, for a model with `interval_condition`; None: the instantaneous velocity.

        Raises:
            ValueError: for inputs of other shapes, or inputs that the model's config does not support.
        """
        self._check_inputs(hidden_states, encoder_hidden_states, pixel_hidden_states, num_without_photo)
        self._check_views(encoder_hidden_states, cameras, encoder_attention_mask, timestep_end)
        patch = self.config.patch_size
        height, width = (size // patch for size in hidden_states.shape[-2:])

        # The same six vectors modulate all blocks; each block adds its own table (adaLN-single).
        time_embedding = self._embed_time(
            timestep, timestep_end, hidden_states, encoder_hidden_states, num_without_photo
        )
        time_modulation = self.time_modulation(F.silu(time_embedding)).unflatten(1, (6, -1))

        # One token for each patch × patch pixels, row by row over the three planes side by side, as in Direct3D.
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

        # What depends on the image tokens alone: computed here at the first step, then taken from the cache.
        conditions = None if condition_cache is None else condition_cache.prepared
        if conditions is None:
            conditions = self.prepare_conditions(
                encoder_hidden_states, pixel_hidden_states, cameras, height=height, width=width // 3
            )
        if condition_cache is not None:
            condition_cache.prepared = conditions
        if conditions.plane_tokens is not None:
            # Zeros for the entries without a photo, which come first.
            hidden_states = hidden_states + F.pad(conditions.plane_tokens, (0, 0, 0, 0, num_without_photo, 0))

        null_tokens = (conditions.null_token, conditions.null_pixel)
        mask = None if encoder_attention_mask is None else encoder_attention_mask[:, None, None]

        # The last in, first out order pairs each block of the second half with its mirror image in the first half.
        skips: list[Tensor] = []
        for index, block in enumerate(self.transformer_blocks):
            skip = skips.pop() if index >= len(self.transformer_blocks) - self.num_skips else None
            cache = None if condition_cache is None else condition_cache.layers[index]
            inputs = (
                hidden_states,
                conditions.tokens,
                time_modulation,
                conditions.pixels,
                skip,
                null_tokens,
                cache,
                mask,
            )
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, *inputs)
            else:
                hidden_states = block(*inputs)
            if index < self.num_skips:
                skips.append(hidden_states)

        # The final layer of DiT: a norm modulated by time, and a linear map from tokens back to patches of pixels.
        shift, scale = (self.scale_shift_table.to(time_embedding.dtype) + time_embedding[:, None]).chunk(2, dim=1)
        sample = rearrange(
            self.proj_out(cast_for_autocast(self.norm_out(hidden_states) * (1 + scale) + shift)),
            "batch (row column) (i j channel) -> batch channel (row i) (column j)",
            row=height,
            i=patch,
            j=patch,
        )
        return TriplaneTransformerOutput(sample=sample) if return_dict else (sample,)

    def prepare_conditions(
        self,
        encoder_hidden_states: Float[Tensor, "photos context context_dim"],
        pixel_hidden_states: Float[Tensor, "photos pixels pixel_dim"] | None,
        cameras: Float[Tensor, "photos views 2"] | None,
        *,
        height: int,
        width: int,
    ) -> PreparedConditions:
        """The conditions as all blocks use them, for planes of `height` × `width` latent tokens.

        `forward` calls this. The result is the same at every denoising step; see `ConditionCache`.
        """
        tokens = encoder_hidden_states
        if self.camera_embed is not None:
            tokens = self.camera_embed(tokens, cameras)
        plane_tokens = None if self.front_plane is None else self.front_plane(tokens, height, width, cameras)

        # Guidance represents "no photo" by tokens of zeros (Ho and Salimans 2022); all of them project to one vector.
        null_token = cast_for_autocast(self.encoder_proj(tokens.new_zeros(1, 1, tokens.shape[-1])))
        tokens = cast_for_autocast(self.encoder_proj(tokens))
        if self.pixel_proj is None:
            return PreparedConditions(tokens, null_token, plane_tokens=plane_tokens)
        zero_pixel = pixel_hidden_states.new_zeros(1, 1, pixel_hidden_states.shape[-1])
        null_pixel = cast_for_autocast(self.pixel_proj(zero_pixel))
        pixels = cast_for_autocast(self.pixel_proj(pixel_hidden_states))
        return PreparedConditions(tokens, null_token, pixels, null_pixel, plane_tokens)

    def _embed_time(
        self,
        timestep: Tensor | float,
        timestep_end: Tensor | float | None,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        num_without_photo: int,
    ) -> Float[Tensor, "batch dim"]:
        """The embedding of `timestep`, plus those of the first image token and of the interval, if the model has them.

        The interval enters as its length, timestep - timestep_end, so that an instantaneous velocity is length 0.
        """
        first_tokens = None
        if self.config.time_condition:
            first_tokens = F.pad(encoder_hidden_states[:, 0], (0, 0, num_without_photo, 0))
        timesteps = _expand_timestep(timestep, hidden_states)
        embedding = self.time_embed(_time_features(timesteps, hidden_states.dtype), first_tokens)
        if self.interval_embed is None:
            return embedding
        ends = timesteps if timestep_end is None else _expand_timestep(timestep_end, hidden_states)
        return embedding + self.interval_embed(_time_features(timesteps - ends, hidden_states.dtype))

    def _positions(self, height: int, width: int, hidden_states: Tensor) -> Float[Tensor, "tokens dim"]:
        """Position embeddings of all latent tokens; `width` is that of the three planes together."""
        dim, device = hidden_states.shape[-1], hidden_states.device
        if self.plane_embed is None:
            return rolled_positions(height, width, dim, device).to(hidden_states.dtype)
        # In units of the native grid, so that larger latents refine the positions instead of extending them.
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
                f"num_without_photo must be 0 to {len(latents) - 1}, because at least one entry of hidden_states must "
                f"have a photo; got {num_without_photo}"
            )
        if context.ndim != 3 or context.shape[0] != photos or context.shape[2] != config.cross_attention_dim:
            raise ValueError(
                f"expected encoder_hidden_states of shape ({photos}, tokens, {config.cross_attention_dim}), "
                f"got {tuple(context.shape)}; give the image encoder's last hidden states, one entry per latent"
                + (" that has a photo" if num_without_photo else "")
            )
        if (pixels is None) != (self.pixel_proj is None):
            raise ValueError(
                "this model needs a second stream of image tokens: pass pixel_hidden_states of shape "
                f"({photos}, tokens, {config.pixel_attention_dim})"
                if pixels is None
                else "this model takes no pixel_hidden_states (pixel_attention_dim=None): pass None"
            )

    def _check_views(
        self, context: Tensor, cameras: Tensor | None, mask: Tensor | None, timestep_end: Tensor | float | None
    ) -> None:
        photos, tokens = context.shape[:2]
        if cameras is not None:
            if self.camera_embed is None:
                raise ValueError("this model takes no `cameras` (camera_condition=False): leave the argument out")
            if cameras.ndim != 3 or len(cameras) != photos or cameras.shape[2] != 2 or tokens % cameras.shape[1]:
                raise ValueError(
                    f"expected cameras of shape ({photos}, views, 2), azimuth and elevation in degrees, where the "
                    f"views share the {tokens} tokens of encoder_hidden_states; got {tuple(cameras.shape)}"
                )
        if mask is not None and tuple(mask.shape) != (photos, tokens):
            raise ValueError(f"expected encoder_attention_mask of shape {(photos, tokens)}, got {tuple(mask.shape)}")
        if timestep_end is not None and self.interval_embed is None:
            raise ValueError("this model takes no timestep_end (interval_condition=False): leave the argument out")


def _expand_timestep(timestep: Tensor | float, hidden_states: Tensor) -> Float[Tensor, " batch"]:
    """One timestep for each entry of the batch."""
    batch = len(hidden_states)
    timestep = torch.as_tensor(timestep, device=hidden_states.device)
    if timestep.ndim > 1 or timestep.numel() not in (1, batch):
        raise ValueError(
            f"expected one timestep or one for each of the {batch} samples, got shape {tuple(timestep.shape)}"
        )
    return timestep.flatten().expand(batch).float()


def _time_features(timesteps: Float[Tensor, " batch"], dtype: torch.dtype) -> Float[Tensor, "batch features"]:
    """Sinusoidal features of timesteps (Ho et al. 2020), cosines first."""
    return get_timestep_embedding(timesteps, TIME_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0).to(dtype)


def _condition_projection(name: str | None, context_dim: int, dim: int) -> nn.Module:
    if name is None:
        return nn.Identity()
    if name == "linear":
        return nn.Linear(context_dim, dim)
    if name == "mlp":
        return FeedForward(context_dim, dim, activation_fn="gelu-approximate", out_dim=dim)
    raise ValueError(f'condition_projection must be None, "linear" or "mlp", got {name!r}')
