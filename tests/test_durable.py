"""After any failure during writing, a file or folder has its complete old or its complete new content."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from triplane3d.storage import durable
from triplane3d.storage.durable import write_file, writing_file, writing_folder

STEPS = ["replace", "fsync", "chmod", "rename"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def new_folder(folder: Path) -> None:
    with writing_folder(folder / "model", replace=True) as partial:
        (partial / "part").mkdir()
        (partial / "part" / "weights").write_bytes(b"new")


WRITERS: dict[str, tuple[Callable[[Path], None], dict[str, bytes], dict[str, bytes]]] = {
    "file": (lambda folder: write_file(folder / "mesh.glb", b"new"), {"mesh.glb": b"old"}, {"mesh.glb": b"new"}),
    "folder": (new_folder, {"model/part/weights": b"old"}, {"model/part/weights": b"new"}),
}


def prepare(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_at_any_step_leaves_the_old_or_the_new_content(
    kind: str, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, old, new = WRITERS[kind]
    old = old if existing else {}
    calls = 0

    def failing(function: Callable, fail_at: int) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError("the disk is full")
            return function(*args, **kwargs)

        return call

    functions = {name: getattr(os, name) for name in STEPS}
    for fail_at in range(1, 20):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        prepare(folder, old)
        calls = 0
        for name, function in functions.items():
            monkeypatch.setattr(os, name, failing(function, fail_at))
        try:
            write(folder)
        except OSError:
            found = files_in(folder)
            assert any(found == whole or whole.items() < found.items() for whole in (old, new))
        else:
            assert files_in(folder) == new
            break
        finally:
            for name, function in functions.items():
                monkeypatch.setattr(os, name, function)
    assert fail_at > 2


def test_content_and_rename_are_synced_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, os.replace

    def record_sync(descriptor: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_file(tmp_path / "mesh.glb", b"content")
    assert events == ["file", "rename", "folder"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_writer_removes_its_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "mesh.glb"
    target.write_bytes(b"old")
    program = (
        "import os, signal, sys\n"
        "from triplane3d.storage.durable import writing_file\n"
        "with writing_file(sys.argv[1]) as partial:\n"
        "    partial.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
    write_file(target, b"new")
    assert files_in(tmp_path) == {"mesh.glb": b"new"}


def test_a_folder_is_restored_after_a_kill_during_its_replacement(tmp_path: Path) -> None:
    prepare(tmp_path, {"model/part/weights": b"old"})
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from triplane3d.storage.durable import writing_folder\n"
        "rename = Path.rename\n"
        "def rename_and_kill(path, target):\n"
        "    rename(path, target)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = rename_and_kill\n"
        "with writing_folder(sys.argv[1], replace=True) as partial:\n"
        "    (partial / 'weights').write_bytes(b'new')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], timeout=60)
    assert not (tmp_path / "model").exists()
    durable.remove_leftovers(tmp_path / "model", tmp_path)
    assert files_in(tmp_path) == {"model/part/weights": b"old"}


def test_a_temporary_file_in_use_is_not_removed(tmp_path: Path) -> None:
    with writing_file(tmp_path / "mesh.glb") as partial:
        partial.write_bytes(b"first")
        write_file(tmp_path / "mesh.glb", b"second")
        assert partial.exists()
    assert files_in(tmp_path) == {"mesh.glb": b"first"}


def test_links_are_followed_and_permissions_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "mesh.glb", tmp_path / "link.glb"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_file(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "mesh.glb", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "mesh.glb").stat().st_mode & 0o777 == 0o640


def test_a_name_can_be_as_long_as_the_file_system_permits(tmp_path: Path) -> None:
    write_file(tmp_path / ("n" * 251 + ".glb"), b"new")
    assert len(list(tmp_path.iterdir())) == 1


def test_link_loops_are_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        write_file(tmp_path / "loop", b"new")


def test_special_files_are_written_directly() -> None:
    write_file("/dev/null", b"new")
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path, {"model/notes.txt": b"mine"})
    with pytest.raises(FileExistsError, match="not empty"), writing_folder(tmp_path / "model"):
        raise AssertionError("refused before the block runs")
    assert files_in(tmp_path) == {"model/notes.txt": b"mine"}


def test_an_error_inside_the_block_leaves_no_file(tmp_path: Path) -> None:
    for writing in (durable.writing_file, durable.writing_folder):
        with pytest.raises(ZeroDivisionError), writing(tmp_path / "new"):
            raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
