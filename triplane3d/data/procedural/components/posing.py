"""Poses of a whole object: standing, lying on its back, tilted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triplane3d.data.procedural.parts import Part, rotation_matrix


def reflected(part: Part, axis: int) -> Part:
    """The reflection of a part in the plane through the origin at right angles to `axis`, no longer mirrored there.

    In its own axes, a primitive is its own reflection in x once the x coordinates of its nodes change their sign.
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
    """All parts, turned by `rotation` about the origin. Mirrored parts become separate parts first, since mirror planes
    do not turn with the object."""
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
    """The object unchanged with probability `upright`, else lying on its back or tilted in the plane of the picture."""
    pose = rng.random()
    if pose < upright:
        return parts
    yaw = rotation_matrix((0, rng.uniform(-180, 180), 0))
    if pose < upright + (1 - upright) * 0.6:
        return turned(parts, yaw @ rotation_matrix((-90, 0, 0)))
    return turned(parts, rotation_matrix((rng.uniform(-15, 15), 0, rng.uniform(-90, 90))))
