"""Checks of arguments before any work. Each error names the argument, the accepted values and the value passed."""

import math
from collections.abc import Callable, Collection, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

# The largest finite number of float32 is slightly larger. All values are computed in float32.
LARGEST = 3e38


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise a ValueError if `value` is no whole number from `least` to `most`. Numbers of numpy are accepted."""
    accepted = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, {accepted}; got {value!r}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name} must be {accepted}, got {value}")


def check_number(name: str, value: object, least: float = -math.inf) -> None:
    """Raise a ValueError if `value` is no finite number of at least `least`."""
    plain = isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not plain or value < least:
        accepted = "a finite number" + ("" if least == -math.inf else f" of at least {least:g}")
        raise ValueError(f"{name} must be {accepted}, got {value!r}")


def check_tensor(name: str, value: object, shape: Sequence[int | str], advice: str) -> None:
    """Raise a ValueError if `value` is no tensor of finite floats in this shape.

    Args:
        shape: for each axis its size, or a word for an axis of any size above 0.
        advice: the end of the sentence.
    """
    expected = "({})".format(", ".join(str(size) for size in shape))
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor of shape {expected}, got {type(value).__name__}; {advice}")
    fits = value.ndim == len(shape) and all(
        isinstance(size, str) and got > 0 or got == size for got, size in zip(value.shape, shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {expected}, got {tuple(value.shape)}; {advice}")
    if not value.is_floating_point():
        raise ValueError(f"{name} must hold floats, got {value.dtype}; {advice}")
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite numbers; {advice}")


def check_generators(generator: object, count: int, device: torch.device) -> None:
    """Raise a ValueError if `generator` is not None, a generator, or a list of one for each of `count` meshes.

    Generators must be on the CPU or on the pipeline's `device`.
    """
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
    """Raise a ValueError if `attention_kwargs` is not None or the strength of a LoRA, {"scale": number}."""
    if attention_kwargs is None:
        return
    if not isinstance(attention_kwargs, dict) or set(attention_kwargs) - {"scale"}:
        raise ValueError(f'attention_kwargs must be a dict such as {{"scale": 0.5}}, got {attention_kwargs!r}')
    if "scale" in attention_kwargs:
        check_number('attention_kwargs["scale"]', attention_kwargs["scale"])


def check_changed(changed: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a callback returned, as a dict; empty if it returned None.

    Raises:
        ValueError: for a tensor that was not passed to it, or has another shape.
    """
    if changed is None:
        return {}
    if not isinstance(changed, dict):
        raise ValueError(f"callback_on_step_end must return a dict of tensors, or None; got {type(changed).__name__}")
    for name, tensor in changed.items():
        if name not in tensors:
            raise ValueError(f"callback_on_step_end may return {sorted(tensors)}, got {name!r}")
        check_tensor(
            f"the callback's {name}",
            tensor,
            tuple(tensors[name].shape),
            "return it in its own shape",
        )
    return changed


def check_callback(callback: object, tensor_inputs: object, available: Collection[str]) -> None:
    """Raise a ValueError if these are not a callback and the names of tensors that are passed to it.

    Args:
        callback, tensor_inputs: `callback_on_step_end` and its tensor inputs, as in diffusers.
        available: the names that `tensor_inputs` may have.
    """
    if callback is not None and not isinstance(callback, Callable):  # type: ignore[arg-type]
        raise ValueError(
            "callback_on_step_end must be callable as (pipe, step, timestep, tensors), "
            f"or a PipelineCallback; got {type(callback).__name__}"
        )
    names = tensor_inputs if isinstance(tensor_inputs, list | tuple) else None
    if names is None or not all(name in available for name in names):
        raise ValueError(
            f"callback_on_step_end_tensor_inputs must be a list of {list(available)}, got {tensor_inputs!r}"
        )
