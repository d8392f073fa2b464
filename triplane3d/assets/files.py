"""Finished assets as the bytes of files: GLB, OBJ with MTL and pictures, PLY, STL, 3MF and USDZ.

`triplane3d/file_formats.py` has the conventions of the formats that raw meshes are also written in.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from triplane3d.assets.glb import Primitive, encode_glb
from triplane3d.assets.material import Material
from triplane3d.assets.packages import encode_3mf, encode_usdz
from triplane3d.assets.pictures import encode_picture, sample_picture
from triplane3d.assets.uv_map import UVMap, tangent_frames
from triplane3d.file_formats import MESH_FORMATS, MeshFormat, check_placement
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.files import encode_mesh, place, z_up

ASSET_FORMATS = MESH_FORMATS | {
    ".3mf": MeshFormat(up="z", millimetres=1.0, size=100.0, color_space="srgb"),
    ".usdz": MeshFormat(up="y", millimetres=1000.0, size=None, color_space="linear"),
}
"""Formats of finished assets by their suffix."""


def encode_asset(
    path: Path,
    mesh: Mesh,
    uv_map: UVMap | None,
    material: Material | None,
    *,
    up: str | None = None,
    size: float | None = None,
    texture_format: str = "jpeg",
    draco: bool = False,
    extras: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The files of an asset, name → content, in the order of writing; the last one is `path`. Nothing is written.

    The arguments are those of `save_asset`; a mesh without texture has neither `uv_map` nor `material`. PLY and STL
    have no texture: a PLY has the texture's colours at its vertices.
    """
    suffix = path.suffix.lower()
    if suffix not in ASSET_FORMATS:
        raise ValueError(f"{path.name!r} is not the name of a mesh file: end it in one of {', '.join(ASSET_FORMATS)}")
    check_placement(up, size)
    if len(mesh.faces) == 0:
        raise ValueError(f"cannot save a mesh without faces as {path.name!r}")
    if draco and suffix != ".glb":
        raise ValueError(f"Draco compresses a .glb only, not {path.name!r}")
    if suffix in (".ply", ".stl") or (suffix == ".obj" and (uv_map is None or material is None)):
        if uv_map is not None and material is not None:
            mesh = colors_at_vertices(mesh, uv_map, material)
        content = encode_mesh(
            path, mesh.vertices, np.asarray(mesh.faces), mesh.vertex_normals, mesh.vertex_colors, up=up, size=size
        )
        return {path.name: content}

    placed, normals = place(mesh.vertices, np.asarray(mesh.faces), mesh.vertex_normals, ASSET_FORMATS[suffix], up, size)
    if suffix == ".obj" and uv_map is not None and material is not None:
        return _obj(path, placed, normals, mesh, uv_map, material)
    if suffix == ".3mf":
        return {path.name: encode_3mf(placed, np.asarray(mesh.faces), mesh.vertex_colors, uv_map, material)}
    if suffix == ".usdz":
        axis = up or ASSET_FORMATS[suffix].up
        return {path.name: encode_usdz(path.stem, placed, normals, mesh, uv_map, material, up=axis)}
    corners = np.arange(len(placed)) if uv_map is None else uv_map.vertices
    tangents = None
    if uv_map is not None and material is not None and material.normal_map is not None:
        tangents = tangent_frames(mesh, uv_map)
        if (up or "y") == "z":
            tangents = np.hstack([z_up(tangents[:, :3]), tangents[:, 3:]])
    primitive = Primitive(
        positions=placed[corners],
        normals=normals[corners],
        faces=np.asarray(mesh.faces) if uv_map is None else uv_map.faces,
        uv=None if uv_map is None else uv_map.uv,
        tangents=tangents,
        colors=None if material is not None else mesh.vertex_colors,
    )
    content = encode_glb(primitive, material, name=path.stem, texture_format=texture_format, draco=draco, extras=extras)
    return {path.name: content}


def colors_at_vertices(mesh: Mesh, uv_map: UVMap, material: Material) -> Mesh:
    """`mesh` with the colours of its texture at the vertices; on a seam the mean of both sides."""
    sums = np.zeros((len(mesh.vertices), 3), np.float32)
    np.add.at(sums, uv_map.vertices, sample_picture(material.base_color, uv_map.uv))
    counts = np.bincount(uv_map.vertices, minlength=len(sums))
    return Mesh(mesh.vertices, mesh.faces, sums / np.maximum(counts, 1)[:, None])


def _obj(
    path: Path,
    vertices: Float[np.ndarray, "vertices 3"],
    normals: Float[np.ndarray, "vertices 3"],
    mesh: Mesh,
    uv_map: UVMap,
    material: Material,
) -> dict[str, bytes]:
    """OBJ, MTL and pictures. Vertices are not repeated along seams: a face names its corners' coordinates apart.

    Readers split names at spaces, so the names of the MTL and of the pictures have none.
    """
    stem = re.sub(r"[^\w.-]+", "_", path.stem) or "mesh"
    pictures = {f"{stem}.png": encode_picture(material.base_color, "png")}
    lines = [
        "newmtl material",
        "Kd 1 1 1",
        "Ks 0 0 0",
        "illum 1",
        f"Pr {material.roughness:g}",
        f"Pm {material.metallic:g}",
        f"map_Kd {stem}.png",
    ]
    if material.normal_map is not None:
        pictures[f"{stem}_normal.png"] = encode_picture(material.normal_map, "png")
        lines.append(f"norm {stem}_normal.png")
    text = io.StringIO()
    text.write(f"mtllib {stem}.mtl\nusemtl material\n")
    np.savetxt(text, vertices, "v %.7g %.7g %.7g")
    # v counts from the lower edge of the picture.
    np.savetxt(text, np.stack([uv_map.uv[:, 0], 1 - uv_map.uv[:, 1]], axis=1), "vt %.7g %.7g")
    np.savetxt(text, normals, "vn %.5g %.5g %.5g")
    corners, seams = np.asarray(mesh.faces) + 1, uv_map.faces + 1
    columns = [each for corner in range(3) for each in (corners[:, corner], seams[:, corner], corners[:, corner])]
    np.savetxt(text, np.stack(columns, axis=1), "f %d/%d/%d %d/%d/%d %d/%d/%d")
    return {**pictures, f"{stem}.mtl": ("\n".join(lines) + "\n").encode(), path.name: text.getvalue().encode()}
