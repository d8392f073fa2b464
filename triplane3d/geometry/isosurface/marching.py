"""Marching cubes (PyMCubes) on a whole grid or on bricks of one, closed at the walls of the box."""

from typing import NamedTuple

import mcubes
import numpy as np
from jaxtyping import Float, Integer

NEAREST = 1e-3
"""Share of a cell that vertices keep from the grid's samples, so that no face collapses onto one."""


LEAST = 1e-11
"""Of the largest value, what a sample keeps from zero: coordinates, in double precision, still show it."""

GROUP = 1024
"""Bricks marched before their pieces are put together."""


def surface_of_grid(
    values: Float[np.ndarray, "x y z"], level: float = 0.0, bounds: tuple[float, float] = (-1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the surface where a dense cubic grid over `bounds` crosses `level`."""
    low, high = float(values.min()), float(values.max())
    check_values(int((~np.isfinite(values)).sum()), values.size)
    check_range(low, high, level)

    resolution = len(values) - 1
    outside = -max(high - level, level - low)
    padded = np.full([resolution + 3] * 3, outside, dtype=np.float32)  # one layer of outside closes the walls
    np.subtract(values, level, out=padded[1:-1, 1:-1, 1:-1])
    vertices, faces = mcubes.marching_cubes(_lift_from_zero(padded), 0.0)
    _keep_from_samples(vertices)
    return _in_box(vertices - 1, faces.astype(np.int64), resolution, bounds)


def surface_of_bricks(
    values: Float[np.ndarray, "bricks 9 9 9"],
    origins: Integer[np.ndarray, "bricks 3"],
    resolution: int,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """The surface at 0 in bricks of 8³ cells that share their outer nodes; node (1, 1, 1) is the box's low corner.

    What `surface_of_grid` would find there, each vertex once. Values that are zero to rounding are moved, in place.
    """
    pieces = [
        _march(values[start : start + GROUP], origins[start : start + GROUP], resolution, bounds)
        for start in range(0, len(values), GROUP)
    ]
    sizes = np.array([len(piece.vertices) for piece in pieces])
    starts = np.cumsum(sizes) - sizes
    shared = np.concatenate([piece.shared + start for piece, start in zip(pieces, starts)])
    _, first, same = np.unique(np.concatenate([piece.keys for piece in pieces]), return_index=True, return_inverse=True)
    kept = np.ones(sizes.sum(), dtype=bool)
    kept[shared] = False
    kept[shared[first]] = True
    number = np.cumsum(kept, dtype=np.int32) - 1
    number[shared] = number[shared[first]][same]

    vertices = np.empty((np.count_nonzero(kept), 3), dtype=np.float32)
    faces = np.empty((sum(len(piece.faces) for piece in pieces), 3), dtype=np.int64)
    done = 0
    for piece, start, size in zip(pieces, starts, sizes):
        part = slice(start, start + size)
        vertices[number[part][kept[part]]] = piece.vertices[kept[part]]
        faces[done : done + len(piece.faces)] = number[part][piece.faces]
        done += len(piece.faces)
    if any(piece.at_wall for piece in pieces):
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
        vertices, faces = _without_unused(vertices, faces)
    return vertices, faces


class _Piece(NamedTuple):
    """What some bricks hold of the surface. A key tells which edge of the grid a shared vertex lies on."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Integer[np.ndarray, "faces 3"]
    shared: Integer[np.ndarray, " shared"]
    keys: Integer[np.ndarray, " shared"]
    at_wall: bool


def _march(
    values: Float[np.ndarray, "bricks 9 9 9"],
    origins: Integer[np.ndarray, "bricks 3"],
    resolution: int,
    bounds: tuple[float, float],
) -> _Piece:
    """Marching cubes in every brick; vertices that another brick may also have get a key."""
    pieces = [mcubes.marching_cubes(brick, 0.0) for brick in _lift_from_zero(values)]
    sizes = np.array([len(vertices) for vertices, _ in pieces])
    brick = np.repeat(np.arange(len(pieces)), sizes)
    faces = np.concatenate([faces for _, faces in pieces]).astype(np.int32)
    faces += np.repeat(np.cumsum(sizes) - sizes, [len(faces) for _, faces in pieces])[:, None].astype(np.int32)
    vertices = np.concatenate([vertices for vertices, _ in pieces])

    ends, axes = _keep_from_samples(vertices)
    across = ends % 8 == 0  # on a side of the brick, unless the edge only begins there
    across[np.arange(len(axes)), axes] = False
    shift = 8 * origins[brick] - 1
    vertices += shift
    beyond = np.any((vertices < 0) | (vertices > resolution), axis=1)
    np.clip(vertices, 0, resolution, out=vertices)
    shared = np.flatnonzero(across.any(axis=1) | beyond)

    # Vertices beyond a wall come to lie on its samples: there they are told apart by the sample alone.
    ends = ends[shared] + shift[shared]
    at_wall = beyond[shared]
    ends[at_wall] = np.rint(vertices[shared[at_wall]])
    x, y, z = (ends + 1).T
    side = np.int64(resolution + 3)
    keys = ((x * side + y) * side + z) * 4 + np.where(at_wall, 3, axes[shared])
    vertices *= (bounds[1] - bounds[0]) / resolution
    vertices += bounds[0]
    return _Piece(vertices.astype(np.float32), faces, shared, keys, bool(at_wall.any()))


def check_values(bad: int, count: int) -> None:
    """NaN and infinity have no side: refuse them."""
    if bad:
        raise ValueError(
            f"the field is NaN or infinite at {bad:,} of {count:,} samples; half precision may overflow: try float32"
        )


def check_range(low: float, high: float, level: float) -> None:
    """Refuse a field whose values, from `low` to `high`, never cross the level."""
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


def _lift_from_zero(values: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """Move samples that are zero to rounding, in place, off it.

    Otherwise vertices would land on them from several edges at once and could not be told apart.
    """
    least = LEAST * max(values.max(), -values.min())
    near = np.flatnonzero((values <= least) & (values >= -least))
    flat = values.reshape(-1)
    flat[near] = np.where(flat[near] > 0, least, -least)
    return values


def _keep_from_samples(
    vertices: Float[np.ndarray, "vertices 3"],
) -> tuple[Integer[np.ndarray, "vertices 3"], Integer[np.ndarray, " vertices"]]:
    """Move vertices, in place, a little away from the ends of the grid's edge that each lies on (index units).

    Returns the edge's lower end and its axis.
    """
    samples = np.rint(vertices)
    offsets = vertices - samples
    axes = np.abs(offsets).argmax(axis=1)
    rows = np.arange(len(vertices))
    offset = offsets[rows, axes]
    close = np.flatnonzero(np.abs(offset) < NEAREST)
    vertices[close, axes[close]] = samples[close, axes[close]] + np.copysign(NEAREST, offset[close])
    ends: np.ndarray = samples.astype(np.int64)
    ends[rows, axes] -= offset < 0
    return ends, axes


def _in_box(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    resolution: int,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """From index units to the box, with the caps that marching cubes put beyond its walls pulled onto them.

    A cap's vertex then coincides with the wall's sample; at edges and corners of the box two or three of them do, which
    become one vertex, and the faces between them go.
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
        vertices, faces = _without_unused(vertices, faces)
    return bounds[0] + vertices / resolution * (bounds[1] - bounds[0]), faces


def _without_unused(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
) -> tuple[np.ndarray, np.ndarray]:
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]
