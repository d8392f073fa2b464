"""Checks of a call's components, tensors, generators and callbacks before any work.

`triplane3d/arguments.py` checks numbers.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from triplane3d.arguments import check_number


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


def check_progress(name: str, callback: object) -> None:
    """Raise a ValueError if `callback` is neither None nor callable as (done, total)."""
    if callback is not None and not isinstance(callback, Callable):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be callable as (done, total), got {type(callback).__name__}")


def check_components(pipeline: object, names: Sequence[str]) -> None:
    """Raise a ValueError if a component that the call needs is None."""
    for name in names:
        if getattr(pipeline, name) is None:
            remedy = {"image_encoder": ": pass `image_embeds`", "vae": ': use output_type="latent"'}
            raise ValueError(f"this pipeline was loaded without its {name}" + remedy.get(name, ""))


def check_tokens(image_embeds: Tensor, pixel_embeds: Tensor | None, width: int, pixel_width: int | None) -> None:
    """Raise a ValueError if tokens do not fit the transformer.

    Args:
        image_embeds, pixel_embeds: the tokens of both streams, (photos, tokens, features).
        width, pixel_width: the number of features that the transformer reads in each stream; None: it has no second
            stream.
    """
    check_tensor("image_embeds", image_embeds, ("photos", "tokens", width), "`encode_image` makes them")
    if (pixel_embeds is None) != (pixel_width is None):
        streams = "no second stream of tokens: omit" if pixel_width is None else "a second stream too: pass"
        raise ValueError(f"this transformer reads {streams} `pixel_embeds`")
    if pixel_embeds is not None and pixel_width is not None:
        shape = (len(image_embeds), "tokens", pixel_width)
        check_tensor("pixel_embeds", pixel_embeds, shape, "`encode_image` makes them, given the pixel_encoder")
