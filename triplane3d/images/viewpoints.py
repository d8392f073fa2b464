"""Viewpoints: the direction from which each photo was taken, as azimuth and elevation in degrees.

Azimuth 0 looks at the front of the object, from +z. It grows towards +x: the right side is at 90 degrees. The elevation
is positive above the object. An unknown angle is None in arguments and NaN (`UNKNOWN`) in the numbers computed here.
"""

import difflib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from triplane3d.arguments import check_number
from triplane3d.geometry.cameras import Camera
from triplane3d.models.conditions import UNKNOWN

MAX_VIEWS = 6
"""Photos of one object that a model reads at most."""

NAMED_AZIMUTHS = {"front": 0.0, "right": 90.0, "back": 180.0, "left": 270.0}
"""Azimuths with a name. The name is the side of the object on which the camera stands, for a viewer at the front."""

Viewpoint = str | Sequence[float | None] | Camera | None
"""A name from `NAMED_AZIMUTHS`, an (azimuth, elevation) pair with None for an unknown angle, a camera, or None."""

Angles = tuple[float, float]
"""Azimuth and elevation in degrees; NaN where unknown."""

EXAMPLE = 'such as [["front", "left", (180, 20), None]] for four photos of one object'


def viewpoints_by_object(cameras: object, objects: int) -> list[Sequence[Any]] | None:
    """The list of viewpoints of each object, not yet checked one by one; None where no cameras were passed.

    Raises:
        ValueError: `cameras` is not a list with one list for each of the `objects`.
    """
    if cameras is None:
        return None
    lists: list[Any] = list(cameras) if is_list(cameras) else [None]  # type: ignore[call-overload]
    if not all(is_list(each) for each in lists):
        raise ValueError(f"cameras must have a list for each object, {EXAMPLE}; got {cameras!r}")
    if len(lists) != objects:
        raise ValueError(f"cameras must have a list for each of the {objects} objects, {EXAMPLE}; got {len(lists)}")
    return lists


def relative_angles(viewpoints: Sequence[Any], photos: int, index: int) -> list[Angles]:
    """The angles of the photos of object `index`, with azimuths relative to its first photo.

    The mesh stands in the frame of the first photo, whose azimuth therefore becomes 0. An unknown first azimuth is
    taken as the front.

    Args:
        viewpoints: one for each photo.
        photos: how many photos the object has.
        index: the object's place in the batch, for error messages.

    Raises:
        ValueError: the number of viewpoints is wrong, or one of them cannot be read.
    """
    if len(viewpoints) != photos:
        raise ValueError(
            f"object {index} has {photos} photo{'s' * (photos > 1)} but {len(viewpoints)} cameras: pass one "
            "for each photo, None where it is not known"
        )
    if not 1 <= photos <= MAX_VIEWS:
        raise ValueError(f"object {index} has {photos} cameras: expected 1 to {MAX_VIEWS}, one for each photo")
    angles = [_angles(viewpoint, f"camera {place} of object {index}") for place, viewpoint in enumerate(viewpoints)]
    front = 0.0 if angles[0][0] != angles[0][0] else angles[0][0]  # NaN differs from itself
    (_, elevation), *others = angles
    return [(0.0, elevation), *(((azimuth - front) % 360, elevation) for azimuth, elevation in others)]


def split_viewpoint(text: str | PathLike) -> tuple[Viewpoint, Path]:
    """Viewpoint and photo of "front=a.png", "90=a.png", "90,20=a.png" or "?=a.png"; a bare path has no viewpoint.

    Where a file exists under the whole text, the text is a bare path.

    Raises:
        ValueError: the part before `=` is no viewpoint, or the part after it is empty.
    """
    name, equals, path = str(text).partition("=")
    if not equals or Path(text).is_file():
        return None, Path(text)
    if not path:
        raise ValueError(f"{text} names no photo: write it behind the =, such as front=chair.png")
    if name in NAMED_AZIMUTHS:
        return name, Path(path)
    try:
        angles = [None if angle.strip() == "?" else float(angle) for angle in name.split(",")]
    except ValueError:
        angles = []
    if len(angles) not in (1, 2):
        raise ValueError(
            f"{text}: there is no camera {name!r}; did you mean {_nearest_name(name)!r}? Cameras are "
            f"{', '.join(NAMED_AZIMUTHS)}, an azimuth or azimuth,elevation in degrees, or ? where it is unknown"
        )
    return (*angles, None)[:2], Path(path)


def is_list(value: object) -> bool:
    """Whether a value is a list or another sequence of entries; text, arrays and tensors are not."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _angles(viewpoint: object, name: str) -> Angles:
    """Azimuth and elevation of one photo; `name` is its place in error messages."""
    if isinstance(viewpoint, str):
        if viewpoint not in NAMED_AZIMUTHS:
            raise ValueError(
                f"{name} is called {viewpoint!r}; did you mean {_nearest_name(viewpoint)!r}? Cameras are "
                f"{', '.join(NAMED_AZIMUTHS)}, or (azimuth, elevation) in degrees"
            )
        return NAMED_AZIMUTHS[viewpoint], UNKNOWN
    if viewpoint is None:
        return UNKNOWN, UNKNOWN
    if isinstance(viewpoint, Camera):
        viewpoint = viewpoint.azimuth, viewpoint.elevation
    if not isinstance(viewpoint, tuple | list) or len(viewpoint) != 2:
        raise ValueError(
            f"{name} must be one of {', '.join(NAMED_AZIMUTHS)}, an (azimuth, elevation) pair in degrees, a Camera, or "
            f"None where it is unknown; got {viewpoint!r}"
        )
    azimuth, elevation = viewpoint
    if azimuth is not None:
        check_number(f"the azimuth of {name}", azimuth)
    if elevation is not None:
        check_number(f"the elevation of {name}", elevation)
        if not -90 <= elevation <= 90:
            raise ValueError(f"the elevation of {name} must be from -90 to 90 degrees, got {elevation}")
    return tuple(UNKNOWN if angle is None else float(angle) for angle in (azimuth, elevation))  # type: ignore[return-value]


def _nearest_name(name: str) -> str:
    return difflib.get_close_matches(name.lower(), NAMED_AZIMUTHS, n=1, cutoff=0.0)[0]
