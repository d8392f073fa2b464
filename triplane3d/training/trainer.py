"""What the training loops share: set-up, batches, the update, averaged weights, checkpoints, the log.

A run is a pure function of its configuration: batch n, and every random number drawn while it is used, depend on the
seed and n alone. A run that was killed and started again therefore ends with the weights it would have had. SIGINT and
SIGTERM end a run after its current update, with a checkpoint.
"""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, LoggerType, ProjectConfiguration
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.utils.logging import disable_progress_bar

from triplane3d.config import AutoencoderConfig, DenoiserConfig, DistillConfig, OptimConfig, save_config
from triplane3d.data.batches import NumberedBatches, SampleSource
from triplane3d.data.seeds import derive_seed
from triplane3d.data.streams import ShapeStream
from triplane3d.signals import Stopped, StopRequest, ignore_signals
from triplane3d.storage.durable import (
    full_disk_named,
    remove_folder,
    remove_leftovers,
    remove_temporaries,
    sync,
    writing_file,
    writing_folder,
)
from triplane3d.storage.locks import lock_folder
from triplane3d.training.architecture import check_checkpoint
from triplane3d.training.checkpointing import (
    changed_settings,
    checkpoints,
    chosen_checkpoint,
    forget_after,
    listed,
    refuse_changes,
    set_aside,
    warn,
)
from triplane3d.training.optim import make_optimizer
from triplane3d.training.precision import check_objective
from triplane3d.training.processes import describe_batch, describe_processes, make_accelerator
from triplane3d.training.state import load_state, read_state, save_state
from triplane3d.training.throughput import count_flops, matmul_ceiling, shapes

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def learning_rate(step: int, steps: int, optim: OptimConfig) -> float:
    """Linear warm-up, then a cosine down to `optim.final_lr` of the peak at the last step."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, steps - 1 - optim.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return optim.lr * (optim.final_lr + (1 - optim.final_lr) * cosine)


def start(config: AutoencoderConfig | DenoiserConfig | DistillConfig) -> Accelerator:
    """Devices, precision and trackers, and the run's folder; seeds the weights that are built next.

    Raises `ValueError` if another process writes to the folder, or if it holds a run of other settings and `run.resume`
    does not say how to go on.
    """
    run, output = config.run, Path(config.run.output)
    if unknown := set(run.trackers) - {tracker.value for tracker in LoggerType}:
        raise ValueError(f"run.trackers: accelerate has no tracker {', '.join(sorted(unknown))}")
    if run.compile and run.compile_backend not in (known := torch.compiler.list_backends(exclude_tags=())):
        raise ValueError(f"run.compile_backend={run.compile_backend} is none of {', '.join(known)}")
    accelerator = make_accelerator(
        mixed_precision=run.mixed_precision,
        gradient_accumulation_steps=run.accumulation,
        log_with=list(run.trackers) or None,
        project_config=ProjectConfiguration(project_dir=run.output, logging_dir=run.output),
    )
    if accelerator.distributed_type in SHARDED:
        raise ValueError(
            "each device of a run keeps the whole model, of which averages are kept and saved; "
            f"{accelerator.distributed_type.value} cuts it up. Choose multi-GPU (DDP) in `accelerate config`, or "
            "launch with `accelerate launch --multi_gpu`"
        )
    if accelerator.is_main_process:
        lock_folder(output, create=False)
    accelerator.wait_for_everyone()
    checkpoint = chosen_checkpoint(run)
    changed = [] if checkpoint is None else changed_settings(checkpoint, config, accelerator.num_processes)
    if checkpoint is not None and run.resume == "latest":
        refuse_changes(checkpoint, changed)
    accelerator.wait_for_everyone()  # all have read what the main process now writes
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        lock_folder(output)
        remove_temporaries(output)
        if aside := set_aside(output, None if checkpoint is None else read_state(checkpoint)["step"]):
            print(f"files of an earlier run in {output} are now in {aside}", flush=True)
        save_config(config, output / "config.yaml")
        accelerator.init_trackers("tensorboard")
        if changed:
            print(f"settings differ from those of {checkpoint}: {listed(changed)}", flush=True)
    accelerator.wait_for_everyone()
    disable_progress_bar()  # a bar for every file of every checkpoint
    torch.manual_seed(run.seed)
    return accelerator


class Run:
    """One training run: the objective under optimisation, the averages of its components, and how far it has come.

    `objective` is a module whose forward takes a batch and returns losses, the one under "loss" being what is
    minimised; `components` are the models inside it that are saved, by folder name.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: AutoencoderConfig | DenoiserConfig | DistillConfig,
        objective: nn.Module,
        components: Mapping[str, nn.Module],
    ):
        self.accelerator, self.settings, self.config, self.optim = accelerator, config, config.run, config.optim
        self.components = dict(components)
        self.output = Path(self.config.output)
        self.step = 0
        self.common = torch.Generator()  # drawn from by all processes alike, for what they should agree on
        self.updated = False  # did the last batch end an accumulation?
        self.skipped = 0  # updates left out because loss or gradient were not finite
        self._skipped_in_a_row = 0
        self.stop = StopRequest()
        self._pending: list[dict[str, Tensor]] = []  # losses of the accumulation under way
        self._sums: dict[str, Tensor] = {}  # over the batches that were not skipped, since the last line of the log
        self._counted = self._batches = 0
        self._seconds = self._waiting = 0.0

        self._begun = time.perf_counter()
        self._whole = objective  # as it is without what accelerate puts around it
        self._flops: dict[tuple, float] = {}  # of a batch, forward and backward, by the shapes of what is in it
        self._worked = 0.0  # FLOPs of this process since the last line of the log
        self._ceiling = 0.0  # FLOP/s of all processes' matrix products
        self._saved = -1  # the step of the last checkpoint written

        optimizer = make_optimizer(objective, self.optim)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        if self.config.compile:
            # In place: a compiled module that wraps this one would put its name before those of all weights.
            objective.compile(backend=self.config.compile_backend)
        self.averages = {
            name: EMAModel(model.parameters(), decay=self.optim.ema_decay, foreach=True)
            for name, model in self.components.items()
        }
        self._bare_optimizer = optimizer
        self._resume()

    def batches(self, source: SampleSource | ShapeStream) -> Iterator[dict[str, Tensor]]:
        """The batches still to come, each with its own random stream set and its place in the accumulation known."""
        accelerator, accumulation = self.accelerator, self.config.accumulation
        rank, processes = accelerator.process_index, accelerator.num_processes
        share = {"batch_size": self.config.batch_size, "seed": self.config.seed, "rank": rank, "processes": processes}
        numbers = range(self.step * accumulation, self.config.steps * accumulation)
        if isinstance(source, ShapeStream):
            loader = source.batches(numbers, workers=self.config.workers, **share)
        else:
            loader = iter(
                DataLoader(
                    NumberedBatches(source, **share),
                    batch_size=None,
                    sampler=numbers,
                    num_workers=self.config.workers,
                    prefetch_factor=4 if self.config.workers else None,
                    worker_init_fn=ignore_signals,
                )
            )
        self.stop.install()
        try:
            for number in numbers:
                if self.updated and self._must_stop():
                    break
                self._clock = time.perf_counter()
                read = next(loader)
                batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in read.items()}
                self._waiting += time.perf_counter() - self._clock
                torch.manual_seed(derive_seed(self.config.seed, number, rank, 1))
                self.common.manual_seed(derive_seed(self.config.seed, number, 0, 2))
                with accelerator.accumulate(self.objective):
                    yield batch
        finally:
            del loader  # ends its worker processes
            if self.stop.signum is None:
                self.stop.restore()  # otherwise `finish` does, once the checkpoint is written

    def losses(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """What the objective says of a batch; the first one of any shape also tells how many FLOPs it takes."""
        batch = shapes([args, kwargs])
        if batch not in self._flops:
            self._measure(args, kwargs, batch)
        self._worked += self._flops[batch]
        return self.objective(*args, **kwargs)

    def update(self, losses: Mapping[str, Tensor]) -> None:
        """Backward; at the end of an accumulation also clip, AdamW, averages and the log."""
        accelerator = self.accelerator
        loss = losses["loss"]
        # A loss that is not finite can have a finite gradient. Not so here: it spoils those of the whole accumulation
        # on every process, so that one look at their norm says for all of them whether to skip.
        accelerator.backward(loss * torch.where(loss.isfinite(), 1.0, torch.nan))
        self._pending.append({name: value.detach() for name, value in losses.items()})

        self.updated = accelerator.sync_gradients
        if self.updated:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.config.steps, self.optim)
            norm = accelerator.clip_grad_norm_(self.objective.parameters(), self.optim.clip_norm)
            if torch.isfinite(norm):
                self.optimizer.step()
                for name, model in self.components.items():
                    self.averages[name].step(model.parameters())
                self._skipped_in_a_row = 0
                for one in self._pending:
                    for name, value in one.items():
                        self._sums[name] = self._sums.get(name, 0) + value
                    self._counted += 1
            else:
                self._skip()
            self._batches += len(self._pending)
            self._pending.clear()
            self.optimizer.zero_grad()
            self.step += 1
        self._seconds += time.perf_counter() - self._clock
        if self.updated and self.due(self.config.log_every):
            self._log_progress(float(norm))

    def due(self, every: int) -> bool:
        """Is this the end of an `every`-th update, or of the last?"""
        return self.updated and (self.step % every == 0 or self.step == self.config.steps)

    def pause(self, measure: Callable[[], tuple[Mapping[str, float], np.ndarray]] | None = None) -> None:
        """Between two updates, where they are due: what `measure` says of the averaged weights, with its picture, and a
        checkpoint."""
        main, stopping = self.accelerator.is_main_process, self.stop.signum is not None
        if measure is not None and self.due(self.config.validate_every) and main and not stopping:
            with self.averaged():
                scores, picture = measure()
            self.log(scores)
            self.picture("validation", picture)
        if self.due(self.config.checkpoint_every):
            self.save()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the components hold their averaged weights and are in evaluation mode."""
        for name, model in self.components.items():
            self.averages[name].store(model.parameters())
            self.averages[name].copy_to(model.parameters())
            model.eval()
        try:
            yield
        finally:
            for name, model in self.components.items():
                self.averages[name].restore(model.parameters())
                model.train()

    def log(self, values: Mapping[str, float]) -> None:
        """To the console, `log.jsonl` and the trackers."""
        if not self.accelerator.is_main_process:
            return
        line = {"step": self.step, **{name: float(f"{value:.5g}") for name, value in values.items()}}
        with full_disk_named(self.output / "log.jsonl"), (self.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")  # synced by `save`
        self.accelerator.log(dict(values), step=self.step)
        print(f"step {self.step}/{self.config.steps}", *(f"{k} {v:.4g}" for k, v in values.items()), flush=True)

    def picture(self, name: str, image: np.ndarray) -> None:
        """Keeps an (height, width, 3) uint8 picture as `pictures/NAME-STEP.png` and in the trackers."""
        folder = self.output / "pictures"
        with writing_file(folder / f"{name}-{self.step:07d}.png") as partial:
            Image.fromarray(image).save(partial, format="PNG")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: image[None]}, step=self.step, dataformats="NHWC")

    def save(self) -> Path:
        """Writes `checkpoint-STEP`: the state to resume from, and each component's averaged weights, which
        `from_pretrained` reads. A folder of that name is whole, whenever the run is killed or the power fails; older
        ones are removed after that.

        Raises `OSError` if the disk is full; the checkpoints before stay."""
        folder = self.output / f"checkpoint-{self.step}"
        if self.accelerator.is_main_process:
            self._sync_log()
            numbers = {"step": self.step, "skipped": self.skipped, "processes": self.accelerator.num_processes}
            with writing_folder(folder, replace=True) as partial:
                save_state(partial, self._whole, self._bare_optimizer, self.components, self.averages, numbers)
                self.save_components(partial)
                save_config(self.settings, partial / "config.yaml")
            for old in checkpoints(self.output)[: -self.config.checkpoint_limit]:
                remove_folder(old)
        self.accelerator.wait_for_everyone()
        self._saved = self.step
        return folder

    def save_components(self, folder: Path) -> None:
        """The averaged weights, each component in its folder."""
        with self.averaged():
            for name, model in self.components.items():
                with writing_folder(folder / name, replace=True) as partial:
                    model.save_pretrained(partial)

    def finish(self) -> Path:
        """Writes the averaged weights into the output folder, or before the last step a checkpoint, and closes the
        trackers. Raises `Stopped`, with the way to go on as its message, if a signal ended the run."""
        try:
            message = self._conclude()
            self.accelerator.end_training()
        finally:
            self.stop.restore()
        if self.stop.signum is not None:
            raise Stopped(self.stop.signum, message)
        if self.step < self.config.steps:
            self.accelerator.print(message, flush=True)
        return self.output

    def _conclude(self) -> str:
        """Writes weights or checkpoint; returns the message for a run that was stopped."""
        signum, step, steps = self.stop.signum, self.step, self.config.steps
        name = "" if signum is None else signal.Signals(signum).name
        if step < steps:
            why = f"by {name}" if name else f"after {self.config.max_minutes:g} minutes"
            folder = self.output / f"checkpoint-{step}" if self._saved == step else self.save()
            again = "" if self.config.resume == "latest" else " with --run.resume latest"
            return (
                f"stopped {why} at step {step} of {steps}; {folder} holds all of it. To go on, give the same command "
                f"again{again}"
            )
        if self.accelerator.is_main_process:
            self.save_components(self.output)
            self._sync_log()
        return f"{name} came at the last step: the run is complete, {self.output} holds its weights"

    def _resume(self) -> None:
        found, main = chosen_checkpoint(self.config), self.accelerator.is_main_process
        if found is not None:
            check_checkpoint(found, self._whole)
            new = load_state(found, self._whole, self._bare_optimizer, self.components, self.averages)
            if new:
                warn(f"another optimiser trained {len(new)} of the weights before: its state is not used for them")
            state = read_state(found)
            self.step, self.skipped = state["step"], state["skipped"]
        if main:
            for name in self.components:
                remove_leftovers(self.output / name, self.output)
            forget_after(self.output / "log.jsonl", self.step)
            print(
                f"{describe_processes(self.accelerator, self.config.mixed_precision)}; "
                f"{describe_batch(self.config.batch_size, self.config.accumulation, self.accelerator.num_processes)}\n"
                + ("beginning" if found is None else f"resuming from {found}")
                + f" at step {self.step} of {self.config.steps}; output in {self.output}",
                flush=True,
            )

    def _sync_log(self) -> None:
        if (log := self.output / "log.jsonl").is_file():
            sync(log)

    def _must_stop(self) -> bool:
        """Whether a signal or `run.max_minutes` ends the run; true on all processes if it is on one."""
        minutes = self.config.max_minutes
        late = minutes is not None and time.perf_counter() - self._begun > 60 * minutes
        if self.accelerator.num_processes > 1:
            told = torch.tensor([[self.stop.signum or 0, int(late)]], device=self.accelerator.device)
            signum, late = self.accelerator.gather(told).amax(dim=0).tolist()
            self.stop.signum = signum or None
        return bool(late) or self.stop.signum is not None

    def _measure(self, args: Sequence[Any], kwargs: Mapping[str, Any], batch: tuple) -> None:
        accelerator, start = self.accelerator, time.perf_counter()
        if not self._flops:
            check_objective(accelerator, self._whole, args, kwargs, batch_size=self.config.batch_size)
            dtype = torch.bfloat16 if self.config.mixed_precision == "bf16" else torch.float32
            accelerator.wait_for_everyone()  # processes that share a machine are measured sharing it
            ceiling = torch.tensor(matmul_ceiling(accelerator.device, dtype), device=accelerator.device)
            self._ceiling = float(accelerator.reduce(ceiling))
        size = self.config.batch_size
        self._flops[batch] = size * count_flops(
            self._whole, args, kwargs, batch_size=size, autocast=accelerator.autocast()
        )
        self._clock += time.perf_counter() - start  # none of this is training

    def _skip(self) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > self.config.nonfinite_limit:
            kept = checkpoints(self.output)
            last = (
                f"The last checkpoint, {kept[-1]}, is from before: the same command goes on from it; with other "
                "settings add --run.resume changed."
                if kept
                else "No checkpoint was written before."
            )
            raise FloatingPointError(
                f"loss or gradient were not finite for {self._skipped_in_a_row} updates in a row, the last at step "
                f"{self.step}; lower optim.lr or look at the data. {last}"
            )

    def _log_progress(self, grad_norm: float) -> None:
        samples = self._batches * self.config.batch_size * self.accelerator.num_processes
        values = {name: float(total) / self._counted for name, total in self._sums.items()}
        values |= {
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": grad_norm,
            "samples_per_s": samples / self._seconds,
            "waiting": self._waiting / self._seconds,
            "minutes_left": (self.config.steps - self.step) * self.config.accumulation * self._seconds
            / self._batches / 60,
        }  # fmt: skip
        if self._flops:
            values["mfu"] = self.accelerator.num_processes * self._worked / self._seconds / self._ceiling
        if self.skipped:
            values["skipped"] = self.skipped
        self.log(values)
        self._sums, self._counted, self._batches = {}, 0, 0
        self._seconds = self._waiting = self._worked = 0.0
