"""The checkpoints in a run's folder: which one a run resumes from, and whether its settings are still the same.

A checkpoint holds the configuration that it was trained with. A run may resume with other settings of output, logging
and validation. All other differences change the result; they need an explicit `run.resume`.
"""

import os
import re
from pathlib import Path
from typing import Any

from triplane3d.config import RunConfig
from triplane3d.config.loader import defaults, flatten, read_saved
from triplane3d.printing import print_line
from triplane3d.signals import is_main_process
from triplane3d.storage.durable import sync
from triplane3d.training.state import check_whole, read_state

CHANGEABLE_KEYS = {
    *(f"run.{name}" for name in ("output", "resume", "max_minutes", "workers", "log_every", "validate_every")),
    *(f"run.{name}" for name in ("checkpoint_every", "checkpoint_limit", "trackers", "nonfinite_limit")),
    *("run.compile", "run.compile_backend", "validate_at"),
}
"""Keys that may change when a run resumes, besides those that begin with `data.validation`. All others change the
trained weights. `run.steps` does too, since the learning rate's schedule depends on it."""

MAX_LISTED = 6
"""Differences that a message lists."""


def checkpoints(output: Path) -> list[Path]:
    """The `checkpoint-N` folders of a run, oldest first."""
    numbered = [(int(match[1]), folder) for folder in output.glob("checkpoint-*")
                if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name))]  # fmt: skip
    return [folder for _, folder in sorted(numbered)]


def chosen_checkpoint(run: RunConfig) -> Path | None:
    """The checkpoint that `run.resume` selects; None to start at step 0. Raises `ValueError` if it is unusable."""
    if run.resume == "none":
        return None
    if run.resume in ("latest", "changed"):
        found = next(reversed(checkpoints(Path(run.output))), None)
        if found is None:
            return None
    else:
        found = Path(run.resume)
    if not (found / "run.json").is_file():
        raise ValueError(
            f"run.resume={run.resume}: {found} is not a checkpoint folder of this trainer; name a checkpoint-N folder, "
            "or use latest, changed or none"
        )
    check_whole(found)
    if (step := read_state(found)["step"]) > run.steps:
        raise ValueError(f"{found} is at step {step}, beyond run.steps={run.steps}: raise run.steps")
    return found


def changed_settings(checkpoint: Path, config: Any, processes: int) -> list[str]:
    """Differences between `config` and the checkpoint's settings that change the result.

    Each is a text such as "optim.lr: 0.001, now 0.002". `processes` is the number of processes of this run.
    """
    now, state = flatten(config), read_state(checkpoint)
    saved = read_saved(checkpoint / "config.yaml") or read_saved(checkpoint.parent / "config.yaml")
    if saved is None:
        warn(
            f"{checkpoint / 'config.yaml'} is missing or damaged: its settings cannot be compared with the present ones"
        )
    # Keys that were added after the file was written had their default value.
    before = defaults(type(config)) | (saved or now)
    changed = [
        f"{key}: {_shown(before.get(key))}, now {_shown(value)}"
        for key, value in now.items()
        if key not in CHANGEABLE_KEYS and not key.startswith("data.validation") and not _same(before.get(key), value)
    ]
    if state.get("processes", processes) != processes:
        changed.append(f"processes: {state['processes']}, now {processes}")
    return changed


def refuse_changes(checkpoint: Path, changed: list[str]) -> None:
    """Raises `ValueError` if anything has changed since the checkpoint."""
    if changed:
        raise ValueError(
            f"{checkpoint} was trained with other settings: {first_changes(changed)}. To continue as before, restore "
            "them; to continue with the new ones, add --run.resume changed (the remaining steps then follow the new "
            "learning rate's schedule); to start another run with these weights, set another run.output and add "
            f"--run.resume {checkpoint}"
        )


def first_changes(changed: list[str]) -> str:
    """The first `MAX_LISTED` differences, and how many more there are, on one line."""
    more = f"; and {len(changed) - MAX_LISTED} more" if len(changed) > MAX_LISTED else ""
    return "; ".join(changed[:MAX_LISTED]) + more


def set_aside(output: Path, step: int | None) -> Path | None:
    """Moves checkpoints beyond `step` into a new folder `earlier-N` in `output`. Returns it, or None if nothing moved.

    With `step` None, for a run that starts from the beginning, all checkpoints are moved, with log, configuration and
    pictures. Otherwise the folder would mix the checkpoints of two runs. Final weights stay in place.
    """
    moved = [folder for folder in checkpoints(output) if step is None or int(folder.name.partition("-")[2]) > step]
    if not moved:
        return None
    if step is None:
        names = ("log.jsonl", "config.yaml", "pictures", "tensorboard")
        moved += [output / name for name in names if (output / name).exists()]
    number = 1
    while (aside := output / f"earlier-{number}").exists():
        number += 1
    aside.mkdir()
    for path in moved:
        path.rename(aside / path.name)
    sync(aside)
    sync(output)
    return aside


def warn(message: str) -> None:
    """Prints a warning to standard error, in the main process only."""
    if is_main_process():
        print_line(f"warning: {message}", error=True)


def _same(before: Any, now: Any) -> bool:
    """Whether two values are equal, or two spellings of one path."""
    if isinstance(before, str) and isinstance(now, str):
        return os.path.abspath(before) == os.path.abspath(now)
    return before == now


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
