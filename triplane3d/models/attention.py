"""Attention, feed-forward and the pre-norm block that encoder, decoder and denoiser are built from."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.parallel import check_gradient, context_parallel, own_share

Made = TypeVar("Made")

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu-approximate": lambda hidden_states: F.gelu(hidden_states, approximate="tanh"),
    "gelu-sigmoid": lambda hidden_states: hidden_states * torch.sigmoid(1.702 * hidden_states),
    "silu": F.silu,
    "relu": F.relu,
}
GATES = {"geglu": "gelu", "swiglu": "silu"}
"""Feed-forward layers half of whose input gates the other half, and the activation of the gate."""

CPU_SCORES = 3 << 19
"""Scores that written-out attention holds at once on a CPU, whose cache they then do not leave."""

CPU_TRAINED_SCORES = 1 << 18
"""Scores of a head up to which it is also trained through: backward wants them all again."""


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation called `name`; the error lists the known ones."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: expected one of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def cast_for_autocast(hidden_states: Tensor) -> Tensor:
    """Cast once where autocast would cast anew for every Linear that reads the same tensor."""
    device = hidden_states.device.type
    if torch.is_autocast_enabled(device):
        return hidden_states.to(torch.get_autocast_dtype(device))
    return hidden_states


class ConditionCache:
    """What a denoiser makes of a photo's tokens alone. It is the same at every step, so it is made at the first.

    Good for the tokens and the weights that it was first used with: begin a new one where either changes.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def layer(self, index: int) -> "ConditionCache":
        """The part of it that belongs to one of the layers."""
        return remembered(self, f"layer {index}", ConditionCache)


def remembered(cache: ConditionCache | None, name: str, make: Callable[[], Made]) -> Made:
    """What the cache holds under `name`, made now if it is not there; without a cache, made now."""
    if cache is None:
        return make()
    if name not in cache.kept:
        cache.kept[name] = make()
    return cache.kept[name]


class Context(NamedTuple):
    """Keys and values of the tokens that a layer reads beside, or instead of, its own."""

    key: Float[Tensor, "batch tokens heads dim"]
    value: Float[Tensor, "batch tokens heads dim"]
    answer_to_none: Float[Tensor, "1 1 dim"] | None = None
    """What cross-attention answers to entries without a photo, whatever they ask."""


class TriplaneAttnProcessor:
    """Multi-head attention through diffusers' dispatcher, so that any of its back-ends can be chosen.

    Cross-attention reads `encoder_hidden_states`; self-attention reads them beside `hidden_states` itself. If there are
    fewer of them than of `hidden_states`, the first entries have no photo: all of their tokens are the one of
    `no_photo`. Whoever reads but one token, however often repeated, is answered with its value, so cross-attention
    computes nothing for them.

    Under diffusers' context parallelism `hidden_states` are this process's part of the tokens, and
    `encoder_hidden_states` are whole in every process: cross-attention then needs no other process, and self-attention
    takes its own part of their keys and values.
    """

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: "TriplaneAttention",
        hidden_states: Float[Tensor, "batch queries dim"],
        encoder_hidden_states: Float[Tensor, "photos keys context_dim"] | None = None,
        attention_mask: Tensor | None = None,
        no_photo: Float[Tensor, "1 1 context_dim"] | None = None,
        cache: ConditionCache | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        context = None
        if encoder_hidden_states is not None:
            name = "cross_attn" if attn.is_cross_attention else "attn"
            context = remembered(
                cache, name, lambda: self._read(attn, encoder_hidden_states, no_photo, len(hidden_states))
            )
        if attn.is_cross_attention:
            assert context is not None, "cross-attention is given something to read"
            query, key, value = attn.project_query(hidden_states[-len(context.key) :]), context.key, context.value
        else:
            query, key, value = attn.project(hidden_states)
            if context is not None:
                split = context_parallel(self._parallel_config)
                if split is not None and attn.training and torch.is_grad_enabled():
                    check_gradient(split)
                more = [tensor if split is None else own_share(tensor, split) for tensor in context[:2]]
                key, value = (torch.cat(parts, dim=1) for parts in zip(more, (key, value), strict=True))

        if self._is_faster_written_out(query, key) and attention_mask is None:
            attended = _written_out_attention(query, key, value)
        else:
            attended = dispatch_attention_fn(
                query,
                key,
                value,
                attn_mask=attention_mask,
                backend=self._attention_backend,
                parallel_config=None if attn.is_cross_attention else self._parallel_config,
            )
        answer = attn.project_out(attended.to(query.dtype))
        if context is None or context.answer_to_none is None:
            return answer
        others = context.answer_to_none.to(answer.dtype).expand(len(hidden_states) - len(answer), *answer.shape[1:])
        return torch.cat([others, answer])

    def _read(self, attn: "TriplaneAttention", photos: Tensor, no_photo: Tensor | None, batch: int) -> Context:
        """Keys and values of the photos' tokens; those of no photo are projected once and repeated."""
        key, value = attn.project_context(photos)
        without = batch - len(photos)
        if not without:
            return Context(key, value)
        assert no_photo is not None, "entries without a photo read the token that stands for none"
        none_key, none_value = attn.project_context(no_photo)
        if attn.is_cross_attention:
            return Context(key, value, attn.project_out(none_value))
        none_key, none_value = (none.expand(without, *key.shape[1:]) for none in (none_key, none_value))
        return Context(torch.cat([none_key, key]), torch.cat([none_value, value]))

    def _is_faster_written_out(self, query: Tensor, key: Tensor) -> bool:
        return (
            query.device.type == "cpu"
            and query.dtype == torch.bfloat16
            and self._attention_backend is None
            and self._parallel_config is None
            and (not torch.is_grad_enabled() or query.shape[1] * key.shape[1] <= CPU_TRAINED_SCORES)
        )


