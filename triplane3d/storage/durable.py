"""Atomic writing: files and folders appear whole or not at all, also after a kill or a power cut.

The content is written under a temporary name in the same folder and synced to the disk. Then it is renamed, and the
rename is synced. Temporary files of killed processes are removed by the next process that writes to the same path, and
by `remove_temporaries`. A full disk becomes an `OSError` with the disk and the file in its message.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from triplane3d.storage.writability import check_names

try:
    import fcntl
except ImportError:  # Windows: temporary files stay, because they cannot be distinguished from files in use
    fcntl = None  # type: ignore[assignment]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a used-up quota and a limit on the size of a file."""

FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large", "unexpected pos")
"""The same errors in the messages of safetensors and torch, which have no number. The last one is from torch."""


def write_file(path: str | Path, content: bytes | str) -> None:
    """Write `content`, text as UTF-8, to `path`.

    Raises:
        OSError: where the folder or the existing file cannot be written to, or the disk is full; `path` is then as it
            was before.
    """
    with writing_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_file(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to. It replaces `path` if the block ends without an error.

    Links are followed, and an existing file keeps its permissions. Special files, such as a pipe or `/dev/stdout`, are
    written directly.
    """
    path = _resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file")
        yield path
        return
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} exists and is read-only: change its permissions or choose another name")
    with full_disk_named(path), _temporary(path, path.parent) as partial:
        partial.touch()
        with _locked(partial):
            yield partial
            # A library may have replaced the locked file by a new one, so the permissions are set at the end.
            _copy_permissions(path, partial)
            sync(partial)
            os.replace(partial, path)
        sync(path.parent)


@contextmanager
def writing_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to fill. It replaces `path` if the block ends without an error.

    It is made in the nearest existing parent of `path`; missing parents are made at the end.

    Raises:
        FileExistsError: where `path` exists and is not an empty folder, unless `replace`.
        OSError: where that parent cannot be written to.
    """
    path = _resolved(path)
    if not replace:
        check_new_folder(path)
    parent = next(parent for parent in path.parents if parent.exists())
    with full_disk_named(path), _temporary(path, parent) as partial:
        try:
            partial.mkdir()
        except OSError as error:
            if error.errno in FULL:
                raise
            raise OSError(
                error.errno,
                f"{parent} cannot be written to ({error.strerror}), so {path.name} cannot be made there: change its "
                "permissions or name another folder",
            ) from error
        with _locked(partial):
            yield partial
            _sync_tree(partial)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _exchange(path, partial)
            else:
                partial.rename(path)
        for folder in [parent, *(folder for folder in path.parents if parent in folder.parents)]:
            sync(folder)


def _exchange(path: Path, partial: Path) -> None:
    """Replace the folder `path` by the folder `partial`, and remove the former contents."""
    outdated = _temporary_name(path, path.parent).with_suffix(".outdated")
    path.rename(outdated)
    try:
        partial.rename(path)
    except OSError:
        outdated.rename(path)
        raise
    sync(path.parent)
    _remove(outdated)


def check_new_folder(path: Path) -> None:
    """Refuse a path at which a new folder would replace something.

    Raises:
        FileExistsError: where `path` is a file, a folder with something in it, or the root of a mounted disk.
    """
    if path.is_dir():
        if any(path.iterdir()):
            raise FileExistsError(f"{path} exists and is not empty: name a new folder, or remove what is in it")
        if path.is_mount():
            raise FileExistsError(f"{path} is where a disk is mounted: name a new folder inside it")
    elif path.exists():
        raise FileExistsError(f"{path} exists and is no folder: name a new folder")


def remove_folder(path: Path) -> None:
    """Remove a folder. It is renamed first, so that `path` is never an incomplete folder."""
    outdated = _temporary_name(path, path.parent)
    path.rename(outdated)
    sync(path.parent)
    _remove(outdated)


def remove_temporaries(folder: Path) -> None:
    """Remove temporary files and folders of killed processes from `folder`."""
    for partial in folder.glob(".*.partial"):
        if re.fullmatch(r"\.[0-9a-f]{12}-[0-9a-f]{8}\.partial", partial.name):
            _remove_unless_in_use(partial)


class FullDiskError(OSError):
    """The disk is full, the quota is used up, or the file is too large. The message names the outermost folder."""


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Context in which the full-disk errors of all libraries become one `OSError` with a clear message."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if isinstance(error, OSError) and not isinstance(error, FullDiskError):
            if number is None or error.strerror != os.strerror(number):
                raise  # it has a message of its own
        if number not in FULL and not any(text in str(error) for text in FULL_TEXTS):
            raise
        why = "the disk has no room for it"
        if number == errno.EDQUOT or "quota" in str(error):
            why = "the disk quota is used up"
        if number == errno.EFBIG or "too large" in str(error):
            why = "the file would be larger than the system permits"
        parent = next(parent for parent in path.parents if parent.exists())
        free = shutil.disk_usage(parent).free / 1e6
        full = FullDiskError(
            f"{path.name} could not be written to {path.parent}: {why} ({free:,.0f} MB are free there). What was there "
            "before is unchanged; make room, then give the command again"
        )
        full.errno = number or errno.ENOSPC
        raise full from error


def _resolved(path: str | Path) -> Path:
    """The path with all links followed. Names that cannot be made are refused before any folder is made for them."""
    check_names(Path(path))
    return Path(path).resolve()


@contextmanager
def _temporary(path: Path, parent: Path) -> Iterator[Path]:
    """A temporary path in `parent` for `path`. It is removed at the end, and older ones of killed processes before."""
    remove_leftovers(path, parent)
    partial = _temporary_name(path, parent)
    try:
        yield partial
    finally:
        _remove(partial)


def remove_leftovers(path: Path, parent: Path) -> None:
    """Remove temporary files and folders for `path` in `parent` that no running process is writing.

    A process that was killed between two renames leaves the former folder under a temporary name. This is undone.
    """
    for outdated in parent.glob(f".{_digest(path)}-*.outdated"):
        if path.exists():
            _remove(outdated)
        else:
            outdated.rename(path)
    for partial in parent.glob(f".{_digest(path)}-*.partial"):
        _remove_unless_in_use(partial)


def _remove_unless_in_use(partial: Path) -> None:
    if fcntl is None:
        return
    try:
        with _locked(partial):
            _remove(partial)
    except OSError:  # locked by the process that writes it, or already removed by another process
        return


def _temporary_name(path: Path, parent: Path) -> Path:
    # A digest in place of the name, which may already have the maximum length.
    return parent / f".{_digest(path)}-{secrets.token_hex(4)}.partial"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Lock a file or folder. The system releases the lock when the process ends.

    Raises:
        BlockingIOError: another process has locked it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _copy_permissions(existing: Path, partial: Path) -> None:
    if existing.exists():
        os.chmod(partial, stat.S_IMODE(existing.stat().st_mode))


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path) -> None:
    """Wait until the contents of a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() and os.access(path, os.W_OK) else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
