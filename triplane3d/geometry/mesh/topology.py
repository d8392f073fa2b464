"""Edges and connected components of triangle meshes, and the report of `Mesh.check`."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer
from scipy import sparse


@dataclass(frozen=True)
class MeshReport:
    """The result of `Mesh.check`; `str` of it is one line of text."""

    vertices: int
    faces: int
    components: int
    """Connected pieces: sets of faces that share no vertex. An enclosed cavity is a piece of its own."""
    euler_number: int
    boundary_edges: int
    """Edges of one face only: the borders of holes."""
    crowded_edges: int
    """Edges of more than two faces."""
    degenerate_faces: int
    """Faces without area."""
    winding_consistent: bool
    """Whether neighbouring faces run along their common edge in opposite directions."""
    watertight: bool
    """Whether every edge belongs to exactly two faces."""
    outward: bool
    """Whether the surface is closed, consistently wound and encloses a positive volume."""
    volume: float
    manifold_error: str | None
    """Why manifold3d does not accept the mesh as an oriented 2-manifold; None where it does."""
    size: tuple[float, float, float]
    """Width, height and depth of the bounding box."""
    intersecting_faces: int
    """Faces among `sampled_faces` random ones that cut another face."""
    sampled_faces: int

    @property
    def ok(self) -> bool:
        """Whether the mesh is a closed solid, wound outwards, without degenerate faces."""
        return self.watertight and self.winding_consistent and self.outward and self.degenerate_faces == 0

    @property
    def manifold(self) -> bool:
        """Whether the mesh is watertight and an oriented 2-manifold by the strict test of manifold3d."""
        return self.watertight and self.manifold_error is None

    @property
    def genus(self) -> int | None:
        """Number of handles of all components: 0 for balls, 1 for a torus. None where the mesh is not manifold."""
        return self.components - self.euler_number // 2 if self.manifold else None

    @property
    def printable(self) -> bool:
        """Whether the mesh bounds a solid that a slicer can fill: closed, manifold, wound outwards."""
        return self.manifold and self.outward

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do about the faults, most important first. Empty for a mesh without faults."""
        if self.faces == 0:
            return ("The mesh has no faces: generate it again.",)
        closed = self.boundary_edges == 0 and self.crowded_edges == 0
        hints = {
            "Close holes and separate touching surfaces with clean(mesh); large holes need make_solid(mesh).": closed,
            "Make neighbouring faces run in the same direction with clean(mesh).": self.winding_consistent,
            "Turn the faces outwards with clean(mesh).": self.outward or not (closed and self.winding_consistent),
            "Remove faces without area with clean(mesh).": self.degenerate_faces == 0,
            "Surfaces cut each other: most slicers join them; make_solid(mesh) removes the inner parts.": (
                self.intersecting_faces == 0
            ),
        }
        return tuple(hint for hint, fine in hints.items() if not fine)

    def __str__(self) -> str:
        faults = [
            f"{self.boundary_edges:,} open edges" if self.boundary_edges else "",
            f"{self.crowded_edges:,} edges with more than two faces" if self.crowded_edges else "",
            "" if self.winding_consistent else "neighbouring faces wound against each other",
            "" if self.outward or not (self.watertight and self.winding_consistent) else "wound inwards",
            f"{self.degenerate_faces:,} faces without area" if self.degenerate_faces else "",
        ]
        result = "; ".join(filter(None, faults)) or "closed and wound outwards"
        return (
            f"{self.vertices:,} vertices, {self.faces:,} faces, {self.components} "
            f"component{'' if self.components == 1 else 's'}, volume {self.volume:.4g}: {result}"
        )

    def describe(self) -> str:
        """Several lines of text: all properties, whether the mesh can be printed, and what to do if not."""
        cuts = f"{self.intersecting_faces or 'none'} of {self.sampled_faces:,} sampled faces cut another face"
        rows = {
            "faces": f"{self.faces:,}, of them {self.degenerate_faces:,} without area",
            "vertices": f"{self.vertices:,}",
            "components": f"{self.components:,}",
            "watertight": "yes" if self.watertight else f"no: {self.boundary_edges:,} open edges, "
            f"{self.crowded_edges:,} edges with more than two faces",
            "manifold": "yes" if self.manifold else f"no: {self.manifold_error or 'edges with more than two faces'}",
            "winding": "outwards" if self.outward else "inwards" if self.winding_consistent and self.watertight
            else "consistent" if self.winding_consistent else "not consistent",
            "genus": "not defined" if self.genus is None else f"{self.genus}",
            "volume": f"{self.volume:.4g}" if self.watertight else "not defined",
            "size": " × ".join(f"{length:.4g}" for length in self.size),
            "intersections": cuts if self.sampled_faces else "not searched",
            "printable": "yes" if self.printable else "no",
        }  # fmt: skip
        return "\n".join([*(f"{name:<14}{value}" for name, value in rows.items()), *self.advice])


def edge_faces(
    faces: Integer[np.ndarray, "faces 3"], vertex_count: int
) -> tuple[Integer[np.ndarray, " edges"], Integer[np.ndarray, " edges"]]:
    """For every edge: its number of faces, and the number of faces that run along it upwards minus downwards.

    Upwards means from the vertex of the smaller index to that of the larger. The second number is 0 on an edge between
    two consistently wound faces.
    """
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    edges = np.minimum(starts, ends) * np.int64(vertex_count) + np.maximum(starts, ends)
    # One sort brings the half-edges of each edge together. The lowest bit of the key is the direction.
    keys = np.sort(2 * edges + (starts < ends))
    firsts = np.flatnonzero(np.diff(keys >> 1, prepend=-1))
    counts = np.diff(firsts, append=len(keys))
    upwards = np.append(0, np.cumsum(keys & 1))
    return counts, 2 * (upwards[firsts + counts] - upwards[firsts]) - counts


def label_components(faces: Integer[np.ndarray, "faces 3"], vertex_count: int) -> Integer[np.ndarray, " faces"]:
    """The number, from 0 up, of the connected component of each face; faces are connected through shared vertices."""
    a, b, c = faces.T
    ones = np.ones(2 * len(faces), dtype=bool)
    size = (vertex_count, vertex_count)
    links = sparse.coo_matrix((ones, (np.concatenate([a, b]), np.concatenate([b, c]))), shape=size)
    _, vertex_labels = sparse.csgraph.connected_components(links, directed=False)
    return np.unique(vertex_labels[a], return_inverse=True)[1]


def used_vertices(
    faces: Integer[np.ndarray, "faces 3"], vertex_count: int
) -> tuple[Integer[np.ndarray, " used"], Integer[np.ndarray, "faces 3"]]:
    """Indices of the vertices that have a face, and the faces counted among these vertices only."""
    used = np.zeros(vertex_count, dtype=bool)
    used[faces] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[faces]
