"""Several photos of one object: which belong together, and from where each was taken.

Azimuths and elevations are in degrees. Azimuth 0 looks from the front, +z, and grows towards +x, the right; an
elevation grows upwards. One that nobody knows is None outside this file, and not a number (`UNKNOWN`) inside.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triplane3d.arguments import check_number
from triplane3d.geometry.cameras import Camera
from triplane3d.images.image_processor import Photo
from triplane3d.images.reading import split_batch
from triplane3d.models.conditions import UNKNOWN

MAX_VIEWS = 6
EXAMPLE = 'such as [["front", "left", (180, 20), None]] for four photos of one object'

SIDES = {"front": 0.0, "right": 90.0, "back": 180.0, "left": 270.0}
"""Azimuths that have a name: where the camera stands, as one calls it who looks at the front."""

View = str | Sequence[float | None] | Camera | None
"""A name of `SIDES`, an (azimuth, elevation) pair of which either may be None, a camera, or None: unknown."""


def photos_by_object(image: object) -> list[list[Photo]]:
    """The photos of each object: an inner list is one object, in a flat list every photo is one."""
    entries = list(image) if _is_list(image) else [image]  # type: ignore[call-overload]
    nested = [_is_list(entry) for entry in entries]
    if not any(nested):
        return [[photo] for photo in split_batch(image)]
    if not all(nested):
        raise ValueError(
            f"image holds photos and lists of photos, so it is not clear which belong together: image "
            f"{nested.index(False)} is no list; pass one list for each object, or photos alone"
        )
    for index, entry in enumerate(entries):
        if not len(entry):
            raise ValueError(f"object {index} has an empty list of photos: pass 1 to {MAX_VIEWS} of each object")
    objects = [split_batch(entry) for entry in entries]
    for index, photos in enumerate(objects):
        if len(photos) > MAX_VIEWS:
            raise ValueError(
                f"object {index} has {len(photos)} photos, but 1 to {MAX_VIEWS} are read: pass those from the most "
                "different sides; if each shows an object of its own, pass a flat list"
            )
    return objects


def in_order(image: object) -> list[Photo]:
    """All photos, those of one object after one another."""
    return list(chain.from_iterable(photos_by_object(image)))


@dataclass(frozen=True)
class Views:
    """Where the photos of every object were taken, in the frame of its first one.

    `angles` holds (azimuth, elevation) of each photo of each object. `told` is false where every object has one photo
    of which nothing was said: then a model needs to hear nothing of it.
    """

    angles: list[list[tuple[float, float]]]
    told: bool

    @classmethod
    def of(cls, image: object, image_embeds: Tensor | None, cameras: Sequence[Sequence[View]] | None) -> "Views":
        """What the caller says of his photos, or of the photos whose tokens he has.

        Where nothing is said, the first photo is the front and of the others nothing is known.
        """
        if image_embeds is None:
            counts = [len(photos) for photos in photos_by_object(image)]
            told = _lists(cameras, len(counts)) or [[None] * count for count in counts]
        else:
            told = _lists(cameras, len(image_embeds)) or [[None]] * len(image_embeds)
            counts = [len(each) for each in told]  # cameras alone say how many views the tokens are of
        for index, (object_cameras, count) in enumerate(zip(told, counts, strict=True)):
            if len(object_cameras) != count:
                raise ValueError(
                    f"object {index} has {count} photo{'s' * (count > 1)} but {len(object_cameras)} cameras: pass one "
                    "for each photo, None where it is not known"
                )
            if not 1 <= count <= MAX_VIEWS:
                raise ValueError(f"object {index} has {count} cameras: expected 1 to {MAX_VIEWS}, one for each photo")
        if image_embeds is not None and image_embeds.shape[1] % max(counts):
            raise ValueError(
                f"image_embeds has {image_embeds.shape[1]} tokens, which {max(counts)} views cannot share: the tokens "
                "of an object's photos follow one another, zeros at the end where others have more photos"
            )
        angles = [
            [_angles(camera, f"camera {place} of object {index}") for place, camera in enumerate(object_cameras)]
            for index, object_cameras in enumerate(told)
        ]
        return cls([_as_the_first_has_it(each) for each in angles], cameras is not None or max(counts) > 1)

    def check_for(self, config: Mapping[str, Any]) -> None:
        """A transformer of this config can read them."""
        if self.told and not config.get("camera_condition"):
            raise ValueError(
                "this model was made for one photo of each object, from the front (camera_condition=False): pass a "
                "flat list of photos, one for each object, and leave out `cameras`"
            )
        if max(self.counts) > 1 and config.get("pixel_attention_dim") is not None:
            raise ValueError(
                "this model reads a second stream of image tokens (pixel_attention_dim), which is for one photo: pass "
                "one of each object"
            )

    @property
    def counts(self) -> list[int]:
        return [len(angles) for angles in self.angles]

    def arrange(self, tokens: Float[Tensor, "photos tokens features"]) -> Float[Tensor, "objects view_tokens features"]:
        """The tokens of each object's photos one after another; zeros where others have more photos."""
        padded = pad_sequence(tokens.split(self.counts), batch_first=True)
        return rearrange(padded, "object view token feature -> object (view token) feature")

    def conditions(self, tokens: Float[Tensor, "meshes view_tokens features"]) -> dict[str, Tensor]:
        """What the transformer is to hear beside the tokens: `cameras`, and which tokens are some.

        There may be several meshes for each object, one after another.
        """
        if not self.told:
            return {}
        again, views = len(tokens) // len(self.angles), max(self.counts)
        gaps = [angles + [(UNKNOWN, UNKNOWN)] * (views - len(angles)) for angles in self.angles]
        cameras = torch.tensor(gaps, dtype=torch.float32, device=tokens.device)
        conditions = {"cameras": repeat(cameras, "object view angle -> (object again) view angle", again=again)}
        if min(self.counts) < views:
            there = torch.arange(views) < torch.tensor(self.counts)[:, None]
            conditions["encoder_attention_mask"] = repeat(
                there.to(tokens.device),
                "object view -> (object again) (view token)",
                again=again,
                token=tokens.shape[1] // views,
            )
        return conditions


