"""Texture coordinates by projection along the six directions of the axes. The time is proportional to the faces.

1. Each face is given the direction that its normal, averaged over neighbours, is closest to.
2. Connected faces of one direction form a chart. It is projected along the direction, so its faces are not mirrored.
3. A chart may cover itself, as a spiral staircase does from above. Faces that another face of the chart covers are
   moved to another chart. This is repeated until no face is covered.
4. The charts' bounding boxes are packed in shelves, at the largest scale at which they fit.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from scipy import sparse

from triplane3d.assets.uv_map import UVMap
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render.rasterization import expand_counts, row_span, split_counts

SMOOTHING = 4
"""Averages over neighbouring faces, before faces are given their direction."""

STEEPEST = 0.3
"""Least cosine between a face's own normal and its direction: more distorted faces take their own closest direction."""

LAYERS = 16
"""Rounds of step 3. Faces that are still covered after them become charts of their own."""

LEAST_CHART = 0.6
"""Least width and height of a packed chart, in texels."""


def box_projection(mesh: Mesh, *, size: int, padding: int) -> UVMap:
    """Texture coordinates of `mesh`, for a texture of `size` texels with `padding` texels between charts.

    The padding is reduced where it would take most of the texture. Raises ValueError where the texture has too few
    texels for the charts.
    """
    faces = np.asarray(mesh.faces)
    neighbours = _neighbours(faces, len(mesh.vertices))
    direction = _directions(mesh, neighbours)
    flat = _project(mesh, direction)
    depth = _depths(mesh, direction)
    same = neighbours.tocoo()
    chart = _components(same, direction)
    resolution = _test_resolution(size, len(faces))
    for _ in range(LAYERS):
        covered = _covered(flat, chart, depth, resolution)
        if not covered.any():
            break
        chart = _components(same, 2 * chart + covered)
    else:
        covered = _covered(flat, chart, depth, resolution)
        chart = chart.copy()
        chart[covered] = chart.max() + 1 + np.arange(covered.sum())
        chart = np.unique(chart, return_inverse=True)[1]

    # A corner for each vertex of each chart.
    keys = chart[:, None] * np.int64(len(mesh.vertices)) + faces
    unique, first, corner_faces = np.unique(keys, return_index=True, return_inverse=True)
    corners = flat.reshape(-1, 2)[first]
    corner_chart = unique // len(mesh.vertices)
    uv = _pack(corners, corner_chart, size, padding)
    return UVMap(uv.clip(0, 1), unique % len(mesh.vertices), corner_faces.reshape(-1, 3))


def _neighbours(faces: Integer[np.ndarray, "faces 3"], vertex_count: int) -> sparse.csr_matrix:
    """The faces that share an edge: a symmetric matrix of ones, faces × faces. An edge of k faces links them in a
    chain, so that a soup whose faces share one edge needs no k² entries."""
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    edge = np.minimum(starts, ends) * np.int64(vertex_count) + np.maximum(starts, ends)
    order = np.argsort(edge, kind="stable")
    owner = order // 3
    linked = edge[order][1:] == edge[order][:-1]
    a, b = owner[1:][linked], owner[:-1][linked]
    ones = np.ones(2 * len(a), np.float32)
    return sparse.csr_matrix((ones, (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(len(faces), len(faces)))


def _directions(mesh: Mesh, neighbours: sparse.csr_matrix) -> Integer[np.ndarray, " faces"]:
    """The direction of each face: 0 to 2 along the axes x, y, z, 3 to 5 against them."""
    normals = mesh.face_crosses / np.maximum(np.linalg.norm(mesh.face_crosses, axis=1, keepdims=True), 1e-30)
    smooth = normals
    for _ in range(SMOOTHING):
        smooth = smooth + neighbours @ smooth
        smooth = smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-30)
    both = np.hstack([smooth, -smooth])
    direction = both.argmax(axis=1)
    own = np.hstack([normals, -normals])
    steep = own[np.arange(len(own)), direction] < STEEPEST
    direction[steep] = own[steep].argmax(axis=1)
    return direction


def _project(mesh: Mesh, direction: Integer[np.ndarray, " faces"]) -> Float[np.ndarray, "faces 3 2"]:
    """Each face seen against its direction: columns to the right and down in the view."""
    # Right and down for a view onto +x, +y, +z, -x, -y, -z; right × (-down) is the direction, so nothing is mirrored.
    right = np.array([[0, 0, -1], [1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0], [-1, 0, 0]], np.float64)
    down = np.array([[0, -1, 0], [0, 0, 1], [0, -1, 0], [0, -1, 0], [0, 0, -1], [0, -1, 0]], np.float64)
    points = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)]
    return np.stack(
        [(points * right[direction][:, None]).sum(-1), (points * down[direction][:, None]).sum(-1)], axis=-1
    )


def _depths(mesh: Mesh, direction: Integer[np.ndarray, " faces"]) -> Float[np.ndarray, " faces"]:
    """How far each face's centre lies along its direction."""
    centers = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)].mean(axis=1)
    along = centers[np.arange(len(centers)), direction % 3]
    return np.where(direction < 3, along, -along)


def _components(links: sparse.coo_matrix, label: Integer[np.ndarray, " faces"]) -> Integer[np.ndarray, " faces"]:
    """Numbers of the connected sets of faces with equal labels."""
    kept = label[links.row] == label[links.col]
    graph = sparse.coo_matrix((links.data[kept], (links.row[kept], links.col[kept])), shape=links.shape)
    return sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def _test_resolution(size: int, faces: int) -> int:
    """Cells along the side of the grid on which coverage is tested: fine enough for faces of the mean size."""
    return int(np.clip(4 * np.sqrt(faces), size, 4096))


