"""Does the model guess where it cannot see, and only there? Several answers to each of several pictures.

Over the seeds' answers to one picture, a place's variance is that of being inside. It is taken around the true surface,
once where the picture's camera sees that surface and once where it does not: free space, on which all answers agree,
would make any model look sure of what it sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triplane3d.evaluation.generation import Progress, solids
from triplane3d.evaluation.shape_metrics import Solid, intersection_over_union, uniform_points
from triplane3d.evaluation.shapes import EvaluationShape
from triplane3d.evaluation.suites import others
from triplane3d.evaluation.summary import Estimate, Row, Summary, ratio_of_means
from triplane3d.evaluation.visibility import visible
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

AROUND = 0.05
"""Deviation, in world units, of the places around the true surface where variance is measured."""


def variety_suite(
    pipe: Triplane3DPipeline,
    data: str,
    cases: Sequence[EvaluationShape],
    *,
    seeds: int = 8,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = 40_000,
    progress: Progress = print,
) -> tuple[list[Row], list[Estimate]]:
    """`seeds` answers to every picture, and what they say together.

    - "hidden / visible variance": more than 1 where the model varies what the picture leaves open.
    - "best of N - mean": what V-IoU gains by knowing which answer is right; nothing if all are alike.
    - "own - another's picture": what V-IoU loses when the picture is swapped and the noise kept.
    """
    if seeds < 2:
        raise ValueError(f"variety is seen in two answers or more, got seeds={seeds}")
    answers = []
    for number in range(seeds):
        progress(f"variety: {data}: seed {number + 1} of {seeds}, {len(cases)} pictures")
        # One noise for all pictures: swapping the picture then changes nothing else.
        answers.append(
            solids(pipe, [case.picture for case in cases], [seed + number] * len(cases), steps=steps, guidance=guidance)
        )

    where = uniform_points(points)
    inside = np.array([[solid.occupancy(where) for solid in of_seed] for of_seed in answers])
    another = others([case.category for case in cases])
    scores = []
    for index, case in enumerate(cases):
        truth = case.solid.occupancy(where)
        own = [intersection_over_union(truth, answer) for answer in inside[:, index]]
        swapped = [intersection_over_union(truth, answer) for answer in inside[:, another[index]]]
        variances = _variances(case, [of_seed[index] for of_seed in answers])
        scores.append(
            {
                "volume_iou": float(np.mean(own)),
                "best_volume_iou": max(own),
                "swapped_volume_iou": float(np.mean(swapped)),
                **variances,
            }
        )
    row = Row("variety", data, f"model, {seeds} seeds", scores, [case.category for case in cases])
    ratio = ratio_of_means(row.values("variance_hidden"), row.values("variance_visible"))
    return [row], [
        Estimate("variety", data, "hidden / visible variance", *ratio),
        _difference(row, f"best of {seeds} - mean", "best_volume_iou", "volume_iou"),
        _difference(row, "own - another's picture", "volume_iou", "swapped_volume_iou"),
    ]


def _variances(case: EvaluationShape, answers: Sequence[Solid]) -> dict[str, float]:
    """Mean variance of being inside, around what the camera sees of the true surface and around the rest."""
    surface, camera = case.solid.surface, case.camera
    if surface is None or camera is None:
        raise ValueError(f"{case.name} needs a surface and the camera of its picture to tell what can be seen")
    seen = visible(surface.points, surface.normals, *surface.triangles, camera)
    around = surface.points + AROUND * np.random.default_rng(0).standard_normal(surface.points.shape)
    variance = np.array([answer.occupancy(around) for answer in answers]).var(0, ddof=1)
    # An object all of which is seen (or, in theory, nothing) has no variance on its other side to speak of.
    return {
        name: float(variance[part].mean()) if part.any() else 0.0
        for name, part in (("variance_visible", seen), ("variance_hidden", ~seen))
    }


def _difference(row: Row, name: str, of: str, minus: str) -> Estimate:
    gain = Summary.of([score[of] - score[minus] for score in row.scores])
    return Estimate(row.suite, row.data, name, gain.mean, gain.low, gain.high)
