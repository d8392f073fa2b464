"""The protocol of published tables: turn the prediction until it fits best, then measure what is left.

Both are scaled to the same longest side, the prediction is turned about the vertical in steps to the smallest Chamfer
distance and then moved by ICP (as SF3D's table has it; distances are between samples, the mean of both directions). It
barely tells good from random, which is why the row of a random other object stands beside it: read the difference.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from triplane3d.evaluation.shape_metrics import NO_SURFACE, Surface
from triplane3d.geometry.mesh.normalization import normalize_points, rotation_about_y

YAWS = 36
THRESHOLD = 0.1


def aligned_scores(
    truth: Surface, prediction: Surface | None, *, search: int = 1500, count: int = 10_000, iterations: int = 30
) -> dict[str, float]:
    """Chamfer distance and F-score at 0.1 after the best alignment that `search` samples find, by `count` samples."""
    if prediction is None:
        return {"aligned_chamfer": NO_SURFACE, "aligned_f_score_10": 0.0}
    # Samples are in random order: the first are as good as any.
    goal, cloud = (normalize_points(surface.points)[:count] for surface in (truth, prediction))
    goal_tree, sparse = cKDTree(goal[:search]), cloud[:search]
    sparse_tree = cKDTree(sparse)

    def misfit(turn: Float[np.ndarray, "3 3"]) -> float:
        return goal_tree.query(sparse @ turn.T)[0].mean() + sparse_tree.query(goal[:search] @ turn)[0].mean()

    turn = min((rotation_about_y(2 * np.pi * step / YAWS) for step in range(YAWS)), key=misfit)
    shift = np.zeros(3)
    for _ in range(iterations):
        moved = sparse @ turn.T + shift
        partner = goal[goal_tree.query(moved)[1]]
        turn, shift = rigid_fit(sparse, partner)
    moved = cloud @ turn.T + shift
    accuracy, completeness = cKDTree(goal).query(moved)[0], cKDTree(moved).query(goal)[0]
    precision, recall = (accuracy <= THRESHOLD).mean(), (completeness <= THRESHOLD).mean()
    return {
        "aligned_chamfer": float((accuracy.mean() + completeness.mean()) / 2),
        "aligned_f_score_10": float(2 * precision * recall / max(precision + recall, 1e-12)),
    }


def rigid_fit(
    source: Float[np.ndarray, "points 3"],
    target: Float[np.ndarray, "points 3"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """The rotation and shift that bring `source` nearest to `target`, point to point (Kabsch)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return turn, target_mean - turn @ source_mean
