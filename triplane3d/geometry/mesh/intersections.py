"""Faces that cut other faces, found among a sample of the faces."""

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial import cKDTree

MOST_PAIRS = 300_000
"""Most pairs of faces that are compared. Where faces overlap everywhere, fewer faces than the sample are compared."""


def count_intersections(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    sample: int,
    *,
    seed: int = 0,
) -> tuple[int, int]:
    """How many of `sample` random faces cut a face with which they share no vertex, and how many were compared.

    The candidates are faces whose bounding spheres meet. Faces are grouped by the size of these spheres in powers of
    two, so that one large face does not make all faces candidates. Faces in one plane do not count as cutting.
    Degenerate faces cut nothing.
    """
    chosen = np.random.default_rng(seed).choice(len(faces), min(sample, len(faces)), replace=False)
    if len(chosen) == 0:
        return 0, 0
    corners = np.asarray(vertices, dtype=np.float64)[faces]
    centers = corners.mean(axis=1)
    radii = np.linalg.norm(corners - centers[:, None], axis=2).max(axis=1)
    classes = np.floor(np.log2(np.maximum(radii, 1e-6 * radii.max() + 1e-30))).astype(int)
    groups = []
    for size in np.unique(classes):
        members = np.flatnonzero(classes == size)
        # Balancing and compacting a tree takes longer than a thousand queries save.
        tree = cKDTree(centers[members], balanced_tree=False, compact_nodes=False)
        groups.append((members, tree, radii[chosen] + radii[members].max()))
    counts = [tree.query_ball_point(centers[chosen], reach, return_length=True) for _, tree, reach in groups]
    chosen = chosen[np.cumsum(np.sum(counts, axis=0)) <= MOST_PAIRS]
    firsts, seconds = [], []
    for (members, tree, reach), count in zip(groups, counts, strict=True):
        found = tree.query_ball_point(centers[chosen], reach[: len(chosen)])
        firsts.append(np.repeat(chosen, count[: len(chosen)]))
        seconds += [members[np.asarray(each, dtype=np.int64)] for each in found]
    first, second = np.concatenate(firsts), np.concatenate([*seconds, np.zeros(0, dtype=np.int64)])

    low, high = corners.min(axis=1), corners.max(axis=1)
    near = ((low[first] <= high[second]) & (low[second] <= high[first])).all(axis=1)
    first, second = first[near], second[near]
    shared = (faces[first][:, :, None] == faces[second][:, None, :]).any(axis=(1, 2))
    first, second = first[~shared], second[~shared]
    cut = np.zeros(len(first), dtype=bool)
    for start, end in ((0, 1), (1, 2), (2, 0)):  # two triangles cut each other where an edge of one pierces the other
        cut |= _pierces(corners[first, start], corners[first, end], corners[second])
        cut |= _pierces(corners[second, start], corners[second, end], corners[first])
    return len(np.unique(first[cut])), len(chosen)


def _pierces(
    start: Float[np.ndarray, "pairs 3"], end: Float[np.ndarray, "pairs 3"], triangle: Float[np.ndarray, "pairs 3 3"]
) -> Bool[np.ndarray, " pairs"]:
    """Whether the segment passes through the triangle, its borders excluded (Möller and Trumbore 1997)."""
    a, u, v = triangle[:, 0], triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    direction = end - start
    normal = np.cross(u, v)
    slope = -(direction * normal).sum(axis=1)
    parallel = np.abs(slope) <= 1e-12 * np.linalg.norm(direction, axis=1) * np.linalg.norm(normal, axis=1)
    slope = np.where(parallel, 1.0, slope)
    offset = start - a
    crossed = np.cross(offset, direction)
    along = (offset * normal).sum(axis=1) / slope
    first = (v * crossed).sum(axis=1) / slope
    second = -(u * crossed).sum(axis=1) / slope
    margin = 1e-9
    inside = (first > margin) & (second > margin) & (first + second < 1 - margin)
    return ~parallel & inside & (along > margin) & (along < 1 - margin)
