"""Marching cubes on a whole grid or on bricks of one, closed at the walls of the box.

Marching cubes (Lorensen and Cline 1987) places a vertex on every edge of the grid whose ends lie on different sides of
the surface, by linear interpolation, and connects the vertices of each cell by a table of its 256 sign patterns. A face
of a cell with two positive corners on one diagonal is ambiguous. PyMCubes' table always connects the positive corners
there, whichever cell the face is seen from. Neighbouring cells therefore agree, and the surface has no holes (a test
checks it on random values).

Two adjustments keep the mesh free of degenerate faces:

- samples that are zero up to rounding are moved off zero, because the vertices of several edges would coincide there;
- vertices keep a distance of `VERTEX_MARGIN` cells from the ends of their edge.

A vertex then lies strictly inside one edge of the grid. The edge identifies it, so vertices that several bricks make
are recognised as one.
"""

from typing import NamedTuple

import mcubes
import numpy as np
from jaxtyping import Float, Integer

from triplane3d.geometry.mesh.topology import used_vertices

VERTEX_MARGIN = 1e-3
"""Least distance of a vertex from the samples at the ends of its edge, in cells."""

SMALLEST_VALUE = 1e-11
"""Least magnitude of a sample, in multiples of the largest one. Interpolation in double precision still resolves it."""

BRICK_GROUP = 1024
"""Number of bricks that are triangulated before their pieces are joined."""


