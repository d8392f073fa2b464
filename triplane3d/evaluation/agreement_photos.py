"""The suite `agreement` on real photos, whose true shapes and cameras are unknown.

The meshes are those of a default call. They are compared with the photo as `Triplane3DPipelineOutput.agreement` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from triplane3d.evaluation.agreement import (
    NOISE_SEEDS,
    PASSES,
    check_pipeline,
    extract_or_none,
    flat_camera,
    generate,
    grid_scores,
    mask_of,
    refine,
    solid_grid,
)
from triplane3d.evaluation.agreement_rows import CARVING, INFLATED, REFINED, UNREFINED, ScoreTable, gain_estimates
from triplane3d.evaluation.baselines import inflated_silhouette
from triplane3d.evaluation.photos import photo_paths
from triplane3d.evaluation.prediction import Log
from triplane3d.evaluation.protocol import SEED_STRIDE
from triplane3d.evaluation.summary import Estimate, Row
from triplane3d.evaluation.timing import TimeLeft
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.refinement.agreement import measure_agreement
from triplane3d.refinement.refine import PhotoEvidence, assess, refine_field
from triplane3d.settings import DEFAULT_QUALITY

SUITE, DATA = "agreement of photos", "photos"
NO_SURFACE = {"mask_iou": 0.0, "color_error": 1.0, "pieces": 0.0, "largest_component": 0.0}
"""Scores of a field without a surface."""


def agreement_of_photos(
    pipe: Triplane3DPipeline,
    folder: Path,
    *,
    passes: int = PASSES,
    noise_seeds: Sequence[int] = NOISE_SEEDS,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    log: Log = print,
) -> tuple[list[Row], list[Estimate]]:
    """One row per method over all photos of a folder, and the gains over "unrefined".

    A photo's score is the mean over `noise_seeds`. Noise k has the seed `seed + 1,000,000 k` for every photo. Raises
    FileNotFoundError if the folder has no photo.
    """
    check_pipeline(pipe)
    paths = photo_paths(folder)
    names = [path.stem for path in paths]
    table, time_left = ScoreTable(SUITE, DATA, names, names), TimeLeft({"photos": len(paths)})
    for index, path in enumerate(paths):
        start = perf_counter()
        for number, noise in enumerate(noise_seeds):
            measured = measure_photo(pipe, path, seed + SEED_STRIDE * noise, passes, steps=steps, guidance=guidance)
            for method, scores in measured.items():
                table.add(method, index, number, scores)
        time_left.add("photos", 1, perf_counter() - start)
        log(f"{SUITE}: {index + 1} of {len(paths)}, {time_left}")
    rows = table.rows()
    return rows, gain_estimates(rows)


def worst_photos(rows: Sequence[Row]) -> str:
    """The refined photo with the lowest mask IoU and that with the smallest largest component, as text."""
    row = next(row for row in rows if (row.suite, row.method) == (SUITE, REFINED))
    worst = []
    for metric, title in (("mask_iou", "mask IoU"), ("largest_component", "largest piece")):
        score, name = min(zip(row.values(metric), row.shapes_with(metric), strict=True))
        worst.append(f"{title} {score:.3f}, {name}")
    return f"lowest of the refined photos: {'; '.join(worst)}"


def measure_photo(
    pipe: Triplane3DPipeline, path: Path, seed: int, passes: int, *, steps: int | None, guidance: float | None
) -> dict[str, dict[str, float]]:
    """The scores of each method for one photo and one noise."""
    level, resolution = pipe.config.level, pipe.config.presets[DEFAULT_QUALITY]["resolution"]
    generated, seconds = generate(pipe, [str(path)], [seed], steps=steps, guidance=guidance)
    (refined,), refined_seconds = refine(pipe, [str(path)], [seed], passes, steps=steps, guidance=guidance)
    photo = PhotoEvidence.of(refined.photo, pipe.refiner)

    def scores(
        field: FieldBatch, cameras: FramedCameras, seconds_of_field: float, refine_seconds: float
    ) -> dict[str, float]:
        start = perf_counter()
        mesh = extract_or_none(field, resolution, level)
        times = {"seconds": seconds_of_field + perf_counter() - start, "refine_seconds": refine_seconds}
        if mesh is None:
            return NO_SURFACE | times
        found = measure_agreement(mesh, cameras.camera(), refined.photo)
        return {
            "mask_iou": found.mask_iou,
            # NaN where silhouette and mask have no common pixel: the largest error.
            "color_error": found.color_error if np.isfinite(found.color_error) else 1.0,
            "pieces": float(found.pieces),
            "largest_component": found.largest_piece,
            **times,
        }

    unrefined = assess(generated[0], photo, level)
    measured = {
        UNREFINED: scores(generated[0], unrefined.cameras, seconds, 0.0),
        REFINED: scores(refined.field, refined.cameras, refined_seconds, refined_seconds - seconds),
    }
    if pipe.refiner is not None:  # without one, the refined field is the same
        start = perf_counter()
        carved = refine_field(generated[0], PhotoEvidence.from_photo(refined.photo), passes, level=level)
        own = perf_counter() - start
        measured[CARVING] = scores(carved.field, carved.cameras, seconds + own, own)
    inflated = solid_grid(inflated_silhouette(mask_of(refined.photo)))
    camera = flat_camera(pipe.refiner_processor.foreground_ratio)
    measured[INFLATED] = grid_scores(inflated, camera, mask_of(refined.photo))
    return measured
