"""The start of a training run: accelerator, output folder, and the checks that come before any model is loaded."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, LoggerType, ProjectConfiguration
from transformers.utils.logging import disable_progress_bar

from triplane3d.config import OptimConfig, RunConfig, save_config
from triplane3d.printing import print_line
from triplane3d.storage.durable import remove_temporaries
from triplane3d.storage.locks import lock_folder
from triplane3d.storage.writability import check_folder
from triplane3d.training.checkpointing import (
    changed_settings,
    chosen_checkpoint,
    first_changes,
    refuse_changes,
    set_aside,
)
from triplane3d.training.processes import make_accelerator
from triplane3d.training.state import read_state

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
"""Ways of running that split the model over devices. Averages and checkpoints need the whole model on each device."""


@runtime_checkable
class StageConfig(Protocol):
    """The sections that the configuration of every training stage has."""

    @property
    def run(self) -> RunConfig: ...

    @property
    def optim(self) -> OptimConfig: ...


def start_run(config: StageConfig) -> Accelerator:
    """Prepares the output folder and returns the accelerator; seeds torch, for weights that are created next.

    Raises:
        ValueError: for settings that cannot work, if another process uses the folder, or if the folder holds a run of
            other settings and `run.resume` does not choose how to continue.
        OSError: if the folder cannot be written to.
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
            f"{accelerator.distributed_type.value} splits the model over devices, but averaged weights and checkpoints "
            "need the whole model on each device. Choose multi-GPU (DDP) in `accelerate config`, or use "
            "`accelerate launch --multi_gpu`"
        )
    if accelerator.is_main_process:
        check_folder(output, "run.output")
        lock_folder(output, create=False)
    accelerator.wait_for_everyone()
    checkpoint = chosen_checkpoint(run)
    changed = [] if checkpoint is None else changed_settings(checkpoint, config, accelerator.num_processes)
    if checkpoint is not None and run.resume == "latest":
        refuse_changes(checkpoint, changed)
    accelerator.wait_for_everyone()  # all processes have read the files that the main process now writes
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        lock_folder(output)
        remove_temporaries(output)
        if aside := set_aside(output, None if checkpoint is None else read_state(checkpoint)["step"]):
            print_line(f"files of an earlier run in {output} are now in {aside}")
        save_config(config, output / "config.yaml")
        accelerator.init_trackers("tensorboard")
        if changed:
            print_line(f"settings differ from those of {checkpoint}: {first_changes(changed)}")
    accelerator.wait_for_everyone()
    disable_progress_bar()  # transformers shows one for every file of every checkpoint
    torch.manual_seed(run.seed)
    return accelerator
