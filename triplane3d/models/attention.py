"""Attention, feed-forward, and the pre-norm block of which encoder, decoder and reconstructor consist."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.parallel import check_gradient, context_parallel, local_part

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu-approximate": lambda hidden_states: F.gelu(hidden_states, approximate="tanh"),
    "gelu-sigmoid": lambda hidden_states: hidden_states * torch.sigmoid(1.702 * hidden_states),
    "silu": F.silu,
    "relu": F.relu,
}
GATES = {"geglu": "gelu", "swiglu": "silu"}
"""Gated feed-forward layers (Shazeer 2020, "GLU variants improve transformer") and the activation of each gate."""

CPU_SCORES = 3 << 19
"""Attention scores that `_chunked_attention` computes at a time, so that they stay in the cache of a CPU."""

CPU_TRAINED_SCORES = 1 << 18
"""Scores of a head up to which `_chunked_attention` is also used in training, where backward keeps all of them."""


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation function called `name`; a ValueError lists the valid names."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: expected one of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def cast_for_autocast(hidden_states: Tensor) -> Tensor:
    """Casts to the autocast type once. Autocast itself would cast again for every Linear that reads the tensor."""
    device = hidden_states.device.type
    if torch.is_autocast_enabled(device):
        return hidden_states.to(torch.get_autocast_dtype(device))
    return hidden_states


class KeyValues(NamedTuple):
    """Keys and values of the condition tokens that an attention layer attends to."""

    key: Float[Tensor, "batch tokens heads dim"]
    value: Float[Tensor, "batch tokens heads dim"]
    null_output: Float[Tensor, "1 1 dim"] | None = None
    """The output of cross-attention for entries without a photo; it does not depend on their queries."""


@dataclass
class KeyValueCache:
    """The keys and values of one attention layer, computed at the first step and used at all others."""

    stored: KeyValues | None = None


class TriplaneAttnProcessor:
    """Multi-head attention (Vaswani et al. 2017) through diffusers' dispatcher, so any of its back-ends can be chosen.

    Cross-attention attends to `encoder_hidden_states`. Self-attention attends to `hidden_states` and, if given, to
    `encoder_hidden_states` as well (Wu et al. 2024, Direct3D, "pixel-level alignment").

    Classifier-free guidance (Ho and Salimans 2022) evaluates the model with and without a photo in one batch. If there
    are fewer `encoder_hidden_states` than `hidden_states`, the first entries of the batch have no photo: each of their
    condition tokens equals `null_token`. Attention over equal tokens returns their common value for any query, because
    its weights sum to one. Cross-attention is therefore not computed for these entries.

    Under diffusers' context parallelism `hidden_states` are this process's part of the tokens, and every process has
    all `encoder_hidden_states`. Cross-attention then needs no other process. Self-attention uses this process's part of
    the condition's keys and values, and diffusers gathers the parts.
    """

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: "TriplaneAttention",
        hidden_states: Float[Tensor, "batch queries dim"],
        encoder_hidden_states: Float[Tensor, "photos keys context_dim"] | None = None,
        attention_mask: Tensor | None = None,
        null_token: Float[Tensor, "1 1 context_dim"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        # 1. Keys and values of the condition. They do not depend on the step, so a cache may have them already.
        context = None
        if encoder_hidden_states is not None:
            context = None if cache is None else cache.stored
            if context is None:
                context = self._project_context(attn, encoder_hidden_states, null_token, len(hidden_states))
            if cache is not None:
                cache.stored = context

        # 2. Queries, and the keys and values to attend to.
        if attn.is_cross_attention:
            assert context is not None, "cross-attention needs encoder_hidden_states"
            # Only the entries with a photo, which come last.
            query, key, value = attn.project_query(hidden_states[-len(context.key) :]), context.key, context.value
        else:
            query, key, value = attn.project(hidden_states)
            if context is not None:
                # The order of keys does not matter to attention, so the condition's can simply come first.
                split = context_parallel(self._parallel_config)
                if split is not None and attn.training and torch.is_grad_enabled():
                    check_gradient(split)
                more = [tensor if split is None else local_part(tensor, split) for tensor in context[:2]]
                key, value = (torch.cat(parts, dim=1) for parts in zip(more, (key, value), strict=True))

        # 3. Attention itself.
        if self._prefers_chunked_attention(query, key) and attention_mask is None:
            attended = _chunked_attention(query, key, value)
        else:
            attended = dispatch_attention_fn(
                query,
                key,
                value,
                attn_mask=attention_mask,
                backend=self._attention_backend,
                parallel_config=None if attn.is_cross_attention else self._parallel_config,
            )
        # 4. The entries without a photo get their constant output, before those with one.
        output = attn.project_out(attended.to(query.dtype))
        if context is None or context.null_output is None:
            return output
        unconditional = context.null_output.to(output.dtype)
        unconditional = unconditional.expand(len(hidden_states) - len(output), *output.shape[1:])
        return torch.cat([unconditional, output])

    def _project_context(
        self, attn: "TriplaneAttention", photos: Tensor, null_token: Tensor | None, batch: int
    ) -> KeyValues:
        """Keys and values for a batch of which the last entries have photos; those of `null_token` are repeated."""
        key, value = attn.project_context(photos)
        num_unconditional = batch - len(photos)
        if not num_unconditional:
            return KeyValues(key, value)
        assert null_token is not None, "entries without a photo need the null token"
        null_key, null_value = attn.project_context(null_token)
        if attn.is_cross_attention:
            # All keys are equal, so the output is the projected value, whatever the query.
            return KeyValues(key, value, attn.project_out(null_value))
        # In self-attention the null tokens compete with the latents' own keys, so their number matters: repeat them.
        null_key, null_value = (null.expand(num_unconditional, *key.shape[1:]) for null in (null_key, null_value))
        return KeyValues(torch.cat([null_key, key]), torch.cat([null_value, value]))

    def _prefers_chunked_attention(self, query: Tensor, key: Tensor) -> bool:
        return (
            query.device.type == "cpu"
            and query.dtype == torch.bfloat16
            and self._attention_backend is None
            and self._parallel_config is None
            and (not torch.is_grad_enabled() or query.shape[1] * key.shape[1] <= CPU_TRAINED_SCORES)
        )


def _chunked_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v, computed for a few heads or rows at a time, so that the scores stay in the CPU's cache.

    In bfloat16 on a CPU it takes half of the time of torch's fused kernel, and a third in training with few scores.
    Each chunk has whole rows of scores, so the softmax needs no running maximum as in FlashAttention (Dao et al. 2022).
    """
    query, key, value = (tensor.transpose(1, 2).contiguous() for tensor in (query, key, value))
    query = query * query.shape[-1] ** -0.5
    (batch, heads, rows, _), keys = query.shape, key.shape[2]
    if batch * heads * rows * keys <= CPU_SCORES or torch.is_grad_enabled():
        return ((query @ key.transpose(-1, -2)).softmax(dim=-1) @ value).transpose(1, 2)

    # As many rows as fit the cache with all of their keys, and as many heads as fit with these rows.
    rows_at_once = min(rows, max(1, CPU_SCORES // keys))
    heads_at_once = max(1, CPU_SCORES // (rows_at_once * keys))
    output = torch.empty_like(query)
    head_groups = (tensor.flatten(0, 1).split(heads_at_once) for tensor in (query, key, value, output))
    for group_query, group_key, group_value, group_output in zip(*head_groups, strict=True):
        for start in range(0, rows, rows_at_once):
            part = slice(start, start + rows_at_once)
            scores = group_query[:, part] @ group_key.transpose(-1, -2)
            group_output[:, part] = scores.softmax(dim=-1) @ group_value
    return output.transpose(1, 2)


class RMSNorm(nn.RMSNorm):
    """x / √(mean(x²) + eps) · weight (Zhang and Sennrich 2019), written out.

    Under CPU autocast torch's fused RMSNorm falls back to a slow path; this takes a third of its time.
    """

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        # The mean of squares in float32: bfloat16 has too few digits for a sum over a head's channels.
        scale = torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


class TriplaneAttention(nn.Module, AttentionModuleMixin):
    """Self- or cross-attention with diffusers' names: `to_q`, `to_k`, `to_v`, `to_out.0`.

    With `qk_norm`, queries and keys are normalised per head before the product, which bounds the scores and keeps
    training stable in half precision (Henry et al. 2020; Dehghani et al. 2023, "Scaling vision transformers to 22
    billion parameters").
    """

    _default_processor_cls = TriplaneAttnProcessor
    _available_processors = [TriplaneAttnProcessor]

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        context_dim: int | None = None,
        bias: bool = False,
        qk_norm: bool = False,
        eps: float = 1e-6,
    ):
        """`context_dim` is the width of `encoder_hidden_states` in cross-attention; None makes self-attention."""
        super().__init__()
        inner_dim = heads * head_dim
        self.heads = heads
        self.head_dim = head_dim
        self.use_bias = bias
        self.is_cross_attention = context_dim is not None
        context_dim = dim if context_dim is None else context_dim
        self.to_q = nn.Linear(dim, inner_dim, bias=bias)
        self.to_k = nn.Linear(context_dim, inner_dim, bias=bias)
        self.to_v = nn.Linear(context_dim, inner_dim, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(inner_dim, dim)])
        self.norm_q = RMSNorm(head_dim, eps=eps) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(head_dim, eps=eps) if qk_norm else nn.Identity()
        self.set_processor(TriplaneAttnProcessor())

    def project(self, hidden_states: Float[Tensor, "batch tokens dim"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the latent tokens in self-attention, each (batch, tokens, heads, head_dim)."""
        if not self.fused_projections:
            return self.project_query(hidden_states), *self.project_context(hidden_states)
        query, key, value = map(self._split_heads, self.to_qkv(hidden_states).chunk(3, dim=-1))
        return self.norm_q(query).to(value.dtype), self.norm_k(key).to(value.dtype), value

    def project_query(self, hidden_states: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens heads _"]:
        """Queries, (batch, tokens, heads, head_dim)."""
        query = self._split_heads(self.to_q(hidden_states))
        return self.norm_q(query).to(query.dtype)

    def project_context(self, context: Float[Tensor, "batch tokens context_dim"]) -> tuple[Tensor, Tensor]:
        """Keys and values of condition tokens, which have no queries, each (batch, tokens, heads, head_dim)."""
        if not self.fused_projections:
            key, value = self.to_k(context), self.to_v(context)
        elif self.is_cross_attention:
            key, value = self.to_kv(context).chunk(2, dim=-1)
        else:
            _, key, value = self.to_qkv(context).chunk(3, dim=-1)
        key, value = self._split_heads(key), self._split_heads(value)
        return self.norm_k(key).to(value.dtype), value

    def project_out(self, attended: Float[Tensor, "batch tokens heads _"]) -> Float[Tensor, "batch tokens dim"]:
        """The heads' outputs, joined and projected."""
        return self.to_out[0](rearrange(attended, "batch tokens heads dim -> batch tokens (heads dim)"))

    def _split_heads(self, tokens: Float[Tensor, "batch tokens _"]) -> Float[Tensor, "batch tokens heads _"]:
        # The width of a head is fixed, their number is not: under tensor parallelism a process has some of the heads.
        return rearrange(tokens, "batch tokens (heads dim) -> batch tokens heads dim", dim=self.head_dim)

    def set_use_memory_efficient_attention_xformers(
        self, use_memory_efficient_attention_xformers: bool, attention_op: Callable | None = None
    ) -> None:
        """Switches xformers' kernels on or off. They exist for CUDA alone; elsewhere this does nothing."""
        if not use_memory_efficient_attention_xformers:
            self.processor._attention_backend = None
        elif torch.cuda.is_available():
            super().set_use_memory_efficient_attention_xformers(True, attention_op)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch queries dim"],
        encoder_hidden_states: Float[Tensor, "photos keys context_dim"] | None = None,
        attention_mask: Tensor | None = None,
        null_token: Float[Tensor, "1 1 context_dim"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        # A processor of another library may lack these two parameters.
        more = {name: value for name, value in (("null_token", null_token), ("cache", cache)) if value is not None}
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask, **more)


class FeedForward(nn.Module):
    """Linear, activation, Linear.

    With "geglu" one half of the first layer's output is multiplied by GELU of the other half; with "swiglu" by SiLU.
    """

    def __init__(self, dim: int, hidden_dim: int, *, activation_fn: str = "gelu", out_dim: int | None = None):
        super().__init__()
        self.gated = activation_fn in GATES
        self.linear_1 = nn.Linear(dim, 2 * hidden_dim if self.gated else hidden_dim)
        # Under tensor parallelism each of these equal blocks is split by itself, so that a gate stays with its input.
        self.linear_1._tp_packed_col_blocks = [1, 1] if self.gated else [1]  # type: ignore[assignment]
        self.activation = activation(GATES.get(activation_fn, activation_fn))
        self.linear_2 = nn.Linear(hidden_dim, dim if out_dim is None else out_dim)

    def forward(self, hidden_states: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows out_dim"]:
        hidden_states = self.linear_1(hidden_states)
        if self.gated:
            hidden_states, gate = hidden_states.chunk(2, dim=-1)
            return self.linear_2(hidden_states * self.activation(gate))
        return self.linear_2(self.activation(hidden_states))


class TriplaneAttentionBlock(nn.Module):
    """Pre-norm attention and feed-forward (Xiong et al. 2020), each with a residual connection.

    With `is_cross_attention`, keys and values come from `encoder_hidden_states`, which have a norm of their own.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        *,
        activation_fn: str = "gelu",
        is_cross_attention: bool = False,
        attention_bias: bool = False,
        ff_dim: int | None = None,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.norm_context = nn.LayerNorm(dim, eps=eps) if is_cross_attention else None
        context_dim = dim if is_cross_attention else None
        attn = TriplaneAttention(dim, heads, head_dim, context_dim=context_dim, bias=attention_bias)
        if is_cross_attention:
            self.cross_attn = attn
        else:
            self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.ff = FeedForward(dim, 4 * dim if ff_dim is None else ff_dim, activation_fn=activation_fn)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch tokens dim"],
        encoder_hidden_states: Float[Tensor, "batch context dim"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        normed = cast_for_autocast(self.norm1(hidden_states))
        if self.norm_context is None:
            hidden_states = hidden_states + self.attn(normed)
        else:
            context = cast_for_autocast(self.norm_context(encoder_hidden_states))
            hidden_states = hidden_states + self.cross_attn(normed, context)
        return hidden_states + self.ff(cast_for_autocast(self.norm2(hidden_states)))


def run_blocks(stack: nn.Module, blocks: nn.ModuleList, hidden_states: Tensor, *context: Tensor | None) -> Tensor:
    """`hidden_states` after all `blocks` of the module `stack`.

    With gradient checkpointing (Chen et al. 2016) a block's activations are recomputed in the backward pass.
    """
    for block in blocks:
        if torch.is_grad_enabled() and stack.gradient_checkpointing:
            hidden_states = stack._gradient_checkpointing_func(block, hidden_states, *context)
        else:
            hidden_states = block(hidden_states, *context)
    return hidden_states
