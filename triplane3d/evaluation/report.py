"""The results of all suites as text and as JSON: tables, comparisons, and the release criteria."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from triplane3d.evaluation.criteria import (
    CriterionResult,
    evaluate_criteria,
    format_results,
    format_unmeasured,
    unmeasured_criteria,
)
from triplane3d.evaluation.sanity_checks import ReferenceCheck
from triplane3d.evaluation.summary import Estimate, Row, format_table, margins

SURFACES = {"normal_consistency": "NC", "chamfer": "CD", "point_to_surface": "P2S"}
ALIGNED = {"aligned_chamfer": "aligned CD", "aligned_f_score_10": "aligned F@.1"}
AGREEMENT = {
    "mask_iou": "mask IoU",
    "largest_component": "largest piece",
    "pieces": "pieces",
    "refine_seconds": "refinement, s",
    "seconds": "in all, s",
}
COLUMNS = {
    "sanity checks": {"volume_iou": "V-IoU", "surface_iou": "S-IoU", "f_score_02": "F@.02", **SURFACES, **ALIGNED},
    "autoencoder": {"volume_iou": "V-IoU", "surface_iou": "S-IoU", "f_score_02": "F@.02", **SURFACES},
    "image": {
        "volume_iou": "V-IoU",
        "f_score_05": "F@.05",
        "f_score_05_visible": "F@.05 visible",
        "f_score_05_hidden": "F@.05 hidden",
        "f_score_10": "F@.1",
        **SURFACES,
        **ALIGNED,
    },
    "photos": {
        "mask_iou": "mask IoU",
        "depth_to_width": "depth/width",
        "watertight": "watertight",
        "largest_component": "largest piece",
        "wall_contact": "wall contact",
    },
    "variety": {
        "volume_iou": "V-IoU",
        "best_volume_iou": "best seed",
        "swapped_volume_iou": "another image",
        "variance_visible": "variance visible",
        "variance_hidden": "variance hidden",
    },
    "steps": {"volume_iou": "V-IoU", "network_calls": "network calls"},
    "views": {"volume_iou": "V-IoU"},
    "agreement": {
        "volume_iou": "V-IoU",
        "volume_iou_gain": "V-IoU gained",
        "f_score_05": "F@.05",
        "f_score_05_visible": "F@.05 visible",
        "f_score_05_hidden": "F@.05 hidden",
        "f_score_05_hidden_gain": "F@.05 hidden gained",
        "normal_consistency": "NC",
        **AGREEMENT,
    },
    "agreement of cameras": {
        "elevation_error": "elevation, degrees",
        "offset_error": "offset, of the crop",
        "scale_error": "scale, ratio - 1",
    },
    "agreement of photos": {**AGREEMENT, "color_error": "colour error"},
    "learning": {"volume_iou": "V-IoU"},
}
"""The printed metrics of each suite, in this order, and their column heads. The first metric is the main metric."""

FORMER_NUMBERS = {
    "reconstruction": "Q1",
    "reconstruction of meshes": "Q2",
    "generalization": "Q3",
    "image": "Q4",
    "image of meshes": "Q5",
    "photos": "Q6",
    "variety": "Q7",
    "steps": "Q8",
    "meshes of photos": "Q11",
    "learning": "Q14",
    "sanity checks": "Q15",
}
"""Numbers of the groups of criteria in the JSON key `bars`, which programs written for earlier reports read.
Later groups have none."""


@dataclass
class Report:
    """Collects the results of suites. `title` follows the suite's name above every table."""

    title: str
    settings: Mapping[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    checks: list[ReferenceCheck] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, rows: Iterable[Row], estimates: Iterable[Estimate] = ()) -> None:
        """Add the rows of one suite, and the margins of its model over the other methods in the main metric."""
        rows = list(rows)
        self.rows += rows
        main_metric = next(iter(COLUMNS[rows[0].suite])) if rows else ""
        self.estimates += [*estimates, *margins(rows, main_metric), *margins(rows, main_metric, "autoencoder")]

    def text(self) -> str:
        """All results, with the suites in the order of `COLUMNS`."""
        parts = []
        for suite, columns in COLUMNS.items():
            rows = [row for row in self.rows if row.suite == suite]
            if rows:
                measured = {name: head for name, head in columns.items() if any(row.values(name) for row in rows)}
                parts += [f"{suite}, {self.title}", format_table(rows, measured)]
                parts.append("\n".join(str(estimate) for estimate in self.estimates if estimate.suite == suite))
                if suite == "sanity checks":
                    parts.append("\n".join(str(check) for check in self.checks))
                if suite in ("photos", "agreement of photos"):
                    parts.append("\n".join(self.remarks))
        results = self._results()
        if results:
            parts.append("criteria, each tested at the end of its 95% interval nearer the target")
            lines = [format_results(results), format_unmeasured(unmeasured_criteria(results))]
            parts.append("\n".join(filter(None, lines)))
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, object]:
        """The content of `text` and the means of every category. Numbers that are not finite become None."""
        results = self._results()
        return _finite(
            {
                "settings": dict(self.settings),
                "rows": [row.to_json() for row in self.rows],
                "estimates": [asdict(estimate) for estimate in self.estimates],
                "agreements": [{**asdict(check), "agrees": check.agrees} for check in self.checks],
                "remarks": self.remarks,
                "criteria": [result.to_json() for result in results],
                "unmeasured_criteria": [criterion.to_json() for criterion in unmeasured_criteria(results)],
                "bars": [_former_entry(result) for result in results if result.criterion.group in FORMER_NUMBERS],
            }
        )

    def _results(self) -> Sequence[CriterionResult]:
        return evaluate_criteria(self.rows, self.estimates, self.checks)


def _former_entry(result: CriterionResult) -> dict[str, object]:
    """An entry of `criteria` under the keys of earlier reports."""
    entry = result.to_json()
    renamed = {"criterion": "bar", "passed": "met", "floor_passed": "floor_met"}
    return {renamed.get(key, key): value for key, value in entry.items()} | {
        "bar": FORMER_NUMBERS[result.criterion.group]
    }


def _finite(value: Any) -> Any:
    """Replace infinities and NaN by None, because JSON has neither."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
