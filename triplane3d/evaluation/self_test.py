"""Can the ruler be trusted? The metrics on answers whose scores are known beforehand; to be run before anything else.

The truth must score 1. On the meshes that table 1c of the quality page was made of, the rows that know the answer must
come out as they did there, with other code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triplane3d.evaluation.baselines import inflated_silhouette, on_grid
from triplane3d.evaluation.generation import Progress
from triplane3d.evaluation.shapes import EvaluationShape
from triplane3d.evaluation.suites import Predict, judge, known_answers, others
from triplane3d.evaluation.summary import Row

TOLERANCE = 0.01
RANDOM = "another shape"

# Mean over 30 meshes, by 50,000 points. Chamfer distances depend on their number and are left out where they are small.
TABLE = {
    "exact, on the grid": {"volume_iou": 0.992, "surface_iou": 0.980, "f_score_02": 0.986, "normal_consistency": 0.978},
    "exact, on a grid of 64": {
        "volume_iou": 0.961,
        "surface_iou": 0.916,
        "f_score_02": 0.980,
        "normal_consistency": 0.963,
    },
    "inside or outside, on the grid": {
        "volume_iou": 0.956,
        "surface_iou": 0.879,
        "f_score_02": 0.986,
        "normal_consistency": 0.920,
    },
    "convex hull": {
        "volume_iou": 0.545,
        "surface_iou": 0.614,
        "chamfer": 0.070,
        "f_score_02": 0.392,
        "normal_consistency": 0.820,
    },
    "bounding ellipsoid": {
        "volume_iou": 0.376,
        "surface_iou": 0.378,
        "chamfer": 0.130,
        "f_score_02": 0.133,
        "normal_consistency": 0.719,
    },
    "inflated silhouette": {
        "volume_iou": 0.355,
        "chamfer": 0.141,
        "f_score_02": 0.117,
        "f_score_05": 0.286,
        "normal_consistency": 0.640,
    },
    RANDOM: {"aligned_chamfer": 0.159, "aligned_f_score_10": 0.423},
}
# The same for the 15 of them that are public: twice the mean of all less that of the others, where that was printed.
PUBLIC_TABLE = {
    "exact, on the grid": {"volume_iou": 0.993, "surface_iou": 0.981, "f_score_02": 0.989},
    "convex hull": {"volume_iou": 0.584, "surface_iou": 0.606, "f_score_02": 0.409},
}
TABLE_RESOLUTION = 128


@dataclass(frozen=True)
class Agreement:
    """A score of the table and what was measured; `meshes` says of which meshes the table speaks."""

    method: str
    metric: str
    meshes: str
    expected: float
    measured: float

    @property
    def agrees(self) -> bool:
        return abs(self.measured - self.expected) <= TOLERANCE + 1e-9

    def __str__(self) -> str:
        word = "agrees" if self.agrees else f"off by {self.measured - self.expected:+.3f}"
        return (
            f"{self.method}: {self.metric}: {self.measured:.3f}, expected {self.expected:.3f} ({self.meshes}): {word}"
        )


def self_test(
    data: str,
    cases: Sequence[EvaluationShape],
    *,
    points: int = 40_000,
    surfaces: int = 16,
    table: bool = False,
    resolution: int = TABLE_RESOLUTION,
    progress: Progress = print,
) -> list[Row]:
    """The truth against itself and the answers without a model; with `table` all rows that table 1c has."""
    another = others([case.category for case in cases])
    methods: dict[str, Predict] = {**known_answers(cases), RANDOM: lambda: [cases[other].solid for other in another]}
    if table:
        methods |= {
            "exact, on the grid": lambda: [on_grid(case.solid, resolution) for case in cases],
            "exact, on a grid of 64": lambda: [on_grid(case.solid, 64) for case in cases],
            "inside or outside, on the grid": lambda: [on_grid(case.solid, resolution, binary=True) for case in cases],
            "inflated silhouette": lambda: [inflated_silhouette(case.mask) for case in cases],
        }
    return judge(
        "self-test", data, cases, methods, points=points, surfaces=surfaces, progress=progress, align=(RANDOM,)
    )


def agreements(rows: Sequence[Row]) -> list[Agreement]:
    """What table 1c expects of these rows: for the public meshes where that is known, else for all."""
    found = []
    for row in rows:
        for metric, of_all in TABLE.get(row.method, {}).items():
            of_public = PUBLIC_TABLE.get(row.method, {}).get(metric)
            expected, meshes = (of_all, "all 30 meshes") if of_public is None else (of_public, "the public 15")
            if row.values(metric):
                found.append(Agreement(row.method, metric, meshes, expected, float(np.mean(row.values(metric)))))
    return found
