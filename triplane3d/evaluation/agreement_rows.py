"""Rows of the suite `agreement`: means over noise seeds, and gains that are paired by shape and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triplane3d.evaluation.summary import Estimate, Row, Summary

UNREFINED = "unrefined"
REFINED = "refined"
TRUE_CAMERA = "refined, true camera"
"""The only row that uses the true camera of the photo, beside "truth"."""
CARVING = "mask carving alone"
INFLATED = "inflated silhouette"
TRUTH = "truth"
METHODS = (UNREFINED, REFINED, TRUE_CAMERA, CARVING, INFLATED, TRUTH)
"""Rows of the suite, in this order."""

PREDICTED_CAMERA = "predicted camera"
FITTED_CAMERA = "fitted camera"
AVERAGE_CAMERA = "average camera"
CAMERAS = (PREDICTED_CAMERA, FITTED_CAMERA, AVERAGE_CAMERA)
"""Rows of the errors of cameras."""

GAINS = ("volume_iou", "f_score_05_visible", "f_score_05_hidden", "mask_iou")
"""Metrics whose gain over "unrefined" is stated."""
GAIN = "_gain"
"""What the name of a metric's gain ends with."""


class ScoreTable:
    """Collects scores of methods by shape and noise, and makes rows of them."""

    def __init__(self, suite: str, data: str, names: Sequence[str], categories: Sequence[str]) -> None:
        """`names` and `categories` of the shapes, in the order of their indices."""
        self.suite, self.data, self.names, self.categories = suite, data, names, categories
        self._scores: dict[str, dict[int, dict[int | None, dict[str, float]]]] = {}

    def add(self, method: str, shape: int, noise: int | None, scores: dict[str, float]) -> None:
        """Scores of a method for the shape at an index, with the noise at an index; None: for any noise."""
        self._scores.setdefault(method, {}).setdefault(shape, {})[noise] = scores

    def rows(self) -> list[Row]:
        """One row per method. A shape's score is the mean over the noise for which it was measured."""
        measured = [method for method in (*METHODS, *CAMERAS) if method in self._scores]
        rows = []
        for method in measured:
            scores = [mean_scores(self._with_gains(method, shape)) for shape in range(len(self.names))]
            rows.append(Row(self.suite, self.data, method, scores, self.categories, self.names))
        return rows

    def _with_gains(self, method: str, shape: int) -> list[dict[str, float]]:
        """The method's scores for each noise, with their gains over "unrefined" for the same noise."""
        own, before = self._scores[method][shape], self._scores.get(UNREFINED, {}).get(shape, {})
        if method in (UNREFINED, TRUTH):
            return list(own.values())
        if None not in own:
            return [scores | _gains(scores, before.get(noise, {})) for noise, scores in own.items()]
        return [own[None] | mean_scores([_gains(own[None], scores) for scores in before.values()])]


def _gains(scores: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {name + GAIN: scores[name] - before[name] for name in GAINS if name in scores and name in before}


def mean_scores(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the entries in which it is a number."""
    values = {
        name: [each[name] for each in scores if name in each] for name in dict.fromkeys(n for s in scores for n in s)
    }
    finite = {name: [value for value in of_name if np.isfinite(value)] for name, of_name in values.items()}
    return {name: float(np.mean(of_name)) for name, of_name in finite.items() if of_name}


def gain_estimates(rows: Sequence[Row]) -> list[Estimate]:
    """Mean gains over "unrefined", paired by shape and noise, and the V-IoU of "refined" above the reference methods.

    Each has the 95% bootstrap interval over shapes.
    """
    estimates = [
        _estimate(
            row, f"{metric} of {row.method} - {UNREFINED}", row.values(metric + GAIN), row.shapes_with(metric + GAIN)
        )
        for row in rows
        for metric in GAINS
        if row.method in (REFINED, TRUE_CAMERA, CARVING) and row.values(metric + GAIN)
    ]
    by_method = {row.method: row for row in rows if row.values("volume_iou")}
    refined = by_method.get(REFINED)
    for other in (by_method.get(method) for method in (CARVING, INFLATED)):
        if refined is not None and other is not None:
            pairs = zip(refined.values("volume_iou"), other.values("volume_iou"), strict=True)
            gains = [own - theirs for own, theirs in pairs]
            estimates.append(_estimate(refined, f"volume_iou of {REFINED} - {other.method}", gains, refined.shapes))
    return estimates


def _estimate(row: Row, name: str, values: Sequence[float], shapes: Sequence[str]) -> Estimate:
    summary = Summary.of(values, shapes)
    return Estimate(row.suite, row.data, name, summary.mean, summary.low, summary.high)
