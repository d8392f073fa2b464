"""A finished object turned as a whole: laid on its back, tilted, leant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triplane3d.data.procedural.parts import Part, rotation_matrix


def reflected(part: Part, axis: int) -> Part:
    """The part seen in the mirror plane through the origin across `axis`, written without `mirror`.

    Every primitive equals its own reflection in x once the x of its nodes changes sign.
    """
    numbers = np.array(part.parameters)
    step = {"capsule": (3, 6), "tube": (3, 24), "prism": (2, 32)}.get(part.kind)
    if step:
        numbers[0 : step[1] : step[0]] *= -1
    across = np.eye(3)
    across[axis, axis] = -1
    return replace(
        part,
        parameters=tuple(numbers.tolist()),
        center=tuple((across @ part.center).tolist()),
        rotation=across @ part.rotation @ np.diag([-1.0, 1.0, 1.0]),
        mirror=part.mirror.replace("xyz"[axis], ""),
    )


def turned(parts: list[Part], rotation: np.ndarray) -> list[Part]:
    """The finished object turned as a whole; mirrored parts are written out first."""
    flat = []
    for part in parts:
        copies = [part]
        for axis in part.mirror:
            copies += [reflected(copy, "xyz".index(axis)) for copy in copies]
        flat += [replace(copy, mirror="") for copy in copies]
    return [
        replace(part, center=tuple((rotation @ part.center).tolist()), rotation=rotation @ part.rotation)
        for part in flat
    ]


def posed(rng: np.random.Generator, parts: list[Part], *, upright: float) -> list[Part]:
    """Left standing with probability `upright`, else laid on its back or tilted in the picture's plane."""
    draw = rng.random()
    if draw < upright:
        return parts
    yaw = rotation_matrix((0, rng.uniform(-180, 180), 0))
    if draw < upright + (1 - upright) * 0.6:
        return turned(parts, yaw @ rotation_matrix((-90, 0, 0)))
    return turned(parts, rotation_matrix((rng.uniform(-15, 15), 0, rng.uniform(-90, 90))))
