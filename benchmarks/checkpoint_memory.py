"""What `benchmarks/checkpoints.py` has measured in processes of their own: memory of stages, and offloading.

Memory of a stage is what the process takes beyond what it held before (on CUDA: what torch allocated there), and all
that it then holds, weights and libraries included. The dense query is asked a hundredth of its chunks and takes its
grid from our field: as if its chunks left nothing behind.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import mcubes
import torch
import typer
from checkpoint_stages import (
    Setting,
    backbone,
    begin,
    direct3d_surface,
    guided_step,
    photo,
    triposr_surface,
    vae_decode,
    view,
    vision_transformer,
)
from converted import converted_direct3d
from decode import PeakMemory

from triplane3d.geometry.isosurface import extract_surface

STAGES = {
    "direct3d": {"guided step": guided_step, "decode": vae_decode},
    "triposr": {"image tokens": vision_transformer, "backbone": backbone, "view": view},
}
SURFACES = {"direct3d": direct3d_surface, "triposr": triposr_surface}
STEPS = 4
"""Of a whole run with offloading; the first fills caches and is left out of the time."""
ACCELERATED = ("none", "model", "sequential", "group: block", "group: leaf", "group: block, disk")
ON_CPU = ("none", "group: block, disk")
GRID = 32

app = typer.Typer(add_completion=False)


class Peak(PeakMemory):
    """The most that the process holds while the block runs, what was held before included; on CUDA, that torch holds.

    `most` is what came on top of it.
    """

    def __init__(self, device: torch.device):
        self.device = device

    def __enter__(self) -> "Peak":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        super().__enter__()
        return self

    def held(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

    @property
    def all(self) -> float:
        return self.start + self.most


@app.command("stage")
def stage(model: str, name: str, who: str, dtype: str, folder: Path, size: str, device: str, threads: int) -> None:
    """Prints MiB of one stage, warmed up (surfaces are not)."""
    begin(threads)
    setting = Setting(folder, size, torch.device(device))
    if name == "planes to mesh":
        call = surface_call(SURFACES[model](setting, getattr(torch, dtype), setting.size.resolutions[-1]), who)
    else:
        call = STAGES[model][name](setting, getattr(torch, dtype), who)
        call()
    with Peak(setting.device) as peak:
        call()
    print(json.dumps({"more": peak.most, "all": peak.all}))


def surface_call(surface: Any, who: str) -> Callable[[], object]:
    bounds = (-surface.radius, surface.radius)
    if who == "ours":
        return lambda: extract_surface(surface.field, surface.resolution, level=surface.level, bounds=bounds,
                                       activation=surface.activation)  # fmt: skip
    chunks = surface.chunks(100)

    def published() -> object:
        for chunk in chunks:
            surface.ask(chunk)
        return mcubes.marching_cubes(surface.dense(), 0.0)

    return published


@app.command("offload")
def offload(mode: str, dtype: str, folder: Path, size: str, device: str, threads: int) -> None:
    """Prints seconds of a step and MiB of a whole run, photo to grid, with the weights kept elsewhere."""
    begin(threads)
    where = torch.device(device)
    pipe = converted_direct3d(folder, size, getattr(torch, dtype), where if mode == "none" else None, True)
    with tempfile.TemporaryDirectory(dir=folder) as disk:
        if mode == "model":
            pipe.enable_model_cpu_offload(device=where)
        elif mode == "sequential":
            pipe.enable_sequential_cpu_offload(device=where)
        elif mode != "none":
            options: dict[str, Any] = {"offload_type": "leaf_level", "use_stream": where.type == "cuda"}
            if "block" in mode:
                options |= {"offload_type": "block_level", "num_blocks_per_group": 1}
            if "disk" in mode:
                options["offload_to_disk_path"] = disk
            pipe.enable_group_offload(onload_device=where, offload_device=torch.device("cpu"), **options)
        seen = [time.perf_counter()]

        def note(*step: object) -> dict:
            if where.type == "cuda":
                torch.cuda.synchronize(where)
            seen.append(time.perf_counter())
            return {}

        options = {"num_inference_steps": STEPS, "resolution": GRID, "output_type": "pt"}
        with Peak(where) as peak:
            pipe(photo(), callback_on_step_end=note, **options)
    seconds = median(after - before for before, after in zip(seen[1:], seen[2:], strict=False))
    print(json.dumps({"s": seconds, "MiB": peak.all}))


def ask(*arguments: object) -> dict[str, float]:
    """What one of the commands above prints, run by itself."""
    command = [sys.executable, __file__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def memory_rows(setting: Setting, model: str, dtypes: list[str], threads: int) -> list[dict[str, Any]]:
    rows = []
    for name in (*STAGES[model], "planes to mesh"):
        for dtype in dtypes:
            whose = [
                ask("stage", model, name, who, dtype, setting.folder, setting.size_name, setting.device, threads)
                for who in ("original", "ours")
            ]
            before, after = whose
            rows.append({"stage": name, "dtype": dtype, "original MiB": before["more"], "ours MiB": after["more"],
                         "less by": before["more"] / max(after["more"], 1.0),
                         "original, all MiB": before["all"], "ours, all MiB": after["all"]})  # fmt: skip
    return rows


def offload_rows(setting: Setting, dtypes: list[str], threads: int) -> list[dict[str, Any]]:
    modes = ON_CPU if setting.device.type == "cpu" else ACCELERATED
    rows = []
    for dtype in dtypes:
        for mode in modes:
            got = ask("offload", mode, dtype, setting.folder, setting.size_name, setting.device, threads)
            rows.append({"offload": mode, "dtype": dtype, "s per step": got["s"], "peak MiB": got["MiB"]})
    return rows


if __name__ == "__main__":
    app()
