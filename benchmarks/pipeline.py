"""Costs of the pipeline: its overhead over its modules, import times, half precision, and each quality.

    python benchmarks/pipeline.py --model mini

Times are measured alternately in one run. Overlap (V-IoU) is that of two fields on one grid, or of a field
and the true shape. Shapes are validation shapes of the trained families, with one photo each.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes
from triplane3d.evaluation.timing import time_calls
from triplane3d.geometry.isosurface import extract_surface

GRID = 64


def main(
    model: Annotated[str, typer.Option(help="A pipeline that ships with the library, or a folder.")] = "mini",
    shapes: Annotated[int, typer.Option(help="Number of validation shapes for overlaps.")] = 24,
    repeats: Annotated[int, typer.Option(help="Number of timings; the median is printed.")] = 7,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Costs of the pipeline: its overhead over its modules, import times, half precision, and each quality."""
    torch.set_num_threads(threads)
    pipe = load(model)
    cases = held_out_shapes(shapes, list(FAMILIES), seed=0, resolution=GRID)

    print("The pipeline at its default quality, and the same modules called directly, one photo:")
    pixel_values = pipe.image_processor.preprocess(cases[0].pil_image).pixel_values
    calls = {
        "bare modules": lambda: call_modules(pipe, pixel_values),
        "pipeline": lambda: pipe(cases[0].pil_image, generator=seed()),
    }
    for timing in time_calls(calls, baseline="bare modules", repeats=repeats).values():
        print(" ", timing)

    print("\nImport times and start of the command, each in a new process:")
    for name, (seconds, ratio) in start_times(repeats).items():
        print(f"  {name:32s} {seconds:10.3f} s  {ratio:8.2f}x")

    print(f"\nSaved and loaded in half precision, and compared with float32 ({shapes} shapes):")
    full = grids(pipe, cases)
    truth = [inside(case) for case in cases]
    print(f"  {'float32':12s} overlap with the truth {mean_iou(full, truth):.4f}")
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        with tempfile.TemporaryDirectory() as folder:
            load(model).to(dtype).save_pretrained(folder)
            half = grids(load(folder, dtype=dtype), cases)
        overlaps = f"overlap with the truth {mean_iou(half, truth):.4f}, with float32 {mean_iou(half, full):.4f}"
        print(f"  {name:12s} {overlaps}")

    print(f"\nEach quality ({shapes} shapes; seconds from one photo to its mesh, without the first call):")
    presets = dict(sorted(pipe.config.presets.items(), key=lambda item: item[1]["num_inference_steps"]))
    for name, preset in presets.items():
        seconds = median_seconds(partial(pipe, cases[0].pil_image, quality=name), repeats)
        overlap = mean_iou(grids(pipe, cases, quality=name), truth)
        settings = ", ".join(f"{key} {value}" for key, value in preset.items())
        print(f"  {name:10s} {seconds:7.2f} s   V-IoU {overlap:.4f}   {settings}")


def load(model: str, **options: object) -> Triplane3DPipeline:
    pipe = Triplane3DPipeline.from_pretrained(model, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


@torch.no_grad()
def call_modules(pipe: Triplane3DPipeline, pixel_values: torch.Tensor) -> None:
    """The same computation at default settings without the pipeline, from a prepared photo."""
    preset = pipe.config.presets["balanced"]
    scale = preset["guidance_scale"]
    tokens = pipe.image_encoder(pixel_values).last_hidden_state
    tokens = torch.cat([torch.zeros_like(tokens), tokens])
    config = pipe.transformer.config
    latents = torch.randn(1, config.in_channels, config.sample_size, 3 * config.sample_size, generator=seed())
    pipe.scheduler.set_timesteps(preset["num_inference_steps"])
    for timestep in pipe.scheduler.timesteps:
        both = pipe.transformer(torch.cat([latents, latents]), timestep.expand(2), tokens, return_dict=False)[0]
        unconditional, conditional = both.chunk(2)
        prediction = unconditional + scale * (conditional - unconditional)
        latents = pipe.scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    extract_surface(pipe.decode_latents(latents)[0], preset["resolution"])


def start_times(repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds of each process, and the ratio to the import of diffusers' pipeline module."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "triplane3d"
        script.write_text("import sys\nfrom triplane3d.cli import main\nsys.exit(main())\n")
        commands = {
            "import diffusers' pipeline module": [sys.executable, "-c", "import diffusers.pipelines.pipeline_utils"],
            "import triplane3d": [sys.executable, "-c", "import triplane3d"],
            "import Triplane3DPipeline": [sys.executable, "-c", "from triplane3d import Triplane3DPipeline"],
            "triplane3d --help": [sys.executable, str(script), "--help"],
        }
        calls = {
            name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
            for name, command in commands.items()
        }
        timings = time_calls(calls, baseline=next(iter(calls)), repeats=repeats)
    return {name: (timing.seconds, timing.ratio) for name, timing in timings.items()}


def grids(pipe: Triplane3DPipeline, cases: list[EvaluationShape], **options: object) -> list[np.ndarray]:
    """The pipeline's occupancy of every shape, on one grid each."""
    grids = []
    for number, case in enumerate(cases):
        logits = pipe(case.pil_image, generator=seed(number), output_type="np", **{**options, "resolution": GRID})[0]
        grids.append(logits[0] > 0)
    return grids


def inside(case: EvaluationShape) -> np.ndarray:
    axis = torch.linspace(-1, 1, GRID + 1)
    nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return np.asarray(case.solid.occupancy(nodes.numpy())).reshape([GRID + 1] * 3)


def mean_iou(predicted: list[np.ndarray], truths: list[np.ndarray]) -> float:
    return float(np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in zip(predicted, truths, strict=True)]))


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


if __name__ == "__main__":
    typer.run(main)
