"""Photos on the command line: files, `-` for standard input; with --views each after its camera."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from triplane3d.cli.console import print_message, read_input
from triplane3d.cli.errors import errors_are_sentences, fail

STANDARD_INPUT = Path("-")

# No argument of a process can hold this character.
NOT_AN_OPTION = "\0"


def as_photo(text: str) -> Path:
    """The argument IMAGE as a path. `./-` is a file with the name `-`; `-` alone is standard input."""
    text = text.removeprefix(NOT_AN_OPTION)
    if not text:
        raise typer.BadParameter("a photo's name is empty")
    path = Path(text)
    return path.absolute() if path == STANDARD_INPUT and text != "-" else path


class PhotosCommand(TyperCommand):
    """A command for which `-90=b.png` (a camera at -90 degrees) and existing files such as `-b.png` are photos."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [option for option in self.params if option.param_type_name == "option"]
        names = {name for option in options for name in option.opts}
        with_value = {name for option in options for name in option.opts if not getattr(option, "is_flag", False)}
        short = tuple(name for name in names if len(name) == 2)
        marked = []
        for previous, arg in zip(["", *args], args, strict=False):
            is_file = os.path.isfile(arg) and arg.partition("=")[0] not in names and not arg.startswith(short)
            is_photo = arg.startswith("-") and (is_file or re.match(r"-[\d.]", arg) is not None)
            marked.append(f"{NOT_AN_OPTION}{arg}" if is_photo and previous not in with_value else arg)
        return super().parse_args(ctx, marked)


def without_repeats(photos: Sequence[Path]) -> list[Path]:
    """Each photo once, with a warning for repeated ones."""
    once: dict[str, Path] = {}
    for photo in photos:
        if (path := os.path.abspath(photo)) in once:
            print_message(f"warning: {photo} is named twice; one mesh is made of it")
        once.setdefault(path, photo)
    return list(once.values())


def check_photos(photos: Sequence[Path]) -> None:
    """Refuse photos that are not files, and standard input given twice."""
    if photos.count(STANDARD_INPUT) > 1:
        fail("- is named twice, but standard input can be read once: save the photo as a file")
    for photo in photos:
        if photo != STANDARD_INPUT and not os.path.isfile(photo):
            from triplane3d.images.reading import find_photo

            with errors_are_sentences():
                find_photo(photo)  # raises an error with the reason


def fetch_photos(photos: Sequence[Path], scratch: Path) -> list[Path]:
    """The files to read: the photos, and for `-` a copy of standard input in the folder `scratch`."""
    if STANDARD_INPUT not in photos:
        return list(photos)
    file = scratch / "standard input"
    with errors_are_sentences():
        read_input(file)
    return [file if photo == STANDARD_INPUT else photo for photo in photos]


def shown(photo: Path) -> str:
    """The name of a photo in messages."""
    return "standard input" if photo == STANDARD_INPUT else str(photo)
