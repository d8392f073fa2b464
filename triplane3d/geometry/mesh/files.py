"""A mesh as the bytes of a file, by the conventions of its format (`triplane3d/file_formats.py`)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Integer, UInt8
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from triplane3d.file_formats import MeshFormat, check_placement, mesh_format
from triplane3d.geometry.color import linear_from_srgb, srgb_from_linear

ROUGHNESS = 0.9
"""Of the material in a GLB: close to the matt surface in previews. Without a material glTF's default is metal."""


def encode_mesh(
    path: Path,
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    normals: Float[np.ndarray, "vertices 3"],
    colors: Float[np.ndarray, "vertices 3"] | None,
    *,
    up: str | None = None,
    size: float | None = None,
) -> bytes:
    """The content of the file `path`, in the format of its suffix; nothing is written.

    `vertices` are in the library's frame, y up; `normals` are unit vectors or zero; `colors` are linear. `up` is the
    axis that points up in the file, `size` the longest side in millimetres; None takes the format's defaults. Raises
    ValueError for invalid arguments and for a mesh without faces.
    """
    form = mesh_format(path)
    check_placement(up, size)
    if len(faces) == 0:
        raise ValueError(f"cannot save a mesh without faces as {path.name!r}")
    placed, normals = place(vertices, faces, normals, form, up, size)
    solid = trimesh.Trimesh(placed, faces, vertex_normals=normals, process=False)

    suffix = path.suffix.lower()
    if suffix == ".glb":
        return _glb(solid, colors, path.stem)
    if colors is not None and suffix != ".stl":
        solid.visual = trimesh.visual.ColorVisuals(solid, vertex_colors=display_bytes(colors))
    options: dict[str, Any] = {".obj": {"include_normals": True, "header": None}, ".ply": {"vertex_normal": True}}
    content: Any = solid.export(file_type=suffix[1:], **options.get(suffix, {}))
    return content.encode() if isinstance(content, str) else content


def place(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    normals: Float[np.ndarray, "vertices 3"],
    form: MeshFormat,
    up: str | None,
    size: float | None,
) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "vertices 3"]]:
    """Vertices and unit normals in the axes and the unit of a file; arguments as for `encode_mesh`."""
    placed, normals = vertices * _scale(vertices, faces, form, size), nonzero_normals(normals)
    return (z_up(placed), z_up(normals)) if (up or form.up) == "z" else (placed, normals)


def nonzero_normals(normals: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """The normals, upwards where they are zero: glTF requires unit normals, and a vertex without faces has none."""
    return np.where(np.abs(normals).max(axis=1, keepdims=True) > 0, normals, np.array([0, 1, 0], np.float32))


def z_up(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Points or normals from y up to z up, (x, y, z) → (x, -z, y). The photo's camera then looks from -y."""
    x, y, z = points.T
    return np.stack([x, -z, y], axis=1)


def y_up(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """The inverse of `z_up`."""
    x, y, z = points.T
    return np.stack([x, z, -y], axis=1)


def display_bytes(colors: Float[np.ndarray, "vertices 3"]) -> UInt8[np.ndarray, "vertices 4"]:
    """Linear colours → opaque sRGB in 8 bits."""
    shown = srgb_from_linear(torch.from_numpy(colors.clip(0, 1))).numpy()
    return np.rint(np.hstack([shown, np.ones((len(shown), 1))]) * 255).astype(np.uint8)


def vertex_colors(source: trimesh.Trimesh, color_space: str) -> Float[np.ndarray, "vertices 3"] | None:
    """Linear colours of a trimesh; None without colours. Vertex colours are in `color_space`, textures in sRGB."""
    visual: Any = source.visual
    if visual.kind == "texture" and visual.uv is not None:
        colors, color_space = visual.to_color().vertex_colors, "srgb"
    elif visual.kind == "texture" and "color" in visual.vertex_attributes:
        colors = visual.vertex_attributes["color"]
    elif visual.kind in ("vertex", "face"):
        colors = visual.vertex_colors
    else:
        return None
    values = trimesh.visual.color.to_float(colors)[:, :3].astype(np.float32)
    return values if color_space == "linear" else linear_from_srgb(torch.from_numpy(values)).numpy()


def _scale(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    form: MeshFormat,
    size: float | None,
) -> float:
    """Units of the file for one unit of the frame."""
    size = size or form.size
    if size is None:
        return 1.0
    longest = float(np.ptp(vertices[np.unique(faces)], axis=0).max())
    if not longest > 0:
        raise ValueError("a mesh whose vertices all coincide cannot be scaled to a size")
    return size / form.millimetres / longest


def _glb(solid: trimesh.Trimesh, colors: Float[np.ndarray, "vertices 3"] | None, name: str) -> bytes:
    """A GLB with one node named after the file, a matt material, normals, and colours as normalised 16-bit integers.

    trimesh writes vertex colours with 8 bits. The colours are therefore written as a custom attribute, which is renamed
    to COLOR_0 in the finished header.
    """
    solid.visual = TextureVisuals(
        material=PBRMaterial(name=name, metallicFactor=0.0, roughnessFactor=ROUGHNESS, doubleSided=False)
    )
    if colors is not None:
        opaque = np.hstack(
            [colors.clip(0, 1), np.ones((len(colors), 1))]
        )  # rows of 8 bytes: glTF requires multiples of 4
        solid.vertex_attributes["_COLOR_0"] = np.rint(opaque * 65535).astype(np.uint16)

    def finish(header: dict[str, Any]) -> None:
        header["nodes"] = [{"name": name, "mesh": 0}]  # without trimesh's empty root node
        header["scenes"] = [{"nodes": [0]}]
        header["meshes"][0]["name"] = name
        attributes = header["meshes"][0]["primitives"][0]["attributes"]
        if colors is not None:
            attributes["COLOR_0"] = attributes.pop("_COLOR_0")
            header["accessors"][attributes["COLOR_0"]]["normalized"] = True

    return solid.scene().export(file_type="glb", include_normals=True, tree_postprocessor=finish)
