"""Paths of meshes and previews: a file, a folder or standard output. They are checked before anything is computed."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from triplane3d.cli.console import check_output
from triplane3d.cli.errors import errors_are_sentences, fail
from triplane3d.cli.photos import STANDARD_INPUT
from triplane3d.file_formats import MESH_FORMATS, PREVIEW_SUFFIXES
from triplane3d.storage.writability import check_file

STANDARD_OUTPUT = "-"


Format = StrEnum("Format", [suffix[1:] for suffix in MESH_FORMATS])  # type: ignore[misc]
"""File format of a mesh: a suffix without its dot."""


def mesh_paths(photos: Sequence[Path], output: str | None, mesh_format: Format | None, scratch: Path) -> list[Path]:
    """The file of each photo's mesh. Photos with the same name in different folders get numbers.

    A name that ends in / is a folder, and so is the name of an existing folder. For standard output the mesh is written
    to a file in the folder `scratch` first.
    """
    suffixes = ", ".join(MESH_FORMATS)
    suffix = f".{(mesh_format or next(iter(Format))).value}"
    if output == "":
        fail("--output is empty: name a file or a folder")
    if output == STANDARD_OUTPUT:
        if len(photos) > 1:
            fail(f"--output - takes one mesh, but there are {len(photos)} photos: name a folder")
        with errors_are_sentences():
            check_output()
        return [scratch / f"{_stem(photos[0])}{suffix}"]  # the node in a GLB has the name of the file
    path = Path(output or ".")
    is_folder = output is None or output.endswith(("/", os.sep)) or path.is_dir()
    if not is_folder and path.suffix.lower() in MESH_FORMATS:
        if len(photos) > 1:
            fail(f"--output {output} is one file for {len(photos)} photos: name a folder, with a / at its end")
        if mesh_format is not None and path.suffix.lower() != suffix:
            fail(f"--output {output} and --format {mesh_format.value} are two formats: leave out --format")
        return [path]
    if not is_folder and path.suffix:
        fail(f"--output {output}: end the name in one of {suffixes}, or in / for a folder")
    if path.exists() and not path.is_dir():
        fail(f"--output {output} is a file: name a folder, or a file ending in one of {suffixes}")
    taken: set[str] = set()
    paths = []
    for photo in photos:
        stem = _stem(photo)
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in taken:  # some file systems ignore case
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name.casefold())
        paths.append(path / name)
    return paths


def _stem(photo: Path) -> str:
    return "stdin" if photo == STANDARD_INPUT else photo.stem


def preview_paths(meshes: Sequence[Path], preview: Path | None) -> list[Path | None]:
    """The preview of each mesh: the given file, or for several meshes one next to each mesh."""
    if preview is None:
        return [None] * len(meshes)
    if preview.suffix.lower() not in PREVIEW_SUFFIXES:
        fail(f"--preview {preview}: end the name in one of {', '.join(PREVIEW_SUFFIXES)}")
    if len(meshes) == 1:
        return [preview]
    return [mesh.with_name(f"{mesh.stem}-{preview.name}") for mesh in meshes]


def check_outputs(paths: Sequence[Path], photos: Sequence[Path]) -> None:
    """Refuse files that cannot be written, and photos as outputs. Leaves no file behind."""
    given = {os.path.realpath(photo) for photo in photos}
    for path in paths:
        if os.path.realpath(path) in given:
            fail(f"{path} is one of the photos and would be overwritten: choose another name or folder")
        with errors_are_sentences():
            check_file(path)
