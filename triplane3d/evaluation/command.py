"""The command line of `scripts/evaluate.py`: options, their checks, and the report's output."""

import json
import time
import warnings
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from triplane3d.data.procedural import FIRST_EVALUATION_SEED
from triplane3d.evaluation.agreement import NOISE_SEEDS, PASSES, SHAPES
from triplane3d.evaluation.evaluation_shapes import MESH_SUFFIXES
from triplane3d.evaluation.photos import PHOTO_SUFFIXES
from triplane3d.evaluation.protocol import GRID_RESOLUTION, MEASURED_SURFACES, SEED_STRIDE
from triplane3d.evaluation.report import Report
from triplane3d.evaluation.runner import ALL, SUITES, Options, run_suites
from triplane3d.evaluation.steps import STEPS
from triplane3d.evaluation.views import COUNTS
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.pipelines.saved import find_saved
from triplane3d.printing import print_line
from triplane3d.settings import MAX_PASSES
from triplane3d.storage.durable import write_file
from triplane3d.storage.writability import check_file

CHOICES = (*SUITES, "all")
Number = TypeVar("Number", int, float)


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(CHOICES)}.")] = "all",
    shapes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Held-out procedural shapes per data set; default: {Options.shapes}, suite `agreement`: {SHAPES}.",
        ),
    ] = None,
    surfaces: Annotated[
        int, typer.Option(min=0, help="Number of these shapes whose surfaces are measured.")
    ] = MEASURED_SURFACES,
    resolution: Annotated[
        int, typer.Option(min=4, help="Cells along an edge of the grids that surfaces are extracted from.")
    ] = GRID_RESOLUTION,
    retrieval_shapes: Annotated[
        int, typer.Option("--retrieval-shapes", "--bank", min=1, help="Training shapes in the retrieval index.")
    ] = 1024,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the pipeline's.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Guidance scale; default: the pipeline's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Selects the held-out shapes and the noise.")] = 0,
    seeds: Annotated[int, typer.Option(min=2, help="Suite `variety`: predictions per image.")] = 8,
    images: Annotated[int, typer.Option("--images", "--pictures", min=1, help="Suite `variety`: images.")] = 16,
    step_counts: Annotated[str, typer.Option(help="Suite `steps`: numbers of steps.")] = ",".join(map(str, STEPS)),
    guidances: Annotated[str | None, typer.Option(help="Suite `steps`: guidance scales, for example 1,3,5.")] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="Suite `steps`: the pipeline that a few-step pipeline was distilled from, for comparison."),
    ] = None,
    view_counts: Annotated[str, typer.Option(help="Suite `views`: numbers of photos.")] = ",".join(map(str, COUNTS)),
    refine: Annotated[
        int, typer.Option(min=1, max=MAX_PASSES, help="Suite `agreement`: passes of refinement.")
    ] = PASSES,
    noise_seeds: Annotated[
        str, typer.Option(help="Suite `agreement`: a shape's score is the mean over these seeds of the noise.")
    ] = ",".join(map(str, NOISE_SEEDS)),
    meshes: Annotated[Path | None, typer.Option(help="Folder of closed meshes to evaluate on as well.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of photos of single objects to evaluate on.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all results.")] = None,
) -> None:
    """Measure a saved pipeline and reference methods on the same shapes. docs/evaluation.md describes the suites."""
    suite = current_suite(suite)
    if shapes is None:
        shapes = SHAPES if suite == "agreement" else Options.shapes
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    # Former names of two options, which programs written for earlier reports read.
    settings |= {"bank": retrieval_shapes, "pictures": images}

    # All options are checked first, because the computation takes hours.
    if suite not in CHOICES:
        raise ValueError(f"--suite must be one of {', '.join(CHOICES)}, got {suite!r}")
    options = Options(
        suites=ALL if suite == "all" else (suite,),
        shapes=shapes,
        surfaces=surfaces,
        resolution=resolution,
        retrieval_shapes=retrieval_shapes,
        steps=steps,
        guidance=guidance,
        seed=seed,
        seeds=seeds,
        images=images,
        step_counts=numbers("--step-counts", step_counts, int, least=1),
        guidances=[guidance] if guidances is None else numbers("--guidances", guidances, float, least=0.0),
        view_counts=numbers("--view-counts", view_counts, int, least=1),
        refine=refine,
        noise_seeds=numbers("--noise-seeds", noise_seeds, int, least=0),
        meshes=meshes,
        photos=photos,
    )
    for saved in (pipeline, *([] if teacher is None else [teacher])):
        find_saved(saved)
    check_folder("--meshes", meshes, MESH_SUFFIXES)
    check_folder("--photos", photos, PHOTO_SUFFIXES)
    if output is not None:
        check_file(output, "--output")
    pipe = load(pipeline)
    if suite == "views" and max(options.view_counts) > 1 and not pipe.transformer.config.camera_condition:
        raise ValueError(f"--suite views: {pipeline} accepts one photo of each object: use --view-counts 1")
    teacher_pipe = None if teacher is None or "steps" not in options.suites else load(teacher)

    report = Report(f"{pipeline}, seed {seed}, shapes from {FIRST_EVALUATION_SEED + SEED_STRIDE * seed} on", settings)
    run_suites(pipe, options, report, teacher=teacher_pipe, log=log)
    for line in ("", *report.text().splitlines()):
        print_line(line)
    if output is not None:
        write_file(output, json.dumps(report.to_json(), indent=1))
        log(f"written to {output}")


def current_suite(suite: str) -> str:
    """The suite's present name. `selftest` is the former name of `sanity-checks`; it gives a `FutureWarning`."""
    if suite != "selftest":
        return suite
    warnings.warn("--suite selftest is now called --suite sanity-checks", FutureWarning, stacklevel=2)
    return "sanity-checks"


def load(saved: str) -> Triplane3DPipeline:
    """A saved pipeline, loaded and run without progress bars."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    pipe = Triplane3DPipeline.from_pretrained(saved)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def numbers(option: str, text: str, kind: type[Number], *, least: float) -> list[Number]:
    """The comma-separated numbers of an option. Raises ValueError unless each is finite and at least `least`."""
    try:
        values = [kind(word) for word in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(least <= value < float("inf") for value in values):
        noun = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"{option} takes {noun} of {least:g} or more with commas between them, got {text!r}")
    return values


def check_folder(option: str, folder: Path | None, suffixes: tuple[str, ...]) -> None:
    """Raises ValueError if the option is given and does not name a folder with files of these suffixes."""
    if folder is None:
        return
    if not folder.is_dir():
        raise ValueError(f"{option} {folder} is not a folder")
    if not any(path.suffix.lower() in suffixes for path in folder.iterdir()):
        raise ValueError(f"{option} {folder} holds none of {', '.join(f'*{suffix}' for suffix in suffixes)}")


def log(message: str) -> None:
    """Print a line with the time to standard error."""
    print_line(f"{time.strftime('%H:%M:%S')} {message}", error=True)
