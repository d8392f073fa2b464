"""Paths of meshes: files, folders and formats. They are checked before anything is computed, and left unchanged."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
from pipelines.tiny_pipeline import photo

from triplane3d.cli import generate


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["-o", "results.v2/"], "results.v2/block.glb"),
        (["-o", "chair.glb/"], "chair.glb/block.glb"),
        (["-o", "folder.glb"], "folder.glb/block.glb"),
        (["-o", "a/b/c"], "a/b/c/block.glb"),
        (["-o", "meshes/", "--format", "stl"], "meshes/block.stl"),
        (["--format", "ply"], "block.ply"),
        (["-o", "Chair.OBJ"], "Chair.OBJ"),
        (["-o", "-90=block.glb"], "-90=block.glb"),
        (["-o", "x" * 251 + ".stl"], "x" * 251 + ".stl"),
    ],
)
def test_a_mesh_is_written_to_the_given_path(
    model: Path, image: Path, run: Callable, options: list[str], made: str
) -> None:
    (image.parent / "folder.glb").mkdir()
    result = run("generate", "block.png", "--model", model, *options)
    assert result.exit_code == 0, result.output
    assert below(image.parent) == sorted(["block.png", made])
    if made.endswith((".stl", ".ply")):
        assert len(trimesh.load_mesh(image.parent / made).faces) > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "results.v2"], "end the name in one of .glb, .obj, .ply, .stl, or in / for a folder"),
        (["-o", ""], "--output is empty"),
        (["-o", "block.glb", "--format", "stl"], "are two formats: leave out --format"),
        (["other/block.png", "-o", "both.glb"], "is one file for 2 photos: name a folder"),
        (["other/block.png", "-o", "-"], "takes one mesh, but there are 2 photos"),
        (["-o", "block.png/"], "block.png/ is a file: name a folder"),
        (["-o", "block.png/deep/block.glb"], "block.png is a file, not a folder"),
        (["-o", f"{'x' * 300}.glb"], "File name too long"),
        (["-o", f"{'x' * 300}/"], "File name too long"),
        (["-o", "loop.glb"], "loop"),
        (["-o", "loop.glb/"], "loop"),
        (["--preview", "loop.glb/x.webp"], "loop"),
        (["loop.glb"], "loop"),
        (["x" * 300], "too long"),
        ([os.fsdecode(b"bytes\xff.png")], "does not exist"),
        (["esc\x1b[2Jx.png"], "esc\\x1b[2Jx.png does not exist"),
        (["-o", "/proc/block.glb"], "nothing can be written in /"),
        (["-o", "/proc/deep/"], "nothing can be written in /"),
        (["--preview", "/proc/block.webp"], "nothing can be written in /"),
        (["--preview", "folder.png"], "folder.png is a folder"),
        (["nowhere.png"], "nowhere.png does not exist"),
        ([""], "a photo's name is empty"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.setattr(generate, "load", None)
    for folder in ("other", "folder.png"):
        (image.parent / folder).mkdir()
    photo(1).save("other/block.png")
    Path("loop.glb").symlink_to("loop.glb")
    result = run("generate", "block.png", *arguments)
    assert "\x1b" not in result.output
    assert result.exit_code == 2 and sentence in result.stderr and result.stderr.count("error:") == 1
    assert below(image.parent) == ["block.png", "other/block.png"]


def test_a_folder_without_write_permission_is_refused(
    image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    result = run("generate", image, "-o", "meshes/")
    assert result.exit_code == 2 and "nothing can be written in . (Permission denied)" in result.stderr


def test_a_photo_named_twice_gives_one_mesh(model: Path, image: Path, run: Callable) -> None:
    result = run("generate", "block.png", image, "./block.png", "--model", model, "-o", "twice/")
    assert result.exit_code == 0 and below(image.parent) == ["block.png", "twice/block.glb"]
    assert result.stderr.count("is named twice; one mesh is made of it") == 2


def test_names_that_differ_only_in_case_give_two_meshes(model: Path, image: Path, run: Callable) -> None:
    photo(1).save("BLOCK.png")
    assert run("generate", "block.png", "BLOCK.png", "--model", model, "-o", "meshes/").exit_code == 0
    assert [name.casefold() for name in below(image.parent / "meshes")] == ["block-2.glb", "block.glb"]
