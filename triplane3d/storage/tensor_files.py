"""Opening of tensor files, with a check that they are complete and contain the required tensors."""

from collections.abc import Iterable
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
