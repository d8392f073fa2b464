"""Throughput of a training run: samples per second, time spent waiting for data, and model FLOP utilization.

Model FLOP utilization (MFU; Chowdhery et al. 2022, "PaLM", appendix B) is the FLOPs of the model's forward and backward
passes per second, divided by the FLOPs per second that the device can reach. Recomputed activations do not count. The
ceiling is measured on this device, as a square matrix product in the run's precision: data sheets do not account for a
shared device or its present clock rate.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

COUNTED_SAMPLES = 2
"""Samples of a batch whose FLOPs are counted; the FLOPs of a batch are the mean of these times its size."""


class ThroughputMeter:
    """Measures time and FLOPs of the batches since the last call of `read`.

    The time of a batch starts with `waiting` and ends with `end_batch`; time inside `not_training` is left out.
    """

    def __init__(self, accelerator: Accelerator, batch_size: int):
        self.accelerator, self.batch_size = accelerator, batch_size
        self._flops: dict[tuple, float] = {}
        """FLOPs of a batch, by the shapes of its tensors."""
        self._ceiling = 0.0
        """FLOPs per second of all processes' matrix products."""
        self._batch_started = 0.0
        self._reset()

    def _reset(self) -> None:
        self._batches = 0
        self._seconds = self._waiting_seconds = self._worked_flops = 0.0

    @property
    def measured(self) -> bool:
        """Whether a batch was counted before."""
        return bool(self._flops)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the next batch is read. Its time starts here."""
        self._batch_started = time.perf_counter()
        yield
        self._waiting_seconds += time.perf_counter() - self._batch_started

    @contextmanager
    def not_training(self) -> Iterator[None]:
        """The time inside is left out."""
        started = time.perf_counter()
        yield
        self._batch_started += time.perf_counter() - started

    def count(self, objective: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Counts the FLOPs of one call of `objective`. Measures them where shapes occur for the first time."""
        accelerator = self.accelerator
        batch = tensor_shapes([args, kwargs])
        if not self._flops:
            dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
            # All processes measure at the same time, since they share their machine during training too.
            accelerator.wait_for_everyone()
            ceiling = torch.tensor(matmul_ceiling(accelerator.device, dtype), device=accelerator.device)
            self._ceiling = float(accelerator.reduce(ceiling))
        if batch not in self._flops:
            per_sample = count_flops(
                objective, args, kwargs, batch_size=self.batch_size, autocast=accelerator.autocast()
            )
            self._flops[batch] = self.batch_size * per_sample
        self._worked_flops += self._flops[batch]

    def end_batch(self) -> None:
        self._batches += 1
        self._seconds += time.perf_counter() - self._batch_started

    def read(self, remaining_batches: int) -> dict[str, float]:
        """The values of the log, over the batches since the last call: `samples_per_s` of all processes, `waiting`
        (share of the time), `minutes_left` for `remaining_batches`, and `mfu`."""
        processes = self.accelerator.num_processes
        values = {
            "samples_per_s": self._batches * self.batch_size * processes / self._seconds,
            "waiting": self._waiting_seconds / self._seconds,
            "minutes_left": remaining_batches * self._seconds / self._batches / 60,
        }
        if self._flops:
            values["mfu"] = processes * self._worked_flops / self._seconds / self._ceiling
        self._reset()
        return values


def count_flops(
    objective: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    batch_size: int,
    autocast: AbstractContextManager[Any],
) -> float:
    """FLOPs of the forward and backward pass of one sample, counted on the first samples of a batch.

    Gradients, buffers and the state of random generators are not changed.
    """
    rows = min(COUNTED_SAMPLES, batch_size)
    args, kwargs = first_rows((args, kwargs), rows, batch_size=batch_size)
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    devices = {parameter.device for parameter in parameters if parameter.device.type == "cuda"}
    counter = FlopCounterMode(display=False)
    # The math backend: attention is two matrix products there. The counter does not support all fused kernels.
    with (
        torch.random.fork_rng(devices=list(devices)),
        sdpa_kernel(SDPBackend.MATH),
        autocast,
        counter,
    ):
        # `forward` rather than a call of the module, which would run its compiled form.
        loss = objective.forward(*args, **kwargs)["loss"]
        torch.autograd.grad(loss, parameters, allow_unused=True)
    for buffer, before in buffers:
        buffer.copy_(before)
    return counter.get_total_flops() / rows


def first_rows(value: Any, rows: int, *, batch_size: int) -> Any:
    """The first `rows` samples of a batch.

    Cuts all tensors of length `batch_size` inside mappings, lists, tuples and dataclasses.
    """
    cut = partial(first_rows, rows=rows, batch_size=batch_size)
    if isinstance(value, Mapping):
        return {name: cut(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [cut(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: cut(getattr(value, one.name)) for one in fields(value)})
    return value[:rows] if isinstance(value, Tensor) and value.ndim and len(value) == batch_size else value


def tensor_shapes(value: Any) -> tuple:
    """The shapes of all tensors in a batch. Batches of equal shapes take the same number of FLOPs."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return tuple(map(tensor_shapes, value.values()))
    if isinstance(value, list | tuple):
        return tuple(map(tensor_shapes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(tensor_shapes(getattr(value, one.name)) for one in fields(value))
    return ()


def matmul_ceiling(device: torch.device, dtype: torch.dtype, *, seconds: float = 0.1) -> float:
    """FLOPs per second of a square matrix product: the best of at least three tries, and of more within `seconds`."""
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    started = time.perf_counter()
    left @ right
    _synchronize(device)
    while len(times) < 3 or time.perf_counter() - started < seconds:
        start = time.perf_counter()
        left @ right
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