def _written_out_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v, a few heads or rows at a time. On a CPU in bf16 it takes half of the fused kernel's time,
    and a third where scores are so few that it is trained through.
    """
    query, key, value = (tensor.transpose(1, 2).contiguous() for tensor in (query, key, value))
    query = query * query.shape[-1] ** -0.5
    (batch, heads, rows, _), keys = query.shape, key.shape[2]
    if batch * heads * rows * keys <= CPU_SCORES or torch.is_grad_enabled():
        return ((query @ key.transpose(-1, -2)).softmax(dim=-1) @ value).transpose(1, 2)

    rows_at_once = min(rows, max(1, CPU_SCORES // keys))
    heads_at_once = max(1, CPU_SCORES // (rows_at_once * keys))
    answer = torch.empty_like(query)
    every_head = (tensor.flatten(0, 1).split(heads_at_once) for tensor in (query, key, value, answer))
    for some_query, some_key, some_value, some_answer in zip(*every_head, strict=True):
        for start in range(0, rows, rows_at_once):
            part = slice(start, start + rows_at_once)
            scores = some_query[:, part] @ some_key.transpose(-1, -2)
            some_answer[:, part] = scores.softmax(dim=-1) @ some_value
    return answer.transpose(1, 2)


class RMSNorm(nn.RMSNorm):
    """torch's RMSNorm written out: under CPU autocast, where the fused one falls back, a third of its time."""

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        scale = torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


class TriplaneAttention(nn.Module, AttentionModuleMixin):
    """Self- or cross-attention with diffusers' names: `to_q`, `to_k`, `to_v`, `to_out.0`, optional QK-norm."""

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
        """Queries, keys and values, (batch, tokens, heads, head_dim), of self-attention's own tokens."""
        if not self.fused_projections:
            return self.project_query(hidden_states), *self.project_context(hidden_states)
        query, key, value = map(self._split_heads, self.to_qkv(hidden_states).chunk(3, dim=-1))
        return self.norm_q(query).to(value.dtype), self.norm_k(key).to(value.dtype), value

    def project_query(self, hidden_states: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens heads _"]:
        query = self._split_heads(self.to_q(hidden_states))
        return self.norm_q(query).to(query.dtype)

    def project_context(self, context: Float[Tensor, "batch tokens context_dim"]) -> tuple[Tensor, Tensor]:
        """Keys and values of tokens that are only read."""
        if not self.fused_projections:
            key, value = self.to_k(context), self.to_v(context)
        elif self.is_cross_attention:
            key, value = self.to_kv(context).chunk(2, dim=-1)
        else:
            _, key, value = self.to_qkv(context).chunk(3, dim=-1)
        key, value = self._split_heads(key), self._split_heads(value)
        return self.norm_k(key).to(value.dtype), value

    def project_out(self, attended: Float[Tensor, "batch tokens heads _"]) -> Float[Tensor, "batch tokens dim"]:
        return self.to_out[0](rearrange(attended, "batch tokens heads dim -> batch tokens (heads dim)"))

    def _split_heads(self, tokens: Float[Tensor, "batch tokens _"]) -> Float[Tensor, "batch tokens heads _"]:
        # By their width: under tensor parallelism a process has some of the heads.
        return rearrange(tokens, "batch tokens (heads dim) -> batch tokens heads dim", dim=self.head_dim)

    def set_use_memory_efficient_attention_xformers(
        self, use_memory_efficient_attention_xformers: bool, attention_op: Callable | None = None
    ) -> None:
        """xformers' kernels where there is CUDA, for which alone they are made; elsewhere nothing changes."""
        if not use_memory_efficient_attention_xformers:
            self.processor._attention_backend = None
        elif torch.cuda.is_available():
            super().set_use_memory_efficient_attention_xformers(True, attention_op)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch queries dim"],
        encoder_hidden_states: Float[Tensor, "photos keys context_dim"] | None = None,
        attention_mask: Tensor | None = None,
        no_photo: Float[Tensor, "1 1 context_dim"] | None = None,
        cache: ConditionCache | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        # A processor that someone else has written may know nothing of these.
        more = {name: value for name, value in (("no_photo", no_photo), ("cache", cache)) if value is not None}
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask, **more)


class FeedForward(nn.Module):
    """Linear, activation, Linear. For "geglu" half of the first one's output is gated by GELU of the other half; for
    "swiglu" by SiLU."""

    def __init__(self, dim: int, hidden_dim: int, *, activation_fn: str = "gelu", out_dim: int | None = None):
        super().__init__()
        self.gated = activation_fn in GATES
        self.linear_1 = nn.Linear(dim, 2 * hidden_dim if self.gated else hidden_dim)
        # Under tensor parallelism, equal parts of it that are split one by one.
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
    """Pre-norm attention and feed-forward; with `is_cross_attention`, keys and values come from normed context."""

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


def through_blocks(stack: nn.Module, blocks: nn.ModuleList, hidden_states: Tensor, *context: Tensor | None) -> Tensor:
    """`hidden_states` after the `blocks` of `stack`, each recomputed in backward where it checkpoints gradients."""
    for block in blocks:
        if torch.is_grad_enabled() and stack.gradient_checkpointing:
            hidden_states = stack._gradient_checkpointing_func(block, hidden_states, *context)
        else:
            hidden_states = block(hidden_states, *context)
    return hidden_states
