"""One of two processes of `test_parallel`, gloo on the CPU: `python parallel_processes.py PORT RANK`.

diffusers requires accelerators for tensor parallelism; this file disables both of its checks. diffusers' native backend
has no ring attention, which needs the log-sum-exp of the scores; this file replaces it by a plain softmax.
"""

import sys
from collections.abc import Callable
from typing import Any

import diffusers.hooks.tensor_parallel as tensor_parallel
import diffusers.models.attention_dispatch as attention_dispatch
import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig, FirstBlockCacheConfig, TensorParallelConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from tiny_models import DIRECT3D_TRANSFORMER, tiny_transformer
from torch import Tensor

from triplane3d.models.condition_cache import ConditionCache
from triplane3d.models.transformer_triplane import TriplaneTransformer

MODELS: dict[str, dict[str, Any]] = {
    "planes": {"camera_condition": True, "interval_condition": True, "num_layers": 3},
    "gated": {"activation_fn": "geglu", "attention_bias": True},
    "direct3d": DIRECT3D_TRANSFORMER,
}
SPLITS: dict[str, Callable[[], Any]] = {
    "ulysses": lambda: ContextParallelConfig(ulysses_degree=2),
    "ulysses, uneven": lambda: ContextParallelConfig(ulysses_degree=2, ulysses_anything=True),
    "ring": lambda: ContextParallelConfig(ring_degree=2),
    "ring, uneven": lambda: ContextParallelConfig(ring_degree=2, ring_anything=True),
    "tensor": lambda: TensorParallelConfig(tp_degree=2),
}


def model_and_inputs(name: str, pixels: int) -> tuple[TriplaneTransformer, dict[str, Any]]:
    """A model and inputs, equal in both processes."""
    torch.manual_seed(0)
    model = tiny_transformer(**MODELS[name])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if name == "direct3d":
        hidden_states, tokens = torch.randn(3, 4, 8, 24), torch.randn(2, 5, 12)
        more = {"pixel_hidden_states": torch.randn(2, pixels, 10), "num_without_photo": 1}
    else:
        hidden_states, tokens, more = torch.randn(2, 4, 4, 12), torch.randn(2, 17, 32), {}
    if name == "planes":
        mask = torch.ones(2, 34, dtype=torch.bool)
        mask[1, 17:] = False
        tokens = torch.randn(2, 34, 32) * mask[..., None]
        cameras = torch.tensor([[[0.0, 10.0], [90.0, float("nan")]], [[0.0, 0.0], [float("nan"), float("nan")]]])
        more = {"cameras": cameras, "encoder_attention_mask": mask, "timestep_end": 250.0}
    return model, {"hidden_states": hidden_states, "timestep": 400.0, "encoder_hidden_states": tokens, **more}


def difference(name: str, split: str, pixels: int = 6) -> float:
    """The largest difference between outputs of the split and whole model, in two calls with one condition cache."""
    model, inputs = model_and_inputs(name, pixels)
    with torch.no_grad():
        expected = model(**inputs).sample
        model.enable_parallelism(config=SPLITS[split]())
        cache = ConditionCache()
        found = [model(**inputs, condition_cache=cache).sample for _ in range(2)]
    return max(float((each - expected).abs().max()) for each in found)


def gradient_difference(name: str, split: str) -> float:
    """The largest difference between summed gradients of the processes and the whole model's, relative to those."""
    whole, inputs = model_and_inputs(name, 6)
    whole(**inputs).sample.square().mean().backward()
    model, _ = model_and_inputs(name, 6)
    model.train().enable_gradient_checkpointing()
    model.enable_parallelism(config=SPLITS[split]())
    model(**inputs).sample.square().mean().backward()
    most = largest = 0.0
    for part, expected in zip(model.parameters(), whole.parameters(), strict=True):
        total = torch.zeros_like(expected) if part.grad is None else part.grad.clone()
        dist.all_reduce(total)
        most = max(most, float((total - expected.grad).abs().max()))
        largest = max(largest, float(expected.grad.abs().max()))
    return most / largest


def cached_difference(split: str) -> float:
    """As `difference`, over six steps, with a cache of diffusers that skips attention at some of them."""
    samples = []
    for is_split in (False, True):
        model, inputs = model_and_inputs("gated", 0)
        model.enable_cache(TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=2))
        if is_split:
            model.enable_parallelism(config=SPLITS[split]())
        with torch.no_grad(), model.cache_context("steps"):
            steps = [model(**{**inputs, "timestep": 900.0 - 150 * step}).sample for step in range(6)]
        samples.append(torch.stack(steps))
    return float((samples[1] - samples[0]).abs().max())


def error_of(action: Callable[[], object]) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return "no error"


def with_plain_ring_attention() -> None:
    native = attention_dispatch._native_attention_forward_op

    def attend(ctx: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        returns_lse = rest[5]
        if not returns_lse:
            return native(ctx, query, key, value, *rest, **options)
        scores = torch.einsum("bqhd,bkhd->bqhk", query, key) * query.shape[-1] ** -0.5
        return torch.einsum("bqhk,bkhd->bqhd", scores.softmax(dim=-1), value), scores.logsumexp(dim=-1)

    attention_dispatch._native_attention_forward_op = attend


def main(port: str, rank: str) -> None:
    torch.accelerator.device_count = lambda: 1
    tensor_parallel._SUPPORTED_TP_DEVICES += ("cpu",)
    with_plain_ring_attention()
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2)

    for name in MODELS:
        for split in SPLITS:
            print("output", name, split, difference(name, split), sep="\t")
    for split in ("ulysses, uneven", "ring, uneven"):
        print("output", "direct3d", f"{split}, 7 pixels", difference("direct3d", split, pixels=7), sep="\t")
    for name in ("planes", "gated"):
        print("gradient", name, "ulysses", gradient_difference(name, "ulysses"), sep="\t")

    print("output", "gated", "ulysses, Taylor seer", cached_difference("ulysses"), sep="\t")

    print("refused", "pixels", error_of(lambda: difference("direct3d", "ulysses", pixels=7)), sep="\t")
    print("refused", "training", error_of(lambda: gradient_difference("direct3d", "ulysses")), sep="\t")
    odd = tiny_transformer(num_attention_heads=1, attention_head_dim=24)
    print("refused", "heads", error_of(lambda: odd.enable_parallelism(config=SPLITS["ulysses"]())), sep="\t")
    odd.enable_parallelism(config=SPLITS["ring"]())
    latents = torch.randn(1, 4, 2, 6)
    print("refused", "tokens", error_of(lambda: odd(latents, 1.0, torch.randn(1, 17, 32))), sep="\t")
    print("refused", "cache", error_of(lambda: odd.enable_cache(FirstBlockCacheConfig())), sep="\t")
    cached = tiny_transformer()
    cached.enable_cache(FirstBlockCacheConfig())
    print("refused", "cached", error_of(lambda: cached.enable_parallelism(config=SPLITS["ulysses"]())), sep="\t")
    fused = tiny_transformer()
    fused.fuse_qkv_projections()
    print("refused", "fused", error_of(lambda: fused.enable_parallelism(config=SPLITS["tensor"]())), sep="\t")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
