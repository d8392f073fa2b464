"""Checks that outputs can be written, before work that may take hours. They leave no file behind."""

import errno
import os
import tempfile
from pathlib import Path

from triplane3d.storage.tensor_files import check_utf8

PROBE = b"triplane3d"
"""What is written to try a folder: on a full disk, an empty file can still be made."""


def check_file(path: str | Path, name: str = "") -> None:
    """Refuse a path at which no file can be written. `name` is the option that contains it, for the error message.

    Missing folders are made when the file is written, so the nearest existing folder is tried. Special files, such as
    a pipe or `/dev/stdout`, are not tried.

    Raises:
        OSError: the message has the reason, and what to do.
    """
    path = Path(path)
    if os.path.isdir(path) or not path.name:
        raise IsADirectoryError(_message(name, f"{path} is a folder: name a file"))
    check_names(path, name)
    target = Path(os.path.realpath(path))  # files are written through links
    if target.is_file() and not os.access(target, os.W_OK):
        raise PermissionError(
            _message(name, f"{path} exists and is read-only: change its permissions or choose another name")
        )
    if not target.exists() or target.is_file():
        _try_folder(target.parent if path.is_symlink() else path.parent, name)


def check_folder(folder: str | Path, name: str = "") -> None:
    """Refuse a folder of tensors in which no file can be made, or that cannot be made. `name` is as for `check_file`.

    Of a folder that does not exist, the nearest existing parent is tried.

    Raises:
        OSError: the message has the reason, and what to do.
        ValueError: the path is not UTF-8, see `check_utf8`.
    """
    for path in (folder, os.path.realpath(folder)):
        check_utf8(path, name)
    _try_folder(Path(folder), name)


def _try_folder(folder: Path, name: str) -> None:
    check_names(folder, name)
    there = next(parent for parent in (folder, *folder.parents, Path(".")) if os.path.lexists(parent))
    if not there.exists():
        raise FileNotFoundError(_message(name, f"{there} is a link to {os.readlink(there)}, which does not exist: make "
                                               "that folder or choose another output"))  # fmt: skip
    if not there.is_dir():
        here = "" if there == folder else f"{folder} cannot be made: "
        raise NotADirectoryError(_message(name, f"{here}{there} is a file, not a folder: choose another output"))
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(PROBE)
            probe.flush()
    except OSError as error:
        message = f"nothing can be written in {there} ({error.strerror}): choose another output"
        raise OSError(error.errno, _message(name, message)) from error


def check_names(path: Path, name: str = "") -> None:
    """Refuse names that the file system refuses, links that lead to themselves, and ~ for the home folder.

    Shells replace ~ at the beginning of an argument only; elsewhere, and in YAML files, it would be made as a folder.
    `name` is as for `check_file`.

    Raises:
        OSError: the message has the reason, and what to do.
    """
    home = os.path.expanduser(path)
    if len(path.parts) > 1 and home != str(path) and not os.path.lexists(path.parts[0]):
        why = f"{path}: {path.parts[0]} is not replaced by the home folder here: write {home}"
        raise FileNotFoundError(_message(name, why))
    for part in (*reversed(path.parents), path):
        try:
            os.stat(part)
        except (FileNotFoundError, NotADirectoryError):
            # A missing parent hides what is wrong with the names below it.
            _check_lengths(path, name)
            return
        except OSError as error:
            if error.errno == errno.ELOOP:
                why = f"{part} is a link that leads to itself: remove it or choose another output"
            else:
                why = f"{path} cannot be written ({error.strerror}): choose another output"
            raise OSError(error.errno, _message(name, why)) from error


def _check_lengths(path: Path, name: str) -> None:
    """Refuse names, and a whole path, that are longer than the disk of the nearest existing parent accepts."""
    there = next(parent for parent in (*path.parents, Path(".")) if os.path.exists(parent))
    longest = max(path.parts, key=lambda part: len(os.fsencode(part)))
    for limit, text in (("PC_NAME_MAX", longest), ("PC_PATH_MAX", os.path.abspath(path))):
        try:
            most = os.pathconf(there, limit)
        except (AttributeError, OSError, ValueError):  # unknown on this system
            continue
        if len(os.fsencode(text)) > most:
            raise OSError(errno.ENAMETOOLONG, _message(name, f"{path} cannot be written (File name too long, at most "
                                                       f"{most} bytes): choose another output"))  # fmt: skip


def _message(name: str, text: str) -> str:
    return f"{name}: {text}" if name else text
