"""The triangle mesh the library hands out: arrays, what can be said about them, and files."""

import os
import uuid
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

from triplane3d.geometry.color import linear_from_srgb

SUFFIXES = (".glb", ".obj", ".ply", ".stl")


class FaceArray(np.ndarray):
    """Integer corners of the faces: an array that also answers `.cpu().numpy()`, as diffusers' mesh exporters ask."""

    def cpu(self) -> "FaceArray":
        return self

    def numpy(self) -> np.ndarray:
        return np.asarray(self)

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)    # what is computed from it is an ordinary array


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
        return (f"{self.vertices:,} vertices, {self.faces:,} faces, {self.components} "
                f"component{'' if self.components == 1 else 's'}, volume {self.volume:.4g}: {verdict}")


@dataclass(eq=False)
class Mesh:
    """A triangle mesh in the library's frame (`triplane3d.geometry`), faces wound outwards.

    `vertex_colors` are linear albedo in 0..1, as glTF's COLOR_0 is, and go into files as they are. The arrays become
    float32, int64 and float32; a mesh is not changed afterwards, its methods return new ones.
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
                raise ValueError(f"vertex_colors must lie in 0..1, got {self.vertex_colors.min():.3g} to "
                                 f"{self.vertex_colors.max():.3g}")
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < len(self.vertices):
            raise ValueError(f"faces must index {len(self.vertices)} vertices, got indices from "
                             f"{self.faces.min()} to {self.faces.max()}")

    def __repr__(self) -> str:
        colors = "" if self.vertex_colors is None else ", coloured"
        return f"Mesh({len(self.vertices):,} vertices, {len(self.faces):,} faces{colors})"

    @property
    def verts(self) -> Float[Tensor, "vertices 3"]:
        """The vertices as diffusers' `export_to_ply` and `export_to_obj` read them."""
        return torch.from_numpy(self.vertices)

    @property
    def vertex_channels(self) -> dict[str, Tensor]:
        """Colours as diffusers' exporters read them: one tensor for each of R, G, B (white where there are none)."""
        colors = np.ones_like(self.vertices) if self.vertex_colors is None else self.vertex_colors
        return {name: torch.from_numpy(colors[:, channel]) for channel, name in enumerate("RGB")}

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
        degenerate = self.face_areas <= 1e-14 * (extent @ extent)    # far below a face float32 corners can span
        return MeshReport(
            vertices=len(self.vertices), faces=len(self.faces),
            components=int(self.face_components.max(initial=-1)) + 1, euler_number=self.euler_number,
            boundary_edges=int((counts == 1).sum()), crowded_edges=int((counts > 2).sum()),
            degenerate_faces=int(degenerate.sum()), winding_consistent=consistent, watertight=watertight,
            outward=watertight and consistent and self.volume > 0, volume=self.volume,
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
        """The same vertices and faces as a `trimesh.Trimesh`, colours rounded to 8 bits."""
        colors = None
        if self.vertex_colors is not None:
            opaque = np.ones((len(self.vertices), 1), dtype=np.float32)
            colors = np.rint(np.hstack([self.vertex_colors.clip(0, 1), opaque]) * 255).astype(np.uint8)
        return trimesh.Trimesh(self.vertices, np.asarray(self.faces), vertex_colors=colors, process=False)

    @classmethod
    def from_trimesh(cls, source: "trimesh.Trimesh | trimesh.Scene") -> "Mesh":
        """A mesh, or all meshes of a scene in their places, with vertex colours; a texture is read at the vertices."""
        if isinstance(source, trimesh.Scene):
            parts = [cls.from_trimesh(part) for part in source.dump() if isinstance(part, trimesh.Trimesh)]
            if not parts:
                raise ValueError("the scene holds no triangle mesh")
            return cls._concatenate(parts)

        visual: Any = source.visual
        colors = None
        if visual.kind == "texture" and visual.uv is not None:
            shown = torch.from_numpy(visual.to_color().vertex_colors[:, :3] / np.float32(255))
            colors = linear_from_srgb(shown).numpy()
        elif visual.kind == "texture" and "color" in visual.vertex_attributes:
            colors = trimesh.visual.color.to_float(visual.vertex_attributes["color"])[:, :3]
        elif visual.kind in ("vertex", "face"):
            colors = visual.vertex_colors[:, :3] / np.float32(255)
        return cls(source.vertices, source.faces, colors)

    def save(self, path: str | Path) -> Path:
        """Write a .glb, .obj, .ply or .stl (without colours) file; folders on the way are made.

        The file appears whole or not at all, even if the process is stopped.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"cannot save a mesh as {path.name!r}: the name must end in one of {', '.join(SUFFIXES)}")
        # Normals keep viewers from shading a GLB flat; the other formats' readers compute their own.
        options: dict[str, Any] = {"include_normals": True} if suffix == ".glb" else {}
        content: Any = self.to_trimesh().export(file_type=suffix[1:], **options)

        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.encode() if isinstance(content, str) else content)
        return path

    @classmethod
    def _concatenate(cls, parts: list["Mesh"]) -> "Mesh":
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        colors = None
        if any(part.vertex_colors is not None for part in parts):
            colors = np.concatenate([np.ones_like(part.vertices) if part.vertex_colors is None else part.vertex_colors
                                     for part in parts])
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
        keys = np.sort(2 * edges + (starts < ends))    # the direction rides along as the lowest bit
        firsts = np.flatnonzero(np.diff(keys >> 1, prepend=-1))
        counts = np.diff(firsts, append=len(keys))
        forward = np.append(0, np.cumsum(keys & 1))
        return counts, 2 * (forward[firsts + counts] - forward[firsts]) - counts


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it in, so that nobody ever sees half of it."""
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}{path.suffix}")    # short, as `path` may be as long as is allowed
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)    # only there if something went wrong


def _rows(array: np.ndarray, dtype: type[np.generic], name: str) -> np.ndarray:
    """A contiguous array of rows of three."""
    if np.ndim(array) != 2 or np.shape(array)[1] != 3:
        raise ValueError(f"{name} must have shape (n, 3), got {np.shape(array)}")
    return np.ascontiguousarray(array, dtype=dtype)
