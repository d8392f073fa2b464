"""Scores after alignment, as in published tables: the prediction is moved to fit the truth before it is measured.

1. Both surfaces are centred by their bounding box and scaled to the same longest side of 2.
2. The prediction is rotated about the vertical axis in steps of 10 degrees; the rotation with the smallest Chamfer
   distance is kept.
3. Iterative closest point (Besl and McKay 1992) refines rotation and translation.
4. Chamfer distance and F-score at 0.1 are measured between samples.

This is the protocol of the tables in SF3D (Boss et al. 2024). It barely separates good predictions from unrelated
shapes. Compare it with the row of another shape, which is aligned in the same way.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from triplane3d.evaluation.shape_metrics import NO_SURFACE, chamfer_distance, f_score
from triplane3d.evaluation.solids import Surface
from triplane3d.geometry.mesh.normalization import normalize_points, rotation_about_y

YAWS = 36
"""Rotations about the vertical axis that are tried."""
THRESHOLD = 0.1
"""Distance of the F-score."""


def aligned_scores(
    truth: Surface, prediction: Surface | None, *, search: int = 1500, count: int = 10_000, iterations: int = 30
) -> dict[str, float]:
    """Chamfer distance and F-score at 0.1 after alignment.

    The alignment is found with `search` samples and `iterations` of ICP; the scores use `count` samples.
    """
    if prediction is None:
        return {"aligned_chamfer": NO_SURFACE, "aligned_f_score_10": 0.0}
    # The samples are independent, so the first `count` are a valid random subset.
    target, source = (normalize_points(surface.points)[:count] for surface in (truth, prediction))
    target_tree, sparse = cKDTree(target[:search]), source[:search]
    sparse_tree = cKDTree(sparse)

    def misfit(rotation: Float[np.ndarray, "3 3"]) -> float:
        """Sum of the mean distances of both directions. The inverse rotation of the target replaces a second tree."""
        return (
            target_tree.query(sparse @ rotation.T)[0].mean() + sparse_tree.query(target[:search] @ rotation)[0].mean()
        )

    rotation = min((rotation_about_y(2 * np.pi * step / YAWS) for step in range(YAWS)), key=misfit)
    translation = np.zeros(3)
    for _ in range(iterations):
        partners = target[target_tree.query(sparse @ rotation.T + translation)[1]]
        rotation, translation = rigid_fit(sparse, partners)

    moved = source @ rotation.T + translation
    accuracy, completeness = cKDTree(target).query(moved)[0], cKDTree(moved).query(target)[0]
    return {
        "aligned_chamfer": chamfer_distance(accuracy, completeness),
        "aligned_f_score_10": f_score(accuracy, completeness, THRESHOLD),
    }


def rigid_fit(
    source: Float[np.ndarray, "points 3"], target: Float[np.ndarray, "points 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Rotation R and translation t that minimise Σ |R source + t - target|² over paired points (Kabsch 1976)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean))
    # The sign excludes reflections.
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, target_mean - rotation @ source_mean
