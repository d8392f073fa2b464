"""The photos of one call, parsed once: which of them show the same object, and the viewpoint of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from os import PathLike
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triplane3d.images.background import MaskReport, remove_background
from triplane3d.images.reading import Photo, decode_photo, find_photo, split_batch
from triplane3d.images.viewpoints import MAX_VIEWS, Angles, Viewpoint, is_list, relative_angles, viewpoints_by_object
from triplane3d.models.conditions import UNKNOWN


@dataclass(frozen=True)
class PhotoBatch:
    """Objects × photos, with the viewpoint of each photo.

    A caller may pass image tokens in place of photos. Then `photos` is empty, and only the viewpoints are used.
    """

    photos: list[Photo]
    """All photos, not yet read: those of the first object, then those of the second, and so on."""
    angles: list[list[Angles]]
    """Azimuth and elevation of each photo of each object, in degrees, in the frame of the object's first photo."""
    has_viewpoints: bool
    """False where each object has one photo and no cameras were passed: the transformer then needs no camera."""

    @classmethod
    def parse(cls, image: object, cameras: Sequence[Sequence[Viewpoint]] | None = None) -> "PhotoBatch":
        """The `image` and `cameras` arguments of a pipeline's call.

        Args:
            image: a photo, a flat list of photos (or a batched array or tensor) with one photo of each object, or a
                list with a list of 1 to 6 photos for each object.
            cameras: for each object a list with the viewpoint of each photo. By default the first photo of an object
                shows its front, and the viewpoints of the others are unknown.

        Raises:
            TypeError: a photo has no known type.
            ValueError: photos and lists of photos are mixed, a list is empty or too long, a path is a folder or a URL,
                or the cameras do not fit the photos.
            OSError: a file does not exist.
        """
        objects = _photos_by_object(image)
        photos = list(chain.from_iterable(objects))
        _check_photos(photos)
        return cls(photos, *_viewpoints([len(each) for each in objects], cameras))

    @classmethod
    def of_single_photos(cls, image: object) -> "PhotoBatch":
        """A batch in which every photo shows an object of its own; nested lists are flattened. Errors as in `parse`."""
        photos = split_batch(image)
        _check_photos(photos)
        return cls(photos, *_viewpoints([1] * len(photos), None))

    @classmethod
    def of_tokens(
        cls,
        image_embeds: Float[Tensor, "objects tokens features"],
        cameras: Sequence[Sequence[Viewpoint]] | None = None,
    ) -> "PhotoBatch":
        """The viewpoints of photos that are encoded already.

        The tokens of an object's photos follow one another, with zeros at the end where other objects have more photos.
        The number of photos of each object is the number of its `cameras`, or 1 without cameras.

        Raises:
            ValueError: the cameras do not fit the tokens.
        """
        lists = viewpoints_by_object(cameras, len(image_embeds)) or [[None]] * len(image_embeds)
        batch = cls([], *_viewpoints([len(each) for each in lists], cameras))
        views = max(batch.counts)
        if image_embeds.shape[1] % views:
            raise ValueError(
                f"image_embeds has {image_embeds.shape[1]} tokens, which {views} views cannot share: the tokens "
                "of an object's photos follow one another, zeros at the end where others have more photos"
            )
        return batch

    @property
    def counts(self) -> list[int]:
        """Photos of each object."""
        return [len(angles) for angles in self.angles]

    @property
    def firsts(self) -> list[int]:
        """The index of each object's first photo."""
        return [0, *accumulate(self.counts)][:-1]

    def cut_out(self, background_removal: str = "auto") -> Iterator[tuple[Float[Tensor, "4 _ _"], MaskReport]]:
        """Each photo as straight RGBA in 0..1 with the object's mask as its alpha, and how that mask was found.

        A photo is read only when it is reached, so that one photo at a time is in memory.

        Args:
            background_removal: the method of `remove_background`.

        Raises:
            ValueError: a photo cannot be read, or shows no object. The message names the photo.
        """
        for index, photo in enumerate(self.photos):
            if isinstance(photo, str | PathLike):
                name, rgba = str(photo), decode_photo(photo)
            else:
                name = f"image {index}"
                try:
                    rgba = decode_photo(photo)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
            yield remove_background(rgba, method=background_removal, name=name)

    def check_for(self, config: Mapping[str, Any]) -> None:
        """Raise a ValueError where a transformer of this config cannot read several photos or viewpoints."""
        if self.has_viewpoints and not config.get("camera_condition"):
            raise ValueError(
                "this model was made for one photo of each object, from the front (camera_condition=False): pass a "
                "flat list of photos, one for each object, and leave out `cameras`"
            )
        if max(self.counts) > 1 and config.get("pixel_attention_dim") is not None:
            raise ValueError(
                "this model reads a second stream of image tokens (pixel_attention_dim), which is for one photo: pass "
                "one of each object"
            )

    def arrange(self, tokens: Float[Tensor, "photos tokens features"]) -> Float[Tensor, "objects view_tokens features"]:
        """The tokens of each object's photos one after another; zeros at the end where others have more photos."""
        padded = pad_sequence(tokens.split(self.counts), batch_first=True)
        return rearrange(padded, "object view token feature -> object (view token) feature")

    def conditions(self, tokens: Float[Tensor, "meshes view_tokens features"]) -> dict[str, Tensor]:
        """What the transformer takes besides the tokens.

        `cameras` are the angles, (meshes, views, 2) in degrees. `encoder_attention_mask`, (meshes, view_tokens), is
        true where a token belongs to a photo; it is left out where all objects have equally many photos. The same
        number of meshes for each object follow one another.
        """
        if not self.has_viewpoints:
            return {}
        again, views = len(tokens) // len(self.angles), max(self.counts)
        padded = [angles + [(UNKNOWN, UNKNOWN)] * (views - len(angles)) for angles in self.angles]
        cameras = torch.tensor(padded, dtype=torch.float32, device=tokens.device)
        conditions = {"cameras": repeat(cameras, "object view angle -> (object again) view angle", again=again)}
        if min(self.counts) < views:
            present = torch.arange(views) < torch.tensor(self.counts)[:, None]
            conditions["encoder_attention_mask"] = repeat(
                present.to(tokens.device),
                "object view -> (object again) (view token)",
                again=again,
                token=tokens.shape[1] // views,
            )
        return conditions


def _photos_by_object(image: object) -> list[list[Any]]:
    """The photos of each object: an inner list holds one object's, in a flat list every photo shows its own object."""
    entries = list(image) if is_list(image) else [image]  # type: ignore[call-overload]
    nested = [is_list(entry) for entry in entries]
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


def _check_photos(photos: Sequence[object]) -> None:
    """Raise where a photo has no known type, or is a path at which there is no file."""
    for index, photo in enumerate(photos):
        if not isinstance(photo, Photo):
            raise TypeError(f"image {index} must be a path, PIL image, array or tensor, got {type(photo).__name__}")
        if isinstance(photo, str | PathLike):
            find_photo(photo)


def _viewpoints(
    counts: Sequence[int], cameras: Sequence[Sequence[Viewpoint]] | None
) -> tuple[list[list[Angles]], bool]:
    """`angles` and `has_viewpoints` of a `PhotoBatch`."""
    lists = viewpoints_by_object(cameras, len(counts)) or [[None] * count for count in counts]
    angles = [relative_angles(*each, index) for index, each in enumerate(zip(lists, counts, strict=True))]
    return angles, cameras is not None or max(counts) > 1
