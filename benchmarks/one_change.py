"""One change to a recipe at a time, with several seeds: what `recipe.py` and `recipe_autoencoder.py` share."""

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
"""What every seed of every line came to."""


@dataclass(frozen=True)
class Change:
    """What differs from the recipe: keys of the training configuration, and of the components' architectures."""

    run: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, dict[str, Any]] = field(default_factory=dict)  # by component
    batch: float = 1.0  # of the recipe's samples per update
    updates: float = 1.0  # of the recipe's


Measure = Callable[[Change, int, Path], dict[str, float]]
"""Figures of a change and a seed, `seconds` of training among them; the folder is for its files, which are removed."""


def chosen(changes: Mapping[str, Change], only: Collection[str] | None) -> dict[str, Change]:
    """The lines named in `only`, and always the first; all of them without `only`."""
    unknown = sorted(set(only or []) - changes.keys())
    if unknown:
        raise typer.BadParameter(f"no such line {unknown}; they are {sorted(changes)}")
    first = next(iter(changes))
    return {name: change for name, change in changes.items() if not only or name in only or name == first}


def measure_lines(
    changes: Mapping[str, Change], seeds: int, measure: Measure, *, output: Path | None, settings: dict[str, Any]
) -> Figures:
    """Every line with every seed; `output` is written anew after each, with the settings beside the figures."""
    figures: Figures = {name: [] for name in changes}
    for seed in range(seeds):  # seed by seed, so that an unfinished table compares like with like
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
    """Keys of a training configuration for a short run, judged only at its end; `steps`, `batch` are the recipe's."""
    updates = round(change.updates * steps)
    return {
        "data.validation": None, "run.output": output, "run.steps": updates,
        "run.batch_size": round(change.batch * batch), "run.checkpoint_every": 10 * updates,
        "run.seed": seed, "run.trackers": (), "run.workers": 0,
        "optim.warmup_steps": max(1, updates // 10), "optim.ema_decay": 0.97 ** (1 / change.updates),
    }  # fmt: skip


def write_description(pipeline: Path, folder: Path, sizes: Mapping[str, dict[str, Any]], change: Change) -> Path:
    """The JSON of `pipeline` in `folder`, its components of these `sizes`, then changed."""
    shutil.copytree(pipeline, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for name in sizes.keys() | change.architecture.keys():
        config = folder / name / "config.json"
        keys = json.loads(config.read_text()) | sizes.get(name, {}) | change.architecture.get(name, {})
        config.write_text(json.dumps(keys))
    return folder


def table(figures: Figures, compared: Mapping[str, str], told: Mapping[str, str] | None = None) -> str:
    """Markdown, the values of the mappings as headings: of what is `compared` the mean, its spread between seeds and
    the paired difference to the first line [least, largest]; of what is `told` the mean; the ratio of times."""
    told = told or {}
    first, *_ = figures.values()
    heads = [*(head for name in compared.values() for head in (name, "± between seeds", "against the recipe")),
             *told.values(), "time"]  # fmt: skip
    rows = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for line, runs in figures.items():
        cells = []
        for key in compared:
            values = [run[key] for run in runs]
            differences = [run[key] - other[key] for run, other in zip(runs, first)]
            against = f"{mean(differences):+.4f} [{min(differences):+.4f}, {max(differences):+.4f}]"
            cells += [f"{mean(values):.4f}", f"{stdev(values):.4f}" if len(values) > 1 else "",
                      "" if runs is first else against]  # fmt: skip
        means = (mean(run[key] for run in runs) for key in told)
        cells += [f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" for value in means]
        ratio = mean(run["seconds"] for run in runs) / mean(run["seconds"] for run in first)
        rows.append(f"| {line} | {' | '.join(cells)} | {ratio:.2f}x |")
    return "\n".join(rows)
