"""A mesh with a texture, and the writing of finished assets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Integer
from PIL import Image
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from triplane3d.assets.files import colors_at_vertices, encode_asset
from triplane3d.assets.material import Material
from triplane3d.assets.uv_map import UVMap, tangent_frames, unit_normals
from triplane3d.geometry.mesh import Mesh, MeshReport
from triplane3d.storage.durable import write_file


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A mesh in the library's frame with a texture.

    `mesh` is the surface without seams: its report, its volume and its normals do not depend on the texture. The arrays
    of this class have one row per corner of `uv_map`, as files store them.
    """

    mesh: Mesh
    uv_map: UVMap
    material: Material
    extras: dict[str, Any] = field(default_factory=dict)
    """What a GLB stores in `asset.extras`: for example the model, its revision, the seed and the settings."""

    def __post_init__(self) -> None:
        self.uv_map.check(self.mesh)

    def __repr__(self) -> str:
        height, width = self.material.base_color.shape[:2]
        return (
            f"TexturedMesh({len(self.mesh.vertices):,} vertices, {len(self.mesh.faces):,} faces, {width} × {height} "
            "texels)"
        )

    @property
    def vertices(self) -> Float[np.ndarray, "corners 3"]:
        return self.mesh.vertices[self.uv_map.vertices]

    @property
    def faces(self) -> Integer[np.ndarray, "faces 3"]:
        return self.uv_map.faces

    @property
    def uv(self) -> Float[np.ndarray, "corners 2"]:
        return self.uv_map.uv

    @property
    def normals(self) -> Float[np.ndarray, "corners 3"]:
        """Unit normals of `mesh`, equal on both sides of a seam; upwards at a vertex without a face or an area."""
        return unit_normals(self.mesh)[self.uv_map.vertices]

    @cached_property
    def tangents(self) -> Float[np.ndarray, "corners 4"]:
        """Tangent frames as in glTF, see `tangent_frames`."""
        return tangent_frames(self.mesh, self.uv_map)

    def check(self) -> MeshReport:
        """The report of the surface without seams."""
        return self.mesh.check()

    def with_extras(self, **extras: Any) -> "TexturedMesh":
        """The same textured mesh with more entries in `extras`."""
        return replace(self, extras=self.extras | extras)

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same vertices and faces as a `trimesh.Trimesh` with a PBR material."""
        material = self.material
        normal_map = None if material.normal_map is None else Image.fromarray(material.normal_map)
        occlusion = None if material.occlusion is None else Image.fromarray(material.occlusion)
        pbr = PBRMaterial(
            baseColorTexture=Image.fromarray(material.base_color),
            normalTexture=normal_map,
            occlusionTexture=occlusion,
            metallicFactor=material.metallic,
            roughnessFactor=material.roughness,
        )
        upwards = np.stack([self.uv[:, 0], 1 - self.uv[:, 1]], axis=1)  # trimesh counts from the lower left corner
        return trimesh.Trimesh(
            self.vertices,
            self.faces,
            vertex_normals=self.normals,
            visual=TextureVisuals(uv=upwards, material=pbr),
            process=False,
        )

    def colors_at_vertices(self) -> Mesh:
        """`mesh` with the texture's colours at its vertices, for formats without textures."""
        return colors_at_vertices(self.mesh, self.uv_map, self.material)

    def save(
        self,
        path: str | Path,
        *,
        up: str | None = None,
        size: float | None = None,
        texture_format: str = "jpeg",
        draco: bool = False,
        overwrite: bool = True,
    ) -> Path:
        """Write a .glb, .obj, .ply, .stl, .3mf or .usdz file, see `save_asset`."""
        return save_asset(self, path, up=up, size=size, texture_format=texture_format, draco=draco, overwrite=overwrite)


def save_asset(
    asset: Mesh | TexturedMesh,
    path: str | Path,
    *,
    up: str | None = None,
    size: float | None = None,
    texture_format: str = "jpeg",
    draco: bool = False,
    overwrite: bool = True,
    extras: Mapping[str, Any] | None = None,
) -> Path:
    """Write a mesh, textured or not, in the format of the name's suffix; docs/assets.md has a table of the formats.

    Each file appears complete or not at all. An OBJ has its material and its pictures beside it, in files of their own
    that are written before it.

    Args:
        up: the axis that points up in the file, "y" or "z"; None takes the format's.
        size: the longest side in millimetres; None takes the format's.
        texture_format: of the base colour's picture in a GLB: "jpeg", "png", or "webp", which needs a reader with the
            extension EXT_texture_webp. Normal maps and other formats use PNG.
        draco: compress the triangles of a GLB (extension KHR_draco_mesh_compression).
        overwrite: whether existing files may be replaced.
        extras: more entries for `asset.extras` of a GLB.

    Raises:
        FileExistsError: without `overwrite`, where one of the files exists; nothing is written.
        ValueError: another suffix, axis, size or picture format, or a mesh without faces.
        ImportError: the format needs a package that is not installed.
        OSError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    if isinstance(asset, TexturedMesh):
        mesh, uv_map, material, own = asset.mesh, asset.uv_map, asset.material, asset.extras
    else:
        mesh, uv_map, material, own = asset, None, None, {}
    files = encode_asset(
        path,
        mesh,
        uv_map,
        material,
        up=up,
        size=size,
        texture_format=texture_format,
        draco=draco,
        extras={**own, **(extras or {})},
    )
    if not overwrite:
        for name in files:
            if os.path.lexists(path.with_name(name)):
                raise FileExistsError(
                    f"{path.with_name(name)} exists: choose another name, or allow it to be replaced (overwrite)"
                )
    for name, content in files.items():
        write_file(path.with_name(name), content)
    return path
