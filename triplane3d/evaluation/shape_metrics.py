"""Metrics between a true solid T and a predicted solid P in [-1, 1]³. No network is needed, nothing is aligned.

All lengths are in world units: the longest side of an object is 2.

- `volume_iou` (V-IoU): |T ∩ P| / |T ∪ P|, estimated with points uniform in the cube.
- `surface_iou` (S-IoU): the same ratio, estimated with points near T's surface: surface samples plus normal noise of
  standard deviation 0.02.
- `point_to_surface` (P2S): mean distance from samples of P to T's triangles and from samples of T to P's triangles,
  averaged over the two directions. Distances are not squared. A mesh compared with itself scores exactly 0.
- `chamfer` (CD): the same average, but from each sample to the nearest sample of the other surface, as in most papers.
  It is above 0 even for equal surfaces: about 0.005 with 50,000 samples.
- `f_score_02`, `f_score_05`, `f_score_10`: harmonic mean of precision and recall (Tatarchenko et al., "What do
  single-view 3D reconstruction networks learn?", CVPR 2019). Precision is the fraction of P's samples within 0.02, 0.05
  or 0.1 of T, recall the fraction of T's samples within that distance of P, by point-to-triangle distances.
- `f_score_05_visible`, `f_score_05_hidden`: F-score at 0.05 of the samples that the image's camera sees, and of the
  other samples. Each part is measured against the whole of the other surface.
- `normal_consistency` (NC): mean |cosine| between a sample's normal and the normal at the nearest place on the other
  surface, averaged over the two directions (Mescheder et al., "Occupancy networks", CVPR 2019).

A prediction without a surface (`None`) scores 0 where higher is better and `NO_SURFACE` for distances.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from triplane3d.evaluation.protocol import OCCUPANCY_POINTS
from triplane3d.evaluation.solids import Occupancy, Solid, Surface, mesh_occupancy
from triplane3d.evaluation.visibility import visible
from triplane3d.geometry.cameras import Camera

__all__ = [
    "NEAR_STD",
    "NO_SURFACE",
    "THRESHOLDS",
    "Occupancy",
    "Solid",
    "Surface",
    "chamfer_distance",
    "compare_solids",
    "compare_surfaces",
    "f_score",
    "intersection_over_union",
    "mesh_occupancy",
    "near_points",
    "surface_iou",
    "uniform_points",
    "volume_iou",
]

THRESHOLDS = (0.02, 0.05, 0.1)
"""Distances at which F-scores are measured, in world units."""
SPLIT_THRESHOLD = 0.05
"""Distance of the F-scores of the visible and the hidden part."""
NEAR_STD = 0.02
"""Standard deviation of the noise that moves the points of S-IoU off the surface."""
NO_SURFACE = 2.0
"""Distance assigned to a prediction without a surface: the longest side of an object."""


def uniform_points(count: int = OCCUPANCY_POINTS, *, seed: int = 0) -> Float[np.ndarray, "{count} 3"]:
    """Points uniform in [-1, 1]³."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))


def near_points(
    surface: Surface, count: int = OCCUPANCY_POINTS, *, std: float = NEAR_STD, seed: int = 0
) -> Float[np.ndarray, "{count} 3"]:
    """Samples of a surface plus normal noise of standard deviation `std`, clipped to the cube."""
    rng = np.random.default_rng(seed)
    points = surface.points[rng.integers(len(surface.points), size=count)]
    return np.clip(points + std * rng.standard_normal((count, 3)), -1, 1)


def intersection_over_union(truth: Bool[np.ndarray, "*points"], prediction: Bool[np.ndarray, "*points"]) -> float:
    """Fraction of the points inside either set that are inside both. Two empty sets score 1."""
    union = np.count_nonzero(truth | prediction)
    return float(np.count_nonzero(truth & prediction) / union) if union else 1.0


