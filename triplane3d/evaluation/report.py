"""What a run of the suites has to say, as text and as JSON: tables, comparisons, and the bars that were met or not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from triplane3d.evaluation.criteria import format_verdicts, judge_bars
from triplane3d.evaluation.self_test import Agreement
from triplane3d.evaluation.summary import Estimate, Row, format_table, margins

SURFACES = {"normal_consistency": "NC", "chamfer": "CD", "point_to_surface": "P2S"}
ALIGNED = {"aligned_chamfer": "aligned CD", "aligned_f_score_10": "aligned F@.1"}
COLUMNS = {
    "self-test": {"volume_iou": "V-IoU", "surface_iou": "S-IoU", "f_score_02": "F@.02", **SURFACES, **ALIGNED},
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
        "wall_contact": "at the wall",
    },
    "variety": {
        "volume_iou": "V-IoU",
        "best_volume_iou": "best seed",
        "swapped_volume_iou": "another's picture",
        "variance_visible": "variance visible",
        "variance_hidden": "variance hidden",
    },
    "steps": {"volume_iou": "V-IoU", "network_calls": "network calls"},
    "views": {"volume_iou": "V-IoU"},
    "learning": {"volume_iou": "V-IoU"},
}
"""What is printed of each suite's rows, in this order, and the heads of the columns."""


@dataclass
class Report:
    """Filled suite by suite; `title` stands above every table."""

    title: str
    settings: Mapping[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, rows: Iterable[Row], estimates: Iterable[Estimate] = ()) -> None:
        """The answer of one suite, with the margins that its rows have over one another."""
        rows = list(rows)
        self.rows += rows
        first = next(iter(COLUMNS[rows[0].suite])) if rows else ""
        self.estimates += [*estimates, *margins(rows, first), *margins(rows, first, "autoencoder")]

    def text(self) -> str:
        """Everything, in the order of `COLUMNS`."""
        parts = []
        for suite, columns in COLUMNS.items():
            rows = [row for row in self.rows if row.suite == suite]
            if rows:
                measured = {name: head for name, head in columns.items() if any(row.values(name) for row in rows)}
                parts += [f"{suite}, {self.title}", format_table(rows, measured)]
                parts.append("\n".join(str(estimate) for estimate in self.estimates if estimate.suite == suite))
                if suite == "self-test":
                    parts.append("\n".join(str(agreement) for agreement in self.agreements))
                if suite == "photos":
                    parts.append("\n".join(self.remarks))
        verdicts = judge_bars(self.rows, self.estimates, self.agreements)
        if verdicts:
            parts += ["bars, by the less kind end of the interval", format_verdicts(verdicts)]
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, object]:
        """Everything that `text` has, and the means of every category; what is not finite becomes None."""
        verdicts = judge_bars(self.rows, self.estimates, self.agreements)
        return _finite(
            {
                "settings": dict(self.settings),
                "rows": [row.to_json() for row in self.rows],
                "estimates": [asdict(estimate) for estimate in self.estimates],
                "agreements": [{**asdict(agreement), "agrees": agreement.agrees} for agreement in self.agreements],
                "remarks": self.remarks,
                "bars": [verdict.to_json() for verdict in verdicts],
            }
        )


def _finite(value: Any) -> Any:
    """JSON knows neither infinity nor what is not a number."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
