"""The triangle mesh the library hands out: arrays, what can be said about them, and files."""

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Integer
from scipy import sparse
from torch import Tensor

from triplane3d.geometry.color import srgb_from_linear
from triplane3d.geometry.mesh.files import (
    FORMATS,
    check_placement,
    display_bytes,
    encode_mesh,
    format_of,
    vertex_colors,
    y_up,
)
from triplane3d.storage.durable import write_file

SUFFIXES = tuple(FORMATS)
UNREADABLE = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError,
              RuntimeError, TypeError, ValueError, struct.error)  # fmt: skip
"""What trimesh's readers raise for damaged files."""


class FaceArray(np.ndarray):
    """Integer corners of the faces: an array that also answers `.cpu().numpy()`, as diffusers' mesh exporters ask."""

    def cpu(self) -> "FaceArray":
        return self

    def numpy(self) -> np.ndarray:
        return np.asarray(self)

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)  # what is computed from it is an ordinary array


@dataclass(frozen=True)
class MeshReport:
    """What `Mesh.check` found; `print` it to read it."""

    vertices: int
    faces: int
    components: int
    """Pieces that share no vertex; an enclosed cavity counts as one."""
    euler_number: int
    boundary_edges: int
    """Edges of one face only: holes."""
    crowded_edges: int
    """Edges of more than two faces."""
    degenerate_faces: int
    """Faces without area."""
    winding_consistent: bool
    watertight: bool
    """Every edge belongs to exactly two faces."""
    outward: bool
    """Positive volume inside a closed, consistently wound surface."""
    volume: float

    @property
    def ok(self) -> bool:
        """A closed solid, wound outwards, without empty faces."""
        return self.watertight and self.winding_consistent and self.outward and self.degenerate_faces == 0

    def __str__(self) -> str:
        faults = [
            f"{self.boundary_edges:,} open edges" if self.boundary_edges else "",
            f"{self.crowded_edges:,} edges with more than two faces" if self.crowded_edges else "",
            "" if self.winding_consistent else "neighbouring faces wound against each other",
            "" if self.outward or not (self.watertight and self.winding_consistent) else "wound inwards",
            f"{self.degenerate_faces:,} faces without area" if self.degenerate_faces else "",
        ]
        verdict = "; ".join(filter(None, faults)) or "closed and wound outwards"
        return (
            f"{self.vertices:,} vertices, {self.faces:,} faces, {self.components} "
            f"component{'' if self.components == 1 else 's'}, volume {self.volume:.4g}: {verdict}"
        )


