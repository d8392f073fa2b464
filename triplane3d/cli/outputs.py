"""Paths of meshes and previews: a file, a folder or standard output. They are checked before anything is computed."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from triplane3d.cli.console import check_output
from triplane3d.cli.errors import errors_are_sentences, fail
from triplane3d.cli.photos import STANDARD_INPUT
from triplane3d.storage.writability import check_file

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl")
PREVIEW_SUFFIXES = (".webp", ".gif", ".png")
STANDARD_OUTPUT = "-"


class Format(StrEnum):
    """File format of a mesh."""

    glb = "glb"
    obj = "obj"
    ply = "ply"
    stl = "stl"


def mesh_places(photos: Sequence[Path], output: str | None, kind: Format | None, scratch: Path) -> list[Path]:
    """The file of each photo's mesh. Photos with the same name in different folders get numbers.

    A name that ends in / is a folder, and so is the name of an existing folder. For standard output the mesh is written
    to a file in the folder `scratch` first.
    """
    suffixes = ", ".join(MESH_SUFFIXES)
    suffix = f".{(kind or Format.glb).value}"
    if output == "":
        fail("--output is empty: name a file or a folder")
    if output == STANDARD_OUTPUT:
        if len(photos) > 1:
            fail(f"--output - takes one mesh, but there are {len(photos)} photos: name a folder")
        with errors_are_sentences():
            check_output()
        return [scratch / f"{_stem(photos[0])}{suffix}"]  # the node in a GLB has the name of the file
    place = Path(output or ".")
    is_folder = output is None or output.endswith(("/", os.sep)) or place.is_dir()
    if not is_folder and place.suffix.lower() in MESH_SUFFIXES:
        if len(photos) > 1:
            fail(f"--output {output} is one file for {len(photos)} photos: name a folder, with a / at its end")
        if kind is not None and place.suffix.lower() != suffix:
            fail(f"--output {output} and --format {kind.value} are two formats: leave out --format")
        return [place]
    if not is_folder and place.suffix:
        fail(f"--output {output}: end the name in one of {suffixes}, or in / for a folder")
    if place.exists() and not place.is_dir():
        fail(f"--output {output} is a file: name a folder, or a file ending in one of {suffixes}")
    taken: set[str] = set()
    places = []
    for photo in photos:
        stem = _stem(photo)
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in taken:  # some file systems ignore case
            number += 1
            name = f"{stem}-{number}{suffix}"
        taken.add(name.casefold())
        places.append(place / name)
    return places


def _stem(photo: Path) -> str:
    return "stdin" if photo == STANDARD_INPUT else photo.stem


def preview_places(meshes: Sequence[Path], preview: Path | None) -> list[Path | None]:
    """The preview of each mesh: the given file, or for several meshes one next to each mesh."""
    if preview is None:
        return [None] * len(meshes)
    if preview.suffix.lower() not in PREVIEW_SUFFIXES:
        fail(f"--preview {preview}: end the name in one of {', '.join(PREVIEW_SUFFIXES)}")
    if len(meshes) == 1:
        return [preview]
    return [mesh.with_name(f"{mesh.stem}-{preview.name}") for mesh in meshes]


def check_places(places: Sequence[Path], photos: Sequence[Path]) -> None:
    """Refuse files that cannot be written, and photos as outputs. Leaves no file behind."""
    given = {os.path.realpath(photo) for photo in photos}
    for place in places:
        if os.path.realpath(place) in given:
            fail(f"{place} is one of the photos and would be overwritten: choose another name or folder")
        with errors_are_sentences():
            check_file(place)
