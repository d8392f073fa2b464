"""Measure a saved pipeline, trivial answers beside every row.

    python scripts/evaluate.py pipelines/mini --suite all --shapes 64 --output runs/eval/mini.json

Suites: `selftest` (the metrics on answers whose scores are known), `autoencoder` (shapes through the autoencoder and
back), `image` (one picture to a shape, in the camera's frame, without alignment), `retrieval` (as `image`, also beside
the training shapes with the most similar pictures), `variety` (many seeds for each of a few pictures), `steps` (few
denoising steps beside many), `views` (several photos of each shape), and `all`: everything but `image`, which
`retrieval` holds, and `views`, for which not every pipeline is made. `benchmarks/learning_curve.py` measures how fast
models learn.
`--meshes FOLDER` adds closed meshes to the suites (seen from two sides where pictures are asked for), `--photos FOLDER`
says how the meshes made of real photos fit them.
Metrics are defined in triplane3d/evaluation/shape_metrics.py, bars in bars.py beside it. Cells say: mean [95% interval
of the mean] mean of the worst tenth.
"""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FIRST_EVALUATION_SEED
from triplane3d.errors import errors_as_sentences
from triplane3d.evaluation.photos import PHOTO_SUFFIXES, photo_suite, worst_photo
from triplane3d.evaluation.report import Report
from triplane3d.evaluation.self_test import agreements, self_test
from triplane3d.evaluation.shapes import (
    MESH_SUFFIXES,
    TWO_SIDES,
    EvaluationShape,
    family_groups,
    held_out_shapes,
    mesh_shapes,
)
from triplane3d.evaluation.steps import STEPS, steps_suite
from triplane3d.evaluation.suites import Bank, autoencoder_suite, image_suite
from triplane3d.evaluation.summary import generalization
from triplane3d.evaluation.variety import variety_suite
from triplane3d.evaluation.views import COUNTS, photos_around_meshes, photos_around_shapes, views_suite
from triplane3d.pipelines.saved import find_saved
from triplane3d.storage.durable import write_file

