"""The checkpoints of a run's folder: which one a run goes on from, and whether it is still the same run.

A checkpoint holds the configuration it was trained with. Settings that do not change what is learnt may differ when a
run goes on; with any other difference it is another run, and `run.resume` must say so.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from triplane3d.config import RunConfig
from triplane3d.config.loader import defaults, flatten, read_saved
from triplane3d.signals import is_main_process
from triplane3d.storage.durable import sync, write_file
from triplane3d.training.state import check_whole, read_state

FREE = {
    *(f"run.{name}" for name in ("output", "resume", "max_minutes", "workers", "log_every", "validate_every")),
    *(f"run.{name}" for name in ("checkpoint_every", "checkpoint_limit", "trackers", "nonfinite_limit")),
    *("run.compile", "run.compile_backend", "validate_at"),
}
"""Keys that may change while a run goes on; so may all that begin with `data.validation`. The others decide what is
learnt: `run.steps` too, since the learning rate's schedule ends with it."""

SHOWN = 6
"""Differences that are listed."""


def checkpoints(output: Path) -> list[Path]:
    """The `checkpoint-N` folders of a run, oldest first."""
    numbered = [(int(match[1]), folder) for folder in output.glob("checkpoint-*")
                if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name))]  # fmt: skip
    return [folder for _, folder in sorted(numbered)]


def chosen_checkpoint(run: RunConfig) -> Path | None:
    """The checkpoint that `run.resume` means; None to begin at step 0. Raises `ValueError` if it cannot be used."""
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
    """What makes a run of `config` another one than that of the checkpoint: "optim.lr: 0.001, now 0.002", …"""
    now, state = flatten(config), read_state(checkpoint)
    saved = read_saved(checkpoint / "config.yaml") or read_saved(checkpoint.parent / "config.yaml")
    if saved is None:
        warn(f"{checkpoint / 'config.yaml'} is missing or damaged: it is not known whether settings differ from those")
    # Keys that are younger than the file had their default.
    before = defaults(type(config)) | (saved or now)
    changed = [
        f"{key}: {_shown(before.get(key))}, now {_shown(value)}"
        for key, value in now.items()
        if key not in FREE and not key.startswith("data.validation") and not _same(before.get(key), value)
    ]
    if state.get("processes", processes) != processes:
        changed.append(f"processes: {state['processes']}, now {processes}")
    return changed


def refuse_changes(checkpoint: Path, changed: list[str]) -> None:
    """Raises `ValueError` if anything has changed since the checkpoint."""
    if changed:
        raise ValueError(
            f"{checkpoint} was trained with other settings: {listed(changed)}. To continue as before, restore them; to "
            "continue with the new ones, add --run.resume changed (the remaining steps then follow the new learning "
            "rate's schedule); to start another run with these weights, set another run.output and add --run.resume "
            f"{checkpoint}"
        )


def listed(changed: list[str]) -> str:
    """The first few on one line."""
    more = f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return "; ".join(changed[:SHOWN]) + more


def set_aside(output: Path, step: int | None) -> Path | None:
    """Moves the checkpoints of `output` beyond `step` into a new folder `earlier-N` there; returns that, or None.

    None stands for a run that begins anew: all checkpoints are moved then, with log, configuration and pictures. If
    they stayed, the newest checkpoints would be those of two runs. Weights that a run ended with stay in place.
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


def forget_after(log: Path, step: int) -> None:
    """Drops the lines that a killed run logged beyond the step it goes on from, and those that are damaged."""
    if not log.is_file():
        return
    before = log.read_bytes()
    lines = before.decode(errors="replace").splitlines()
    steps = [_logged_step(line) for line in lines]
    if damaged := steps.count(None):
        warn(f"{log}: {damaged} of {len(lines)} lines are damaged, as after a power cut or a full disk, and dropped")
    kept = "".join(f"{line}\n" for line, at in zip(lines, steps, strict=True) if at is not None and at <= step)
    if kept.encode() != before:
        write_file(log, kept)


def _logged_step(line: str) -> int | None:
    """The step of a line of the log; None if it is no whole line."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    step = values.get("step") if isinstance(values, dict) else None
    return step if isinstance(step, int) else None


def warn(message: str) -> None:
    """To standard error, from the main process."""
    if is_main_process():
        print(f"warning: {message}", file=sys.stderr, flush=True)


def _same(before: Any, now: Any) -> bool:
    """Equal, or two ways to write one path."""
    if isinstance(before, str) and isinstance(now, str):
        return os.path.abspath(before) == os.path.abspath(now)
    return before == now


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
