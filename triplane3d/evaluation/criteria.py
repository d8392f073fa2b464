"""Release criteria: target values for scores, and whether a measurement reaches them.

A criterion passes if the end of the 95% confidence interval that is nearer to the target passes: the lower end must be
at least `at_least`, the upper end at most `at_most`. The mean alone is not tested. A criterion for each single shape
uses the range from the lowest to the highest score in place of the interval. A criterion about the given photos, and
not about photos like them, is tested at the mean. docs/evaluation.md lists all criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from triplane3d.evaluation.protocol import FREE, MESH_VIEWS, MESHES, TRAINED, UNSEEN
from triplane3d.evaluation.sanity_checks import ReferenceCheck
from triplane3d.evaluation.summary import Estimate, Row, Summary

THIN_MESHES = ("banana", "eyeglasses", "hammer", "plane", "wineglass")
"""Meshes with little volume for their surface. They have a criterion of their own, for S-IoU."""
SOLID_FILL = 0.03
"""Smallest volume, as a fraction of the cube, of the meshes that must each reach a V-IoU."""
SINGLE_PIECE = 0.97
"""Volume fraction of the largest component from which a mesh counts as one piece."""

Score = dict[str, float]


class Subject(NamedTuple):
    """What a criterion applies to: rows of a suite and data set by their method, or estimates by their name.

    `data` and `name` may contain the wildcards of `fnmatch`.
    """

    suite: str
    data: str
    name: str

    def matches(self, suite: str, data: str, name: str) -> bool:
        return suite == self.suite and fnmatchcase(data, self.data) and fnmatchcase(name, self.name)


@dataclass(frozen=True)
class Criterion:
    """A target for a score."""

    group: str
    """Heading in docs/evaluation.md under which the criterion is listed."""
    title: str
    subject: Subject
    metric: str | None = None
    """The score of the rows of `subject`; None if `subject` names estimates."""
    at_least: float | None = None
    at_most: float | None = None
    floor: float | None = None
    """A lower target that models trained on a CPU must reach."""
    each: bool = False
    """Whether every single shape must reach the target, instead of the mean."""
    these_only: bool = False
    """Whether the criterion is about the measured shapes themselves: their mean is tested, without an interval."""
    pass_threshold: float | None = None
    """If given, the criterion applies to the fraction of shapes that reach this score, instead of the mean score."""
    applies_to: Callable[[Score, str], bool] | None = None
    """Selects shapes by their scores and category; None selects all."""

    @property
    def target(self) -> str:
        """The target as text, for example "≥ 0.9"."""
        limits = (("≥", self.at_least), ("≤", self.at_most))
        return " and ".join(f"{sign} {value:g}" for sign, value in limits if value is not None)

    def results(self, rows: Sequence[Row], estimates: Sequence[Estimate]) -> list[CriterionResult]:
        """One result for every matching row with the metric, or every matching estimate."""
        if self.metric is None:
            return [
                CriterionResult(self, estimate.data, estimate.value, estimate.low, estimate.high)
                for estimate in estimates
                if self.subject.matches(estimate.suite, estimate.data, estimate.name)
            ]
        measured = [
            (row.data, self._summarize(row)) for row in rows if self.subject.matches(row.suite, row.data, row.method)
        ]
        return [CriterionResult(self, data, *values) for data, values in measured if values is not None]

    def _summarize(self, row: Row) -> tuple[float, float, float] | None:
        """Mean and bounds over the selected shapes of a row; None if there are none."""
        categories, shapes = row.categories or [""] * len(row.scores), row.shapes or map(str, range(len(row.scores)))
        selected = [
            (score[self.metric], shape)
            for score, category, shape in zip(row.scores, categories, shapes)
            if self.metric in score and (self.applies_to is None or self.applies_to(score, category))
        ]
        if not selected:
            return None
        values, names = [value for value, _ in selected], [shape for _, shape in selected]
        if self.pass_threshold is not None:
            values = [float(value >= self.pass_threshold) for value in values]
        summary = Summary.of(values, names)
        if self.these_only:
            return summary.mean, summary.mean, summary.mean
        return (summary.mean, min(values), max(values)) if self.each else (summary.mean, summary.low, summary.high)

    def to_json(self) -> dict[str, object]:
        """What the criterion requires."""
        return {
            "criterion": self.group,
            "title": self.title,
            "data": self.subject.data,
            "target": self.target,
            "floor": self.floor,
        }


@dataclass(frozen=True)
class CriterionResult:
    """A criterion beside what was measured on one data set."""

    criterion: Criterion
    data: str
    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        at_least, at_most = self.criterion.at_least, self.criterion.at_most
        return (at_least is None or self.low >= at_least) and (at_most is None or self.high <= at_most)

    @property
    def floor_passed(self) -> bool | None:
        """Whether the lower target is reached; None if the criterion has none."""
        return None if self.criterion.floor is None else self.low >= self.criterion.floor

    def to_json(self) -> dict[str, object]:
        return self.criterion.to_json() | {
            "data": self.data,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "passed": self.passed,
            "floor_passed": self.floor_passed,
        }


AUTOENCODER = Subject("autoencoder", TRAINED, "autoencoder")
AUTOENCODER_ON_MESHES = AUTOENCODER._replace(data=MESHES)
AUTOENCODER_GAP = Subject("autoencoder", f"{TRAINED} - *", "volume_iou of autoencoder")
MODEL = Subject("image", TRAINED, "model")
MODEL_ON_FREE = MODEL._replace(data=FREE)
MODEL_ON_MESHES = MODEL._replace(data=MESH_VIEWS)
PHOTOS = Subject("photos", "photos", "model")
TRUTH = Subject("sanity checks", "*", "truth")
REFERENCE_CHECKS = Subject("sanity checks", "*", "reference scores")


REFINED_PHOTOS = Subject("agreement of photos", "photos", "refined")
PREDICTED_CAMERAS = Subject("agreement of cameras", TRAINED, "predicted camera")


def _variety(name: str) -> Subject:
    return Subject("variety", "*", name)


def _steps(name: str) -> Subject:
    return Subject("steps", "*", name)


def _refined(data: str, metric: str = "volume_iou") -> Subject:
    return Subject("agreement", data, f"{metric} of refined - unrefined")


# fmt: off
CRITERIA = (
    Criterion("reconstruction", "V-IoU of the autoencoder", AUTOENCODER, "volume_iou", 0.965, floor=0.92),
    Criterion("reconstruction", "S-IoU of the autoencoder", AUTOENCODER, "surface_iou", 0.92, floor=0.80),
    Criterion("reconstruction", "F@.02 of the autoencoder", AUTOENCODER, "f_score_02", 0.985),
    Criterion("reconstruction", "NC of the autoencoder", AUTOENCODER, "normal_consistency", 0.95),
    Criterion("reconstruction of meshes", "V-IoU of the autoencoder", AUTOENCODER_ON_MESHES, "volume_iou", 0.90),
    Criterion("reconstruction of meshes", "S-IoU of the autoencoder", AUTOENCODER_ON_MESHES, "surface_iou", 0.82),
    Criterion("reconstruction of meshes", "F@.02 of the autoencoder", AUTOENCODER_ON_MESHES, "f_score_02", 0.93),
    Criterion("reconstruction of meshes", "V-IoU of each mesh with fill ≥ .03", AUTOENCODER_ON_MESHES, "volume_iou",
              0.80, each=True, applies_to=lambda score, name: score["fill"] >= SOLID_FILL),
    Criterion("reconstruction of meshes", "S-IoU of thin meshes", AUTOENCODER_ON_MESHES, "surface_iou", 0.65,
              applies_to=lambda score, name: name in THIN_MESHES),
    Criterion("generalization", "V-IoU lost on unseen families",
              AUTOENCODER_GAP._replace(data="trained families - unseen families"), at_most=0.03),
    Criterion("generalization", "V-IoU lost on meshes",
              AUTOENCODER_GAP._replace(data="trained families - meshes"), at_most=0.07),
    Criterion("image", "V-IoU from one image", MODEL, "volume_iou", 0.80, floor=0.62),
    Criterion("image", "F@.05 from one image", MODEL, "f_score_05", 0.75),
    Criterion("image", "V-IoU from one image", MODEL_ON_FREE, "volume_iou", 0.60),
    Criterion("image", "F@.05 from one image", MODEL_ON_FREE, "f_score_05", 0.50),
    Criterion("image", "V-IoU above retrieval", MODEL._replace(name="volume_iou of model - retrieval by own features"),
              at_least=0.10),
    Criterion("image of meshes", "V-IoU from one image", MODEL_ON_MESHES, "volume_iou", 0.46),
    Criterion("image of meshes", "V-IoU from one image, stretch target", MODEL_ON_MESHES, "volume_iou", 0.54),
    Criterion("image of meshes", "F@.05 from one image", MODEL_ON_MESHES, "f_score_05", 0.42),
    Criterion("image of meshes", "F@.05 of the visible part", MODEL_ON_MESHES, "f_score_05_visible", 0.60),
    Criterion("photos", "mask IoU", PHOTOS, "mask_iou", 0.85),
    Criterion("photos", "mask IoU of each photo", PHOTOS, "mask_iou", 0.70, each=True),
    Criterion("photos", "depth / width of each photo", PHOTOS, "depth_to_width", 0.25, 2, each=True),
    Criterion("variety", "hidden / visible variance", _variety("hidden / visible variance"), at_least=2),
    Criterion("variety", "V-IoU gained by the best seed", _variety("best of * - mean"), at_least=0.02, at_most=0.10),
    Criterion("variety", "V-IoU lost with another image", _variety("own - another's picture"), at_least=0.25),
    Criterion("steps", "V-IoU of 4 steps / 50", _steps("4 steps / 50 steps"), at_least=0.98, floor=0.95),
    Criterion("steps", "V-IoU of 1 step / 50", _steps("1 step / 50 steps"), at_least=0.90),
    Criterion("steps", "V-IoU of 4 steps / teacher's 50", _steps("4 steps / teacher's 50 steps"), at_least=0.98,
              floor=0.95),
    Criterion("steps", "V-IoU of 1 step / teacher's 50", _steps("1 step / teacher's 50 steps"), at_least=0.90),
    # The criterion compares scores, not call counts: every model can be run without guidance.
    Criterion("steps", "V-IoU of one network call a step / guided", _steps("one network call a step / guided"),
              at_least=0.99),
    Criterion("agreement", "V-IoU gained by refinement", _refined(TRAINED), at_least=0.07),
    Criterion("agreement", "V-IoU gained by refinement", _refined(UNSEEN), at_least=0.06),
    Criterion("agreement", "V-IoU gained by refinement", _refined(MESH_VIEWS), at_least=0.08),
    Criterion("agreement", "F@.05 of the hidden part gained by refinement", _refined("*", "f_score_05_hidden"),
              at_least=0),
    Criterion("agreement", "mask IoU of refined photos", REFINED_PHOTOS, "mask_iou", 0.93, these_only=True),
    Criterion("agreement", "mask IoU of each refined photo", REFINED_PHOTOS, "mask_iou", 0.85, each=True),
    Criterion("agreement", "fraction of refined photos in one piece", REFINED_PHOTOS, "largest_component", 0.90,
              pass_threshold=SINGLE_PIECE, these_only=True),
    Criterion("agreement", "elevation of the predicted camera, degrees", PREDICTED_CAMERAS, "elevation_error",
              at_most=5),
    Criterion("agreement", "offset of the predicted camera", PREDICTED_CAMERAS, "offset_error", at_most=0.03),
    Criterion("agreement", "scale of the predicted camera", PREDICTED_CAMERAS, "scale_error", at_most=0.05),
    Criterion("meshes of photos", "watertight, each mesh", PHOTOS, "watertight", 1, each=True),
    Criterion("meshes of photos", "fraction of meshes in one piece", PHOTOS, "largest_component", 0.95,
              pass_threshold=SINGLE_PIECE),
    Criterion("meshes of photos", "contact with the grid's sides", PHOTOS, "wall_contact", at_most=0, each=True),
    Criterion("learning", "V-IoU of the autoencoder, fixed budget", Subject("learning", "*", "autoencoder"),
              "volume_iou", 0.70),
    Criterion("learning", "generated / reconstructed V-IoU of overfitted shapes",
              Subject("learning", "*", "denoiser / autoencoder"), at_least=0.97),
    Criterion("sanity checks", "V-IoU of the truth", TRUTH, "volume_iou", 0.9995, each=True),
    Criterion("sanity checks", "F@.02 of the truth", TRUTH, "f_score_02", 0.999, each=True),
    Criterion("sanity checks", "fraction of reference scores reproduced", REFERENCE_CHECKS, at_least=1),
)
# fmt: on


def evaluate_criteria(
    rows: Sequence[Row],
    estimates: Sequence[Estimate],
    checks: Sequence[ReferenceCheck] = (),
    *,
    criteria: Sequence[Criterion] = CRITERIA,
) -> list[CriterionResult]:
    """The results of all criteria whose scores were measured."""
    estimates = list(estimates)
    if checks:
        fraction = sum(check.agrees for check in checks) / len(checks)
        estimates.append(Estimate("sanity checks", MESHES, REFERENCE_CHECKS.name, fraction, fraction, fraction))
    return [result for criterion in criteria for result in criterion.results(rows, estimates)]


def unmeasured_criteria(
    results: Sequence[CriterionResult], *, criteria: Sequence[Criterion] = CRITERIA
) -> list[Criterion]:
    """The criteria without a result in the groups in which others have one."""
    measured = {id(result.criterion) for result in results}
    groups = {result.criterion.group for result in results}
    return [criterion for criterion in criteria if criterion.group in groups and id(criterion) not in measured]


def format_unmeasured(criteria: Sequence[Criterion]) -> str:
    """One line per criterion that was not measured: group, title and data, target."""
    return "\n".join(
        f"{criterion.group:25s} {_title(criterion, criterion.subject.data):80s} {'':20s}  {criterion.target:18s} "
        "not measured"
        for criterion in criteria
    )


def _title(criterion: Criterion, data: str) -> str:
    return criterion.title if data == "*" else f"{criterion.title}, {data}"


def format_results(results: Sequence[CriterionResult]) -> str:
    """One line per result: group, title and data, value and interval, target, outcome."""
    lines = []
    for result in results:
        criterion, outcome = result.criterion, "passed" if result.passed else "not passed"
        if result.floor_passed is not None and not result.passed:
            outcome += f"; floor {criterion.floor:g} {'passed' if result.floor_passed else 'not passed'}"
        lines.append(
            f"{criterion.group:25s} {_title(criterion, result.data):80s} {result.value:.3f} "
            f"[{result.low:.3f}, {result.high:.3f}]  {criterion.target:18s} {outcome}"
        )
    return "\n".join(lines)
