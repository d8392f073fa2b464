"""The denoiser on several devices: what diffusers' `enable_parallelism` splits, and what cannot be split.

Context parallelism (`ContextParallelConfig`) gives each process a part of the latent tokens. Tensor parallelism
(`TensorParallelConfig`) gives each process a part of the heads and of the feed-forward's width.
"""

from typing import TYPE_CHECKING, Any

from diffusers import FirstBlockCacheConfig, MagCacheConfig
from diffusers.hooks.tensor_parallel import PackedColwiseParallel
from diffusers.models._modeling_parallel import (
    ContextParallelConfig,
    ContextParallelInput,
    ContextParallelOutput,
    TensorParallelConfig,
)
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from triplane3d.models.transformer_triplane import TriplaneTransformer

CONTEXT_PLAN = {
    # Patches, positions and the front plane's tokens are added before the first block: latents are split there. Each
    # process holds all image tokens, and long skips join outputs of its own part.
    "transformer_blocks.0": {"hidden_states": ContextParallelInput(split_dim=1, expected_dims=3)},
    "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
}

TENSOR_PLAN = {
    f"transformer_blocks.*.{layer}": style
    for layer, style in (
        *((f"{attn}.{name}", "colwise") for attn in ("attn", "cross_attn") for name in ("to_q", "to_k", "to_v")),
        *((f"{attn}.to_out.0", "rowwise") for attn in ("attn", "cross_attn")),
        # In parts of `FeedForward.linear_1`'s own: a gate stays beside what it gates.
        ("ff.linear_1", PackedColwiseParallel()),
        ("ff.linear_2", "rowwise"),
    )
}

BLOCK_CACHES = (FirstBlockCacheConfig, MagCacheConfig)


def context_parallel(parallel_config: Any) -> ContextParallelConfig | None:
    """The context-parallel part of a config, where there is one."""
    if isinstance(parallel_config, ContextParallelConfig):
        return parallel_config
    return getattr(parallel_config, "context_parallel_config", None)


def check_parallelism(model: "TriplaneTransformer", config: Any) -> None:
    """Refuses what would fail later, or hang.

    Raises:
        ValueError: where the number of heads cannot be divided, projections are fused under tensor parallelism, or a
            block cache is combined with context parallelism.
    """
    if isinstance(config, TensorParallelConfig) or getattr(config, "tensor_parallel_config", None) is not None:
        if any(getattr(module, "fused_projections", False) for module in model.modules()):
            raise ValueError("tensor parallelism splits to_q, to_k and to_v: call unfuse_qkv_projections() first")
    context = context_parallel(config)
    if context is None:
        return
    heads = model.config.num_attention_heads
    if heads % context.ulysses_degree and not is_uneven(context):
        raise ValueError(
            f"Ulysses attention gives each process as many heads: ulysses_degree={context.ulysses_degree} does not "
            f"divide num_attention_heads={heads}; set ulysses_anything=True, or another degree"
        )
    check_cache(model._cache_config, context)


def check_cache(cache: Any, context: ContextParallelConfig | None) -> None:
    """Refuses block caches under context parallelism: each process would decide by its own tokens whether to skip."""
    if context is not None and isinstance(cache, BLOCK_CACHES):
        raise ValueError(
            f"{type(cache).__name__} does not work with context parallelism, where each process sees a part of the "
            "tokens and they would skip blocks at different steps; use TaylorSeerCache or PyramidAttentionBroadcast"
        )


def check_tokens(tokens: int, parallel_config: Any) -> None:
    """Refuses a number of latent tokens that cannot be split evenly, unless uneven parts are allowed."""
    context = context_parallel(parallel_config)
    if context is None or is_uneven(context):
        return
    count = context._flattened_mesh.size()
    if tokens % count:
        raise ValueError(
            f"{tokens} latent tokens cannot be split evenly among {count} processes: set ulysses_anything=True or "
            "ring_anything=True in ContextParallelConfig, or choose another number of processes"
        )


def local_part(
    tokens: Float[Tensor, "batch tokens heads dim"], context: ContextParallelConfig
) -> Float[Tensor, "batch _ heads dim"]:
    """This process's part of keys or values that every process holds whole.

    Attention gathers the keys of all processes, each with its part of the latents: of tokens that all of them hold,
    each may bring but a part. In which order keys come does not matter.

    Raises:
        ValueError: where parts must be even and cannot be.
    """
    mesh = context._flattened_mesh
    count = tokens.shape[1]
    if count % mesh.size() and not is_uneven(context):
        raise ValueError(
            f"{count} pixel tokens cannot be split evenly among {mesh.size()} processes: set ulysses_anything=True or "
            "ring_anything=True in ContextParallelConfig, or choose another number of processes"
        )
    return tokens.tensor_split(mesh.size(), dim=1)[mesh.get_local_rank()]


def check_gradient(context: ContextParallelConfig) -> None:
    """Refuses training with pixel tokens: diffusers' Ulysses attention has no gradient for more keys than queries."""
    if context.ulysses_degree > 1:
        raise ValueError(
            "a model with pixel tokens cannot be trained under Ulysses attention: use ring_degree, or eval() and "
            "torch.no_grad()"
        )


def is_uneven(context: ContextParallelConfig) -> bool:
    """Whether the processes' parts may differ in size."""
    return bool(context.ulysses_anything or getattr(context, "ring_anything", False))
