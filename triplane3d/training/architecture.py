"""Checks that weights which are loaded have the architecture that is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

STATISTICS = ("latents_mean", "latents_std")
"""Keys of a saved config that belong to its weights."""

INCIDENTAL = (*STATISTICS, "color_seam_reach")
"""Keys of a saved config that are not architecture."""


def check_init(
    init: str, found: Mapping[str, Any], pipeline: str, declared: Mapping[str, Any], *, extensions: Sequence[str] = ()
) -> None:
    """Compares the config of initial weights with that of the pipeline that is trained, key by key.

    Args:
        init: folder of the initial weights, for the message.
        found: their config.
        pipeline: folder of the pipeline, for the message.
        declared: its config.
        extensions: keys that may be set in `declared` only: they add modules to the architecture of the weights.

    Raises:
        ValueError: if any other key differs.
    """
    extended = [key for key in extensions if declared.get(key) and not found.get(key)]
    keys = [key for key in declared if not key.startswith("_") and key not in (*INCIDENTAL, *extended)]
    other = [f"{key}={_shown(found.get(key))} there, {_shown(declared[key])} here" for key in keys
             if _shown(found.get(key)) != _shown(declared[key])]  # fmt: skip
    if other:
        raise ValueError(
            f"init={init} is of another architecture than {pipeline}: {'; '.join(other)}. Train with the pipeline that "
            "it was made for, or start from other weights"
        )


def check_checkpoint(folder: Path, objective: nn.Module) -> None:
    """Raises `ValueError` if the tensors of a checkpoint differ in name or shape from those of `objective`."""
    try:
        files = [safe_open(path, framework="pt") for path in sorted(folder.glob("model*.safetensors"))]
    except SafetensorError as error:
        raise ValueError(
            f"{folder} is not a whole checkpoint ({error}); delete it, and the one before it is resumed from"
        ) from error
    saved = {name: tuple(file.get_slice(name).get_shape()) for file in files for name in file.keys()}
    state = objective.state_dict()
    # Of several tensors that share memory, safetensors stores one.
    stored = {tensor.data_ptr() for name, tensor in state.items() if name in saved}
    expected = {name: tuple(tensor.shape) for name, tensor in state.items()
              if name in saved or tensor.data_ptr() not in stored}  # fmt: skip
    other = [f"{name} is {saved.get(name, 'missing')} there and {expected.get(name, 'missing')} here"
             for name in sorted(saved.keys() | expected.keys()) if saved.get(name) != expected.get(name)]  # fmt: skip
    if other:
        more = f", and so on for {len(other)} tensors" if len(other) > 1 else ""
        raise ValueError(
            f"{folder} is of another architecture: {other[0]}{more}. Name the pipeline that it was trained with, or "
            "start from the beginning with --run.resume none or another run.output"
        )


def _shown(value: Any) -> str:
    """The value as text, the same for lists from JSON and tuples from Python."""
    return repr(list(value)) if isinstance(value, (list, tuple)) else repr(value)
