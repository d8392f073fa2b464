"""Speed of training: samples per second, model FLOP utilization, share of the time spent waiting for data.

    python benchmarks/training.py                       # pipelines/mini on the available device
    python benchmarks/training.py pipelines/base        # on a GPU

Stages 1 and 3 run as `scripts/` run them, with random weights: from shards and from a stream, compiled and not,
alternately. The results are the medians of the values in their logs. `mfu` is the model's FLOPs (forward and backward)
divided by those of a square matrix product of the same precision, which is measured at the start of each run.
"""

import json
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

from triplane3d.config import AutoencoderConfig, DenoiserConfig, LatentsConfig, build
from triplane3d.data.procedural.samples import write_shape_shard
from triplane3d.evaluation.timing import time_calls
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training import autoencoder, denoiser
from triplane3d.training.latents import encode

Lines = dict[str, list[dict[str, float]]]
REUSE = 8


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder whose architecture is trained.")] = "pipelines/mini",
    batch_size: Annotated[int, typer.Option(help="Samples of a step.")] = 32,
    steps: Annotated[int, typer.Option(help="Steps of a run after the first eight, which are not counted.")] = 16,
    repeats: Annotated[int, typer.Option(help="Runs of each mode.")] = 3,
    stages: Annotated[str, typer.Option(help="Stages to train.")] = "autoencoder,denoiser",
    modes: Annotated[
        str, typer.Option(help="Sources and compilation.")
    ] = "shards,stream,shards compiled,stream compiled",
    workers: Annotated[int, typer.Option(help="Processes that read or generate data ahead.")] = 1,
    precision: Annotated[str, typer.Option(help="no or bf16.")] = "bf16",
    image_size: Annotated[int, typer.Option(help="Edge of the photos in pixels.")] = 128,
) -> None:
    """Print a table for each stage."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    print(f"{pipeline}, batches of {batch_size}, {precision}, {device}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, pipeline, shapes=max(64, batch_size), image_size=image_size)
        for stage in stages.split(","):
            lines: Lines = defaultdict(list)
            calls = {}
            for mode in modes.split(","):
                run = {"output": str(folder / "run"), "steps": REUSE + steps, "batch_size": batch_size,
                       "resume": "none", "workers": workers, "mixed_precision": precision, "trackers": (),
                       "log_every": REUSE, "checkpoint_every": 10**9, "compile": mode.endswith("compiled")}  # fmt: skip
                values = {"pipeline": pipeline, "run": run, "optim": {"muon": True},
                          "data": source(stage, mode, folder, batch_size, image_size)}  # fmt: skip
                calls[mode] = partial(train, stage, values, lines[mode])
            timings = time_calls(calls, baseline=next(iter(calls)), repeats=repeats, warmup=0)
            print(f"\n{stage:24s} {'samples/s':>10s} {'mfu':>7s} {'waiting':>8s} {'whole run':>10s}")
            for mode, logged in lines.items():
                keys = ("samples_per_s", "mfu", "waiting")
                speed, mfu, waiting = (median(line[key] for line in logged) for key in keys)
                print(f"{mode:24s} {speed:10.2f} {mfu:7.1%} {waiting:8.1%} {timings[mode].seconds:8.1f} s", flush=True)


def prepare(folder: Path, pipeline: str, *, shapes: int, image_size: int) -> None:
    """Writes shards, an autoencoder with random weights, and its latents of the shards."""
    (folder / "data").mkdir()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    write_shape_shard(
        folder / "data" / "shapes.safetensors", range(shapes), views=1, image_size=image_size, device=device
    )
    vae = AutoencoderKLTriplane.from_config(AutoencoderKLTriplane.load_config(pipeline, subfolder="vae"))
    vae.save_pretrained(folder / "vae")
    encode(build(LatentsConfig, {"vae": str(folder / "vae"), "data": str(folder / "data"),
                                 "output": str(folder / "latents"), "batch_size": 16}))  # fmt: skip


def source(stage: str, mode: str, folder: Path, batch_size: int, image_size: int) -> dict[str, Any]:
    """The `data` section of a stage. A stream renews a quarter of a batch every second step."""
    data: dict[str, Any] = {"vae": str(folder / "vae")} if stage == "denoiser" else {}
    if mode.startswith("shards"):
        data["folder"] = str(folder / "data")
        return data | ({"latents": str(folder / "latents")} if stage == "denoiser" else {})
    data |= {"stream": True, "group_size": max(1, batch_size // 4), "pool": 4 * max(1, batch_size // 4), "reuse": REUSE}
    return data | ({"views": 1, "image_size": image_size} if stage == "denoiser" else {})


def train(stage: str, values: dict[str, Any], lines: list[dict[str, float]]) -> None:
    """One run. Adds the lines of its log except the first to `lines`."""
    log = Path(values["run"]["output"]) / "log.jsonl"
    log.unlink(missing_ok=True)
    if stage == "autoencoder":
        autoencoder.train(build(AutoencoderConfig, values))
    else:
        denoiser.train(build(DenoiserConfig, values))
    lines += [json.loads(line) for line in log.read_text().splitlines()][1:]


if __name__ == "__main__":
    typer.run(main)
