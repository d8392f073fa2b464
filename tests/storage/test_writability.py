"""Outputs are checked before work: whatever cannot be written is refused with a reason, and nothing is left behind."""

import errno
import os
from pathlib import Path

import pytest

from triplane3d.storage.writability import check_file, check_folder


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a folder, a link to itself and a link to nothing."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    Path("nothing").symlink_to("missing")


@pytest.mark.parametrize(
    "path", ["new", "folder/new", "a/b/c/new", "file", "nothing", "n" * 255, "-x", "~", "\udcff\x1b\n", "/dev/null"]
)
def test_a_path_that_can_be_written_is_accepted_and_not_made(path: str) -> None:
    before = sorted(Path().rglob("*"))
    check_file(path)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("folder", "folder is a folder: name a file"),
        ("", "is a folder: name a file"),
        ("file/new", "file is a file, not a folder"),
        ("file/a/new", "file/a cannot be made: file is a file, not a folder"),
        ("loop", "loop is a link that leads to itself"),
        ("loop/new", "loop is a link that leads to itself"),
        ("nothing/new", "nothing is a link to missing, which does not exist"),
        ("n" * 256, "File name too long"),
        ("a/" + "n" * 256, "File name too long, at most 255 bytes"),
        ("folder/" + "é" * 128, "File name too long"),
        ("a/" * 2100 + "new", "File name too long"),
        ("/proc/new", "nothing can be written in /proc"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_with_a_reason(path: str, reason: str) -> None:
    before = sorted(Path().rglob("*"))
    with pytest.raises(OSError, match="--output: ") as refused:
        check_file(path, "--output")
    assert reason in str(refused.value)
    assert sorted(Path().rglob("*")) == before


def test_a_folder_is_tried_or_the_parent_in_which_it_would_be_made() -> None:
    for folder in ("folder", "new", "a/b/c", "."):
        check_folder(folder)
    for folder in ("file", "loop", "nothing", "/proc/new/deep"):
        with pytest.raises(OSError, match=r"run.output: "):
            check_folder(folder, "run.output")


def test_a_full_disk_keeps_its_error_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match="No space left on device") as refused:
        check_folder("folder")
    assert refused.value.errno == errno.ENOSPC


def test_a_read_only_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write to all files
    with pytest.raises(PermissionError, match="file exists and is read-only"):
        check_file("file")
