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
from typing import Annotated

import typer

from triplane3d import Triplane3DPipeline
from triplane3d.data.shapes import HELD_OUT_SEED
from triplane3d.evaluation.cases import TWO_SIDES, Case, family_groups, held_out_cases, mesh_cases
from triplane3d.evaluation.photos import photo_suite, worst_photo
from triplane3d.evaluation.report import Report
from triplane3d.evaluation.self_test import agreements, self_test
from triplane3d.evaluation.steps import STEPS, steps_suite
from triplane3d.evaluation.suites import Bank, autoencoder_suite, image_suite
from triplane3d.evaluation.summary import generalization
from triplane3d.evaluation.variety import variety_suite
from triplane3d.evaluation.views import COUNTS, photos_around_meshes, photos_around_shapes, views_suite
from triplane3d.training.launch import CHECKOUT, not_there

OF_ALL = ("selftest", "autoencoder", "retrieval", "variety", "steps")
SUITES = ("selftest", "autoencoder", "image", "retrieval", "variety", "steps", "views", "all")
HOME = "trained families"


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(SUITES)}.")] = "all",
    shapes: Annotated[int, typer.Option(help="Held-out procedural shapes per row.")] = 64,
    surfaces: Annotated[int, typer.Option(help="How many of them are also measured on surfaces (slower).")] = 16,
    resolution: Annotated[int, typer.Option(help="Cells along the edge of the grids that surfaces come from.")] = 128,
    bank: Annotated[int, typer.Option(help="Training shapes to retrieve from.")] = 1024,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; the pipeline's own default if not given.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; the pipeline's own default likewise.")] = None,
    seed: Annotated[int, typer.Option(help="Picks the held-out shapes and the noise.")] = 0,
    seeds: Annotated[int, typer.Option(help="Answers to each picture of the suite `variety`.")] = 8,
    pictures: Annotated[int, typer.Option(help="Pictures of the suite `variety`.")] = 16,
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
    if suite not in SUITES:
        raise typer.BadParameter(f"--suite must be one of {', '.join(SUITES)}, got {suite!r}")
    if not Path(pipeline).exists() and (CHECKOUT / pipeline).exists():
        raise typer.BadParameter(not_there(Path(pipeline)))
    wanted = OF_ALL if suite == "all" else (suite,)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)
    report = Report(f"{pipeline}, seed {seed}, shapes from {HELD_OUT_SEED + 1_000_000 * seed} on", settings)
    own = {"steps": steps, "guidance": guidance, "seed": seed, "progress": tell}

    names = family_groups() if {"autoencoder", "image", "retrieval"} & set(wanted) else {HOME: family_groups()[HOME]}
    groups: dict[str, list[Case]] = {}
    for name, families in names.items():
        if families:
            tell(f"drawing {shapes} of {name}")
            groups[name] = held_out_cases(shapes, families, seed=seed, resolution=resolution)
    pictured = {"image", "retrieval", "variety", "steps", "views"} & set(wanted)
    seen = mesh_cases(meshes, azimuths=TWO_SIDES, image_size=256) if meshes and pictured else []
    standing = mesh_cases(meshes, image_size=256) if meshes and {"selftest", "autoencoder"} & set(wanted) else []

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
            report.add(image_suite(pipe, name, cases, surfaces=counted, resolution=resolution, retrievals=retrievals,
                                   align=cases is seen, **own))
    if "variety" in wanted:
        report.add(*variety_suite(pipe, HOME, groups[HOME][:pictures], seeds=seeds, **own))
    if "steps" in wanted:
        scales = [float(scale) for scale in guidances.split(",")] if guidances else [guidance]
        counts = [int(count) for count in step_counts.split(",")]
        guided = None if teacher is None else Triplane3DPipeline.from_pretrained(teacher)
        if guided is not None:
            guided.set_progress_bar_config(disable=True)
        for name, cases in {HOME: groups[HOME], **({"meshes, two views": seen} if seen else {})}.items():
            report.add(*steps_suite(pipe, name, cases, steps=counts, guidances=scales, teacher=guided, seed=seed,
                                    progress=tell))
    if "views" in wanted:
        counts = [int(count) for count in view_counts.split(",")]
        around = photos_around_shapes(groups[HOME], names[HOME], count=max(counts), seed=seed)
        report.add(*views_suite(pipe, HOME, groups[HOME], around, counts=counts, **own))
        if seen:
            around = photos_around_meshes(seen, count=max(counts))
            report.add(*views_suite(pipe, "meshes, two views", seen, around, counts=counts, **own))
    if photos:
        tell("photos")
        report.add(photo_suite(pipe, photos, steps=steps, guidance=guidance, seed=seed, resolution=resolution))
        report.remarks.append(worst_photo(report.rows))

    print(f"\n{report.text()}")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report.to_json(), indent=1))
        tell(f"written to {output}")


def tell(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
