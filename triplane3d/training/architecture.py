"""Weights belong to one architecture: what is loaded must be of the one that is trained, or a sentence says so."""

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
    init: str, found: Mapping[str, Any], pipeline: str, declared: Mapping[str, Any], *, growing: Sequence[str] = ()
) -> None:
    """The config of the weights that a run begins with, key by key that of the pipeline that it trains.

    What `growing` switches on may be off in the weights, which then go on in a larger architecture.
    """
    grown = [key for key in growing if declared.get(key) and not found.get(key)]
    keys = [key for key in declared if not key.startswith("_") and key not in (*INCIDENTAL, *grown)]
    other = [f"{key}={_shown(found.get(key))} there, {_shown(declared[key])} here" for key in keys
             if _shown(found.get(key)) != _shown(declared[key])]  # fmt: skip
    if other:
        raise ValueError(
            f"init={init} is of another architecture than {pipeline}: {'; '.join(other)}. Train with the pipeline that "
            "it was made for, or begin with other weights"
        )


def check_checkpoint(folder: Path, objective: nn.Module) -> None:
    """The tensors of a checkpoint have the names and shapes of those in training."""
    try:
        files = [safe_open(path, framework="pt") for path in sorted(folder.glob("model*.safetensors"))]
    except SafetensorError as error:
        raise ValueError(
            f"{folder} is not a whole checkpoint ({error}); delete it, and the one before it is resumed from"
        ) from error
    saved = {name: tuple(file.get_slice(name).get_shape()) for file in files for name in file.keys()}
    state = objective.state_dict()
    # Of tensors that share their memory safetensors keeps one.
    stored = {tensor.data_ptr() for name, tensor in state.items() if name in saved}
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items()
              if name in saved or tensor.data_ptr() not in stored}  # fmt: skip
    other = [f"{name} is {saved.get(name, 'missing')} there and {wanted.get(name, 'missing')} here"
             for name in sorted(saved.keys() | wanted.keys()) if saved.get(name) != wanted.get(name)]  # fmt: skip
    if other:
        more = f", and so on for {len(other)} tensors" if len(other) > 1 else ""
        raise ValueError(
            f"{folder} is of another architecture: {other[0]}{more}. Name the pipeline that it was trained with, or "
            "begin anew with --run.resume none or another run.output"
        )


def _shown(value: Any) -> str:
    """Lists of a JSON file and tuples of Python alike."""
    return repr(list(value)) if isinstance(value, (list, tuple)) else repr(value)
