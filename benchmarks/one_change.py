"""Ablations of a training recipe, one change at a time. Used by `recipe.py` and `recipe_autoencoder.py`."""

import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import typer

Figures = dict[str, list[dict[str, float]]]
"""For each row of the table: the results of every seed."""


@dataclass(frozen=True)
class Change:
    """Differences from the recipe: keys of the training configuration, and of the components' architectures."""

    run: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, dict[str, Any]] = field(default_factory=dict)  # by component
    batch: float = 1.0  # factor of the samples per update
    updates: float = 1.0  # factor of the number of updates


Measure = Callable[[Change, int, Path], dict[str, float]]
"""(change, seed, folder) → results, among them `seconds` of training. The folder is temporary."""


def chosen(changes: Mapping[str, Change], only: Collection[str] | None) -> dict[str, Change]:
    """The first row and the rows named in `only`; all rows if `only` is empty. `BadParameter` for unknown names."""
    unknown = sorted(set(only or []) - changes.keys())
    if unknown:
        raise typer.BadParameter(f"there is no row {unknown} in the table; its rows are {sorted(changes)}")
    first = next(iter(changes))
    return {name: change for name, change in changes.items() if not only or name in only or name == first}


def measure_lines(
    changes: Mapping[str, Change], seeds: int, measure: Measure, *, output: Path | None, settings: dict[str, Any]
) -> Figures:
    """Measures every row with every seed. After each run, the settings and all results are written to `output`."""
    figures: Figures = {name: [] for name in changes}
    for seed in range(seeds):  # seeds in the outer loop: an unfinished table then compares equal seeds
        for name, change in changes.items():
            with tempfile.TemporaryDirectory() as scratch:
                found = measure(change, seed, Path(scratch))
            figures[name].append(found)
            print(f"seed {seed}: {name}: {', '.join(f'{key} {value:.4f}' for key, value in found.items())}", flush=True)
            if output:
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(json.dumps({"settings": settings, "figures": figures}, indent=1))
    return figures


def run_settings(change: Change, *, steps: int, batch: int, seed: int, output: Path) -> dict[str, Any]:
    """Keys of a training configuration for a short run that is evaluated only at its end.

    `steps` and `batch` are the recipe's; the change multiplies them.
    """
    updates = round(change.updates * steps)
    return {
        "data.validation": None, "run.output": output, "run.steps": updates,
        "run.batch_size": round(change.batch * batch), "run.checkpoint_every": 10 * updates,
        "run.seed": seed, "run.trackers": (), "run.workers": 0,
        "optim.warmup_steps": max(1, updates // 10), "optim.ema_decay": 0.97 ** (1 / change.updates),
    }  # fmt: skip


def write_description(pipeline: Path, folder: Path, sizes: Mapping[str, dict[str, Any]], change: Change) -> Path:
    """Copies the JSON files of `pipeline` to `folder`, with `sizes` and then the change applied to its components."""
    shutil.copytree(pipeline, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for name in sizes.keys() | change.architecture.keys():
        config = folder / name / "config.json"
        keys = json.loads(config.read_text()) | sizes.get(name, {}) | change.architecture.get(name, {})
        config.write_text(json.dumps(keys))
    return folder


def table(figures: Figures, compared: Mapping[str, str], shown: Mapping[str, str] | None = None) -> str:
    """A Markdown table of the results. The mappings give the heading of each result.

    For results in `compared`: mean, standard deviation between seeds, and mean difference from the first line with the
    same seeds [smallest, largest]. For those in `shown`: the mean. The last column is the ratio of training times.
    """
    shown = shown or {}
    first, *_ = figures.values()
    heads = [*(head for name in compared.values() for head in (name, "± between seeds", "against the recipe")),
             *shown.values(), "time"]  # fmt: skip
    rows = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for line, runs in figures.items():
        cells = []
        for key in compared:
            values = [run[key] for run in runs]
            differences = [run[key] - other[key] for run, other in zip(runs, first)]
            against = f"{mean(differences):+.4f} [{min(differences):+.4f}, {max(differences):+.4f}]"
            cells += [f"{mean(values):.4f}", f"{stdev(values):.4f}" if len(values) > 1 else "",
                      "" if runs is first else against]  # fmt: skip
        means = (mean(run[key] for run in runs) for key in shown)
        cells += [f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" for value in means]
        ratio = mean(run["seconds"] for run in runs) / mean(run["seconds"] for run in first)
        rows.append(f"| {line} | {' | '.join(cells)} | {ratio:.2f}x |")
    return "\n".join(rows)
