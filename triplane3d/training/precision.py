"""Comparison of a run's precision with float32 on this machine, on the first batch.

Kernels of half precision can return wrong numbers without an error: oneDNN's convolutions on CPUs with AMX are an
example (`triplane3d.models.convolutions`). The loss does not show this when a network was just initialized and barely
depends on its inputs. Therefore the output of every layer is compared.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from triplane3d.training.throughput import first_rows

TOLERANCE = 0.2
"""Largest relative deviation that is accepted as rounding. In bfloat16 no layer of the three trained stages of
`configs/mini` and `configs/tiny` deviated by more than 0.02, with random or trained weights. A wrong kernel deviates by
about 1."""

COMPARED = 65536
"""Numbers of a layer's output that are compared, evenly spread over the output."""


def check_objective(
    accelerator: Accelerator, objective: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, batch_size: int
) -> None:
    """`check_precision` for the losses of a training objective, called on the first half of a batch.

    Two calls on half of the samples take as long as one more forward pass of the batch.
    """
    args, kwargs = first_rows((args, kwargs), (batch_size + 1) // 2, batch_size=batch_size)

    def losses() -> Tensor:
        # The method of the class: accelerate replaces the instance's by one that always uses autocast.
        return torch.stack([loss.float() for loss in type(objective).forward(objective, *args, **kwargs).values()])

    check_precision(accelerator, dict(objective.named_children()), losses)


def check_precision(
    accelerator: Accelerator,
    networks: Mapping[str, nn.Module],
    call: Callable[[], Any],
    *,
    setting: str = "run.mixed_precision",
) -> None:
    """Runs `call` in the run's precision and in float32, and compares the outputs of all layers of `networks`.

    The main process prints the largest relative deviation |a - b| / |b| of a layer's output a from the output b in
    float32. Both runs use the same random numbers. Random states, buffers and gradients are left as they were.
    Nothing is done if the run's precision is float32. `setting` is the configuration's key, for the message.

    Raises:
        ValueError: if on any process the output of a layer, or the result of `call`, deviates by more than `TOLERANCE`.
    """
    precision, device = accelerator.mixed_precision, accelerator.device
    if precision == "no":
        return
    outputs = _layer_outputs(networks, call, accelerator.autocast(), device)
    expected = _layer_outputs(networks, call, torch.autocast(device.type, enabled=False), device)
    deviations = [(_deviation(a, b), name) for (name, a), (_, b) in zip(outputs, expected, strict=True)]
    # Of those beyond the tolerance, the first in the order of computation is the cause of the others.
    beyond = [pair for pair in deviations if pair[0] > TOLERANCE]
    deviation, name = beyond[0] if beyond else max(deviations)
    worst = float(accelerator.gather(torch.tensor([deviation], device=device)).max())
    if worst > TOLERANCE:
        where = f"the output of {name}" if beyond else "the output of a layer on another process"
        raise ValueError(
            f"mixed_precision {precision} does not reproduce float32 on this machine: in the first batch {where} "
            f"deviates by {worst:.0%}, where rounding explains at most {TOLERANCE:.0%}. Either a kernel of this "
            f"precision is wrong on this machine, or the network needs float32: set {setting}=no"
        )
    accelerator.print(
        f"mixed_precision {precision} reproduces float32 within {worst:.1%}, the largest deviation of a layer's output "
        "in the first batch",
        flush=True,
    )


def _layer_outputs(
    networks: Mapping[str, nn.Module],
    call: Callable[[], Any],
    autocast: AbstractContextManager[Any],
    device: torch.device,
) -> list[tuple[str, Tensor]]:
    """Name and output of each call of a layer, in order, and last the result of `call`."""
    found: list[tuple[str, Tensor]] = []

    def record(name: str, _layer: nn.Module | None, _inputs: Any, output: Any) -> None:
        found.extend((name, _spread(tensor)) for tensor in _float_tensors(output))

    handles = [
        layer.register_forward_hook(partial(record, f"{part}.{name}".rstrip(".")))
        for part, network in networks.items()
        for name, layer in network.named_modules()
    ]
    buffers = [(buffer, buffer.clone()) for network in networks.values() for buffer in network.buffers()]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), autocast:
            record("the result", None, None, call())
    finally:
        for handle in handles:
            handle.remove()
        for buffer, before in buffers:
            buffer.copy_(before)
    return found


def _deviation(output: Tensor, expected: Tensor) -> float:
    """|output - expected| / |expected|; 0 if the expected numbers are not finite themselves."""
    if not expected.isfinite().all():
        return 0.0
    difference = float((output - expected).norm())
    if difference == 0:
        return 0.0
    ratio = difference / max(float(expected.norm()), torch.finfo(torch.float32).tiny)
    return ratio if ratio == ratio else float("inf")


def _spread(output: Tensor) -> Tensor:
    """Up to `COMPARED` numbers of a tensor. The step is odd, so that it reaches all of an even number of channels."""
    return output.detach().flatten()[:: (output.numel() // COMPARED) | 1].to(torch.float32, copy=True)


def _float_tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        value = list(value.values())
    return [tensor for one in value for tensor in _float_tensors(one)] if isinstance(value, list | tuple) else []
