"""Starting a stage from its script: the YAML file and the folders that it names are looked for before any work.

Paths are relative to the folder in which the command is started.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from triplane3d.config import parse_config

T = TypeVar("T")

CHECKOUT = Path(__file__).parents[2]

INPUTS = (
    "pipeline",
    "teacher",
    "init",
    "init_image_encoder",
    "vae",
    "data",
    "data.folder",
    "data.latents",
    "data.vae",
    "data.validation",
)
"""Keys of the stages' configurations that name a folder to read, where they are given."""


def launch(
    stage: Callable[[T], Any], config_class: type[T], argv: Sequence[str] | None = None, *, description: str | None
) -> None:
    """Run `stage` with the configuration that the command line names; end with one sentence where a path leads nowhere.

    `argv` is the command line without the program's name, by default this process's.
    """
    argv = sys.argv[1:] if argv is None else argv
    described = Path(argv[0]) if argv and not argv[0].startswith("-") else None
    if described is not None and not described.is_file():
        _fail(not_there(described))
    config = parse_config(config_class, argv, description=description)
    for key, folder in inputs(config):
        if not folder.is_dir():
            near = described.resolve().parents if described is not None else ()
            _fail(f"{key}: {not_there(folder, near)}")
    stage(config)


def inputs(config: Any) -> list[tuple[str, Path]]:
    """The folders that a configuration names to be read, by key; but for streamed shapes, which come from no folder."""
    streamed = ("data.folder", "data.latents") if getattr(getattr(config, "data", None), "stream", False) else ()
    found = []
    for key in INPUTS:
        value = config
        for name in key.split("."):
            value = getattr(value, name, None)
        if isinstance(value, str) and value and key not in streamed:
            found.append((key, Path(value)))
    return found


def not_there(path: Path, near: Iterable[Path] = ()) -> str:
    """A sentence: where a path was looked for, and what to do. Names the one of the folders `near` that holds it."""
    if path.is_absolute():
        return f"there is no {path}: check the path"
    home = next((folder for folder in (*near, CHECKOUT) if (folder / path).exists()), None)
    if home is not None:
        return f"{path} is not in {Path.cwd()} but in {home}: start the command there (cd {home}), or give whole paths"
    return f"{path} is not in {Path.cwd()}, where the command was started: start it elsewhere, or check the path"


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
