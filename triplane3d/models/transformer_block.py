"""The block of the denoiser: self-attention, cross-attention and feed-forward, modulated by time."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from triplane3d.diffusers_compat import register_transformer_block
from triplane3d.models.attention import FeedForward, TriplaneAttention, cast_for_autocast
from triplane3d.models.condition_cache import LayerCache


class TriplaneTransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each with a residual connection.

    The time embedding shifts, scales and gates self-attention and feed-forward by adaLN-single (Chen et al. 2023,
    "PixArt-α", section 2.3): one linear layer, shared by all blocks, maps the embedding to six vectors, and each block
    adds its own learnt `scale_shift_table`. DiT's adaLN (Peebles and Xie 2023) has such a linear layer in every block,
    which is a quarter of DiT's parameters.

    With `has_skip` the block first joins the output of its mirror image in the stack: a long skip (Bao et al. 2023,
    "All are worth words", U-ViT). The skip is inside the block, so that a block cache that leaves the block out also
    leaves out its skip.
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
        if has_skip:  # Initially the residual stream passes unchanged, and a random projection of the skip is added.
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
        null_tokens: tuple[Tensor | None, Tensor | None] = (None, None),
        cache: LayerCache | None = None,
        encoder_attention_mask: Bool[Tensor, "photos 1 1 context"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """One block. `null_tokens` stand for "no photo" in `encoder_hidden_states` and in `pixel_hidden_states`.

        The first entries of the batch have no photo if there are fewer photos than entries.
        """
        if self.skip_proj is not None:
            assert skip_hidden_states is not None, "a block with a skip needs the output of its mirror image"
            hidden_states = self.skip_proj(torch.cat([hidden_states, skip_hidden_states], dim=-1))
        # Norms have no weights of their own: time gives their shift and scale, and the gate of the residual (adaLN).
        modulation = (self.scale_shift_table.to(time_modulation.dtype) + time_modulation)[:, :, None]
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = modulation.unbind(dim=1)

        normed = cast_for_autocast(self.norm1(hidden_states) * (1 + scale_attn) + shift_attn)
        # Direct3D also computes the output at the pixel tokens and discards it; here they are keys and values only.
        attn_cache, cross_attn_cache = (None, None) if cache is None else (cache.attn, cache.cross_attn)
        attended = self.attn(normed, pixel_hidden_states, null_token=null_tokens[1], cache=attn_cache)
        hidden_states = hidden_states + gate_attn * attended

        # Cross-attention has no modulation by time, as in PixArt-α.
        normed = hidden_states if self.norm_cross is None else self.norm_cross(hidden_states)
        hidden_states = hidden_states + self.cross_attn(
            cast_for_autocast(normed),
            encoder_hidden_states,
            encoder_attention_mask,
            null_token=null_tokens[0],
            cache=cross_attn_cache,
        )

        normed = cast_for_autocast(self.norm2(hidden_states) * (1 + scale_ff) + shift_ff)
        return hidden_states + gate_ff * self.ff(normed)


register_transformer_block(TriplaneTransformerBlock)
