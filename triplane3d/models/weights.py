"""Checks of loaded weights: no tensor is missing, none is surplus, all shapes and types fit, and all values are finite.

diffusers and transformers only log a missing or surplus tensor, and fill a missing one with random numbers.
"""

from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from triplane3d.limits import read_weights_header

SHOWN = 5
"""The most tensors of each group that an error message names."""


class StrictLoading:
    """A mixin before diffusers' `ModelMixin`: `from_pretrained` raises an error for weights that do not fit."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> Any:
        """As `ModelMixin.from_pretrained`; `use_safetensors=False` reads tensors from a pickle.

        Raises:
            ValueError: if the weights lack a tensor, have one too many or one of another shape, or are not finite.
        """
        kwargs.setdefault("use_safetensors", True)
        return_info = kwargs.pop("output_loading_info", False)
        where = "/".join(filter(None, [str(pretrained_model_name_or_path), kwargs.get("subfolder")]))
        try:
            loaded: Any = super().from_pretrained(  # type: ignore[misc]
                pretrained_model_name_or_path, output_loading_info=True, **kwargs
            )
        except ValueError as error:
            if "expected shape" in str(error):  # diffusers' message does not name the folder
                raise ValueError(f"{where}: {error}") from error
            raise
        model, info = loaded
        check_keys(where, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
        check_types(Path(where), model)
        check_finite(where, model)
        return (model, info) if return_info else model


def check_keys(where: str, missing: Collection[str], surplus: Collection[str], mismatched: Collection[tuple]) -> None:
    """Raises a ValueError that lists tensors which are missing, surplus or of another shape."""
    faults = [
        f"{len(names)} {fault} ({', '.join(sorted(names)[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
        for names, fault in (
            (missing, "missing"),
            (surplus, "that the model does not have"),
            (
                [f"{name}: {_shape(found)} for {_shape(expected)}" for name, found, expected in mismatched],
                "of another shape",
            ),
        )
        if names
    ]
    if faults:
        raise ValueError(
            f"the weights in {where} do not fit the model that its config.json describes. Tensors: "
            f"{'; '.join(faults)}. Download or save the folder again, config.json and weights together"
        )


def check_types(folder: Path, model: nn.Module) -> None:
    """Raises a ValueError that lists tensors that are not floating-point in the files, but are in the model.

    The headers of all safetensors files of the folder are read. A folder that is not on this machine is not checked.
    diffusers and transformers cast such tensors, or keep their type, without a message.
    """
    floating = {name for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    wrong = [
        f"{name}: {header.dtype}"
        for path in sorted(folder.glob("*.safetensors"))
        for name, header in read_weights_header(path).items()
        if name in floating and not header.dtype.startswith(("F", "BF"))
    ]
    if wrong:
        raise ValueError(
            f"the weights in {folder} hold {len(wrong)} tensors that are not floating-point numbers "
            f"({', '.join(wrong[:SHOWN])}{', …' if len(wrong) > SHOWN else ''}): download or save the folder again"
        )


def check_finite(where: str, model: nn.Module) -> None:
    """Raises a ValueError that lists parameters and buffers with NaN or infinite values."""
    wrong = [
        name
        for name, tensor in model.state_dict().items()
        if type(tensor) is torch.Tensor and tensor.is_floating_point() and not _is_finite(tensor)
    ]
    if wrong:
        raise ValueError(
            f"the weights in {where} hold NaN or infinite values in {len(wrong)} tensors ({', '.join(wrong[:SHOWN])}"
            f"{', …' if len(wrong) > SHOWN else ''}): download or train them again"
        )


def _is_finite(tensor: torch.Tensor) -> bool:
    if tensor.is_meta or not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:  # 8-bit floats have no minimum and maximum
        tensor = tensor.float()
    # The minimum and maximum of a tensor with NaN are NaN.
    return bool(torch.stack(tensor.aminmax()).isfinite().all())


def _shape(shape: Any) -> str:
    return " × ".join(map(str, tuple(shape))) or "a number"
