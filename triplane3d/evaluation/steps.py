"""The suite `steps`: V-IoU for several numbers of denoising steps, with the same images and the same noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triplane3d.evaluation.evaluation_shapes import EvaluationShape
from triplane3d.evaluation.prediction import Log, predict_solids
from triplane3d.evaluation.protocol import OCCUPANCY_POINTS
from triplane3d.evaluation.shape_metrics import intersection_over_union, uniform_points
from triplane3d.evaluation.summary import Estimate, Row, ratio_of_means
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

STEPS = (1, 2, 4, 8, 20, 50)


def steps_suite(
    pipe: Triplane3DPipeline,
    data: str,
    shapes: Sequence[EvaluationShape],
    *,
    steps: Sequence[int] = STEPS,
    guidances: Sequence[float | None] = (None,),
    teacher: Triplane3DPipeline | None = None,
    seed: int = 0,
    points: int = OCCUPANCY_POINTS,
    log: Log = print,
) -> tuple[list[Row], list[Estimate]]:
    """One row for each guidance scale and number of steps, and ratios between them.

    - "4 steps / 50 steps": ratio of V-IoU to that of the largest number of steps, at the same guidance scale.
    - "4 steps / teacher's 50 steps": ratio to the `teacher`, the pipeline that a few-step model was distilled from.
    - "network calls per step": transformer evaluations per step, 2 with classifier-free guidance and 1 without.
    - "one network call a step / guided": ratio of each scale without guidance to the best scale with guidance, at the
      largest number of steps.

    The score `network_calls` is the number of transformer evaluations per shape.
    """
    where = uniform_points(points)
    truths, names = [shape.solid.occupancy(where) for shape in shapes], [shape.name for shape in shapes]

    def measure(model: Triplane3DPipeline, count: int, guidance: float | None, prefix: str = "") -> Row:
        log(f"steps: {data}: {prefix}{_steps(count)}" + ("" if guidance is None else f", guidance {guidance:g}"))
        images, seeds = [shape.pil_image for shape in shapes], range(seed, seed + len(shapes))
        predictions = predict_solids(model, images, seeds, steps=count, guidance=guidance)
        calls = 2 if model.do_classifier_free_guidance else 1
        scores = [
            {
                "volume_iou": intersection_over_union(truth, prediction.occupancy(where)),
                "network_calls": float(calls * count),
            }
            for truth, prediction in zip(truths, predictions)
        ]
        method, categories = prefix + _steps(count), [shape.category for shape in shapes]
        return Row("steps", _data_name(data, guidance), method, scores, categories, names)

    def ratio(row: Row, reference: Row, name: str) -> Estimate:
        values = ratio_of_means(row.values("volume_iou"), reference.values("volume_iou"), names)
        return Estimate("steps", row.data, name, *values)

    counts = sorted(set(steps))
    most = counts[-1]
    teacher_rows = [] if teacher is None else [measure(teacher, most, None, "teacher's ")]
    rows, estimates = list(teacher_rows), []
    # Rows with the largest number of steps, by transformer evaluations per step.
    longest: dict[int, list[Row]] = {1: [], 2: []}
    for row in teacher_rows:
        longest[_calls_per_step(row, most)].append(row)
    for guidance in guidances:
        by_count = {count: measure(pipe, count, guidance) for count in counts}
        full = by_count[most]
        rows += by_count.values()
        longest[_calls_per_step(full, most)].append(full)
        for reference in [full, *teacher_rows]:
            estimates += [
                ratio(row, reference, f"{row.method} / {reference.method}")
                for row in by_count.values()
                if row is not reference
            ]
        estimates.append(Estimate("steps", full.data, "network calls per step", *[_calls_per_step(full, most)] * 3))
    if longest[2]:
        guided = max(longest[2], key=lambda row: np.mean(row.values("volume_iou")))
        estimates += [ratio(row, guided, "one network call a step / guided") for row in longest[1]]
    return rows, estimates


def _calls_per_step(row: Row, count: int) -> int:
    return round(float(np.mean(row.values("network_calls"))) / count)


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _data_name(data: str, guidance: float | None) -> str:
    return data if guidance is None else f"{data}, guidance {guidance:g}"
