"""Formats of the written files: meshes with the conventions of their readers (docs/formats.md has a table), previews.

Imports neither torch nor numpy, so that the command can check names of files at once.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MeshFormat:
    """The conventions that readers of a mesh format assume."""

    up: str
    """The axis that points up, "y" or "z"."""
    millimetres: float
    """Length of one unit of the file."""
    size: float | None
    """Default length of the longest side, in millimetres. None keeps the coordinates of the library's frame."""
    color_space: str
    """Of vertex colours, "linear" or "srgb"."""


MESH_FORMATS = {
    ".glb": MeshFormat(up="y", millimetres=1000.0, size=None, color_space="linear"),
    ".obj": MeshFormat(up="y", millimetres=1.0, size=None, color_space="srgb"),
    ".ply": MeshFormat(up="z", millimetres=1.0, size=100.0, color_space="srgb"),
    ".stl": MeshFormat(up="z", millimetres=1.0, size=100.0, color_space="srgb"),  # without colours
}
"""Mesh formats by their suffix. The first is the command's default."""

PREVIEW_SUFFIXES = (".webp", ".gif", ".png")
"""Formats of a preview: turntables (.webp, .gif) or one picture from the photo's camera (.png)."""

AXES = ("y", "z")
"""Axes that can point up in a mesh file."""


def mesh_format(path: Path) -> MeshFormat:
    """The format of a mesh file, by its suffix. Raises ValueError for other suffixes."""
    suffix = path.suffix.lower()
    if suffix not in MESH_FORMATS:
        raise ValueError(f"{path.name!r} is not the name of a mesh file: end it in one of {', '.join(MESH_FORMATS)}")
    return MESH_FORMATS[suffix]


def check_placement(up: str | None, size: float | None) -> None:
    """Raise ValueError where `up` is not an axis or `size` not a length."""
    if up not in (None, *AXES):
        raise ValueError(f'up must be "y" or "z", got {up!r}')
    if size is not None and not 0 < size < float("inf"):
        raise ValueError(f"size is the longest side in millimetres, a finite number above 0; got {size}")
