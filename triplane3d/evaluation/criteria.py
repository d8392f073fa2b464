"""The bars that a release is held to: what must be reached, and what was.

A bar is met by the bound of the 95% interval that is less kind, never by the mean. Where a bar speaks of each object,
the interval is from the worst to the best of them. Q9, Q10, Q12 and Q13 are measured by other scripts in `benchmarks/`
and by the tests; Q14 by `benchmarks/learning_curve.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from triplane3d.evaluation.self_test import Agreement
from triplane3d.evaluation.summary import Estimate, Row, Summary

THIN = ("banana", "eyeglasses", "hammer", "plane", "wineglass")
"""Meshes that are judged by their surface, being mostly surface."""

Score = dict[str, float]


@dataclass(frozen=True)
class Bar:
    """What is asked of the rows of `suite` and `data` whose method is `of`, or of the estimates of that name.

    Names may hold wildcards. `metric` is what a row's shapes are scored by; an estimate has none.
    """

    number: str
    title: str
    suite: str
    data: str
    of: str
    metric: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    floor: float | None = None
    """Less than the target: what a model that was trained on a CPU has to reach all the same."""
    each: bool = False
    """Is it asked of every shape, not of their mean?"""
    passing: float | None = None
    """Asks for the share of shapes that reach this, instead of their mean."""
    only: Callable[[Score, str], bool] | None = None
    """Which shapes count, by their scores and category."""

    @property
    def target(self) -> str:
        limits = (("≥", self.at_least), ("≤", self.at_most))
        return " and ".join(f"{sign} {value:g}" for sign, value in limits if value is not None)

    def verdicts(self, rows: Sequence[Row], estimates: Sequence[Estimate]) -> list[Verdict]:
        """One for everything that was measured and that this bar speaks of."""
        if self.metric is None:
            return [
                Verdict(self, found.data, found.value, found.low, found.high)
                for found in estimates
                if self._speaks_of(found.suite, found.data, found.name)
            ]
        measured = [(row.data, self._of_row(row)) for row in rows if self._speaks_of(row.suite, row.data, row.method)]
        return [Verdict(self, data, *values) for data, values in measured if values is not None]

    def _speaks_of(self, suite: str, data: str, name: str) -> bool:
        return suite == self.suite and fnmatchcase(data, self.data) and fnmatchcase(name, self.of)

    def _of_row(self, row: Row) -> tuple[float, float, float] | None:
        categories, shapes = row.categories or [""] * len(row.scores), row.shapes or map(str, range(len(row.scores)))
        asked = [
            (score[self.metric], shape)
            for score, category, shape in zip(row.scores, categories, shapes)
            if self.metric in score and (self.only is None or self.only(score, category))
        ]
        if not asked:
            return None
        values, names = [value for value, _ in asked], [shape for _, shape in asked]
        if self.passing is not None:
            values = [float(value >= self.passing) for value in values]
        summary = Summary.of(values, names)
        return (summary.mean, min(values), max(values)) if self.each else (summary.mean, summary.low, summary.high)


@dataclass(frozen=True)
class Verdict:
    """Was a bar met on this data?"""

    bar: Bar
    data: str
    value: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        bar = self.bar
        return (bar.at_least is None or self.low >= bar.at_least) and (bar.at_most is None or self.high <= bar.at_most)

    @property
    def floor_met(self) -> bool | None:
        return None if self.bar.floor is None else self.low >= self.bar.floor

    def to_json(self) -> dict[str, object]:
        return {
            "bar": self.bar.number,
            "title": self.bar.title,
            "data": self.data,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "target": self.bar.target,
            "met": self.met,
            "floor": self.bar.floor,
            "floor_met": self.floor_met,
        }


BARS = (
    Bar(
        "Q1",
        "V-IoU of the autoencoder",
        "autoencoder",
        "trained families",
        "autoencoder",
        "volume_iou",
        0.965,
        floor=0.92,
    ),
    Bar(
        "Q1",
        "S-IoU of the autoencoder",
        "autoencoder",
        "trained families",
        "autoencoder",
        "surface_iou",
        0.92,
        floor=0.80,
    ),
    Bar("Q1", "F@.02 of the autoencoder", "autoencoder", "trained families", "autoencoder", "f_score_02", 0.985),
    Bar("Q1", "NC of the autoencoder", "autoencoder", "trained families", "autoencoder", "normal_consistency", 0.95),
    Bar("Q2", "V-IoU of the autoencoder", "autoencoder", "meshes", "autoencoder", "volume_iou", 0.90),
    Bar("Q2", "S-IoU of the autoencoder", "autoencoder", "meshes", "autoencoder", "surface_iou", 0.82),
    Bar("Q2", "F@.02 of the autoencoder", "autoencoder", "meshes", "autoencoder", "f_score_02", 0.93),
    Bar(
        "Q2",
        "V-IoU of each mesh with fill ≥ .03",
        "autoencoder",
        "meshes",
        "autoencoder",
        "volume_iou",
        0.80,
        each=True,
        only=lambda score, name: score["fill"] >= 0.03,
    ),
    Bar(
        "Q2",
        "S-IoU of thin meshes",
        "autoencoder",
        "meshes",
        "autoencoder",
        "surface_iou",
        0.65,
        only=lambda score, name: name in THIN,
    ),
    Bar(
        "Q3",
        "V-IoU lost on unseen families",
        "autoencoder",
        "trained families - unseen families",
        "volume_iou of autoencoder",
        at_most=0.03,
    ),
    Bar(
        "Q3",
        "V-IoU lost on meshes",
        "autoencoder",
        "trained families - meshes",
        "volume_iou of autoencoder",
        at_most=0.07,
    ),
    Bar("Q4", "V-IoU from a picture", "image", "trained families", "model", "volume_iou", 0.80, floor=0.62),
    Bar("Q4", "F@.05 from a picture", "image", "trained families", "model", "f_score_05", 0.75),
    Bar("Q4", "V-IoU from a picture", "image", "free compositions", "model", "volume_iou", 0.60),
    Bar("Q4", "F@.05 from a picture", "image", "free compositions", "model", "f_score_05", 0.50),
    Bar(
        "Q4",
        "V-IoU above retrieval",
        "image",
        "trained families",
        "volume_iou of model - retrieval by own features",
        at_least=0.10,
    ),
    Bar("Q5", "V-IoU from a picture", "image", "meshes, two views", "model", "volume_iou", 0.46),
    Bar("Q5", "V-IoU from a picture, stretch", "image", "meshes, two views", "model", "volume_iou", 0.54),
    Bar("Q5", "F@.05 from a picture", "image", "meshes, two views", "model", "f_score_05", 0.42),
    Bar("Q5", "F@.05 of what the picture shows", "image", "meshes, two views", "model", "f_score_05_visible", 0.60),
    Bar("Q6", "mask IoU", "photos", "photos", "model", "mask_iou", 0.85),
    Bar("Q6", "mask IoU of each photo", "photos", "photos", "model", "mask_iou", 0.70, each=True),
    Bar("Q6", "depth / width of each photo", "photos", "photos", "model", "depth_to_width", 0.25, 2, each=True),
    Bar(
        "Q7",
        "variance where the picture shows nothing / something",
        "variety",
        "*",
        "hidden / visible variance",
        at_least=2,
    ),
    Bar("Q7", "V-IoU gained by the best seed", "variety", "*", "best of * - mean", at_least=0.02, at_most=0.10),
    Bar("Q7", "V-IoU lost by swapping the picture", "variety", "*", "own - another's picture", at_least=0.25),
    Bar("Q8", "V-IoU of 4 steps / 50", "steps", "*", "4 steps / 50 steps", at_least=0.98, floor=0.95),
    Bar("Q8", "V-IoU of 1 step / 50", "steps", "*", "1 step / 50 steps", at_least=0.90),
    Bar(
        "Q8", "V-IoU of 4 steps / teacher's 50", "steps", "*", "4 steps / teacher's 50 steps", at_least=0.98, floor=0.95
    ),
    Bar("Q8", "V-IoU of 1 step / teacher's 50", "steps", "*", "1 step / teacher's 50 steps", at_least=0.90),
    # Not that there is one call: guidance can always be turned off.
    Bar(
        "Q8",
        "V-IoU of one network call a step / guided",
        "steps",
        "*",
        "one network call a step / guided",
        at_least=0.99,
    ),
    Bar("Q11", "watertight, each photo's mesh", "photos", "photos", "model", "watertight", 1, each=True),
    Bar(
        "Q11",
        "share of meshes that are 97% one piece",
        "photos",
        "photos",
        "model",
        "largest_component",
        0.95,
        passing=0.97,
    ),
    Bar("Q11", "contact with the grid's wall", "photos", "photos", "model", "wall_contact", at_most=0, each=True),
    Bar("Q14", "V-IoU of the autoencoder, fixed budget", "learning", "*", "autoencoder", "volume_iou", 0.70),
    Bar(
        "Q14",
        "generated / reconstructed V-IoU of overfitted shapes",
        "learning",
        "*",
        "denoiser / autoencoder",
        at_least=0.97,
    ),
    Bar("Q15", "V-IoU of the truth", "self-test", "*", "truth", "volume_iou", 0.9995, each=True),
    Bar("Q15", "F@.02 of the truth", "self-test", "*", "truth", "f_score_02", 0.999, each=True),
    Bar("Q15", "share of table 1c that is reproduced", "self-test", "*", "table 1c", at_least=1),
)


def judge_bars(
    rows: Sequence[Row],
    estimates: Sequence[Estimate],
    agreements: Sequence[Agreement] = (),
    *,
    bars: Sequence[Bar] = BARS,
) -> list[Verdict]:
    """A verdict for each bar whose inputs were measured."""
    estimates = list(estimates)
    if agreements:
        agreeing = sum(agreement.agrees for agreement in agreements) / len(agreements)
        estimates.append(Estimate("self-test", "meshes", "table 1c", agreeing, agreeing, agreeing))
    return [verdict for bar in bars for verdict in bar.verdicts(rows, estimates)]


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    """One line each: number, what was asked of which data, value and interval, target, whether it was met."""
    lines = []
    for verdict in verdicts:
        word = "met" if verdict.met else "not met"
        if verdict.floor_met is not None and not verdict.met:
            word += f"; floor {verdict.bar.floor:g} {'met' if verdict.floor_met else 'not met'}"
        lines.append(
            f"{verdict.bar.number:4s} {verdict.bar.title + ', ' + verdict.data:80s} {verdict.value:.3f} "
            f"[{verdict.low:.3f}, {verdict.high:.3f}]  {verdict.bar.target:18s} {word}"
        )
    return "\n".join(lines)
