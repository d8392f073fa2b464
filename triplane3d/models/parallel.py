"""The denoiser on several devices: what diffusers' `enable_parallelism` splits, and checks of what cannot be split.

Context parallelism (`ContextParallelConfig`) gives each process a part of the latent tokens (Jacobs et al. 2023,
DeepSpeed-Ulysses; Liu et al. 2023, ring attention). Tensor parallelism (`TensorParallelConfig`) gives each process a
part of the heads and of the feed-forward's width (Shoeybi et al. 2019, Megatron-LM).
"""

from typing import Any

from diffusers import ContextParallelConfig, FirstBlockCacheConfig, MagCacheConfig, TensorParallelConfig
from diffusers.hooks.tensor_parallel import PackedColwiseParallel
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor

from triplane3d.diffusers_compat import cache_config, context_parallel_classes, process_mesh

ContextParallelInput, ContextParallelOutput = context_parallel_classes()

CONTEXT_PLAN = {
    # Position embeddings and plane tokens are added to all latent tokens before the first block, so the split is there.
    # Each process has all image tokens. Long skips join outputs of a process's own part.
    "transformer_blocks.0": {"hidden_states": ContextParallelInput(split_dim=1, expected_dims=3)},
    "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
}

TENSOR_PLAN = {
    f"transformer_blocks.*.{layer}": style
    for layer, style in (
        *((f"{attn}.{name}", "colwise") for attn in ("attn", "cross_attn") for name in ("to_q", "to_k", "to_v")),
        *((f"{attn}.to_out.0", "rowwise") for attn in ("attn", "cross_attn")),
        # The parts are given by `FeedForward.linear_1`, so that a gate stays with its input.
        ("ff.linear_1", PackedColwiseParallel()),
        ("ff.linear_2", "rowwise"),
    )
}

BLOCK_CACHES = (FirstBlockCacheConfig, MagCacheConfig)


def context_parallel(parallel_config: Any) -> ContextParallelConfig | None:
    """The context-parallel part of a config; None without one."""
    if isinstance(parallel_config, ContextParallelConfig):
        return parallel_config
    return getattr(parallel_config, "context_parallel_config", None)


def check_parallelism(model: ModelMixin, config: Any) -> None:
    """Checks that the model can be split as `config` describes. Without the check it would fail later, or hang.

    Raises:
        ValueError: if the number of heads cannot be divided, projections are fused under tensor parallelism, or a block
            cache is combined with context parallelism.
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
            f"Ulysses attention divides the heads evenly: ulysses_degree={context.ulysses_degree} does not "
            f"divide num_attention_heads={heads}; set ulysses_anything=True, or another degree"
        )
    check_cache(cache_config(model), context)


def check_cache(cache: Any, context: ContextParallelConfig | None) -> None:
    """Raises a ValueError for a block cache under context parallelism.

    A block cache compares hidden states to decide whether to skip blocks. Each process would decide from its own part
    of the tokens, and processes that decide differently wait for each other forever.
    """
    if context is not None and isinstance(cache, BLOCK_CACHES):
        raise ValueError(
            f"{type(cache).__name__} does not work with context parallelism, where each process has a part of the "
            "tokens and would skip blocks at different steps; use TaylorSeerCache or PyramidAttentionBroadcast"
        )


def check_tokens(tokens: int, parallel_config: Any) -> None:
    """Raises a ValueError if the latent tokens cannot be split evenly and uneven parts are not allowed."""
    context = context_parallel(parallel_config)
    if context is None or is_uneven(context):
        return
    count = process_mesh(context).size()
    if tokens % count:
        raise ValueError(
            f"{tokens} latent tokens cannot be split evenly among {count} processes: set ulysses_anything=True or "
            "ring_anything=True in ContextParallelConfig, or choose another number of processes"
        )


def local_part(
    tokens: Float[Tensor, "batch tokens heads dim"], context: ContextParallelConfig
) -> Float[Tensor, "batch _ heads dim"]:
    """This process's part of keys or values of which every process has all.

    Attention gathers the keys of all processes. If each process contributed all condition tokens, every one would count
    several times; so each contributes a part. The order of keys does not matter.

    Raises:
        ValueError: if the parts must be even and cannot be.
    """
    mesh = process_mesh(context)
    count = tokens.shape[1]
    if count % mesh.size() and not is_uneven(context):
        raise ValueError(
            f"{count} pixel tokens cannot be split evenly among {mesh.size()} processes: set ulysses_anything=True or "
            "ring_anything=True in ContextParallelConfig, or choose another number of processes"
        )
    return tokens.tensor_split(mesh.size(), dim=1)[mesh.get_local_rank()]


def check_gradient(context: ContextParallelConfig) -> None:
    """Raises a ValueError for training with pixel tokens under Ulysses attention.

    diffusers' Ulysses attention has no gradient for more keys than queries.
    """
    if context.ulysses_degree > 1:
        raise ValueError(
            "a model with pixel tokens cannot be trained under Ulysses attention: use ring_degree, or eval() and "
            "torch.no_grad()"
        )


def is_uneven(context: ContextParallelConfig) -> bool:
    """Whether the parts of the processes may differ in size."""
    return bool(context.ulysses_anything or getattr(context, "ring_anything", False))