def split_view(text: str | PathLike) -> tuple[View, Path]:
    """The camera and the photo of "front=a.png", "90=a.png", "90,20=a.png" or "?=a.png"; a bare path has no camera.

    A file that is there under the whole name is a bare path, whatever its name.
    """
    said, equals, name = str(text).partition("=")
    if not equals or Path(text).is_file():
        return None, Path(text)
    if not name:
        raise ValueError(f"{text} names no photo: write it behind the =, such as front=chair.png")
    if said in SIDES:
        return said, Path(name)
    try:
        angles = [None if angle.strip() == "?" else float(angle) for angle in said.split(",")]
    except ValueError:
        angles = []
    if len(angles) not in (1, 2):
        nearest = difflib.get_close_matches(said.lower(), SIDES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{text}: there is no camera {said!r}; did you mean {nearest!r}? Cameras are {', '.join(SIDES)}, an "
            "azimuth or azimuth,elevation in degrees, or ? where it is unknown"
        )
    return (*angles, None)[:2], Path(name)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _lists(cameras: object, objects: int) -> list[Sequence[Any]]:
    """The cameras of each object; no lists where nothing is said."""
    if cameras is None:
        return []
    lists: list[Any] = list(cameras) if _is_list(cameras) else [None]  # type: ignore[call-overload]
    if not all(_is_list(each) for each in lists):
        raise ValueError(f"cameras must have a list for each object, {EXAMPLE}; got {cameras!r}")
    if len(lists) != objects:
        raise ValueError(f"cameras must have a list for each of the {objects} objects, {EXAMPLE}; got {len(lists)}")
    return lists


def _angles(camera: object, name: str) -> tuple[float, float]:
    """Azimuth and elevation of one photo's camera, not a number where they are unknown."""
    if isinstance(camera, str):
        if camera not in SIDES:
            nearest = difflib.get_close_matches(camera.lower(), SIDES, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{name} is called {camera!r}; did you mean {nearest!r}? Cameras are {', '.join(SIDES)}, or (azimuth, "
                "elevation) in degrees"
            )
        return SIDES[camera], UNKNOWN
    if camera is None:
        return UNKNOWN, UNKNOWN
    if isinstance(camera, Camera):
        camera = camera.azimuth, camera.elevation
    if not isinstance(camera, tuple | list) or len(camera) != 2:
        raise ValueError(
            f"{name} must be one of {', '.join(SIDES)}, an (azimuth, elevation) pair in degrees, a Camera, or None "
            f"where it is unknown; got {camera!r}"
        )
    azimuth, elevation = camera
    if azimuth is not None:
        check_number(f"the azimuth of {name}", azimuth)
    if elevation is not None:
        check_number(f"the elevation of {name}", elevation)
        if not -90 <= elevation <= 90:
            raise ValueError(f"the elevation of {name} must be from -90 to 90 degrees, got {elevation}")
    return tuple(UNKNOWN if angle is None else float(angle) for angle in (azimuth, elevation))  # type: ignore[return-value]


def _as_the_first_has_it(angles: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Azimuths counted from that of the first photo, in whose frame the mesh will stand."""
    front = 0.0 if angles[0][0] != angles[0][0] else angles[0][0]
    (_, elevation), *others = angles
    return [(0.0, elevation), *(((azimuth - front) % 360, elevation) for azimuth, elevation in others)]
