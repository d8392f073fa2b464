"""Runs the suites of `scripts/evaluate.py` on a pipeline and collects their results in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triplane3d.evaluation.agreement import NOISE_SEEDS, PASSES, PHOTO_SIZE, agreement_suite, check_pipeline, work_of
from triplane3d.evaluation.agreement_photos import agreement_of_photos, worst_photos
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, family_groups, held_out_shapes, mesh_shapes
from triplane3d.evaluation.photos import photo_suite, worst_photo
from triplane3d.evaluation.prediction import Log
from triplane3d.evaluation.protocol import (
    GRID_RESOLUTION,
    MEASURED_SURFACES,
    MESH_IMAGE_SIZE,
    MESH_VIEWS,
    MESHES,
    TRAINED,
    TWO_SIDES,
)
from triplane3d.evaluation.report import Report
from triplane3d.evaluation.retrieval import RetrievalIndex
from triplane3d.evaluation.sanity_checks import compare_with_reference, sanity_check_suite
from triplane3d.evaluation.steps import STEPS, steps_suite
from triplane3d.evaluation.suites import autoencoder_suite, image_suite
from triplane3d.evaluation.summary import generalization_gaps
from triplane3d.evaluation.timing import TimeLeft
from triplane3d.evaluation.variety import variety_suite
from triplane3d.evaluation.views import COUNTS, photos_around_meshes, photos_around_shapes, views_suite
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

SUITES = ("sanity-checks", "autoencoder", "image", "retrieval", "variety", "steps", "views", "agreement")
"""Names of the suites. `retrieval` is `image` with the retrieval baselines."""

ALL = ("sanity-checks", "autoencoder", "retrieval", "variety", "steps")
"""Suites of `--suite all`. `views` is not among them because some pipelines accept one photo only, `agreement` because
it takes most of an hour."""

GROUP_SUITES = frozenset({"autoencoder", "image", "retrieval"})
"""Suites that run on all procedural data sets; the others use the trained families only."""
IMAGE_SUITES = frozenset({"image", "retrieval", "variety", "steps", "views"})
"""Suites that use images. Meshes are evaluated from two sides there."""
OWN_DATA_SUITES = frozenset({"agreement"})
"""Suites that make their own shapes: with larger images."""
STANDING_SUITES = frozenset({"sanity-checks", "autoencoder"})
"""Suites that use every mesh once, as it stands in its file."""


@dataclass(frozen=True)
class Options:
    """What to measure. `steps` and `guidance` default to those of the pipeline."""

    suites: Sequence[str]
    shapes: int = 64
    """Held-out procedural shapes per data set."""
    surfaces: int = MEASURED_SURFACES
    """Number of them whose surfaces are measured."""
    resolution: int = GRID_RESOLUTION
    retrieval_shapes: int = 1024
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    seeds: int = 8
    """Predictions per image of the suite `variety`."""
    images: int = 16
    """Images of the suite `variety`."""
    step_counts: Sequence[int] = STEPS
    guidances: Sequence[float | None] = (None,)
    """Guidance scales of the suite `steps`."""
    view_counts: Sequence[int] = COUNTS
    refine: int = PASSES
    """Passes of refinement of the suite `agreement`."""
    noise_seeds: Sequence[int] = NOISE_SEEDS
    """Noise of the suite `agreement`."""
    meshes: Path | None = None
    """Folder of closed meshes."""
    photos: Path | None = None
    """Folder of photos of single objects."""


@dataclass(frozen=True)
class Data:
    """The shapes of one evaluation."""

    families: dict[str, list[str]]
    """Family names of each procedural data set."""
    procedural: dict[str, list[EvaluationShape]]
    """Held-out shapes of each procedural data set."""
    mesh_views: list[EvaluationShape]
    """Meshes seen from two sides, for suites with images."""
    meshes: list[EvaluationShape]
    """Meshes as they stand in their files, for suites without images."""

    @classmethod
    def load(cls, options: Options, log: Log) -> Data:
        suites, families = set(options.suites), family_groups()
        if suites <= OWN_DATA_SUITES:
            return cls({}, {}, [], [])
        if not GROUP_SUITES & suites:
            families = {TRAINED: families[TRAINED]}
        procedural = {}
        for name, members in families.items():
            if members:
                log(f"sampling {options.shapes} shapes of {name}")
                procedural[name] = held_out_shapes(
                    options.shapes, members, seed=options.seed, resolution=options.resolution
                )
        mesh_views, meshes = [], []
        if options.meshes and IMAGE_SUITES & suites:
            mesh_views = mesh_shapes(options.meshes, azimuths=TWO_SIDES, image_size=MESH_IMAGE_SIZE)
        if options.meshes and STANDING_SUITES & suites:
            meshes = mesh_shapes(options.meshes, image_size=MESH_IMAGE_SIZE)
        return cls(families, procedural, mesh_views, meshes)


def run_suites(
    pipe: Triplane3DPipeline,
    options: Options,
    report: Report,
    *,
    teacher: Triplane3DPipeline | None = None,
    log: Log = print,
) -> None:
    """Run the suites of `options` one after another, and add their results to `report`.

    `teacher` is the pipeline that a few-step `pipe` was distilled from; the suite `steps` compares with it.
    """
    data = Data.load(options, log)
    suites = set(options.suites)
    if "sanity-checks" in suites:
        _run_sanity_checks(data, options, report, log)
    if "autoencoder" in suites:
        _run_autoencoder(pipe, data, options, report, log)
    if {"image", "retrieval"} & suites:
        _run_image(pipe, data, options, report, log)
    if "variety" in suites:
        shapes = data.procedural[TRAINED][: options.images]
        report.add(*variety_suite(pipe, TRAINED, shapes, seeds=options.seeds, **_sampling(options, log)))
    if "steps" in suites:
        _run_steps(pipe, teacher, data, options, report, log)
    if "views" in suites:
        _run_views(pipe, data, options, report, log)
    if "agreement" in suites:
        _run_agreement(pipe, options, report, log)
    if options.photos and not suites <= OWN_DATA_SUITES:
        log("photos")
        report.add(
            photo_suite(
                pipe,
                options.photos,
                steps=options.steps,
                guidance=options.guidance,
                seed=options.seed,
                resolution=options.resolution,
            )
        )
        report.remarks.append(worst_photo(report.rows))


def _sampling(options: Options, log: Log) -> dict[str, Any]:
    """The arguments that the suites with a sampled prediction share."""
    return {"steps": options.steps, "guidance": options.guidance, "seed": options.seed, "log": log}


def _run_sanity_checks(data: Data, options: Options, report: Report, log: Log) -> None:
    report.add(sanity_check_suite(TRAINED, data.procedural[TRAINED], surfaces=options.surfaces, log=log))
    if data.meshes:
        rows = sanity_check_suite(MESHES, data.meshes, surfaces=len(data.meshes), all_methods=True, log=log)
        report.add(rows)
        report.checks = compare_with_reference(rows)


def _run_autoencoder(pipe: Triplane3DPipeline, data: Data, options: Options, report: Report, log: Log) -> None:
    for name, shapes in (data.procedural | ({MESHES: data.meshes} if data.meshes else {})).items():
        surfaces = len(shapes) if name == MESHES else options.surfaces
        report.add(autoencoder_suite(pipe.vae, name, shapes, surfaces=surfaces, resolution=options.resolution, log=log))
    report.estimates += generalization_gaps([row for row in report.rows if row.suite == "autoencoder"])


def _run_image(pipe: Triplane3DPipeline, data: Data, options: Options, report: Report, log: Log) -> None:
    index = None
    if "retrieval" in options.suites:
        index = RetrievalIndex.of_training_shapes(pipe, options.retrieval_shapes, log=log)
    for name, shapes in (data.procedural | ({MESH_VIEWS: data.mesh_views} if data.mesh_views else {})).items():
        report.add(
            image_suite(
                pipe,
                name,
                shapes,
                surfaces=len(shapes) if name == MESH_VIEWS else options.surfaces,
                resolution=options.resolution,
                retrievals=index.retrieve(pipe, shapes, options.resolution) if index else None,
                align=name == MESH_VIEWS,
                **_sampling(options, log),
            )
        )


def _run_steps(
    pipe: Triplane3DPipeline,
    teacher: Triplane3DPipeline | None,
    data: Data,
    options: Options,
    report: Report,
    log: Log,
) -> None:
    data_sets = {TRAINED: data.procedural[TRAINED], **({MESH_VIEWS: data.mesh_views} if data.mesh_views else {})}
    for name, shapes in data_sets.items():
        rows, estimates = steps_suite(
            pipe,
            name,
            shapes,
            steps=options.step_counts,
            guidances=options.guidances,
            teacher=teacher,
            seed=options.seed,
            log=log,
        )
        report.add(rows, estimates)


def _run_views(pipe: Triplane3DPipeline, data: Data, options: Options, report: Report, log: Log) -> None:
    most, shapes = max(options.view_counts), data.procedural[TRAINED]
    photos = {TRAINED: photos_around_shapes(shapes, data.families[TRAINED], count=most, seed=options.seed)}
    if data.mesh_views:
        photos[MESH_VIEWS] = photos_around_meshes(data.mesh_views, count=most)
    for name, of_shapes in photos.items():
        shapes = data.procedural.get(name, data.mesh_views)
        rows, estimates = views_suite(
            pipe,
            name,
            shapes,
            of_shapes,
            counts=options.view_counts,
            pass_cameras=bool(pipe.transformer.config.camera_condition),
            **_sampling(options, log),
        )
        report.add(rows, estimates)


def _run_agreement(pipe: Triplane3DPipeline, options: Options, report: Report, log: Log) -> None:
    check_pipeline(pipe)
    size = max(PHOTO_SIZE, pipe.refiner_processor.image_size)
    families = {name: members for name, members in family_groups().items() if members}
    shared = {"passes": options.refine, "noise_seeds": options.noise_seeds, **_sampling(options, log)}
    views = mesh_shapes(options.meshes, azimuths=TWO_SIDES, image_size=size) if options.meshes else []
    counts = dict.fromkeys(families, options.shapes) | ({MESH_VIEWS: len(views)} if views else {})
    work = [work_of(count, options.surfaces) for count in counts.values()]
    time_left = TimeLeft({kind: sum(each[kind] for each in work) for kind in work[0]})
    for name, count in counts.items():
        if name == MESH_VIEWS:
            shapes = views
        else:
            log(f"sampling {count} shapes of {name}")
            shapes = held_out_shapes(
                count, families[name], seed=options.seed, image_size=size, resolution=options.resolution
            )
        rows, estimates = agreement_suite(
            pipe,
            name,
            shapes,
            surfaces=options.surfaces,
            resolution=options.resolution,
            time_left=time_left,
            **shared,
        )
        for suite in dict.fromkeys(row.suite for row in rows):
            report.add([row for row in rows if row.suite == suite])
        report.estimates += estimates
    if options.photos:
        report.add(*agreement_of_photos(pipe, options.photos, **shared))
        report.remarks.append(worst_photos(report.rows))
