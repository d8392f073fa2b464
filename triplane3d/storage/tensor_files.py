"""Opening of tensor files, with a check that they are complete and contain the required tensors."""

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open


def open_tensors(path: Path, needed: Iterable[str], *, noun: str, script: str) -> Any:
    """Open a safetensors file, memory-mapped.

    Args:
        path: the file.
        needed: keys that it must contain.
        noun: what the file is, for error messages.
        script: the script that writes such files, for error messages.

    Raises:
        ValueError: the file is damaged, missing or lacks a key.
    """
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole {noun} ({error}); delete it and write it again with {script}"
        ) from error
    found = set(file.keys())
    if missing := [key for key in needed if key not in found]:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}, which this stage reads; it has {', '.join(sorted(found))}. Delete "
            f"it and write it again with {script}"
        )
    return file


def check_utf8(path: str | PathLike, name: str = "") -> None:
    """Raises a ValueError if the name of a file or folder of tensors is not UTF-8. safetensors opens no other files.

    Args:
        path: the path.
        name: the option that contains it, for the error message.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        start = f"{name}: " if name else ""
        raise ValueError(
            f"{start}{path} has bytes that are not UTF-8, and files of weights cannot be opened there: rename the "
            "file or folder"
        ) from None
