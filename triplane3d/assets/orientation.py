"""The winding of faces: consistent within each component, and outwards."""

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import sparse

from triplane3d.geometry.mesh import Mesh

MOST_NESTED = 2000
"""Most components for which it is computed whether they lie inside others."""


def wind_outwards(mesh: Mesh) -> Mesh:
    """The mesh with faces that run consistently in each component and outwards in each outermost one.

    A component inside another keeps its direction relative to it: a cavity stays one. Components that cannot be wound
    consistently, such as a Möbius strip, keep their winding. Faces are neighbours along edges of exactly two faces.
    """
    if len(mesh.faces) == 0:
        return mesh
    faces = np.array(mesh.faces)
    flipped, piece = _consistent(faces, len(mesh.vertices))
    faces[flipped] = faces[flipped][:, ::-1]
    inwards = _inwards(mesh.vertices.astype(np.float64), faces, piece)
    wrong = inwards[piece]
    faces[wrong] = faces[wrong][:, ::-1]
    if not (flipped ^ wrong).any():
        return mesh
    return Mesh(mesh.vertices, faces, mesh.vertex_colors)


def _consistent(
    faces: Integer[np.ndarray, "faces 3"], vertex_count: int
) -> tuple[Bool[np.ndarray, " faces"], Integer[np.ndarray, " faces"]]:
    """Which faces to flip so that neighbours run consistently, and the number of each face's piece.

    Each face is two nodes of a graph: as it is, and flipped. Neighbours that run in opposite directions along their
    edge link equal nodes; others link unequal ones. A piece can be wound consistently where its two nodes of one face
    are in different components of the graph. Then each component is a consistent winding of the whole piece, and the
    one that leaves more faces as they are is chosen.
    """
    count = len(faces)
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    keys = np.minimum(starts, ends) * np.int64(vertex_count) + np.maximum(starts, ends)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    pairs = first[np.diff(first, append=len(keys)) == 2]
    one, other = order[pairs], order[pairs + 1]
    same = (starts[one] < ends[one]) != (starts[other] < ends[other])
    left, right = one // 3, other // 3
    rows = np.concatenate([left, left + count])
    columns = np.concatenate([np.where(same, right, right + count), np.where(same, right + count, right)])
    graph = sparse.coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(2 * count, 2 * count))
    _, labels = sparse.csgraph.connected_components(graph, directed=False)
    kept, turned = labels[:count], labels[count:]
    piece = np.unique(np.minimum(kept, turned), return_inverse=True)[1].ravel()
    unflipped = np.bincount(kept, minlength=labels.max() + 1)
    flipped = (unflipped[kept] < unflipped[turned]) | ((unflipped[kept] == unflipped[turned]) & (kept > turned))
    return flipped & (kept != turned), piece


def _inwards(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    piece: Integer[np.ndarray, " faces"],
) -> Bool[np.ndarray, " pieces"]:
    """Which pieces to flip: outermost ones with a negative volume, and with each of them the pieces inside it."""
    count = int(piece.max()) + 1
    corners = vertices[faces]
    # The volume is computed about the piece's own centre, so that it has a meaning for open surfaces too.
    sizes = np.bincount(piece, minlength=count)
    centers = np.stack([np.bincount(piece, corners[:, :, axis].mean(axis=1)) / sizes for axis in range(3)], axis=1)
    a, b, c = (corners - centers[piece][:, None]).transpose(1, 0, 2)
    volumes = np.bincount(piece, (a * np.cross(b, c)).sum(axis=1) / 6, minlength=count)
    negative = volumes < 0
    if not negative.any() or count == 1 or count > MOST_NESTED:
        return negative
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, piece, corners.min(axis=1))
    np.maximum.at(high, piece, corners.max(axis=1))
    order = np.argsort(piece, kind="stable")
    bounds = np.searchsorted(piece[order], np.arange(count + 1))
    result = negative.copy()
    for inner in range(count):
        around = np.flatnonzero((low <= low[inner]).all(axis=1) & (high >= high[inner]).all(axis=1))
        around = around[around != inner]
        # The largest of the pieces around it is the outermost.
        for outer in around[np.argsort(-np.abs(volumes[around]))]:
            point = corners[order[bounds[inner]], 0]
            if _encloses(corners[order[bounds[outer] : bounds[outer + 1]]], point):
                result[inner] = negative[outer]
                break
    return result


def _encloses(triangles: Float[np.ndarray, "faces 3 3"], point: Float[np.ndarray, "3"]) -> bool:
    """Whether a ray from the point crosses the triangles an odd number of times."""
    direction = np.array([0.5773, 0.6124, 0.5401])  # not parallel to an axis
    a, u, v = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    across = np.cross(direction, v)
    determinant = (u * across).sum(axis=1)
    fine = np.abs(determinant) > 1e-300
    scale = 1 / np.where(fine, determinant, 1)
    offset = point - a
    first = (offset * across).sum(axis=1) * scale
    side = np.cross(offset, u)
    second = side @ direction * scale
    along = (v * side).sum(axis=1) * scale
    hit = fine & (first >= 0) & (second >= 0) & (first + second <= 1) & (along > 0)
    return bool(hit.sum() % 2)
