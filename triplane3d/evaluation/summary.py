"""From scores of single shapes to the row of a table: mean, what the mean is worth, and the worst of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil

import numpy as np
from jaxtyping import Float

LOWER_IS_BETTER = frozenset({"chamfer", "point_to_surface", "aligned_chamfer", "wall_contact"})


@dataclass(frozen=True)
class Summary:
    """`low` and `high` bound the 95% bootstrap interval of the mean; `worst_decile` is the mean of the worst tenth."""

    count: int
    mean: float
    low: float
    high: float
    worst_decile: float

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        shapes: Sequence[str] = (),
        *,
        lower_is_better: bool = False,
        draws: int = 2000,
        seed: int = 0,
    ) -> Summary:
        """`shapes` names what each value was measured on, as `Row` does."""
        scores = np.asarray(values, dtype=float)
        if len(scores) == 0:
            raise ValueError("there is nothing to summarise: no shape was scored")
        (means,) = drawn_means(scores[None], shapes, draws, np.random.default_rng(seed))
        low, high = np.quantile(means, [0.025, 0.975])
        worst_first = np.sort(scores)[:: -1 if lower_is_better else 1]
        return cls(
            len(scores),
            float(scores.mean()),
            float(low),
            float(high),
            float(worst_first[: ceil(len(scores) / 10)].mean()),
        )


def drawn_means(
    scores: Float[np.ndarray, "kinds values"], shapes: Sequence[str], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "kinds draws"]:
    """Bootstrap means: shapes are drawn, each with all that was measured on it; without names all are different."""
    _, of_shape = np.unique(shapes if len(shapes) else np.arange(scores.shape[1]), return_inverse=True)
    totals, counts = np.stack([np.bincount(of_shape, kind) for kind in scores]), np.bincount(of_shape)
    index = rng.integers(len(counts), size=(draws, len(counts)))
    return totals[:, index].sum(-1) / counts[index].sum(-1)


@dataclass(frozen=True)
class Estimate:
    """A number that compares rows, or what is made of them, with its 95% bootstrap interval."""

    suite: str
    data: str
    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.data}: {self.name}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def gap(of: Sequence[float], minus: Sequence[float], *, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Difference of two means over different shapes, and its interval."""
    rng = np.random.default_rng(seed)
    means = [drawn_means(np.asarray(scores, dtype=float)[None], (), draws, rng)[0] for scores in (of, minus)]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(np.mean(of) - np.mean(minus)), float(low), float(high)


def ratio_of_means(
    of: Sequence[float], whole: Sequence[float], shapes: Sequence[str] = (), *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of two means over the same shapes, and its interval: the shapes are drawn together.

    Infinite where `whole` is 0 and `of` is not; 1 where both are.
    """
    part, full = np.asarray(of, dtype=float), np.asarray(whole, dtype=float)
    if part.shape != full.shape or len(part) == 0:
        raise ValueError(f"a share pairs the scores of the same shapes, got {len(part)} and {len(full)} of them")
    both = np.stack([part, full])
    means = np.append(drawn_means(both, shapes, draws, np.random.default_rng(seed)), both.mean(1)[:, None], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(means[0] == means[1], 1.0, means[0] / means[1])
    # Not interpolated: a draw may be infinite.
    low, high = np.quantile(ratios[:-1], [0.025, 0.975], method="nearest")
    return float(ratios[-1]), float(low), float(high)


@dataclass
class Row:
    """One line of a table: scores, and the category of what each was measured on where it has one.

    `shapes` names what that was. Scores of one shape (two views of a mesh, several seeds) are not independent, so the
    bootstrap draws them together; without names every score is of another shape.
    """

    suite: str
    data: str
    method: str
    scores: list[dict[str, float]]
    categories: Sequence[str] = ()
    shapes: Sequence[str] = ()

    def values(self, metric: str) -> list[float]:
        """Of the shapes that have it."""
        return [score[metric] for score in self.scores if metric in score]

    def shapes_with(self, metric: str) -> list[str]:
        """The shapes' names, in the order of `values`."""
        return [name for name, score in zip(self.shapes, self.scores) if metric in score]

    def summaries(self) -> dict[str, Summary]:
        """Of every metric, over the shapes that have it."""
        names = dict.fromkeys(name for score in self.scores for name in score)
        return {
            name: Summary.of(self.values(name), self.shapes_with(name), lower_is_better=name in LOWER_IS_BETTER)
            for name in names
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
        """The mean over categories of the categories' means: a frequent category counts no more than a rare one."""
        means = [scores[metric] for scores in self.by_category().values()]
        return float(np.mean(means)) if means else None

    def to_json(self) -> dict[str, object]:
        return {
            "suite": self.suite,
            "data": self.data,
            "method": self.method,
            "metrics": {name: asdict(summary) for name, summary in self.summaries().items()},
            "categories": self.by_category(),
        }


def format_table(rows: Sequence[Row], metrics: Mapping[str, str]) -> str:
    """One line per row; each metric as `mean [low, high] worst decile`. `metrics` gives the column heads.

    The last column is the mean over categories of the first metric.
    """
    if not rows:
        return ""
    heads = ["data", "method", "n", *(f"{head} [95%] worst 10%" for head in metrics.values()), "per category"]
    lines = []
    for row in rows:
        summaries = row.summaries()
        first = row.category_mean(next(iter(metrics)))
        lines.append(
            [
                row.data,
                row.method,
                str(len(row.scores)),
                *(_cell(summaries.get(metric)) for metric in metrics),
                "" if first is None else f"{first:.3f}",
            ]
        )
    widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
    ruled = [heads, ["-" * width for width in widths], *lines]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in ruled)


def margins(rows: Sequence[Row], metric: str = "volume_iou", method: str = "model") -> list[Estimate]:
    """For each other answer to the same data: by how much `method` is better, shape by shape."""
    gains = []
    for own in (row for row in rows if row.method == method):
        for other in rows:
            if (other.suite, other.data) == (own.suite, own.data) and other.method not in (method, "truth"):
                gain = Summary.of(
                    [mine[metric] - theirs[metric] for mine, theirs in zip(own.scores, other.scores)], own.shapes
                )
                gains.append(
                    Estimate(
                        own.suite, own.data, f"{metric} of {method} - {other.method}", gain.mean, gain.low, gain.high
                    )
                )
    return gains


def generalization(
    rows: Sequence[Row], metric: str = "volume_iou", *, method: str = "autoencoder", home: str = "trained families"
) -> list[Estimate]:
    """How much worse `method` is on other data than at home. The shapes differ, so the intervals are wide."""
    own = {row.data: row for row in rows if row.method == method}
    if home not in own:
        return []
    return [
        Estimate(
            row.suite, f"{home} - {data}", f"{metric} of {method}", *gap(own[home].values(metric), row.values(metric))
        )
        for data, row in own.items()
        if data != home
    ]


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    return f"{summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}] {summary.worst_decile:.3f}"
