"""Memory of stages, and offloading: the parts of `benchmarks/checkpoints.py` that run in separate processes.

The memory of a stage is the peak beyond the memory before it (on CUDA: of torch's allocations), and the peak of the
whole process, with weights and libraries. Of the dense query a hundredth of the chunks is evaluated, and the grid comes
from our field, as if the chunks needed no memory afterwards.
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
"""Steps of a run with offloading. The first one fills caches and is not timed."""
ACCELERATED = ("none", "model", "sequential", "group: block", "group: leaf", "group: block, disk")
ON_CPU = ("none", "group: block, disk")
GRID = 32

app = typer.Typer(add_completion=False)


class Peak(PeakMemory):
    """The peak memory of the process in MiB while the block runs; on CUDA, of torch's allocations.

    `all` includes what was allocated before; `most` does not.
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
def stage(model: str, name: str, code: str, dtype: str, folder: Path, size: str, device: str, threads: int) -> None:
    """Print the memory of one stage in MiB. It is run once before, except for surfaces."""
    begin(threads)
    setting = Setting(folder, size, torch.device(device))
    if name == "planes to mesh":
        call = surface_call(SURFACES[model](setting, getattr(torch, dtype), setting.size.resolutions[-1]), code)
    else:
        call = STAGES[model][name](setting, getattr(torch, dtype), code)
        call()
    with Peak(setting.device) as peak:
        call()
    print(json.dumps({"more": peak.most, "all": peak.all}))


def surface_call(surface: Any, code: str) -> Callable[[], object]:
    bounds = (-surface.radius, surface.radius)
    if code == "ours":
        return lambda: extract_surface(surface.field, surface.resolution, level=surface.level, bounds=bounds,
                                       activation=surface.activation)  # fmt: skip
    chunks = surface.chunks(100)

    def published() -> object:
        for chunk in chunks:
            surface.query(chunk)
        return mcubes.marching_cubes(surface.dense(), 0.0)

    return published


@app.command("offload")
def offload(mode: str, dtype: str, folder: Path, size: str, device: str, threads: int) -> None:
    """Print the seconds of a step and the MiB of a run, photo to grid, with a mode of offloading."""
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
        times = [time.perf_counter()]

        def record(*step: object) -> dict:
            if where.type == "cuda":
                torch.cuda.synchronize(where)
            times.append(time.perf_counter())
            return {}

        options = {"num_inference_steps": STEPS, "resolution": GRID, "output_type": "pt"}
        with Peak(where) as peak:
            pipe(photo(), callback_on_step_end=record, **options)
    seconds = median(after - before for before, after in zip(times[1:], times[2:], strict=False))
    print(json.dumps({"s": seconds, "MiB": peak.all}))


def run_command(*arguments: object) -> dict[str, float]:
    """The output of one of the commands above, run in a separate process."""
    command = [sys.executable, __file__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def memory_rows(setting: Setting, model: str, dtypes: list[str], threads: int) -> list[dict[str, Any]]:
    rows, where = [], (setting.folder, setting.size_name, setting.device)
    for name in (*STAGES[model], "planes to mesh"):
        for dtype in dtypes:
            measured = [
                run_command("stage", model, name, code, dtype, *where, threads) for code in ("original", "ours")
            ]
            before, after = measured
            rows.append({"stage": name, "dtype": dtype, "original MiB": before["more"], "ours MiB": after["more"],
                         "less by": before["more"] / max(after["more"], 1.0),
                         "original, all MiB": before["all"], "ours, all MiB": after["all"]})  # fmt: skip
    return rows


def offload_rows(setting: Setting, dtypes: list[str], threads: int) -> list[dict[str, Any]]:
    modes = ON_CPU if setting.device.type == "cpu" else ACCELERATED
    rows = []
    for dtype in dtypes:
        for mode in modes:
            result = run_command("offload", mode, dtype, setting.folder, setting.size_name, setting.device, threads)
            rows.append({"offload": mode, "dtype": dtype, "s per step": result["s"], "peak MiB": result["MiB"]})
    return rows


if __name__ == "__main__":
    app()
