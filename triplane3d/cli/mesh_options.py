"""Options of `triplane3d generate` about the written mesh: axes, size, simplification, pieces."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from triplane3d.geometry.mesh import Mesh


class Axis(StrEnum):
    y = "y"
    z = "z"


Up = Annotated[Axis | None, typer.Option(help="Axis that points up in the file. Default: z in .ply and .stl, else y.")]
Size = Annotated[
    float | None,
    typer.Option(
        metavar="MM",
        help="Longest side in millimetres. Default: 100 in .ply and .stl; .glb and .obj keep the model's own units, at "
        "most 2 (metres in .glb).",
    ),
]
Faces = Annotated[
    int | None,
    typer.Option(min=4, help="Simplify the mesh to this many faces. Needs: pip install 'triplane3d[mesh]'."),
]
KeepLargest = Annotated[
    bool, typer.Option("--keep-largest", help="Keep only the largest connected piece, without floaters.")
]


def check_mesh_options(up: Axis | None, size: float | None, faces: int | None) -> None:
    """Raise ValueError for options that cannot be met, before a mesh is made."""
    from triplane3d.geometry.mesh.files import check_placement
    from triplane3d.geometry.mesh.simplification import check_simplify

    check_placement(up, size)
    if faces is not None:
        try:
            check_simplify(faces)
        except ImportError as error:
            raise ValueError(f"--faces {faces}: {error}") from error


def finish_mesh(mesh: "Mesh", faces: int | None, keep_largest: bool) -> "Mesh":
    """The mesh with the pieces and the number of faces that were asked for."""
    from triplane3d.geometry.mesh.simplification import simplify

    mesh = mesh.remove_floaters(1.0) if keep_largest else mesh
    return mesh if faces is None else simplify(mesh, faces)


def describe_mesh(mesh: "Mesh") -> str:
    """Faces, and pieces where there are several."""
    pieces = int(mesh.face_components.max()) + 1
    return f"{len(mesh.faces):,} faces" + (f", {pieces} pieces" if pieces > 1 else "")
