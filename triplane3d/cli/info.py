"""`triplane3d info`: describes a saved pipeline. Reads its JSON files and the headers of its weights."""

import re
from math import prod
from pathlib import Path
from typing import Annotated, Any

import typer

from triplane3d.cli.console import print_result
from triplane3d.cli.errors import errors_are_sentences, fail
from triplane3d.limits import parse_yaml, read_text
from triplane3d.model_loading import find_local, takes_views
from triplane3d.pipelines.saved import (
    INDEX,
    component_names,
    embedded_names,
    files_below,
    read_json,
    tensors,
    variants,
)
from triplane3d.settings import KEYWORDS

FRONT_MATTER = re.compile(r"\s*---\s*?\n(.*?)\n---\s*?\n", re.DOTALL)
"""The YAML at the start of a model card."""

WRONG_TYPES = (TypeError, AttributeError, LookupError, ArithmeticError)
"""Errors of code that reads a JSON value of an unexpected type."""


def info(
    model: Annotated[str, typer.Argument(help="A pipeline that ships with the library (mini), or a folder.")],
) -> None:
    """Describe a saved pipeline: components, parameters, sizes, defaults, licence.

    \b
      triplane3d info mini
      triplane3d info runs/my-model
    """
    folder = find_local(model)
    if folder is None:
        fail(f"there is no pipeline {model!r} here: name a folder, or one of {', '.join(embedded_names())}")
    with errors_are_sentences():
        lines = _describe(model, folder)
    for line in lines:
        print_result(line)


def _describe(model: str, folder: Path) -> list[str]:
    """The printed lines. Raises ValueError or OSError for a file that is damaged."""
    index = read_json(folder / INDEX)
    try:
        return _describe_index(model, folder, index)
    except WRONG_TYPES as error:
        raise ValueError(
            f"{folder / INDEX} contains values of unexpected types ({type(error).__name__}: {error}): save or "
            "download it again"
        ) from error


def _describe_index(model: str, folder: Path, index: dict[str, Any]) -> list[str]:
    lines = [f"{model}: {index.get('_class_name', 'unknown class')} in {folder}"]
    license_name, summary = _read_card(folder / "README.md")
    lines.append(f"licence: {license_name}")
    if summary:
        lines += ["", *summary.splitlines()]

    lines += ["", f"{'component':<16}{'class':<34}{'parameters':>12}  {'dtype':<6}{'size':>9}"]
    total_parameters = total_bytes = 0
    names = component_names(index)
    for name in names:
        parameters, dtypes, size = _count_parameters(folder / name)
        total_parameters += parameters
        total_bytes += size
        counted = f"{parameters:,}" if parameters else "-"
        lines.append(f"{name:<16}{index[name][1]:<34}{counted:>12}  {'/'.join(dtypes) or '-':<6}{size / 1e6:>6.1f} MB")
    lines.append(f"{'total':<50}{total_parameters:>12,}  {'':<6}{total_bytes / 1e6:>6.1f} MB")
    lines += _variants(folder, names)

    scalars = {name: value for name, value in index.items() if name[0] != "_" and not isinstance(value, list | dict)}
    if (transformer := folder / "transformer" / "config.json").is_file():
        several = takes_views(read_json(transformer))
        lines += ["", f"photos: {'1 to 6 of an object (--views)' if several else 'one of each object'}"]
    lines += ["", "settings: " + ", ".join(f"{name} {value}" for name, value in scalars.items())]
    if index.get("presets") is not None:
        lines += ["", *_presets(index["presets"], folder / INDEX)]
    return lines


def _presets(presets: Any, path: Path) -> list[str]:
    """The presets of --quality, as a table."""
    rows = list(presets.values()) if isinstance(presets, dict) else [None]
    columns = [name for name in KEYWORDS.values() if isinstance(rows[0], dict) and name in rows[0]] if rows else []
    numbers = [row.get(name) if isinstance(row, dict) else None for row in rows for name in columns]
    if not columns or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"{path}: presets must contain a section of numbers for each name, got {presets!r}")
    lines = [f"{'--quality':<16}" + "".join(f"{flag:>12}" for flag, name in KEYWORDS.items() if name in columns)]
    for name, preset in sorted(presets.items(), key=lambda item: [item[1][column] for column in columns]):
        lines.append(f"{name:<16}" + "".join(f"{preset[column]:>12g}" for column in columns))
    return lines


def _variants(folder: Path, components: list[str]) -> list[str]:
    """The variants of the weights, and whether `--variant` is needed. Empty where there are none."""
    found = variants(files_below(folder), components)
    named = sorted({variant for names in found.values() for variant in names if variant is not None})
    if not named:
        return []
    if all(None in names for names in found.values()):
        return ["", f"variants: plain weights, and {', '.join(named)} (--variant)"]
    return ["", f"variants: only {', '.join(named)} (found automatically)"]


def _read_card(path: Path) -> tuple[str, str]:
    """The licence and the first paragraph of a model card."""
    if not path.is_file():
        return "not stated (the folder has no model card)", ""
    text = read_text(path, "card")
    front = FRONT_MATTER.match(text)
    about = (parse_yaml(front[1], str(path)) if front else None) or {}
    if not isinstance(about, dict):
        raise ValueError(f"{path} is not a model card: its YAML must contain keys and values, got {about!r}")
    paragraphs = (block.strip() for block in (text[front.end() :] if front else text).split("\n\n"))
    summary = next((block for block in paragraphs if block and not block.startswith(("#", "|", "<", "!", "```"))), "")
    return str(about.get("license") or "not stated")[:100], summary


def _count_parameters(folder: Path) -> tuple[int, list[str], int]:
    """Number of parameters, their types, and bytes of the weights in a component's folder, from the files' headers.

    Weights that are stored in several precisions are counted once.
    """
    parameters: dict[str, int] = {}
    size = 0
    dtypes: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        size += path.stat().st_size
        for name, shape, dtype in tensors(path):
            parameters[name] = prod(shape)
            dtypes.add(dtype)
    return sum(parameters.values()), sorted(dtypes), size
