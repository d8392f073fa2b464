"""The log of a training run: `log.jsonl`, the console, pictures, and the trackers of accelerate."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image

from triplane3d.printing import print_line
from triplane3d.storage.durable import full_disk_named, sync, write_file, writing_file
from triplane3d.training.checkpointing import warn


class RunLog:
    """Writes numbers and pictures of one run below `output`; `steps` is the length of the run in updates."""

    def __init__(self, accelerator: Accelerator, output: Path, steps: int):
        self.accelerator, self.output, self.steps = accelerator, output, steps
        self.path = output / "log.jsonl"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a line to `log.jsonl`, prints it, and passes it to the trackers. Main process only."""
        if not self.accelerator.is_main_process:
            return
        line = {"step": step, **{name: float(f"{value:.5g}") for name, value in values.items()}}
        with full_disk_named(self.path), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")  # `sync` brings it to the disk, once per checkpoint
        self.accelerator.log(dict(values), step=step)
        print_line(" ".join([f"step {step}/{self.steps}", *(f"{k} {v:.4g}" for k, v in values.items())]))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a (height, width, 3) uint8 image to `pictures/NAME-STEP.png` and passes it to TensorBoard."""
        with writing_file(self.output / "pictures" / f"{name}-{step:07d}.png") as partial:
            Image.fromarray(image).save(partial, format="PNG")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: image[None]}, step=step, dataformats="NHWC")

    def sync(self) -> None:
        """Flushes the log to the disk."""
        if self.path.is_file():
            sync(self.path)

    def drop_after(self, step: int) -> None:
        """Removes lines beyond `step`, from which a killed run resumes, and damaged lines, with a warning."""
        if not self.path.is_file():
            return
        before = self.path.read_bytes()
        lines = before.decode(errors="replace").splitlines()
        steps = [_logged_step(line) for line in lines]
        if damaged := steps.count(None):
            warn(
                f"{self.path}: {damaged} of {len(lines)} lines are damaged, as after a power cut or a full disk, and "
                "dropped"
            )
        kept = "".join(f"{line}\n" for line, at in zip(lines, steps, strict=True) if at is not None and at <= step)
        if kept.encode() != before:
            write_file(self.path, kept)


def _logged_step(line: str) -> int | None:
    """The step of a line of the log; None for a damaged line."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    step = values.get("step") if isinstance(values, dict) else None
    return step if isinstance(step, int) else None
