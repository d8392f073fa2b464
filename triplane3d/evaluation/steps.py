"""How few steps are enough? The same pictures and the same noise at several numbers of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triplane3d.evaluation.generation import Progress, solids
from triplane3d.evaluation.shape_metrics import intersection_over_union, uniform_points
from triplane3d.evaluation.shapes import EvaluationShape
from triplane3d.evaluation.summary import Estimate, Row, ratio_of_means
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

STEPS = (1, 2, 4, 8, 20, 50)


def steps_suite(
    pipe: Triplane3DPipeline,
    data: str,
    cases: Sequence[EvaluationShape],
    *,
    steps: Sequence[int] = STEPS,
    guidances: Sequence[float | None] = (None,),
    teacher: Triplane3DPipeline | None = None,
    seed: int = 0,
    points: int = 40_000,
    progress: Progress = print,
) -> tuple[list[Row], list[Estimate]]:
    """V-IoU at each number of steps, and as a share of that at the largest, at each guidance scale.

    `network_calls` counts the transformer's looks at each latent, all steps together: guidance takes two a step. Where
    scales with and without guidance were asked for, what does without is also given as a share of the best that does
    not, at the largest number of steps: one look a step is worth having only if it costs nothing. With the `teacher`
    that a few-step model was made from, everything is also given as a share of what that one reaches in most steps.
    """
    where = uniform_points(points)
    truths, shapes = [case.solid.occupancy(where) for case in cases], [case.name for case in cases]

    def measure(model: Triplane3DPipeline, count: int, guidance: float | None, whose: str = "") -> Row:
        progress(f"steps: {data}: {whose}{_steps(count)}" + ("" if guidance is None else f", guidance {guidance:g}"))
        answers = solids(
            model, [case.picture for case in cases], range(seed, seed + len(cases)), steps=count, guidance=guidance
        )
        calls = 2 if model.do_classifier_free_guidance else 1
        scores = [
            {
                "volume_iou": intersection_over_union(truth, answer.occupancy(where)),
                "network_calls": float(calls * count),
            }
            for truth, answer in zip(truths, answers)
        ]
        return Row(
            "steps", _named(data, guidance), whose + _steps(count), scores, [case.category for case in cases], shapes
        )

    counts = sorted(set(steps))
    most = counts[-1]
    of_teacher = [] if teacher is None else [measure(teacher, most, None, "teacher's ")]
    rows, estimates = list(of_teacher), []
    longest: dict[int, list[Row]] = {1: [], 2: []}
    for row in of_teacher:
        longest[_calls_per_step(row, most)].append(row)
    for guidance in guidances:
        of_guidance = {count: measure(pipe, count, guidance) for count in counts}
        whole = of_guidance[most]
        rows += of_guidance.values()
        longest[_calls_per_step(whole, most)].append(whole)
        for reference in [whole, *of_teacher]:
            estimates += [
                Estimate(
                    "steps",
                    row.data,
                    f"{row.method} / {reference.method}",
                    *ratio_of_means(row.values("volume_iou"), reference.values("volume_iou"), shapes),
                )
                for row in of_guidance.values()
                if row is not reference
            ]
        estimates.append(Estimate("steps", whole.data, "network calls per step", *[_calls_per_step(whole, most)] * 3))
    if longest[2]:
        guided = max(longest[2], key=lambda row: np.mean(row.values("volume_iou")))
        of_guided = guided.values("volume_iou")
        estimates += [
            Estimate(
                "steps",
                row.data,
                "one network call a step / guided",
                *ratio_of_means(row.values("volume_iou"), of_guided, shapes),
            )
            for row in longest[1]
        ]
    return rows, estimates


def _calls_per_step(row: Row, count: int) -> int:
    return round(float(np.mean(row.values("network_calls"))) / count)


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _named(data: str, guidance: float | None) -> str:
    return data if guidance is None else f"{data}, guidance {guidance:g}"
