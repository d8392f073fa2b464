"""What a user passes, looked at before any work: every refusal says what was expected, what came, what to do."""

import math
from collections.abc import Callable, Collection, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

# Beyond this float32, in which everything is computed, has no finite numbers.
LARGEST = 3e38


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """A whole number in `least`…`most`."""
    wanted = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, {wanted}; got {value!r}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name} must be {wanted}, got {value}")


def check_number(name: str, value: object, least: float = -math.inf) -> None:
    """A finite number, `least` or more."""
    plain = isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not plain or value < least:
        wanted = "a finite number" + ("" if least == -math.inf else f" of at least {least:g}")
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def check_tensor(name: str, value: object, shape: Sequence[int | str], advice: str) -> None:
    """A tensor of finite floats; in `shape` a number is the size an axis must have, a word names one that is free."""
    wanted = "({})".format(", ".join(str(size) for size in shape))
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor of shape {wanted}, got {type(value).__name__}; {advice}")
    fits = value.ndim == len(shape) and all(
        isinstance(size, str) and got > 0 or got == size for got, size in zip(value.shape, shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(value.shape)}; {advice}")
    if not value.is_floating_point():
        raise ValueError(f"{name} must hold floats, got {value.dtype}; {advice}")
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite numbers; {advice}")


def check_generators(generator: object, count: int, device: torch.device) -> None:
    """None, one generator, or a list of one for each of `count` meshes, on the CPU or where the pipeline runs."""
    if generator is None:
        return
    generators = generator if isinstance(generator, list) else [generator]
    for each in generators:
        if not isinstance(each, torch.Generator):
            raise ValueError(
                f"generator must be a torch.Generator or a list of them, got {type(each).__name__}; "
                "for a seed pass torch.Generator().manual_seed(seed)"
            )
        if each.device.type not in ("cpu", device.type):
            raise ValueError(f"generator is on {each.device}, the pipeline on {device}: make it there, or on the CPU")
    if isinstance(generator, list) and len(generator) != count:
        raise ValueError(f"a list of generators has one for each of the {count} meshes, got {len(generator)}")


def check_attention_kwargs(attention_kwargs: object) -> None:
    """None, or the strength of a LoRA as {"scale": number}."""
    if attention_kwargs is None:
        return
    if not isinstance(attention_kwargs, dict) or set(attention_kwargs) - {"scale"}:
        raise ValueError(f'attention_kwargs must be a dict such as {{"scale": 0.5}}, got {attention_kwargs!r}')
    if "scale" in attention_kwargs:
        check_number('attention_kwargs["scale"]', attention_kwargs["scale"])


def check_changed(changed: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a callback returned: nothing, or tensors to go on with, shaped like those that it was given."""
    if changed is None:
        return {}
    if not isinstance(changed, dict):
        raise ValueError(f"callback_on_step_end must return a dict of tensors, or None; got {type(changed).__name__}")
    for name, tensor in changed.items():
        if name not in tensors:
            raise ValueError(f"callback_on_step_end may return {sorted(tensors)}, got {name!r}")
        check_tensor(f"the callback's {name}", tensor, tuple(tensors[name].shape), "return it in the shape it came in")
    return changed


def check_callback(callback: object, tensor_inputs: object, known: Collection[str]) -> None:
    """A callable as diffusers' `callback_on_step_end`, and the names of the tensors that it wants to see."""
    if callback is not None and not isinstance(callback, Callable):  # type: ignore[arg-type]
        raise ValueError(
            "callback_on_step_end must be callable as (pipe, step, timestep, tensors), "
            f"or a PipelineCallback; got {type(callback).__name__}"
        )
    names = tensor_inputs if isinstance(tensor_inputs, list | tuple) else None
    if names is None or not all(name in known for name in names):
        raise ValueError(f"callback_on_step_end_tensor_inputs must be a list of {list(known)}, got {tensor_inputs!r}")
