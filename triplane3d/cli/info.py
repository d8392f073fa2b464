"""`triplane3d info`: what a saved pipeline is, read from its files."""

import json
from math import prod
from pathlib import Path
from typing import Annotated

import typer

from triplane3d.cli.errors import fail, mistakes_are_sentences
from triplane3d.cli.generate import OPTIONS
from triplane3d.cli.models import find_local, takes_views
from triplane3d.pipelines.loading import embedded_names


def info(
    model: Annotated[str, typer.Argument(help="A pipeline that came along (mini), or a folder.")],
) -> None:
    """Say what a saved pipeline is: components, parameters, sizes, defaults, licence.

    \b
      triplane3d info mini
      triplane3d info runs/my-model
    """
    folder = find_local(model)
    if folder is None:
        fail(f"there is no pipeline {model!r} here: name a folder, or one of {', '.join(embedded_names())}")
    with mistakes_are_sentences():
        index = json.loads((folder / "model_index.json").read_text())
    typer.echo(f"{model}: {index.get('_class_name', 'unknown class')} in {folder}")
    license_name, summary = _read_card(folder / "README.md")
    typer.echo(f"licence: {license_name}")
    if summary:
        typer.echo(f"\n{summary}")

    typer.echo(f"\n{'component':<16}{'class':<34}{'parameters':>12}  {'dtype':<6}{'size':>9}")
    total_parameters = total_bytes = 0
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry[:1] == [None]:
            continue
        parameters, dtypes, size = _weigh(folder / name)
        total_parameters += parameters
        total_bytes += size
        counted = f"{parameters:,}" if parameters else "-"
        typer.echo(f"{name:<16}{entry[1]:<34}{counted:>12}  {'/'.join(dtypes) or '-':<6}{size / 1e6:>6.1f} MB")
    typer.echo(f"{'total':<50}{total_parameters:>12,}  {'':<6}{total_bytes / 1e6:>6.1f} MB")

    scalars = {name: value for name, value in index.items() if name[0] != "_" and not isinstance(value, list | dict)}
    if (transformer := folder / "transformer" / "config.json").is_file():
        several = takes_views(json.loads(transformer.read_text()))
        typer.echo(f"\nphotos: {'1 to 6 of an object (--views)' if several else 'one of each object'}")
    typer.echo("\nsettings: " + ", ".join(f"{name} {value}" for name, value in scalars.items()))
    if presets := index.get("presets"):
        columns = [name for name in OPTIONS if name in next(iter(presets.values()))]
        typer.echo(f"\n{'--quality':<16}" + "".join(f"{OPTIONS[name].strip('-'):>12}" for name in columns))
        for name, preset in sorted(presets.items(), key=lambda item: [item[1][column] for column in columns]):
            typer.echo(f"{name:<16}" + "".join(f"{preset[column]:>12g}" for column in columns))


def _read_card(path: Path) -> tuple[str, str]:
    """The licence and the first paragraph of a model card."""
    if not path.is_file():
        return "not stated (the folder has no model card)", ""
    from huggingface_hub import ModelCard

    card = ModelCard.load(path)
    paragraphs = (block.strip() for block in card.text.split("\n\n"))
    summary = next((block for block in paragraphs if block and not block.startswith(("#", "|", "<", "!", "```"))), "")
    return str(card.data.license or "not stated"), summary


def _weigh(folder: Path) -> tuple[int, list[str], int]:
    """Parameters, their types and bytes of the weights in a component's folder, read from the files' headers.

    Weights that are there in several precisions are counted once.
    """
    from safetensors import safe_open

    parameters: dict[str, int] = {}
    size = 0
    dtypes: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        size += path.stat().st_size
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():
                tensor = file.get_slice(key)
                parameters[key] = prod(tensor.get_shape())
                dtypes.add(tensor.get_dtype())
    return sum(parameters.values()), sorted(dtypes), size
