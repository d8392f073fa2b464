"""Attention, feed-forward and the pre-norm block that encoder, decoder and denoiser are built from."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu-approximate": lambda hidden_states: F.gelu(hidden_states, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
}

# Up to this many scores per head, written-out attention keeps them in cache and beats the fused CPU kernel.
CPU_EXPLICIT_SCORES = 1 << 18


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


class TriplaneAttnProcessor:
    """Multi-head attention through diffusers' dispatcher, so that any of its back-ends can be chosen."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: "TriplaneAttention",
        hidden_states: Float[Tensor, "batch queries dim"],
        encoder_hidden_states: Float[Tensor, "batch keys context_dim"] | None = None,
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if not attn.fused_projections:
            query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        elif attn.is_cross_attention:
            query, (key, value) = attn.to_q(hidden_states), attn.to_kv(context).chunk(2, dim=-1)
        elif encoder_hidden_states is None:
            query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        else:  # Self-attention that reads more tokens than it writes: the fused matrix serves both.
            query = attn.to_qkv(hidden_states).chunk(3, dim=-1)[0]
            _, key, value = attn.to_qkv(context).chunk(3, dim=-1)

        query, key, value = (
            rearrange(tensor, "batch tokens (heads dim) -> batch tokens heads dim", heads=attn.heads)
            for tensor in (query, key, value)
        )
        query, key = attn.norm_q(query).to(value.dtype), attn.norm_k(key).to(value.dtype)

        if self._is_small_on_cpu(query, key) and attention_mask is None:
            hidden_states = _written_out_attention(query, key, value)
        else:
            hidden_states = dispatch_attention_fn(
                query,
                key,
                value,
                attn_mask=attention_mask,
                backend=self._attention_backend,
                parallel_config=self._parallel_config,
            )
        hidden_states = rearrange(hidden_states, "batch tokens heads dim -> batch tokens (heads dim)")
        return attn.to_out[0](hidden_states.to(query.dtype))

    def _is_small_on_cpu(self, query: Tensor, key: Tensor) -> bool:
        return (
            query.device.type == "cpu"
            and query.dtype == torch.bfloat16
            and self._attention_backend is None
            and self._parallel_config is None
            and query.shape[1] * key.shape[1] <= CPU_EXPLICIT_SCORES
        )


def _written_out_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v. On CPU in bf16, forward and backward take a third of the fused kernel's time."""
    query, key, value = (tensor.transpose(1, 2).contiguous() for tensor in (query, key, value))
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


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
        encoder_hidden_states: Float[Tensor, "batch keys context_dim"] | None = None,
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "batch queries dim"]:
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask)


class FeedForward(nn.Module):
    """Linear, activation, Linear."""

    def __init__(self, dim: int, hidden_dim: int, *, activation_fn: str = "gelu", out_dim: int | None = None):
        super().__init__()
        self.linear_1 = nn.Linear(dim, hidden_dim)
        self.activation = activation(activation_fn)
        self.linear_2 = nn.Linear(hidden_dim, dim if out_dim is None else out_dim)

    def forward(self, hidden_states: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows out_dim"]:
        return self.linear_2(self.activation(self.linear_1(hidden_states)))


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
        eps: float = 1e-5,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.norm_context = nn.LayerNorm(dim, eps=eps) if is_cross_attention else None
        attn = TriplaneAttention(dim, heads, head_dim, context_dim=dim if is_cross_attention else None)
        if is_cross_attention:
            self.cross_attn = attn
        else:
            self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.ff = FeedForward(dim, 4 * dim, activation_fn=activation_fn)

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
