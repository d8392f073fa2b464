"""How much of the device a training run uses: the model's FLOPs per second over those of a large matrix product.

Model FLOP utilisation (Chowdhery et al. 2022, "PaLM", appendix B) counts what forward and backward ask for, and nothing
that is computed twice. The ceiling is measured, not read from a data sheet: what this device, shared and clocked as it
is now, does in a square matrix product of the run's own precision.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

COUNTED = 2
"""Samples of a batch that are counted; the FLOPs of a batch are those of a sample times its size."""


def count_flops(
    objective: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    batch_size: int,
    autocast: AbstractContextManager[Any],
) -> float:
    """FLOPs of one sample's forward and backward through `objective`, which is called on a few rows of this batch.

    Leaves no trace: gradients, buffers and random numbers are as before.
    """
    rows = min(COUNTED, batch_size)
    args, kwargs = first_rows((args, kwargs), rows, batch_size=batch_size)
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    devices = {parameter.device for parameter in parameters if parameter.device.type == "cuda"}
    counter = FlopCounterMode(display=False)
    # Written out, attention is two matrix products that can be counted; not every fused kernel can.
    with (
        torch.random.fork_rng(devices=list(devices)),
        sdpa_kernel(SDPBackend.MATH),
        autocast,
        counter,
    ):
        # Not by a call of the module itself, which would be of its compiled form.
        loss = objective.forward(*args, **kwargs)["loss"]
        torch.autograd.grad(loss, parameters, allow_unused=True)
    for buffer, before in buffers:
        buffer.copy_(before)
    return counter.get_total_flops() / rows


def first_rows(value: Any, rows: int, *, batch_size: int) -> Any:
    """The first `rows` samples of a batch, however it is wrapped: what all tensors of length `batch_size` hold."""
    cut = partial(first_rows, rows=rows, batch_size=batch_size)
    if isinstance(value, Mapping):
        return {name: cut(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [cut(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: cut(getattr(value, one.name)) for one in fields(value)})
    return value[:rows] if isinstance(value, Tensor) and value.ndim and len(value) == batch_size else value


def shapes(value: Any) -> tuple:
    """The shapes of all tensors in a batch, however it is wrapped: batches of the same shapes take the same work."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return tuple(map(shapes, value.values()))
    if isinstance(value, list | tuple):
        return tuple(map(shapes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(shapes(getattr(value, one.name)) for one in fields(value))
    return ()


def matmul_ceiling(device: torch.device, dtype: torch.dtype, *, seconds: float = 0.1) -> float:
    """FLOP/s of a square matrix product, the best of as many tries as fit into `seconds`, three at the least."""
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    begun = time.perf_counter()
    left @ right
    _settle(device)
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        left @ right
        _settle(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
