"""The triangle mesh that the library returns: its arrays, their properties, and reading and writing files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Integer
from scipy import sparse
from torch import Tensor

from triplane3d.errors import PARSER_ERRORS
from triplane3d.file_formats import MESH_FORMATS, check_placement, mesh_format
from triplane3d.geometry.color import srgb_from_linear
from triplane3d.geometry.mesh.files import (
    display_bytes,
    encode_mesh,
    vertex_colors,
    y_up,
)
from triplane3d.geometry.mesh.intersections import count_intersections
from triplane3d.geometry.mesh.manifold import manifold_error
from triplane3d.geometry.mesh.topology import MeshReport, edge_faces, label_components, used_vertices
from triplane3d.storage.durable import write_file

SUFFIXES = tuple(MESH_FORMATS)

SAMPLED_FACES = 1000
"""Faces that `Mesh.check` compares with all others, to find faces that cut each other."""


class FaceArray(np.ndarray):
    """Vertex indices of the faces. The array also has `.cpu().numpy()`, which diffusers' mesh exporters call."""

    def cpu(self) -> "FaceArray":
        return self

    def numpy(self) -> np.ndarray:
        return np.asarray(self)

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)  # results are ordinary arrays


@dataclass(eq=False)
class Mesh:
    """A triangle mesh in the library's frame (`triplane3d.geometry`), faces wound outwards.

    `vertex_colors` are linear albedo in 0..1; `save` and `load` convert them to and from the values of a file format.
    The arrays are converted to float32, int64 and float32. A mesh is not changed after it is made; methods return new
    meshes. Raises ValueError for wrong shapes, values that are not finite, colours outside 0..1 and indices out of
    range.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Integer[np.ndarray, "faces 3"]
    vertex_colors: Float[np.ndarray, "vertices 3"] | None = None

    def __post_init__(self) -> None:
        self.vertices = _rows(self.vertices, np.float32, "vertices")
        self.faces = _rows(self.faces, np.int64, "faces").view(FaceArray)
        if self.vertex_colors is not None:
            self.vertex_colors = _rows(self.vertex_colors, np.float32, "vertex_colors")
            if len(self.vertex_colors) != len(self.vertices):
                raise ValueError(
                    f"{len(self.vertices)} vertices have {len(self.vertex_colors)} colours; one each is needed"
                )
            if self.vertex_colors.max(initial=0) > 1 + 1e-3 or self.vertex_colors.min(initial=0) < -1e-3:
                raise ValueError(
                    f"vertex_colors must lie in 0..1, got {self.vertex_colors.min():.3g} to "
                    f"{self.vertex_colors.max():.3g}"
                )
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < len(self.vertices):
            raise ValueError(
                f"faces must index {len(self.vertices)} vertices, got indices from "
                f"{self.faces.min()} to {self.faces.max()}"
            )

    def __repr__(self) -> str:
        colors = "" if self.vertex_colors is None else ", coloured"
        return f"Mesh({len(self.vertices):,} vertices, {len(self.faces):,} faces{colors})"

    @property
    def verts(self) -> Float[Tensor, "vertices 3"]:
        """The vertices as a tensor, for diffusers' `export_to_ply` and `export_to_obj`."""
        return torch.from_numpy(self.vertices)

    @property
    def vertex_channels(self) -> dict[str, Tensor]:
        """sRGB in 0..1 for diffusers' exporters: tensors for R, G and B; white for a mesh without colours."""
        colors = np.ones_like(self.vertices) if self.vertex_colors is None else self.vertex_colors
        shown = srgb_from_linear(torch.from_numpy(colors.clip(0, 1)))
        return {name: shown[:, channel] for channel, name in enumerate("RGB")}

    @property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """Lowest and highest corner of the bounding box."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @cached_property
    def face_crosses(self) -> Float[np.ndarray, "faces 3"]:
        """The cross product of two edges of each face: its normal times twice its area, in double precision."""
        vertices, faces = self.vertices.astype(np.float64), np.asarray(self.faces)
        a = vertices[faces[:, 0]]
        return np.cross(vertices[faces[:, 1]] - a, vertices[faces[:, 2]] - a)

    @property
    def face_areas(self) -> Float[np.ndarray, " faces"]:
        return np.linalg.norm(self.face_crosses, axis=1) / 2

    @property
    def area(self) -> float:
        return float(self.face_areas.sum())

    @cached_property
    def vertex_normals(self) -> Float[np.ndarray, "vertices 3"]:
        """Unit normals: the area-weighted mean of the normals of a vertex's faces; zero for a vertex without face."""
        size = (len(self.vertices), len(self.faces))
        corners = (np.asarray(self.faces).ravel(), np.repeat(np.arange(len(self.faces)), 3))
        sums = sparse.csr_matrix((np.ones(3 * len(self.faces)), corners), shape=size) @ self.face_crosses
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    @property
    def volume(self) -> float:
        """Enclosed volume; negative where faces are wound inwards. Not defined for an open surface."""
        return float(self._signed_volumes().sum())

    @property
    def is_watertight(self) -> bool:
        """Whether every edge belongs to exactly two faces."""
        counts, _ = self._edges
        return len(self.faces) > 0 and bool((counts == 2).all())

    @property
    def euler_number(self) -> int:
        """Vertices - edges + faces: 2 for a closed ball, 0 for a torus, summed over the components."""
        counts, _ = self._edges
        return int(np.count_nonzero(np.bincount(self.faces.ravel()))) - len(counts) + len(self.faces)

    @cached_property
    def face_components(self) -> Integer[np.ndarray, " faces"]:
        """The number, from 0 up, of the connected component of each face."""
        return label_components(np.asarray(self.faces), len(self.vertices))

    @property
    def winding_is_consistent(self) -> bool:
        """Whether neighbouring faces run along their common edge in opposite directions."""
        counts, balance = self._edges
        return bool((np.abs(balance) <= counts % 2).all())

    @property
    def is_solid(self) -> bool:
        """Whether the mesh is closed, wound outwards and without degenerate faces: `check().ok` at a lower cost."""
        closed = self.is_watertight and self.winding_is_consistent
        return closed and self.volume > 0 and not self._degenerate_faces.any()

    def check(self, *, sampled_faces: int = SAMPLED_FACES) -> MeshReport:
        """Counts and tests of whether the mesh is a solid: closed, wound outwards, without degenerate faces.

        `print(mesh.check().describe())` prints all of them, whether the mesh can be printed in 3D, and what to do if
        not. Faces that cut other faces are searched among `sampled_faces` random faces.
        """
        counts, _ = self._edges
        watertight, consistent = self.is_watertight, self.winding_is_consistent
        intersecting, compared = count_intersections(self.vertices, np.asarray(self.faces), sampled_faces)
        return MeshReport(
            vertices=len(self.vertices),
            faces=len(self.faces),
            components=int(self.face_components.max(initial=-1)) + 1,
            euler_number=self.euler_number,
            boundary_edges=int((counts == 1).sum()),
            crowded_edges=int((counts > 2).sum()),
            degenerate_faces=int(self._degenerate_faces.sum()),
            winding_consistent=consistent,
            watertight=watertight,
            outward=watertight and consistent and self.volume > 0,
            volume=self.volume,
            manifold_error=manifold_error(self.vertices, np.asarray(self.faces)),
            size=(float(self._extent[0]), float(self._extent[1]), float(self._extent[2])),
            intersecting_faces=intersecting,
            sampled_faces=compared,
        )

    def remove_floaters(self, min_fraction: float = 0.02) -> "Mesh":
        """The mesh without components, cavities included, smaller than `min_fraction` of the largest one.

        Size is the enclosed volume, or the area where the surface is not closed.
        """
        if not 0 <= min_fraction <= 1:
            raise ValueError(f"min_fraction is a share of the largest component, from 0 to 1; got {min_fraction}")
        if len(self.faces) == 0:
            return self
        labels = self.face_components
        sizes = np.abs(np.bincount(labels, self._signed_volumes() if self.is_watertight else self.face_areas))
        return self.select_faces((sizes >= min_fraction * sizes.max())[labels])

    def select_faces(self, keep: np.ndarray) -> "Mesh":
        """The mesh of some of its faces (a mask or indices), without vertices that then have no face."""
        used, faces = used_vertices(np.asarray(self.faces)[keep], len(self.vertices))
        colors = None if self.vertex_colors is None else self.vertex_colors[used]
        return Mesh(self.vertices[used], faces, colors)

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same vertices and faces as a `trimesh.Trimesh`, colours as sRGB in 8 bits.

        trimesh's viewer, PLY and OBJ use sRGB vertex colours. Its GLB writer expects linear ones: use `save` for GLB.
        """
        colors = None if self.vertex_colors is None else display_bytes(self.vertex_colors)
        return trimesh.Trimesh(self.vertices, np.asarray(self.faces), vertex_colors=colors, process=False)

    @classmethod
    def from_trimesh(cls, source: "trimesh.Trimesh | trimesh.Scene", *, color_space: str = "srgb") -> "Mesh":
        """A mesh, or all meshes of a scene in their places, with vertex colours; a texture is sampled at the vertices.

        `color_space` of the vertex colours is "srgb", or "linear" for meshes that trimesh read from a GLB. Textures are
        sRGB. Axes and units are not changed. Raises ValueError for another colour space or a scene without a mesh.
        """
        if color_space not in ("srgb", "linear"):
            raise ValueError(f'color_space must be "srgb" or "linear", got {color_space!r}')
        if isinstance(source, trimesh.Scene):
            parts = []
            for node in source.graph.nodes_geometry:
                transform, name = source.graph[node]
                part = source.geometry[name]
                if isinstance(part, trimesh.Trimesh):
                    # trimesh's own copy drops the vertex colours of a part with a material.
                    moved = part.copy(include_visual=False).apply_transform(transform)
                    parts.append(cls(moved.vertices, moved.faces, vertex_colors(part, color_space)))
            if not parts:
                raise ValueError("the scene contains no triangle mesh")
            return cls._concatenate(parts)
        return cls(source.vertices, source.faces, vertex_colors(source, color_space))

    @classmethod
    def load(cls, path: str | Path, *, up: str | None = None) -> "Mesh":
        """Read a .glb, .obj, .ply or .stl file: the inverse of `save`, except for the size.

        Colours become linear and the axes y up. `up` is the axis that points up in the file, "y" or "z"; None takes
        the format's convention, z for .ply and .stl, y for .glb and .obj. Coordinates stay in the file's unit:
        `normalize_mesh` brings a mesh to the library's size. Equal corners in an STL become one vertex.

        Raises FileNotFoundError; ValueError for another suffix, another axis or a file without triangles.
        """
        path = Path(path)
        form = mesh_format(path)
        check_placement(up, None)
        if not path.is_file():
            raise FileNotFoundError(f"there is no mesh file {path}: check the path")
        try:
            scene = trimesh.load_scene(path, process=path.suffix.lower() == ".stl")
            mesh = cls.from_trimesh(scene, color_space=form.color_space)
            return cls(y_up(mesh.vertices), mesh.faces, mesh.vertex_colors) if (up or form.up) == "z" else mesh
        except PARSER_ERRORS as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"{path} cannot be read as a {path.suffix} mesh ({reason}): check or rewrite it"
            ) from error

    def save(self, path: str | Path, *, up: str | None = None, size: float | None = None) -> Path:
        """Write a .glb, .obj, .ply or .stl file with normals and, except for .stl, colours. Missing folders are made.

        `up` is the axis that points up in the file: "y", or "z", where the photo's camera looks from -y. `size` is the
        longest side in millimetres (the unit of a GLB is the metre, that of the others the millimetre). None takes the
        format's defaults:

        - .glb and .obj: y up, coordinates of the library's frame (2 for its longest side);
        - .ply and .stl: z up, 100 mm.

        docs/formats.md describes the content of each format. The file appears complete or not at all, even if the
        process is stopped. Raises ValueError for another suffix, axis or size, and for a mesh without faces.
        """
        path = Path(path)
        content = encode_mesh(
            path, self.vertices, np.asarray(self.faces), self.vertex_normals, self.vertex_colors, up=up, size=size
        )
        write_file(path, content)
        return path

    @classmethod
    def _concatenate(cls, parts: list["Mesh"]) -> "Mesh":
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        colors = None
        if any(part.vertex_colors is not None for part in parts):
            colors = np.concatenate(
                [np.ones_like(part.vertices) if part.vertex_colors is None else part.vertex_colors for part in parts]
            )
        faces = [np.asarray(part.faces) + start for part, start in zip(parts, starts, strict=True)]
        return cls(np.concatenate([part.vertices for part in parts]), np.concatenate(faces), colors)

    def _signed_volumes(self) -> Float[np.ndarray, " faces"]:
        """Signed volume of the tetrahedron between each face and the origin; by the divergence theorem the sum is the
        enclosed volume."""
        corners = self.vertices.astype(np.float64)[np.asarray(self.faces)[:, 0]]
        return (corners * self.face_crosses).sum(axis=1) / 6

    @property
    def _extent(self) -> Float[np.ndarray, " 3"]:
        """Width, height and depth of the bounding box."""
        return self.bounds[1] - self.bounds[0] if len(self.vertices) else np.zeros(3)

    @property
    def _degenerate_faces(self) -> Bool[np.ndarray, " faces"]:
        # Far below the area of any face that float32 vertices can span.
        return self.face_areas <= 1e-14 * (self._extent @ self._extent)

    @cached_property
    def _edges(self) -> tuple[Integer[np.ndarray, " edges"], Integer[np.ndarray, " edges"]]:
        """See `edge_faces`."""
        return edge_faces(np.asarray(self.faces), len(self.vertices))


def _rows(array: np.ndarray, dtype: type[np.generic], name: str) -> np.ndarray:
    """A contiguous array of shape (n, 3), all values finite."""
    if np.ndim(array) != 2 or np.shape(array)[1] != 3:
        raise ValueError(f"{name} must have shape (n, 3), got {np.shape(array)}")
    if not np.isfinite(array).all():
        wrong = int((~np.isfinite(array)).any(axis=1).sum())
        raise ValueError(f"{name} must be finite, got NaN or infinite values in {wrong:,} of {len(array):,} rows")
    return np.ascontiguousarray(array, dtype=dtype)