def volume_iou(truth: Occupancy, prediction: Occupancy, *, count: int = OCCUPANCY_POINTS, seed: int = 0) -> float:
    """V-IoU, defined in this module's docstring."""
    points = uniform_points(count, seed=seed)
    return intersection_over_union(truth(points), prediction(points))


def surface_iou(
    truth: Occupancy, prediction: Occupancy, surface: Surface, *, count: int = OCCUPANCY_POINTS, seed: int = 0
) -> float:
    """S-IoU near the true `surface`, defined in this module's docstring."""
    points = near_points(surface, count, seed=seed)
    return intersection_over_union(truth(points), prediction(points))


def compare_surfaces(truth: Surface, prediction: Surface | None, *, camera: Camera | None = None) -> dict[str, float]:
    """Point-to-surface distance, Chamfer distance, F-scores and normal consistency.

    With the image's `camera`, also the F-scores of the visible and the hidden part; both surfaces then need a mesh.
    """
    f_names = [f"f_score_{round(100 * threshold):02d}" for threshold in THRESHOLDS]
    split_names = [] if camera is None else ["f_score_05_visible", "f_score_05_hidden"]
    if prediction is None:
        return {
            "point_to_surface": NO_SURFACE,
            "chamfer": NO_SURFACE,
            **dict.fromkeys(f_names, 0.0),
            "normal_consistency": 0.0,
            **dict.fromkeys(split_names, 0.0),
        }

    accuracy, true_normals = truth.nearest(prediction.points)
    completeness, predicted_normals = prediction.nearest(truth.points)
    cosines = [np.abs((prediction.normals * true_normals).sum(1)), np.abs((truth.normals * predicted_normals).sum(1))]
    between_samples = truth.tree.query(prediction.points)[0], prediction.tree.query(truth.points)[0]
    scores = {
        "point_to_surface": chamfer_distance(accuracy, completeness),
        "chamfer": chamfer_distance(*between_samples),
        "normal_consistency": (cosines[0].mean() + cosines[1].mean()) / 2,
    }
    for name, threshold in zip(f_names, THRESHOLDS):
        scores[name] = f_score(accuracy, completeness, threshold)
    if camera is not None:
        of_prediction, of_truth = (
            visible(surface.points, surface.normals, surface.require_mesh(), camera) for surface in (prediction, truth)
        )
        parts = (of_prediction, of_truth), (~of_prediction, ~of_truth)
        for name, (predicted, true) in zip(split_names, parts):
            scores[name] = f_score(accuracy[predicted], completeness[true], SPLIT_THRESHOLD)
    return {name: float(value) for name, value in scores.items()}


def chamfer_distance(accuracy: Float[np.ndarray, " predicted"], completeness: Float[np.ndarray, " true"]) -> float:
    """Average of the mean distance prediction → truth (`accuracy`) and truth → prediction (`completeness`)."""
    return float((accuracy.mean() + completeness.mean()) / 2)


def f_score(
    accuracy: Float[np.ndarray, " predicted"], completeness: Float[np.ndarray, " true"], threshold: float
) -> float:
    """F-score from the distances prediction → truth (`accuracy`) and truth → prediction (`completeness`).

    If both sets are empty the score is 1; if only one is empty it is 0.
    """
    if len(accuracy) == 0 or len(completeness) == 0:
        return float(len(accuracy) == len(completeness))
    precision, recall = (accuracy <= threshold).mean(), (completeness <= threshold).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def compare_solids(
    truth: Solid, prediction: Solid, *, count: int = OCCUPANCY_POINTS, seed: int = 0
) -> dict[str, float]:
    """All metrics of this module except those that need a camera. Raises ValueError if `truth` is empty."""
    if truth.surface is None:
        raise ValueError("the true solid is empty: its surface cannot be compared")
    return {
        "volume_iou": volume_iou(truth.occupancy, prediction.occupancy, count=count, seed=seed),
        "surface_iou": surface_iou(truth.occupancy, prediction.occupancy, truth.surface, count=count, seed=seed),
        **compare_surfaces(truth.surface, prediction.surface),
    }
