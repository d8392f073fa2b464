"""One process at a time writes to a folder.

A second one is refused with the number of the first. The system releases the lock when its process ends, however it
ends. Where locks of files do not exist (Windows, some network disks) nothing is locked.
"""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"

_held: dict[tuple[int, int, int], int] = {}
"""The open file of each lock, by process, disk and inode: a forked process does not hold the locks of its parent."""


def lock_folder(folder: str | Path, *, create: bool = True) -> None:
    """Lock an existing folder for this process until it ends. A folder that it has locked already stays so.

    Without `create` a folder that no process has ever locked is left as it is: for checks before anything is written.

    Raises:
        ValueError: another process has locked the folder.
        OSError: the folder cannot be written to.
    """
    if fcntl is None:
        return
    # `lockf` belongs to a process: worker processes, which may outlive it for a moment, do not hold the lock. It would
    # be lost if any descriptor of the file were closed here, hence the look into `_held` before the file is opened.
    path = Path(folder) / NAME
    if path.exists() and _identity(path.stat()) in _held:
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
    _held[_identity(os.fstat(descriptor))] = descriptor


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return os.getpid(), status.st_dev, status.st_ino
