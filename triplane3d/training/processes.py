"""Processes and devices of a run, and the resulting batch size, as printed at the start of every run.

`accelerate launch` starts several processes only for GPUs. torchrun starts several on a CPU:

    torchrun --standalone --nproc_per_node 2 scripts/train_denoiser.py configs/mini/denoiser_views.yaml
"""

import os
from typing import Any

import torch
from accelerate import Accelerator

from triplane3d.printing import print_line


def make_accelerator(*, mixed_precision: str, **options: Any) -> Accelerator:
    """An `Accelerator` with these `options`. It connects all processes that the launcher started.

    Raises `ValueError` for processes that are not connected, and for fp16 without a GPU.
    """
    if mixed_precision == "fp16" and not torch.accelerator.is_available():
        raise ValueError("mixed_precision=fp16 needs a GPU, and there is none: set it to bf16 or no")
    started = int(os.environ.get("WORLD_SIZE", "1"))
    # Without a GPU, accelerate connects torchrun's processes only with `cpu=True`.
    cpu = started > 1 and not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision, **options)
    if accelerator.num_processes != started:
        raise ValueError(
            f"{started} processes were started, but they are not connected: each would train alone and write the same "
            "files. For processes on a CPU set ACCELERATE_USE_CPU=true"
        )
    if accelerator.is_main_process:
        for warning in launch_warnings(accelerator.num_processes, mixed_precision):
            print_line(f"warning: {warning}", error=True)
    return accelerator


def launch_warnings(processes: int, mixed_precision: str) -> list[str]:
    """Options of `accelerate launch` that have no effect here, as warnings."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return []
    found = []
    # accelerate launch sets MASTER_ADDR only for several processes or machines.
    if processes == 1 and "MASTER_ADDR" in os.environ:
        found.append(
            "accelerate launch was given several processes, but it starts several only on GPUs: this is the only one. "
            "For 2 processes on a CPU: torchrun --standalone --nproc_per_node 2 SCRIPT CONFIG.yaml"
        )
    requested = os.environ["ACCELERATE_MIXED_PRECISION"]
    if requested not in ("no", mixed_precision):
        found.append(
            f"accelerate launch was given --mixed_precision {requested}, but the configuration's mixed_precision "
            f"is used: {mixed_precision}"
        )
    return found


def describe_processes(accelerator: Accelerator, mixed_precision: str) -> str:
    """Such as "2 processes on cpu, 1 thread each, in bf16"."""
    device = accelerator.device.type
    threads = f", {_counted(torch.get_num_threads(), 'thread')} each" if device == "cpu" else ""
    precision = "float32" if mixed_precision == "no" else mixed_precision
    return f"{_counted(accelerator.num_processes, 'process')} on {device}{threads}, in {precision}"


def describe_batch(batch_size: int, accumulation: int, processes: int) -> str:
    """Such as "48 samples an update: batches of 24 x 1 accumulated x 2 processes"."""
    total = batch_size * accumulation * processes
    parts = f"batches of {batch_size} x {accumulation} accumulated x {_counted(processes, 'process')}"
    return f"{_counted(total, 'sample')} an update: {parts}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"