@dataclass(eq=False)
class Mesh:
    """A triangle mesh in the library's frame (`triplane3d.geometry`), faces wound outwards.

    `vertex_colors` are linear albedo in 0..1; `save` and `load` convert them to and from what a file format holds. The
    arrays become float32, int64 and float32; a mesh is not changed afterwards, its methods return new ones.
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
                raise ValueError(f"{len(self.vertices)} vertices came with {len(self.vertex_colors)} colours")
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
        """The vertices as diffusers' `export_to_ply` and `export_to_obj` read them."""
        return torch.from_numpy(self.vertices)

    @property
    def vertex_channels(self) -> dict[str, Tensor]:
        """sRGB in 0..1 for diffusers' exporters: one tensor for each of R, G, B (white where there are no colours)."""
        colors = np.ones_like(self.vertices) if self.vertex_colors is None else self.vertex_colors
        shown = srgb_from_linear(torch.from_numpy(colors.clip(0, 1)))
        return {name: shown[:, channel] for channel, name in enumerate("RGB")}

    @property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """Lowest and highest corner of the bounding box."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @cached_property
    def face_crosses(self) -> Float[np.ndarray, "faces 3"]:
        """Outward normal of each face times twice its area, in double precision."""
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
        """Unit normals, the mean of the faces around each vertex by area; zero where a vertex has no face."""
        size = (len(self.vertices), len(self.faces))
        corners = (np.asarray(self.faces).ravel(), np.repeat(np.arange(len(self.faces)), 3))
        sums = sparse.csr_matrix((np.ones(3 * len(self.faces)), corners), shape=size) @ self.face_crosses
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    @property
    def volume(self) -> float:
        """Enclosed volume; negative where faces are wound inwards. Means little for an open surface."""
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
        """Number of the connected piece each face belongs to."""
        a, b, c = np.asarray(self.faces).T
        ones = np.ones(2 * len(self.faces), dtype=bool)
        size = (len(self.vertices), len(self.vertices))
        links = sparse.coo_matrix((ones, (np.concatenate([a, b]), np.concatenate([b, c]))), shape=size)
        _, vertex_labels = sparse.csgraph.connected_components(links, directed=False)
        return np.unique(vertex_labels[a], return_inverse=True)[1]

    def check(self) -> MeshReport:
        """Everything that makes a mesh a solid, counted."""
        counts, balance = self._edges
        watertight = self.is_watertight
        consistent = bool((np.abs(balance) <= counts % 2).all())
        extent = self.bounds[1] - self.bounds[0] if len(self.vertices) else np.zeros(3)
        degenerate = self.face_areas <= 1e-14 * (extent @ extent)  # far below a face float32 corners can span
        return MeshReport(
            vertices=len(self.vertices),
            faces=len(self.faces),
            components=int(self.face_components.max(initial=-1)) + 1,
            euler_number=self.euler_number,
            boundary_edges=int((counts == 1).sum()),
            crowded_edges=int((counts > 2).sum()),
            degenerate_faces=int(degenerate.sum()),
            winding_consistent=consistent,
            watertight=watertight,
            outward=watertight and consistent and self.volume > 0,
            volume=self.volume,
        )

    def remove_floaters(self, min_fraction: float = 0.02) -> "Mesh":
        """The mesh without components (and cavities) smaller than `min_fraction` of the largest one.

        Size is enclosed volume, or area where the surface is not closed.
        """
        if not 0 <= min_fraction <= 1:
            raise ValueError(f"min_fraction is a share of the largest component, 0 to 1; got {min_fraction}")
        if len(self.faces) == 0:
            return self
        labels = self.face_components
        sizes = np.abs(np.bincount(labels, self._signed_volumes() if self.is_watertight else self.face_areas))
        return self.select_faces((sizes >= min_fraction * sizes.max())[labels])

    def select_faces(self, keep: np.ndarray) -> "Mesh":
        """The mesh of some of its faces (a mask or indices), without the vertices that become idle."""
        faces = np.asarray(self.faces)[keep]
        used = np.zeros(len(self.vertices), dtype=bool)
        used[faces] = True
        colors = None if self.vertex_colors is None else self.vertex_colors[used]
        return Mesh(self.vertices[used], (np.cumsum(used) - 1)[faces], colors)

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same vertices and faces as a `trimesh.Trimesh`, colours as sRGB in 8 bits.

        trimesh's viewer, PLY and OBJ take vertex colours as sRGB. Its GLB takes them as linear: write that by `save`.
        """
        colors = None if self.vertex_colors is None else display_bytes(self.vertex_colors)
        return trimesh.Trimesh(self.vertices, np.asarray(self.faces), vertex_colors=colors, process=False)

    @classmethod
    def from_trimesh(cls, source: "trimesh.Trimesh | trimesh.Scene", *, color_space: str = "srgb") -> "Mesh":
        """A mesh, or all meshes of a scene in their places, with vertex colours; a texture is read at the vertices.

        `color_space` is that of the vertex colours: "srgb", or "linear" for what trimesh read from a GLB. Textures are
        sRGB. Axes and numbers stay as they are.
        """
        if color_space not in ("srgb", "linear"):
            raise ValueError(f'color_space must be "srgb" or "linear", got {color_space!r}')
        if isinstance(source, trimesh.Scene):
            parts = []
            for node in source.graph.nodes_geometry:
                transform, name = source.graph[node]
                part = source.geometry[name]
                if isinstance(part, trimesh.Trimesh):
                    # trimesh's own copy loses the vertex colours of a part that has a material.
                    moved = part.copy(include_visual=False).apply_transform(transform)
                    parts.append(cls(moved.vertices, moved.faces, vertex_colors(part, color_space)))
            if not parts:
                raise ValueError("the scene holds no triangle mesh")
            return cls._concatenate(parts)
        return cls(source.vertices, source.faces, vertex_colors(source, color_space))

    @classmethod
    def load(cls, path: str | Path, *, up: str | None = None) -> "Mesh":
        """Read a .glb, .obj, .ply or .stl file, the inverse of `save` but for the size.

        Colours become linear and the axes y up. `up` is the axis that points up in the file, "y" or "z"; None takes
        the format's convention, z for .ply and .stl, y for .glb and .obj. Numbers stay in the file's unit:
        `geometry.mesh.queries.normalize` brings a mesh to the library's size. Equal corners in an STL become one
        vertex. Errors: FileNotFoundError; ValueError for another ending, another axis or a file without triangles.
        """
        path = Path(path)
        form = format_of(path)
        check_placement(up, None)
        if not path.is_file():
            raise FileNotFoundError(f"there is no mesh file {path}: check the path")
        try:
            scene = trimesh.load_scene(path, process=path.suffix.lower() == ".stl")
            mesh = cls.from_trimesh(scene, color_space=form.color_space)
            return cls(y_up(mesh.vertices), mesh.faces, mesh.vertex_colors) if (up or form.up) == "z" else mesh
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"{path} cannot be read as a {path.suffix} mesh ({reason}): check or rewrite it"
            ) from error

    def save(self, path: str | Path, *, up: str | None = None, size: float | None = None) -> Path:
        """Write a .glb, .obj, .ply or .stl file with normals and (but for .stl) colours; folders on the way are made.

        `up` is the axis that points up in the file: "y", or "z", where the photo's camera looks from -y. `size` is the
        longest side in millimetres (a GLB counts in metres, the others in millimetres). None takes the format's own:

        - .glb and .obj: y up, the numbers of the library's frame (2 for its longest side);
        - .ply and .stl: z up, 100 mm.

        docs/formats.md says what each format holds. The file appears whole or not at all, even if the process is
        stopped. Errors: ValueError for another ending, axis or size, and for a mesh without faces.
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
        """Signed volume between each face and the origin."""
        corners = self.vertices.astype(np.float64)[np.asarray(self.faces)[:, 0]]
        return (corners * self.face_crosses).sum(axis=1) / 6

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every edge: how many faces it has, and how many more run along it one way than the other."""
        faces = np.asarray(self.faces)
        starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
        edges = np.minimum(starts, ends) * np.int64(len(self.vertices)) + np.maximum(starts, ends)
        keys = np.sort(2 * edges + (starts < ends))  # the direction rides along as the lowest bit
        firsts = np.flatnonzero(np.diff(keys >> 1, prepend=-1))
        counts = np.diff(firsts, append=len(keys))
        forward = np.append(0, np.cumsum(keys & 1))
        return counts, 2 * (forward[firsts + counts] - forward[firsts]) - counts


def _rows(array: np.ndarray, dtype: type[np.generic], name: str) -> np.ndarray:
    """A contiguous array of rows of three."""
    if np.ndim(array) != 2 or np.shape(array)[1] != 3:
        raise ValueError(f"{name} must have shape (n, 3), got {np.shape(array)}")
    if not np.isfinite(array).all():
        wrong = int((~np.isfinite(array)).any(axis=1).sum())
        raise ValueError(f"{name} must be finite, got NaN or infinite values in {wrong:,} of {len(array):,} rows")
    return np.ascontiguousarray(array, dtype=dtype)
