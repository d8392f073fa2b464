"""From the scores of single shapes to a table: means, confidence intervals and the worst tenth.

Intervals are percentile bootstrap intervals (Efron 1979). Scores of the same shape, such as two views of one mesh, are
not independent, so whole shapes are resampled together with all their scores (cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil

import numpy as np
from jaxtyping import Float

from triplane3d.evaluation.protocol import BOOTSTRAP_RESAMPLES, TRAINED

LOWER_IS_BETTER = frozenset(
    {
        *("chamfer", "point_to_surface", "aligned_chamfer", "wall_contact"),
        *("pieces", "color_error", "seconds", "refine_seconds"),
        *("elevation_error", "offset_error", "scale_error"),
    }
)
"""Metrics whose small values are good; higher is better for all others."""
INTERVAL = (0.025, 0.975)
"""Quantiles of the bootstrap means that bound the 95% confidence interval."""


@dataclass(frozen=True)
class Summary:
    """Statistics of one metric over all shapes of a row."""

    count: int
    mean: float
    low: float
    """Lower end of the 95% confidence interval of the mean."""
    high: float
    """Upper end of that interval."""
    worst_decile: float
    """Mean of the worst tenth of the values, at least one value."""

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        shapes: Sequence[str] = (),
        *,
        lower_is_better: bool = False,
        resamples: int = BOOTSTRAP_RESAMPLES,
        seed: int = 0,
    ) -> Summary:
        """`shapes` names the shape behind each value, as in `Row`. Raises ValueError if there are no values."""
        scores = np.asarray(values, dtype=float)
        if len(scores) == 0:
            raise ValueError("there is nothing to summarise: no shape was scored")
        (means,) = bootstrap_means(scores[None], shapes, resamples, np.random.default_rng(seed))
        low, high = np.quantile(means, INTERVAL)
        worst_first = np.sort(scores)[:: -1 if lower_is_better else 1]
        worst_decile = worst_first[: ceil(len(scores) / 10)].mean()
        return cls(len(scores), float(scores.mean()), float(low), float(high), float(worst_decile))


def bootstrap_means(
    scores: Float[np.ndarray, "metrics values"], shapes: Sequence[str], resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "metrics resamples"]:
    """Means of resampled scores. All metrics use the same resamples, so that their differences and ratios are paired.

    `shapes` names the shape behind each value; without it every value belongs to a shape of its own.
    """
    _, of_shape = np.unique(shapes if len(shapes) else np.arange(scores.shape[1]), return_inverse=True)
    totals, counts = np.stack([np.bincount(of_shape, metric) for metric in scores]), np.bincount(of_shape)
    index = rng.integers(len(counts), size=(resamples, len(counts)))
    return totals[:, index].sum(-1) / counts[index].sum(-1)


@dataclass(frozen=True)
class Estimate:
    """A difference or ratio of rows, with its 95% confidence interval."""

    suite: str
    data: str
    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.data}: {self.name}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def difference_of_means(
    scores: Sequence[float], subtracted: Sequence[float], *, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Difference of the means of two independent sets of shapes: value, lower and upper end of the interval."""
    rng = np.random.default_rng(seed)
    means = [
        bootstrap_means(np.asarray(values, dtype=float)[None], (), resamples, rng)[0] for values in (scores, subtracted)
    ]
    low, high = np.quantile(means[0] - means[1], INTERVAL)
    return float(np.mean(scores) - np.mean(subtracted)), float(low), float(high)


