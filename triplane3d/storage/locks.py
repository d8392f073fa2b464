"""Locks of folders: one process at a time writes to a folder.

A second process gets an error with the process number of the first. The system releases the lock when the process ends.
On systems without file locks (Windows, some network disks) nothing is locked.
"""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"

_descriptors: dict[tuple[int, int, int], int] = {}
"""Descriptor of each lock file, by process, disk and inode: a forked process does not have the locks of its parent."""


def lock_folder(folder: str | Path, *, create: bool = True) -> None:
    """Lock an existing folder for this process until it ends. Locking it again has no effect.

    With `create=False` no lock file is made where none exists, for checks before anything is written.

    Raises:
        ValueError: another process has locked the folder.
        OSError: the folder cannot be written to.
    """
    if fcntl is None:
        return
    # A `lockf` lock belongs to one process: worker processes, which may end a moment later, do not have it. It is lost
    # when any descriptor of the file is closed, so `_descriptors` is checked before the file is opened.
    path = Path(folder) / NAME
    if path.exists() and _identity(path.stat()) in _descriptors:
        return
    if not create and not path.exists():
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        holder = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise ValueError(
            f"{folder} is in use by another process ({holder}), which writes to it: wait for its end, stop it, or name "
            "another folder"
        ) from error
    except OSError:  # a disk without locks
        os.close(descriptor)
        return
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    _descriptors[_identity(os.fstat(descriptor))] = descriptor


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return os.getpid(), status.st_dev, status.st_ino
