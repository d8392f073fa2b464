"""Options of `triplane3d generate` for the written mesh: axes, size, simplification, connected pieces."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from triplane3d.geometry.mesh import Mesh


class Axis(StrEnum):
    """Axis that points up in a mesh file."""

    y = "y"
    z = "z"


Up = Annotated[Axis | None, typer.Option(help="Axis that points up in the file. Default: z in .ply and .stl, else y.")]
Size = Annotated[
    float | None,
    typer.Option(
        metavar="MM",
        help="Longest side in millimetres. Default: 100 in .ply and .stl; .glb and .obj keep the model's units, at "
        "most 2 (metres in .glb).",
    ),
]
Faces = Annotated[
    int | None,
    typer.Option(min=4, help="Simplify the mesh to this many faces. Needs: pip install 'triplane3d[mesh]'."),
]
KeepLargest = Annotated[bool, typer.Option("--keep-largest", help="Keep only the largest connected piece.")]


def describe_mesh(mesh: "Mesh") -> str:
    """Number of faces, and of pieces where there are several."""
    pieces = int(mesh.face_components.max()) + 1
    return f"{len(mesh.faces):,} faces" + (f", {pieces} pieces" if pieces > 1 else "")
