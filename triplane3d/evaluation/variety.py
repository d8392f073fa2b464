"""The suite `variety`: several predictions for each image, with different noise.

A good model varies only what the image leaves open. At a point, the variance over the predictions is that of the
indicator "inside". It is averaged over points near the true surface, once where the image's camera sees that surface
and once where it does not. Free space is left out: all predictions agree there, which would lower every variance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triplane3d.evaluation.evaluation_shapes import EvaluationShape
from triplane3d.evaluation.prediction import Log, predict_solids
from triplane3d.evaluation.protocol import OCCUPANCY_POINTS
from triplane3d.evaluation.shape_metrics import intersection_over_union, uniform_points
from triplane3d.evaluation.solids import Solid
from triplane3d.evaluation.suites import partner_indices
from triplane3d.evaluation.summary import Estimate, Row, Summary, ratio_of_means
from triplane3d.evaluation.visibility import visible
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

NEAR_SURFACE_STD = 0.05
"""Standard deviation, in world units, of the noise that moves the points of the variance off the true surface."""


def variety_suite(
    pipe: Triplane3DPipeline,
    data: str,
    shapes: Sequence[EvaluationShape],
    *,
    seeds: int = 8,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = OCCUPANCY_POINTS,
    log: Log = print,
) -> tuple[list[Row], list[Estimate]]:
    """One row with the scores of `seeds` predictions per image, and three estimates.

    - "hidden / visible variance": ratio of the two variances; above 1 if the model varies what the image does not show.
    - "best of N - mean": V-IoU of the best prediction minus the mean; 0 if all predictions are equal.
    - "own - another's picture": V-IoU lost when the image is replaced by that of another category, with equal noise.

    Raises ValueError if `seeds` is below 2 or a shape has no surface or camera.
    """
    if seeds < 2:
        raise ValueError(f"variety compares at least two predictions per image, got seeds={seeds}")
    predictions = []
    for number in range(seeds):
        log(f"variety: {data}: seed {number + 1} of {seeds}, {len(shapes)} pictures")
        # All images share the noise of one seed, so that replacing the image changes nothing else.
        images, noise = [shape.pil_image for shape in shapes], [seed + number] * len(shapes)
        predictions.append(predict_solids(pipe, images, noise, steps=steps, guidance=guidance))

    where = uniform_points(points)
    inside = np.array([[solid.occupancy(where) for solid in of_seed] for of_seed in predictions])
    partners = partner_indices([shape.category for shape in shapes])
    scores = []
    for index, shape in enumerate(shapes):
        truth = shape.solid.occupancy(where)
        own = [intersection_over_union(truth, prediction) for prediction in inside[:, index]]
        swapped = [intersection_over_union(truth, prediction) for prediction in inside[:, partners[index]]]
        scores.append(
            {
                "volume_iou": float(np.mean(own)),
                "best_volume_iou": max(own),
                "swapped_volume_iou": float(np.mean(swapped)),
                **_variances(shape, [of_seed[index] for of_seed in predictions]),
            }
        )
    row = Row("variety", data, f"model, {seeds} seeds", scores, [shape.category for shape in shapes])
    ratio = ratio_of_means(row.values("variance_hidden"), row.values("variance_visible"))
    return [row], [
        Estimate("variety", data, "hidden / visible variance", *ratio),
        _difference(row, f"best of {seeds} - mean", "best_volume_iou", "volume_iou"),
        _difference(row, "own - another's picture", "volume_iou", "swapped_volume_iou"),
    ]


def _variances(shape: EvaluationShape, predictions: Sequence[Solid]) -> dict[str, float]:
    """Mean variance of the indicator "inside", near the visible and near the hidden part of the true surface.

    A part without samples has variance 0.
    """
    surface, camera = shape.solid.surface, shape.camera
    if surface is None or camera is None:
        raise ValueError(f"{shape.name} needs a surface and an image with a camera to measure visibility")
    is_visible = visible(surface.points, surface.normals, surface.require_mesh(), camera)
    noise = np.random.default_rng(0).standard_normal(surface.points.shape)
    near = surface.points + NEAR_SURFACE_STD * noise
    variance = np.array([prediction.occupancy(near) for prediction in predictions]).var(0, ddof=1)
    parts = {"variance_visible": is_visible, "variance_hidden": ~is_visible}
    return {name: float(variance[part].mean()) if part.any() else 0.0 for name, part in parts.items()}


def _difference(row: Row, name: str, metric: str, subtracted: str) -> Estimate:
    summary = Summary.of([score[metric] - score[subtracted] for score in row.scores])
    return Estimate(row.suite, row.data, name, summary.mean, summary.low, summary.high)
