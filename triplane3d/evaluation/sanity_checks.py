"""Sanity checks of the metrics: methods whose scores are known in advance.

The truth must score 1 against itself. On the 30 reference meshes, methods that use the true shape must reproduce the
reference scores below, which were measured with an independent implementation of the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triplane3d.evaluation.baselines import inflated_silhouette, on_grid
from triplane3d.evaluation.evaluation_shapes import EvaluationShape
from triplane3d.evaluation.prediction import Log
from triplane3d.evaluation.protocol import GRID_RESOLUTION, MEASURED_SURFACES, OCCUPANCY_POINTS
from triplane3d.evaluation.suites import Method, partner_indices, reference_methods, score_methods
from triplane3d.evaluation.summary import Row

TOLERANCE = 0.01
"""Largest accepted difference between a measured score and its reference score."""
OTHER_SHAPE = "another shape"

# Means over 30 meshes with 50,000 points. Small Chamfer distances are left out: they depend on the number of samples.
REFERENCE_SCORES = {
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
    OTHER_SHAPE: {"aligned_chamfer": 0.159, "aligned_f_score_10": 0.423},
}
# The same for the 15 public meshes among them, where the means of the other 15 were published: twice the mean of all
# meshes minus the mean of the others.
PUBLIC_REFERENCE_SCORES = {
    "exact, on the grid": {"volume_iou": 0.993, "surface_iou": 0.981, "f_score_02": 0.989},
    "convex hull": {"volume_iou": 0.584, "surface_iou": 0.606, "f_score_02": 0.409},
}


@dataclass(frozen=True)
class ReferenceCheck:
    """A measured score beside its reference score."""

    method: str
    metric: str
    meshes: str
    """The meshes that the reference score was measured on."""
    expected: float
    measured: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within `TOLERANCE`."""
        return abs(self.measured - self.expected) <= TOLERANCE + 1e-9

    def __str__(self) -> str:
        outcome = "agrees" if self.agrees else f"off by {self.measured - self.expected:+.3f}"
        return (
            f"{self.method}: {self.metric}: {self.measured:.3f}, expected {self.expected:.3f} ({self.meshes}): "
            f"{outcome}"
        )


def sanity_check_suite(
    data: str,
    shapes: Sequence[EvaluationShape],
    *,
    points: int = OCCUPANCY_POINTS,
    surfaces: int = MEASURED_SURFACES,
    all_methods: bool = False,
    resolution: int = GRID_RESOLUTION,
    log: Log = print,
) -> list[Row]:
    """The reference methods on these shapes; with `all_methods` all methods that have reference scores."""
    partners = partner_indices([shape.category for shape in shapes])
    methods: dict[str, Method] = {
        **reference_methods(shapes),
        OTHER_SHAPE: lambda: [shapes[partner].solid for partner in partners],
    }
    if all_methods:
        methods |= {
            "exact, on the grid": lambda: [on_grid(shape.solid, resolution) for shape in shapes],
            "exact, on a grid of 64": lambda: [on_grid(shape.solid, 64) for shape in shapes],
            "inside or outside, on the grid": lambda: [
                on_grid(shape.solid, resolution, binary=True) for shape in shapes
            ],
            "inflated silhouette": lambda: [inflated_silhouette(shape.mask) for shape in shapes],
        }
    return score_methods(
        "sanity checks", data, shapes, methods, points=points, surfaces=surfaces, log=log, align=(OTHER_SHAPE,)
    )


def compare_with_reference(rows: Sequence[Row]) -> list[ReferenceCheck]:
    """One check per measured score that has a reference score.

    The reference of the public meshes is used where it exists, otherwise that of all 30 meshes.
    """
    checks = []
    for row in rows:
        for metric, of_all in REFERENCE_SCORES.get(row.method, {}).items():
            of_public = PUBLIC_REFERENCE_SCORES.get(row.method, {}).get(metric)
            expected, meshes = (of_all, "all 30 meshes") if of_public is None else (of_public, "the public 15")
            if row.values(metric):
                checks.append(ReferenceCheck(row.method, metric, meshes, expected, float(np.mean(row.values(metric)))))
    return checks