OF_ALL = ("selftest", "autoencoder", "retrieval", "variety", "steps")
SUITES = ("selftest", "autoencoder", "image", "retrieval", "variety", "steps", "views", "all")
HOME = "trained families"
Number = TypeVar("Number", int, float)


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(SUITES)}.")] = "all",
    shapes: Annotated[int, typer.Option(min=1, help="Held-out procedural shapes per row.")] = 64,
    surfaces: Annotated[int, typer.Option(min=0, help="How many of them also have their surfaces measured.")] = 16,
    resolution: Annotated[int, typer.Option(min=4, help="Cells along the edge of the grids of surfaces.")] = 128,
    bank: Annotated[int, typer.Option(min=1, help="Training shapes to retrieve from.")] = 1024,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps; default: the pipeline's own.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Guidance scale; default: the pipeline's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Picks the held-out shapes and the noise.")] = 0,
    seeds: Annotated[int, typer.Option(min=2, help="Meshes of each picture of the suite `variety`.")] = 8,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of the suite `variety`.")] = 16,
    step_counts: Annotated[str, typer.Option(help="Of the suite `steps`.")] = ",".join(map(str, STEPS)),
    guidances: Annotated[str | None, typer.Option(help="Scales to sweep in the suite `steps`, as in 1,3,5.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="The pipeline that a few-step one was made from: steps are also its share.")
    ] = None,
    view_counts: Annotated[str, typer.Option(help="Of the suite `views`.")] = ",".join(map(str, COUNTS)),
    meshes: Annotated[Path | None, typer.Option(help="Folder of closed meshes to measure on as well.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of photos of single objects, likewise.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for everything that is printed, and more.")] = None,
) -> None:
    """Measure a saved pipeline, trivial answers beside every row."""
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    # All that was given is looked at before anything is computed, which takes hours.
    if suite not in SUITES:
        raise ValueError(f"--suite must be one of {', '.join(SUITES)}, got {suite!r}")
    wanted = OF_ALL if suite == "all" else (suite,)
    scales = [guidance] if guidances is None else numbers("--guidances", guidances, float, least=0.0)
    counts = numbers("--step-counts", step_counts, int, least=1)
    views = numbers("--view-counts", view_counts, int, least=1)
    for saved in (pipeline, *([] if teacher is None else [teacher])):
        find_saved(saved)
    check_folder("--meshes", meshes, MESH_SUFFIXES)
    check_folder("--photos", photos, PHOTO_SUFFIXES)
    if output:
        if output.is_dir():
            raise ValueError(f"--output {output} is a folder: name a JSON file")
        output.parent.mkdir(parents=True, exist_ok=True)
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)
    if "views" in wanted and max(views) > 1 and not pipe.transformer.config.camera_condition:
        raise ValueError(f"--suite views: {pipeline} reads one photo of each object; --view-counts 1 is all it can do")
    report = Report(f"{pipeline}, seed {seed}, shapes from {FIRST_EVALUATION_SEED + 1_000_000 * seed} on", settings)
    own = {"steps": steps, "guidance": guidance, "seed": seed, "progress": tell}

    names = family_groups() if {"autoencoder", "image", "retrieval"} & set(wanted) else {HOME: family_groups()[HOME]}
    groups: dict[str, list[EvaluationShape]] = {}
    for name, families in names.items():
        if families:
            tell(f"drawing {shapes} of {name}")
            groups[name] = held_out_shapes(shapes, families, seed=seed, resolution=resolution)
    pictured = {"image", "retrieval", "variety", "steps", "views"} & set(wanted)
    seen = mesh_shapes(meshes, azimuths=TWO_SIDES, image_size=256) if meshes and pictured else []
    standing = mesh_shapes(meshes, image_size=256) if meshes and {"selftest", "autoencoder"} & set(wanted) else []

    if "selftest" in wanted:
        report.add(self_test(HOME, groups[HOME], surfaces=surfaces, progress=tell))
        if standing:
            of_meshes = self_test("meshes", standing, surfaces=len(standing), table=True, progress=tell)
            report.add(of_meshes)
            report.agreements = agreements(of_meshes)
    if "autoencoder" in wanted:
        for name, cases in (groups | ({"meshes": standing} if standing else {})).items():
            counted = len(cases) if name == "meshes" else surfaces
            report.add(autoencoder_suite(pipe.vae, name, cases, surfaces=counted, resolution=resolution, progress=tell))
        report.estimates += generalization([row for row in report.rows if row.suite == "autoencoder"])
    if {"image", "retrieval"} & set(wanted):
        training = Bank.of_training_shapes(pipe, bank, progress=tell) if "retrieval" in wanted else None
        for name, cases in (groups | ({"meshes, two views": seen} if seen else {})).items():
            retrievals = training.retrieve(pipe, cases, resolution) if training else None
            counted = len(cases) if cases is seen else surfaces
            report.add(
                image_suite(
                    pipe,
                    name,
                    cases,
                    surfaces=counted,
                    resolution=resolution,
                    retrievals=retrievals,
                    align=cases is seen,
                    **own,
                )
            )
    if "variety" in wanted:
        report.add(*variety_suite(pipe, HOME, groups[HOME][:pictures], seeds=seeds, **own))
    if "steps" in wanted:
        guided = None if teacher is None else Triplane3DPipeline.from_pretrained(teacher)
        if guided is not None:
            guided.set_progress_bar_config(disable=True)
        for name, cases in {HOME: groups[HOME], **({"meshes, two views": seen} if seen else {})}.items():
            report.add(
                *steps_suite(
                    pipe, name, cases, steps=counts, guidances=scales, teacher=guided, seed=seed, progress=tell
                )
            )
    if "views" in wanted:
        around = photos_around_shapes(groups[HOME], names[HOME], count=max(views), seed=seed)
        report.add(*views_suite(pipe, HOME, groups[HOME], around, counts=views, **own))
        if seen:
            around = photos_around_meshes(seen, count=max(views))
            report.add(*views_suite(pipe, "meshes, two views", seen, around, counts=views, **own))
    if photos:
        tell("photos")
        report.add(photo_suite(pipe, photos, steps=steps, guidance=guidance, seed=seed, resolution=resolution))
        report.remarks.append(worst_photo(report.rows))

    print(f"\n{report.text()}")
    if output:
        write_file(output, json.dumps(report.to_json(), indent=1))
        tell(f"written to {output}")


def numbers(option: str, text: str, kind: type[Number], *, least: float) -> list[Number]:
    """The numbers of an option, given with commas between them, each finite and of at least `least`."""
    try:
        values = [kind(word) for word in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(least <= value < float("inf") for value in values):
        noun = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"{option} takes {noun} of {least:g} or more with commas between them, got {text!r}")
    return values


def check_folder(option: str, folder: Path | None, suffixes: tuple[str, ...]) -> None:
    """The folder that an option names, if it is given, holds files of these kinds."""
    if folder is None:
        return
    if not folder.is_dir():
        raise ValueError(f"{option} {folder} is not a folder")
    if not any(path.suffix.lower() in suffixes for path in folder.iterdir()):
        raise ValueError(f"{option} {folder} holds none of {', '.join(f'*{suffix}' for suffix in suffixes)}")


def tell(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with errors_as_sentences():
        typer.run(main)