def _covered(
    flat: Float[np.ndarray, "faces 3 2"],
    chart: Integer[np.ndarray, " faces"],
    depth: Float[np.ndarray, " faces"],
    resolution: int,
) -> Bool[np.ndarray, " faces"]:
    """Whether another face of the same chart, in front of the face, covers one of its cells.

    Faces are compared as a whole, by the depth of their centres and by their index. The first face of each chart in
    this order is never covered, so every round of step 3 ends with fewer faces to move. Cells are points of a grid
    over the whole projection; faces are a little reduced in size, so that common edges do not count.
    """
    extent = max(float(np.ptp(flat.reshape(-1, 2), axis=0).max()), 1e-30)
    shrunk = flat + (flat.mean(axis=1, keepdims=True) - flat) * 1e-3
    corners = torch.from_numpy((shrunk - flat.reshape(-1, 2).min(axis=0)) * (resolution / extent))
    x, y = corners.unbind(-1)
    first = (y.amin(1) - 0.5).ceil().clamp(0, resolution).long()
    last = (y.amax(1) - 0.5).floor().clamp(-1, resolution - 1).long()
    triangle, step = expand_counts((last - first + 1).clamp(min=0))
    row = first[triangle] + step
    left, right = row_span(x[triangle], y[triangle], row + 0.5)
    start = (left - 0.5).ceil().clamp(0, resolution).long()
    stop = (right - 0.5).floor().clamp(-1, resolution - 1).long() + 1

    order = np.lexsort((np.arange(len(depth)), -depth))
    rank = np.empty(len(depth), np.int64)
    rank[order] = np.arange(len(depth))
    covered = np.zeros(len(depth), bool)
    # One batch holds all cells that are compared with each other: whole rows of the grid, so it is split by rows.
    by_row = torch.argsort(row)
    triangle, row, start, stop = triangle[by_row], row[by_row], start[by_row], stop[by_row]
    for part in _batches_of_rows(row, (stop - start).clamp(min=0)):
        span, step = expand_counts((stop[part] - start[part]).clamp(min=0))
        face = triangle[part][span].numpy()
        cell = (row[part][span] * resolution + start[part][span] + step).numpy()
        cell = cell + chart[face] * np.int64(resolution * resolution)
        by_cell = np.lexsort((rank[face], cell))
        face, cell = face[by_cell], cell[by_cell]
        covered[face[1:][cell[1:] == cell[:-1]]] = True
    return covered


def _batches_of_rows(row: torch.Tensor, counts: torch.Tensor) -> list[slice]:
    """Slices of about four million cells that end where a row of the grid ends; `row` is sorted."""
    edges = [0]
    for part in split_counts(counts, limit=1 << 22)[:-1]:
        end = int(torch.searchsorted(row, row[part.stop - 1], right=True))
        if end > edges[-1]:
            edges.append(end)
    if edges[-1] < len(row):
        edges.append(len(row))
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def _pack(
    corners: Float[np.ndarray, "corners 2"], chart: Integer[np.ndarray, " corners"], size: int, padding: int
) -> Float[np.ndarray, "corners 2"]:
    """Texture coordinates of the charts, moved and scaled into the unit square; `corners` are sorted by chart."""
    starts = np.flatnonzero(np.diff(chart, prepend=-1))
    low = np.minimum.reduceat(corners, starts, axis=0)
    extent = np.maximum.reduceat(corners, starts, axis=0) - low
    count = len(starts)
    # Padding never takes more than half of the texture.
    padding = int(min(padding, np.sqrt(size * size / 2 / count)))
    order = np.argsort(-extent[:, 1], kind="stable")

    def places(scale: float) -> Float[np.ndarray, "charts 2"] | None:
        """The upper left corners of the charts in texels; None where they do not fit."""
        boxes = np.maximum(extent[order] * scale, LEAST_CHART) + padding
        if boxes[:, 0].max() > size - padding:
            return None
        ends = np.cumsum(boxes[:, 0])
        spots = np.zeros((count, 2))
        top, first = float(padding), 0
        while first < count:
            offset = ends[first - 1] if first else 0.0
            stop = int(np.searchsorted(ends, offset + size - padding, side="right"))
            stop = max(stop, first + 1)
            spots[order[first:stop], 0] = padding + ends[first:stop] - boxes[first:stop, 0] - offset
            spots[order[first:stop], 1] = top
            top += boxes[first, 1]  # the tallest of the shelf comes first
            if top > size:
                return None
            first = stop
        return spots

    largest = size / max(float(extent.max()), 1e-30)
    small, large = 0.0, largest
    spots = places(small)
    while spots is None and padding > 0:
        padding //= 2
        spots = places(small)
    if spots is None:
        raise ValueError(
            f"{count:,} charts do not fit into a texture of {size} × {size} texels: take a larger texture, or repair "
            "and decimate the mesh first"
        )
    for _ in range(24):
        middle = (small + large) / 2
        found = places(middle)
        if found is None:
            large = middle
        else:
            small, spots = middle, found
    number = np.repeat(np.arange(count), np.diff(starts, append=len(corners)))
    return (spots[number] + (corners - low[number]) * small) / size
