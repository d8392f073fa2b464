"""Tensor files: opened, not read; one that is cut short or lacks what is asked of it is named before any work."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open


def open_tensors(path: Path, needed: Iterable[str], *, noun: str, script: str) -> Any:
    """The safetensors file at `path`, which `script` wrote as a `noun`, memory-mapped; it holds all `needed` keys."""
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole {noun} ({error}); delete it and write it again with {script}"
        ) from error
    held = set(file.keys())
    if missing := [key for key in needed if key not in held]:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}, which this stage reads; it holds {', '.join(sorted(held))}. Delete it "
            f"and write it again with {script}"
        )
    return file
