"""Profiles of solids of revolution: lists of (radius, height) points for `revolve`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triplane3d.data.procedural.parts import Vector


def smooth(points: Sequence[Vector] | np.ndarray, count: int) -> np.ndarray:
    """`count` equidistant points along a polyline whose corners were cut twice (Chaikin, 1974). The ends are kept."""
    points = np.asarray(points, dtype=float)
    for _ in range(2):
        middle = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], axis=1)
        points = np.concatenate([points[:1], middle.reshape(-1, points.shape[1])[1:-1], points[-1:]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return np.stack([np.interp(np.linspace(0, length[-1], count), length, column) for column in points.T], axis=1)


def solid(outline: Sequence[Vector] | np.ndarray) -> np.ndarray:
    """The closed profile of a solid body. `outline` goes from the edge of the foot to the edge of the top."""
    return np.concatenate([[(0, outline[0][1])], outline, [(0, outline[-1][1])]])


def hollow(outline: Sequence[Vector] | np.ndarray, wall: float, floor: float) -> np.ndarray:
    """The closed profile of a vessel with the outside `outline`: at most 7 points, rising from the foot to the rim.

    `wall` is the thickness of the wall at right angles to the outside. `floor` is the height of the floor inside.
    """
    outline = np.asarray(outline, dtype=float)
    along = np.diff(outline, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    along = np.concatenate([along[:1], along[:-1] + along[1:], along[-1:]])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    inside = outline + wall * np.stack([-along[:, 1], along[:, 0]], axis=1)
    inside[:, 0] = np.maximum(inside[:, 0], 0.3 * wall)
    at_floor = (float(np.interp(floor, inside[:, 1], inside[:, 0])), floor)
    inside = inside[inside[:, 1] > floor + 0.1 * wall][::-1]
    return np.concatenate([[(0, outline[0, 1])], outline, inside, [at_floor, (0, floor)]])


def radius_at(outline: Sequence[Vector] | np.ndarray, height: float) -> float:
    """Radius of the outside at `height`."""
    return float(np.interp(height, np.asarray(outline)[:, 1], np.asarray(outline)[:, 0]))