def ratio_of_means(
    scores: Sequence[float],
    reference: Sequence[float],
    shapes: Sequence[str] = (),
    *,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Ratio of two means over the same shapes: value, lower and upper end of the interval.

    The two sets are resampled together. The ratio is infinite where only the reference mean is 0, and 1 where both
    means are 0. Raises ValueError if the sets differ in length or are empty.
    """
    numerators, denominators = np.asarray(scores, dtype=float), np.asarray(reference, dtype=float)
    if numerators.shape != denominators.shape or len(numerators) == 0:
        raise ValueError(
            f"a ratio of means needs scores of the same shapes, got {len(numerators)} and {len(denominators)} scores"
        )
    both = np.stack([numerators, denominators])
    resampled = bootstrap_means(both, shapes, resamples, np.random.default_rng(seed))
    means = np.append(resampled, both.mean(1)[:, None], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(means[0] == means[1], 1.0, means[0] / means[1])
    # Without interpolation between values: some may be infinite.
    low, high = np.quantile(ratios[:-1], INTERVAL, method="nearest")
    return float(ratios[-1]), float(low), float(high)


@dataclass
class Row:
    """The scores of one method on one data set: a line of a table."""

    suite: str
    data: str
    method: str
    scores: list[dict[str, float]]
    """One entry per measurement; some metrics may be missing from some entries."""
    categories: Sequence[str] = ()
    """Category of each entry of `scores`, or empty."""
    shapes: Sequence[str] = ()
    """Name of the shape behind each entry of `scores`, or empty if every entry is another shape."""

    def values(self, metric: str) -> list[float]:
        """The values of a metric, without the entries that lack it."""
        return [score[metric] for score in self.scores if metric in score]

    def shapes_with(self, metric: str) -> list[str]:
        """Names of the shapes behind `values`, in the same order."""
        return [name for name, score in zip(self.shapes, self.scores) if metric in score]

    def summaries(self) -> dict[str, Summary]:
        """The summary of every metric, over the entries that have it."""
        metrics = dict.fromkeys(metric for score in self.scores for metric in score)
        return {
            metric: Summary.of(self.values(metric), self.shapes_with(metric), lower_is_better=metric in LOWER_IS_BETTER)
            for metric in metrics
        }

    def by_category(self) -> dict[str, dict[str, float]]:
        """Mean of each metric in each category."""
        groups = {
            name: [score for score, category in zip(self.scores, self.categories) if category == name]
            for name in sorted(set(self.categories))
        }
        return {
            name: {
                metric: float(np.mean([score[metric] for score in group if metric in score]))
                for metric in dict.fromkeys(metric for score in group for metric in score)
            }
            for name, group in groups.items()
        }

    def category_mean(self, metric: str) -> float | None:
        """Mean over categories of the category means: every category has the same weight. None without categories."""
        means = [scores[metric] for scores in self.by_category().values()]
        return float(np.mean(means)) if means else None

    def to_json(self) -> dict[str, object]:
        return {
            "suite": self.suite,
            "data": self.data,
            "method": self.method,
            "metrics": {metric: asdict(summary) for metric, summary in self.summaries().items()},
            "categories": self.by_category(),
        }


def format_table(rows: Sequence[Row], metrics: Mapping[str, str]) -> str:
    """A text table with one line per row. `metrics` maps metrics to column heads.

    Each cell holds `mean [low, high] worst decile`. The last column is the category mean of the first metric.
    """
    if not rows:
        return ""
    heads = ["data", "method", "n", *(f"{head} [95%] worst 10%" for head in metrics.values()), "per category"]
    lines = []
    for row in rows:
        summaries = row.summaries()
        first = row.category_mean(next(iter(metrics)))
        cells = [_cell(summaries.get(metric)) for metric in metrics]
        lines.append([row.data, row.method, str(len(row.scores)), *cells, "" if first is None else f"{first:.3f}"])
    widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
    ruled = [heads, ["-" * width for width in widths], *lines]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in ruled)


def margins(rows: Sequence[Row], metric: str = "volume_iou", method: str = "model") -> list[Estimate]:
    """Mean difference of `method` to every other method on the same data, paired by shape; "truth" is left out."""
    estimates = []
    for own in (row for row in rows if row.method == method):
        for other in rows:
            if (other.suite, other.data) == (own.suite, own.data) and other.method not in (method, "truth"):
                differences = [mine[metric] - theirs[metric] for mine, theirs in zip(own.scores, other.scores)]
                gain = Summary.of(differences, own.shapes)
                name = f"{metric} of {method} - {other.method}"
                estimates.append(Estimate(own.suite, own.data, name, gain.mean, gain.low, gain.high))
    return estimates


def generalization_gaps(
    rows: Sequence[Row], metric: str = "volume_iou", *, method: str = "autoencoder", reference: str = TRAINED
) -> list[Estimate]:
    """How much lower `method` scores on every other data set than on `reference`.

    The data sets hold different shapes, so the differences are not paired and the intervals are wide.
    """
    own = {row.data: row for row in rows if row.method == method}
    if reference not in own:
        return []
    return [
        Estimate(
            row.suite,
            f"{reference} - {data}",
            f"{metric} of {method}",
            *difference_of_means(own[reference].values(metric), row.values(metric)),
        )
        for data, row in own.items()
        if data != reference
    ]


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    return f"{summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}] {summary.worst_decile:.3f}"
