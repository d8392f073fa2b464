"""The state in a checkpoint: weights, optimizer state and averages as safetensors, numbers as JSON.

No file of a checkpoint is unpickled, so reading a checkpoint cannot run code. States of random generators are not
stored: `Trainer.batches` seeds the generators for every batch.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from triplane3d.training.optim import CombinedOptimizer

MODEL, OPTIMIZER, AVERAGES = "model.safetensors", "optimizer.safetensors", "averages.safetensors"
NUMBERS = "run.json"

SLOTS = {"Muon": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}
"""The tensors that each optimizer stores for a weight."""

MOST_UPDATES = 10**12
"""Largest number of updates that a checkpoint may state: more than any run can make."""


def save_state(
    folder: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    components: Mapping[str, nn.Module],
    averages: Mapping[str, EMAModel],
    numbers: Mapping[str, Any],
) -> None:
    """Writes the state of a run into `folder`. `numbers` must be serializable as JSON and include "step"."""
    save_model(objective, str(folder / MODEL))
    names = _names(objective)
    kept = {}
    for part in _parts(optimizer):
        for parameter, slots in part.state.items():
            for slot, value in slots.items():
                assert isinstance(value, Tensor), f"{slot} of {type(part).__name__} is no tensor"
                kept[f"{names[id(parameter)]}.{slot}"] = value.detach().contiguous()
    save_file(kept, folder / OPTIMIZER)
    shadows = {}
    for name, model in components.items():
        for (key, _), shadow in zip(model.named_parameters(), averages[name].shadow_params, strict=True):
            shadows[f"{name}.{key}"] = shadow.contiguous()
    save_file(shadows, folder / AVERAGES)
    updates = {name: average.optimization_step for name, average in averages.items()}
    (folder / NUMBERS).write_text(json.dumps({**numbers, "averages": updates}))


def load_state(
    folder: Path,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    components: Mapping[str, nn.Module],
    averages: Mapping[str, EMAModel],
) -> list[str]:
    """Reads what `save_state` wrote. Settings of the optimizer and the averages stay those of the configuration.

    Returns the names of weights whose optimizer state is new, because another optimizer trained them before.
    """
    load_model(objective, folder / MODEL)
    shadows = load_file(folder / AVERAGES)
    updates = read_state(folder).get("averages")
    if not isinstance(updates, dict) or not all(isinstance(updates.get(name), int) for name in components):
        raise _not_whole(folder, f"{NUMBERS} does not hold how often each average was updated")
    for name, model in components.items():
        for (key, _), shadow in zip(model.named_parameters(), averages[name].shadow_params, strict=True):
            average = shadows.get(f"{name}.{key}")
            if average is None or average.shape != shadow.shape:
                raise _not_whole(folder, f"{AVERAGES} does not hold {name}.{key} of shape {tuple(shadow.shape)}")
            shadow.copy_(average)
        averages[name].optimization_step = updates[name]

    kept: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in load_file(folder / OPTIMIZER).items():
        name, _, slot = key.rpartition(".")
        kept[name][slot] = value
    names, new, states = _names(objective), [], []
    for part in _parts(optimizer):
        state = {}
        for number, parameter in enumerate(p for group in part.param_groups for p in group["params"]):
            slots = kept.get(names[id(parameter)], {})
            shapes_match = all(value.shape == parameter.shape for slot, value in slots.items() if slot != "step")
            if slots.keys() == SLOTS[type(part).__name__] and shapes_match:
                state[number] = slots
            elif slots:
                new.append(names[id(parameter)])
        states.append({"state": state, "param_groups": part.state_dict()["param_groups"]})
    optimizer.load_state_dict({"parts": states} if isinstance(optimizer, CombinedOptimizer) else states[0])
    return new


def check_whole(folder: Path) -> None:
    """Raises `ValueError` if a checkpoint is incomplete or damaged, or consists of pickles."""
    read_state(folder)
    if not (folder / OPTIMIZER).exists() and (folder / "optimizer.bin").exists():
        raise ValueError(
            f"{folder} is of an older version, whose checkpoints are pickles. Reading a pickle can run code, so it is "
            "not loaded. Its averaged weights are safetensors: set `init` to its model's folder and run.output to a "
            "new one"
        )
    for name in (MODEL, OPTIMIZER, AVERAGES):
        try:
            safe_open(folder / name, framework="pt")
        except (SafetensorError, OSError) as error:
            raise _not_whole(folder, f"{name}: {error}") from error


def read_state(folder: Path) -> dict[str, Any]:
    """The numbers of a checkpoint: "step", "skipped" (updates so far) and "processes" of the run.

    Raises `ValueError` if they cannot be read.
    """
    try:
        numbers = json.loads((folder / NUMBERS).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _not_whole(folder, f"{NUMBERS}: {error}") from error
    for name in ("step", "skipped"):
        value = numbers.get(name) if isinstance(numbers, dict) else None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_UPDATES:
            raise _not_whole(folder, f"{NUMBERS} holds no whole number {name!r}")
    return numbers


def _not_whole(folder: Path, why: str) -> ValueError:
    return ValueError(f"{folder} is not a whole checkpoint ({why}); delete it, and the one before it is resumed from")


def _names(objective: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in objective.named_parameters()}


def _parts(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    return optimizer.parts if isinstance(optimizer, CombinedOptimizer) else [optimizer]
