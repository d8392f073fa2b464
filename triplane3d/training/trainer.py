"""The training loop of all stages: batches, updates, averaged weights, validation, checkpoints.

A run is a pure function of its configuration: batch n, and all random numbers that are used for it, depend only on the
seed and on n. A run that was killed and resumed therefore ends with the same weights as an uninterrupted run. SIGINT
and SIGTERM stop a run after the current update, with a checkpoint.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

from triplane3d.config import save_config
from triplane3d.data.batches import NumberedBatches, SampleSource
from triplane3d.data.seeds import derive_seed
from triplane3d.data.streams import ShapeStream
from triplane3d.printing import print_line
from triplane3d.signals import Stopped, StopRequest, ignore_signals
from triplane3d.storage.durable import remove_folder, remove_leftovers, writing_folder
from triplane3d.training.architecture import check_checkpoint
from triplane3d.training.checkpointing import checkpoints, chosen_checkpoint, warn
from triplane3d.training.optim import learning_rate, make_optimizer
from triplane3d.training.precision import check_objective
from triplane3d.training.processes import describe_batch, describe_processes
from triplane3d.training.run_log import RunLog
from triplane3d.training.run_setup import StageConfig
from triplane3d.training.state import load_state, read_state, save_state
from triplane3d.training.throughput import ThroughputMeter


class Trainer:
    """Trains one objective, and keeps averaged weights of its components.

    Args:
        accelerator: from `start_run`.
        config: of the stage.
        objective: a module whose forward takes a batch and returns losses by name. "loss" is minimized.
        components: the models inside the objective that are averaged and saved, by folder name.
        lr_shares: modules inside the objective whose learning rate is a share of `optim.lr`, by name.

    A stage's loop is

        for batch in trainer.batches(source):
            trainer.update(trainer.losses(**batch))
            trainer.validate_and_save(measure)
        trainer.finish()
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: StageConfig,
        objective: nn.Module,
        components: Mapping[str, nn.Module],
        lr_shares: Mapping[str, float] | None = None,
    ):
        self.accelerator, self.config, self.run, self.optim = accelerator, config, config.run, config.optim
        self.components = dict(components)
        self.output = Path(self.run.output)
        self.run_log = RunLog(accelerator, self.output, self.run.steps)
        self.throughput = ThroughputMeter(accelerator, self.run.batch_size)
        self.step = 0
        self.common = torch.Generator()
        """For random choices that all processes of a run must make alike."""
        self.updated = False  # whether the last batch completed an accumulation
        self.skipped = 0  # updates that were left out because the loss or the gradient was not finite
        self._skipped_in_a_row = 0
        self.stop = StopRequest()
        self._pending: list[dict[str, Tensor]] = []  # losses of the current accumulation
        self._sums: dict[str, Tensor] = {}  # losses of the updates since the last line of the log
        self._summed_batches = 0
        self._started = time.perf_counter()
        self._saved_step = -1

        self._bare_objective = objective  # without the wrapper that accelerate may add
        self._bare_optimizer = make_optimizer(objective, self.optim, lr_shares)
        self.objective, self.optimizer = accelerator.prepare(objective, self._bare_optimizer)
        if self.run.compile:
            # In place: a wrapping compiled module would add a prefix to the names of all weights.
            objective.compile(backend=self.run.compile_backend)
        self.averages = {
            name: EMAModel(model.parameters(), decay=self.optim.ema_decay, foreach=True)
            for name, model in self.components.items()
        }
        self._resume()

    def batches(self, source: SampleSource | ShapeStream) -> Iterator[dict[str, Tensor]]:
        """The remaining batches, on the device. All random generators are seeded before each one.

        Ends early after an update if a signal or `run.max_minutes` stops the run.
        """
        accelerator, accumulation = self.accelerator, self.run.accumulation
        rank, processes = accelerator.process_index, accelerator.num_processes
        share = {"batch_size": self.run.batch_size, "seed": self.run.seed, "rank": rank, "processes": processes}
        numbers = range(self.step * accumulation, self.run.steps * accumulation)
        if isinstance(source, ShapeStream):
            loader = source.batches(numbers, workers=self.run.workers, **share)
        else:
            loader = iter(
                DataLoader(
                    NumberedBatches(source, **share),
                    batch_size=None,
                    sampler=numbers,
                    num_workers=self.run.workers,
                    prefetch_factor=4 if self.run.workers else None,
                    worker_init_fn=ignore_signals,
                )
            )
        self.stop.install()
        try:
            for number in numbers:
                if self.updated and self._must_stop():
                    break
                with self.throughput.waiting():
                    read = next(loader)
                    batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in read.items()}
                torch.manual_seed(derive_seed(self.run.seed, number, rank, 1))
                self.common.manual_seed(derive_seed(self.run.seed, number, 0, 2))
                with accelerator.accumulate(self.objective):
                    yield batch
        finally:
            del loader  # ends its worker processes
            if self.stop.signum is None:
                self.stop.restore()  # after a signal, `finish` does this once the checkpoint is written

    def losses(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The losses of a batch.

        The first call also compares the run's precision with float32. The first call with new shapes counts FLOPs.
        """
        with self.throughput.not_training():
            if not self.throughput.measured:
                batch_size = self.run.batch_size
                check_objective(self.accelerator, self._bare_objective, args, kwargs, batch_size=batch_size)
            self.throughput.count(self._bare_objective, args, kwargs)
        return self.objective(*args, **kwargs)

    def update(self, losses: Mapping[str, Tensor]) -> None:
        """Backward pass. At the end of an accumulation also clipping, optimizer step, averages and the log."""
        accelerator = self.accelerator
        loss = losses["loss"]
        # A loss that is not finite may still have a finite gradient. It is made NaN here, so that the gradient norm of
        # the accumulation, which all processes share, is not finite either, and all processes skip the same update.
        accelerator.backward(loss * torch.where(loss.isfinite(), 1.0, torch.nan))
        self._pending.append({name: value.detach() for name, value in losses.items()})

        self.updated = accelerator.sync_gradients
        if self.updated:
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr_share"] * learning_rate(self.step, self.run.steps, self.optim)
            norm = accelerator.clip_grad_norm_(self.objective.parameters(), self.optim.clip_norm)
            if torch.isfinite(norm):
                self.optimizer.step()
                for name, model in self.components.items():
                    self.averages[name].step(model.parameters())
                self._skipped_in_a_row = 0
                for batch_losses in self._pending:
                    for name, value in batch_losses.items():
                        self._sums[name] = self._sums.get(name, 0) + value
                    self._summed_batches += 1
            else:
                self._skip()
            self._pending.clear()
            self.optimizer.zero_grad()
            self.step += 1
        self.throughput.end_batch()
        if self.updated and self.due(self.run.log_every):
            self._log_losses(float(norm))

    def due(self, every: int) -> bool:
        """Whether the last batch completed an update whose number is a multiple of `every`, or the last update."""
        return self.updated and (self.step % every == 0 or self.step == self.run.steps)

    def validate_and_save(self, measure: Callable[[], tuple[Mapping[str, float], np.ndarray]] | None = None) -> None:
        """After an update, where they are due: logs scores and picture of `measure`, and writes a checkpoint.

        `measure` is called by the main process while the components hold their averaged weights.
        """
        main, stopping = self.accelerator.is_main_process, self.stop.signum is not None
        if measure is not None and self.due(self.run.validate_every) and main and not stopping:
            with self.averaged():
                scores, picture = measure()
            self.run_log.write(self.step, scores)
            self.run_log.picture(self.step, "validation", picture)
        if self.due(self.run.checkpoint_every):
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

    def save(self) -> Path:
        """Writes `checkpoint-STEP` and removes the oldest checkpoints beyond `run.checkpoint_limit`.

        A checkpoint holds the state to resume from and the averaged weights of each component, which `from_pretrained`
        reads. A folder of that name is always complete, also after a kill or a power cut. Raises `OSError` if the disk
        is full; earlier checkpoints are then kept.
        """
        folder = self.output / f"checkpoint-{self.step}"
        if self.accelerator.is_main_process:
            self.run_log.sync()
            numbers = {"step": self.step, "skipped": self.skipped, "processes": self.accelerator.num_processes}
            with writing_folder(folder, replace=True) as partial:
                save_state(partial, self._bare_objective, self._bare_optimizer, self.components, self.averages, numbers)
                self.save_components(partial)
                save_config(self.config, partial / "config.yaml")
            for old in checkpoints(self.output)[: -self.run.checkpoint_limit]:
                remove_folder(old)
        self.accelerator.wait_for_everyone()
        self._saved_step = self.step
        return folder

    def save_components(self, folder: Path) -> None:
        """Writes the averaged weights of each component into a folder of its name."""
        with self.averaged():
            for name, model in self.components.items():
                with writing_folder(folder / name, replace=True) as partial:
                    model.save_pretrained(partial)

    def finish(self) -> Path:
        """Ends the run and returns the output folder.

        After the last step the averaged weights are written into the output folder, before it a checkpoint. Raises
        `Stopped`, with the command to continue in its message, if a signal ended the run.
        """
        try:
            message = self._save_final()
            self.accelerator.end_training()
        finally:
            self.stop.restore()
        if self.stop.signum is not None:
            raise Stopped(self.stop.signum, message)
        if self.step < self.run.steps:
            if self.accelerator.is_main_process:
                print_line(message)
        return self.output

    def _save_final(self) -> str:
        """Writes weights or a checkpoint; returns the message for a run that was stopped."""
        signum, step, steps = self.stop.signum, self.step, self.run.steps
        name = "" if signum is None else signal.Signals(signum).name
        if step < steps:
            why = f"by {name}" if name else f"after {self.run.max_minutes:g} minutes"
            folder = self.output / f"checkpoint-{step}" if self._saved_step == step else self.save()
            again = "" if self.run.resume == "latest" else " with --run.resume latest"
            return (
                f"stopped {why} at step {step} of {steps}; its state is in {folder}. To continue, give the same "
                f"command again{again}"
            )
        if self.accelerator.is_main_process:
            self.save_components(self.output)
            self.run_log.sync()
        return f"{name} came at the last step: the run is complete, {self.output} holds its weights"

    def _resume(self) -> None:
        """Loads the checkpoint that `run.resume` chooses, if there is one, and prints where the run starts."""
        found, main = chosen_checkpoint(self.run), self.accelerator.is_main_process
        if found is not None:
            check_checkpoint(found, self._bare_objective)
            new = load_state(found, self._bare_objective, self._bare_optimizer, self.components, self.averages)
            if new:
                warn(f"{len(new)} of the weights were trained by another optimizer before: its state is not used")
            state = read_state(found)
            self.step, self.skipped = state["step"], state["skipped"]
        if main:
            for name in self.components:
                remove_leftovers(self.output / name, self.output)
            self.run_log.drop_after(self.step)
            print_line(
                f"{describe_processes(self.accelerator, self.run.mixed_precision)}; "
                f"{describe_batch(self.run.batch_size, self.run.accumulation, self.accelerator.num_processes)}"
            )
            start = "beginning" if found is None else f"resuming from {found}"
            print_line(f"{start} at step {self.step} of {self.run.steps}; output in {self.output}")

    def _must_stop(self) -> bool:
        """Whether a signal or `run.max_minutes` ends the run. If it does on one process, it does on all."""
        minutes = self.run.max_minutes
        late = minutes is not None and time.perf_counter() - self._started > 60 * minutes
        if self.accelerator.num_processes > 1:
            own = torch.tensor([[self.stop.signum or 0, int(late)]], device=self.accelerator.device)
            signum, late = self.accelerator.gather(own).amax(dim=0).tolist()
            self.stop.signum = signum or None
        return bool(late) or self.stop.signum is not None

    def _skip(self) -> None:
        """Counts a skipped update; `FloatingPointError` after more than `run.nonfinite_limit` in a row."""
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > self.run.nonfinite_limit:
            kept = checkpoints(self.output)
            last = (
                f"The last checkpoint, {kept[-1]}, was written before: the same command resumes from it; with other "
                "settings add --run.resume changed."
                if kept
                else "No checkpoint was written before."
            )
            raise FloatingPointError(
                f"loss or gradient were not finite for {self._skipped_in_a_row} updates in a row, the last at step "
                f"{self.step}; lower optim.lr or check the data. {last}"
            )

    def _log_losses(self, grad_norm: float) -> None:
        values = {name: float(total) / self._summed_batches for name, total in self._sums.items()}
        values |= {"lr": self.optimizer.param_groups[0]["lr"], "grad_norm": grad_norm}
        values |= self.throughput.read((self.run.steps - self.step) * self.run.accumulation)
        if self.skipped:
            values["skipped"] = self.skipped
        self.run_log.write(self.step, values)
        self._sums, self._summed_batches = {}, 0