def surface_of_grid(
    values: Float[np.ndarray, "x y z"], level: float = 0.0, bounds: tuple[float, float] = (-1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the surface where a dense cubic grid over `bounds` crosses `level`."""
    low, high = float(values.min()), float(values.max())
    check_values(int((~np.isfinite(values)).sum()), values.size)
    check_range(low, high, level)

    resolution = len(values) - 1
    # One layer of empty samples around the grid closes the surface at the walls.
    outside = -max(high - level, level - low)
    padded = np.full([resolution + 3] * 3, outside, dtype=np.float32)
    np.subtract(values, level, out=padded[1:-1, 1:-1, 1:-1])
    vertices, faces = mcubes.marching_cubes(_move_off_zero(padded), 0.0)
    _move_off_samples(vertices)
    return _in_box(vertices - 1, faces.astype(np.int64), resolution, bounds)


def surface_of_bricks(
    values: Float[np.ndarray, "bricks 9 9 9"],
    origins: Integer[np.ndarray, "bricks 3"],
    resolution: int,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the surface at 0 in bricks of 8³ cells; node (1, 1, 1) is the lower corner of the box.

    Neighbouring bricks both have the nodes of their common side. The result is that of `surface_of_grid` on the same
    cells, with every vertex once. Values that are zero up to rounding are changed, in place.
    """
    pieces = [
        _march(values[start : start + BRICK_GROUP], origins[start : start + BRICK_GROUP], resolution, bounds)
        for start in range(0, len(values), BRICK_GROUP)
    ]
    sizes = np.array([len(piece.vertices) for piece in pieces])
    starts = np.cumsum(sizes) - sizes
    # Of the shared vertices with one key the first is kept; `number` is each vertex's index in the result.
    shared = np.concatenate([piece.shared + start for piece, start in zip(pieces, starts)])
    _, first, same = np.unique(np.concatenate([piece.keys for piece in pieces]), return_index=True, return_inverse=True)
    kept = np.ones(sizes.sum(), dtype=bool)
    kept[shared] = False
    kept[shared[first]] = True
    number = np.cumsum(kept, dtype=np.int32) - 1
    number[shared] = number[shared[first]][same]

    # Invariant: `number` gives all copies of a vertex one index, so faces of neighbouring bricks are connected.
    vertices = np.empty((np.count_nonzero(kept), 3), dtype=np.float32)
    faces = np.empty((sum(len(piece.faces) for piece in pieces), 3), dtype=np.int64)
    done = 0
    for piece, start, size in zip(pieces, starts, sizes):
        part = slice(start, start + size)
        vertices[number[part][kept[part]]] = piece.vertices[kept[part]]
        faces[done : done + len(piece.faces)] = number[part][piece.faces]
        done += len(piece.faces)
    # Vertices that were moved onto one sample of a wall are one vertex now; faces with two equal corners have no area.
    if any(piece.at_wall for piece in pieces):
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
        used, faces = used_vertices(faces, len(vertices))
        vertices = vertices[used]
    return vertices, faces


class _Piece(NamedTuple):
    """The part of the surface in some bricks."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Integer[np.ndarray, "faces 3"]
    shared: Integer[np.ndarray, " shared"]
    """Vertices that other bricks may also have: those on the sides of a brick."""
    keys: Integer[np.ndarray, " shared"]
    """Identifies the edge of the grid on which each shared vertex lies."""
    at_wall: bool
    """Whether any vertex was moved onto a wall of the box."""


def _march(
    values: Float[np.ndarray, "bricks 9 9 9"],
    origins: Integer[np.ndarray, "bricks 3"],
    resolution: int,
    bounds: tuple[float, float],
) -> _Piece:
    """Marching cubes in every brick of a group."""
    pieces = [mcubes.marching_cubes(brick, 0.0) for brick in _move_off_zero(values)]
    sizes = np.array([len(vertices) for vertices, _ in pieces])
    brick = np.repeat(np.arange(len(pieces)), sizes)
    faces = np.concatenate([faces for _, faces in pieces]).astype(np.int32)
    faces += np.repeat(np.cumsum(sizes) - sizes, [len(faces) for _, faces in pieces])[:, None].astype(np.int32)
    vertices = np.concatenate([vertices for vertices, _ in pieces])

    ends, axes = _move_off_samples(vertices)
    # A vertex lies on a side of its brick if its edge runs within the side. A multiple of 8 along the edge's own axis
    # means only that the edge begins there.
    across = ends % 8 == 0
    across[np.arange(len(axes)), axes] = False
    shift = 8 * origins[brick] - 1
    vertices += shift
    beyond = np.any((vertices < 0) | (vertices > resolution), axis=1)
    np.clip(vertices, 0, resolution, out=vertices)
    shared = np.flatnonzero(across.any(axis=1) | beyond)

    # Vertices outside the box are moved onto the nearest sample of the wall, which then is their key.
    ends = ends[shared] + shift[shared]
    at_wall = beyond[shared]
    ends[at_wall] = np.rint(vertices[shared[at_wall]])
    # An edge is identified by its lower end and its axis (0, 1, 2); 3 stands for a sample on a wall.
    x, y, z = (ends + 1).T
    side = np.int64(resolution + 3)
    keys = ((x * side + y) * side + z) * 4 + np.where(at_wall, 3, axes[shared])
    vertices *= (bounds[1] - bounds[0]) / resolution
    vertices += bounds[0]
    return _Piece(vertices.astype(np.float32), faces, shared, keys, bool(at_wall.any()))


def check_values(bad: int, count: int) -> None:
    """Raise ValueError where `bad` of `count` samples are NaN or infinite."""
    if bad:
        raise ValueError(
            f"the field is NaN or infinite at {bad:,} of {count:,} samples; half precision may overflow: try float32"
        )


def check_range(low: float, high: float, level: float) -> None:
    """Raise ValueError where values from `low` to `high` never cross the level."""
    if high <= level:
        raise ValueError(
            f"no surface: the field stays in [{low:.3g}, {high:.3g}] and never crosses level={level}: "
            f"all of the box is outside. Try a lower level, more steps or another seed, and check that "
            f"the photo's background was removed"
        )
    if low > level:
        raise ValueError(
            f"no surface: the field stays in [{low:.3g}, {high:.3g}] and never crosses level={level}: "
            f"all of the box is inside. Try a higher level, and check that the field is positive inside "
            f"(a signed distance must be negated)"
        )


def _move_off_zero(values: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """Give samples that are zero up to rounding a small value of their sign, in place; zero itself becomes negative."""
    least = SMALLEST_VALUE * max(values.max(), -values.min())
    near = np.flatnonzero((values <= least) & (values >= -least))
    flat = values.reshape(-1)
    flat[near] = np.where(flat[near] > 0, least, -least)
    return values


def _move_off_samples(
    vertices: Float[np.ndarray, "vertices 3"],
) -> tuple[Integer[np.ndarray, "vertices 3"], Integer[np.ndarray, " vertices"]]:
    """Move vertices, in place, to at least `VERTEX_MARGIN` from the ends of their edge (all in cells).

    Returns the lower end of each vertex's edge and its axis.
    """
    # A vertex lies on an edge of the grid: two of its coordinates are integers, and the third is along the edge.
    samples = np.rint(vertices)
    offsets = vertices - samples
    axes = np.abs(offsets).argmax(axis=1)
    rows = np.arange(len(vertices))
    offset = offsets[rows, axes]
    close = np.flatnonzero(np.abs(offset) < VERTEX_MARGIN)
    vertices[close, axes[close]] = samples[close, axes[close]] + np.copysign(VERTEX_MARGIN, offset[close])
    ends: np.ndarray = samples.astype(np.int64)
    ends[rows, axes] -= offset < 0
    return ends, axes


def _in_box(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    resolution: int,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices from units of cells to the box; those outside are moved onto its walls.

    The empty layer around the box closes the surface outside the walls. Each vertex there moves onto a sample of the
    wall. At edges and corners of the box two or three vertices move onto the same sample: they become one vertex, and
    the faces between them are removed.
    """
    beyond = np.flatnonzero(((vertices < 0) | (vertices > resolution)).any(axis=1))
    if len(beyond):
        np.clip(vertices, 0, resolution, out=vertices)
        x, y, z = np.rint(vertices[beyond]).astype(np.int64).T
        _, first, merged = np.unique(
            (x * (resolution + 1) + y) * (resolution + 1) + z, return_index=True, return_inverse=True
        )
        target = np.arange(len(vertices))
        target[beyond] = beyond[first[merged]]
        faces = target[faces]
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
        used, faces = used_vertices(faces, len(vertices))
        vertices = vertices[used]
    return bounds[0] + vertices / resolution * (bounds[1] - bounds[0]), faces
