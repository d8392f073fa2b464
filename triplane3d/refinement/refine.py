"""Passes that bring a generated field into agreement with its photo. A pass is kept only if it is better.

Each pass changes the field, fits the camera to the new surface, and compares silhouette and mask on pixels that neither
the fit nor the change has used. A pass that is not better there is undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import NUM_PARAMETERS, FramedCameras
from triplane3d.images.augmentation import premultiply
from triplane3d.images.image_processor import normalize_framed
from triplane3d.refinement.camera_fit import fit_cameras
from triplane3d.refinement.silhouette_correction import correct_silhouettes
from triplane3d.refinement.silhouettes import silhouettes

MASK_SIZE = 96
"""Pixels along the side of the mask that silhouettes are compared with."""
GRID_SAMPLES = 65
"""Samples along an edge of the grid that silhouettes are computed from."""
AVERAGE_DEVIATION = 0.6
"""Uncertainty of the average camera, in units of the camera's parameters."""
HELD_BACK_BLOCK = 4
"""Pixels along the side of a block that is held back. One block of four is."""


@runtime_checkable
class PhotoFeatures(Protocol):
    """What a refiner computes of a photo."""

    camera: Tensor
    """Parameters (batch, 5) of the most likely camera (`FramedCameras.from_parameters`)."""
    camera_scale: Tensor
    """Their uncertainty."""


@runtime_checkable
class FieldRefiner(Protocol):
    """A model that corrects a field by features of its photo, such as `PhotoPlaneRefiner`."""

    @property
    def dtype(self) -> torch.dtype: ...

    def encode(self, pixel_values: Tensor) -> Any:
        """`PhotoFeatures` of photos (batch, 4, side, side), normalised."""
        ...

    def refine(self, field: Any, features: Any, cameras: FramedCameras) -> FieldBatch:
        """The corrected field."""
        ...


@dataclass(frozen=True)
class PassReport:
    """One pass over one object."""

    name: str
    """What was done: "photo plane" or "silhouette"."""
    accepted: bool
    disagreement_before: float
    """Wrongly covered held-back pixels, as a share of the mask's, before the pass."""
    disagreement_after: float


@dataclass(frozen=True)
class Refinement:
    """The field of one object after all passes."""

    field: FieldBatch
    cameras: FramedCameras
    """The photo's fitted camera, a batch of one."""
    grid: Float[Tensor, "1 x y z"]
    """Logits of the field on a regular grid over [-1, 1]³."""
    disagreement: float
    """Pixels that silhouette and mask cover differently, as a share of the mask's pixels."""
    held_back_disagreement: float
    """The same among the pixels that are held back."""
    photo: Float[Tensor, "4 side side"]
    """The framed photo: straight RGBA in 0..1."""
    passes: tuple[PassReport, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for the user about passes that were not possible."""


@dataclass(frozen=True)
class PhotoEvidence:
    """What is known of an object from its photo."""

    photo: Float[Tensor, "4 side side"]
    """The framed photo: straight RGBA in 0..1."""
    camera: Float[Tensor, " 5"]
    """Parameters of the most likely camera (`FramedCameras.from_parameters`)."""
    camera_scale: Float[Tensor, " 5"]
    """Their uncertainty."""
    features: PhotoFeatures | None = None
    """Of this photo, from the refiner; None without one."""

    @classmethod
    def from_features(cls, photo: Float[Tensor, "4 side side"], features: PhotoFeatures) -> PhotoEvidence:
        """With the camera that the refiner has predicted."""
        return cls(photo, features.camera[0], features.camera_scale[0], features)

    @classmethod
    def from_photo(cls, photo: Float[Tensor, "4 side side"]) -> PhotoEvidence:
        """With the average camera."""
        return cls(photo, torch.zeros(NUM_PARAMETERS), torch.full((NUM_PARAMETERS,), AVERAGE_DEVIATION))

    @classmethod
    def of(cls, photo: Float[Tensor, "4 side side"], refiner: FieldRefiner | None) -> PhotoEvidence:
        """With the refiner's features and camera; with the average camera where there is no refiner."""
        if refiner is None:
            return cls.from_photo(photo)
        pixel_values = normalize_framed(premultiply(photo[None])).to(refiner.dtype)
        return cls.from_features(photo, refiner.encode(pixel_values))

    @property
    def mask(self) -> Float[Tensor, "rows columns"]:
        """The object's share of each pixel, 0..1, at `MASK_SIZE`."""
        return F.interpolate(self.photo[None, 3:].float(), (MASK_SIZE, MASK_SIZE), mode="area")[0, 0]


@torch.no_grad()
def refine_field(
    generated: FieldBatch,
    photo: PhotoEvidence,
    passes: int,
    *,
    refiner: FieldRefiner | None = None,
    level: float = 0.0,
    progress: Callable[[int, int], object] | None = None,
) -> Refinement:
    """The field of one object, refined by its photo.

    Args:
        generated: a batch of one field.
        photo: its photo's mask and camera.
        passes: number of passes. With a refiner the first and every second one after it is "photo plane": the
            refiner's correction, with the camera fitted so far. The others are "silhouette": the smallest shifts of
            logits with which silhouette and mask agree.
        refiner: the model that computed `photo.features`; None: all passes are "silhouette".
        level: the logit at which the surface lies.
        progress: called as progress(done, passes) before each pass. An exception that it raises ends the refinement.

    Raises:
        ValueError: if `generated` is not a single field.
    """
    if len(generated) != 1:
        raise ValueError(f"one field is refined at a time, this is a batch of {len(generated)}: pick one, field[i]")
    start = assess(generated, photo, level)
    return run_passes(start, photo, passes, refiner=refiner, level=level, progress=progress)


@torch.no_grad()
def assess(
    candidate: FieldBatch,
    photo: PhotoEvidence,
    level: float = 0.0,
    *,
    cameras: FramedCameras | None = None,
    grid: Float[Tensor, "1 x y z"] | None = None,
) -> Refinement:
    """A single field compared with its photo. `cameras` and `grid` are computed unless given."""
    mask = photo.mask.to(candidate.device)
    used, held_back = pixel_split(mask.shape[-1], mask.device)
    grid = field_grid(candidate, level) if grid is None else grid
    finite = bool(grid.isfinite().all())
    if cameras is None:
        prior, scale = (values.to(candidate.device)[None] for values in (photo.camera, photo.camera_scale))
        if finite and bool((mask > 0.5).any()):
            cameras = fit_cameras(grid, mask[None], used[None], prior, scale)
        else:
            cameras = FramedCameras.from_parameters(prior)
    everywhere, unused = (
        disagreement(grid, cameras, mask, weights) if finite else float("inf")
        for weights in (torch.ones_like(mask), held_back)
    )
    return Refinement(candidate, cameras, grid, everywhere, unused, photo.photo)


@torch.no_grad()
def run_passes(
    start: Refinement,
    photo: PhotoEvidence,
    passes: int,
    *,
    refiner: FieldRefiner | None = None,
    level: float = 0.0,
    progress: Callable[[int, int], object] | None = None,
) -> Refinement:
    """`start`, the assessed generated field, after the passes; arguments as for `refine_field`."""
    generated, mask = start.field, photo.mask.to(start.field.device)
    if not bool((mask > 0.5).any()):
        return replace(start, notes=("the mask is empty: there is nothing to refine by",))
    if not bool(start.grid.isfinite().all()):
        return replace(start, notes=("the generated field has values that are not finite: it was not refined",))
    used, _ = pixel_split(mask.shape[-1], mask.device)
    current = unshifted = start  # `unshifted` is the best field without shifts
    reports: list[PassReport] = []
    for number in range(passes):
        if progress is not None:
            progress(number, passes)
        by_photo = refiner is not None and photo.features is not None and number % 2 == 0
        if by_photo:
            assert refiner is not None, "checked above"
            candidate = assess(refiner.refine(generated, photo.features, current.cameras), photo, level)
        else:
            shifted = correct_silhouettes(unshifted.field, unshifted.grid, current.cameras, mask[None], used[None])
            # The shifts are added to the known values: evaluating the field again would cost seconds.
            shifts = shifted.shift_at(grid_points(mask.device)).view_as(unshifted.grid)
            candidate = assess(shifted, photo, level, cameras=current.cameras, grid=unshifted.grid + shifts)
        before, after = current.held_back_disagreement, candidate.held_back_disagreement
        reports.append(PassReport("photo plane" if by_photo else "silhouette", after < before, before, after))
        if after < before:
            current = candidate
            unshifted = candidate if by_photo else unshifted
    return replace(current, passes=tuple(reports))


def refine_fields(
    generated: FieldBatch,
    framed: Float[Tensor, "objects 4 side side"],
    passes: int,
    *,
    num_candidates: int = 1,
    refiner: FieldRefiner | None = None,
    level: float = 0.0,
) -> list[Refinement]:
    """The best candidate of each mesh, refined by the photo of its object.

    Args:
        generated: the fields of all meshes: those of the first object, then those of the second, and so on. The
            candidates of a mesh follow one another.
        framed: the photo of each object, framed: straight RGBA in 0..1.
        passes: see `refine_field`.
        num_candidates: fields of each mesh, of which the one that agrees best with the photo is refined.
        refiner: see `refine_field`.
        level: the logit at which the surface lies.
    """
    meshes = len(generated) // num_candidates
    photos = [PhotoEvidence.of(photo, refiner) for photo in framed]
    refined = []
    for mesh in range(meshes):
        photo_of_mesh = photos[mesh * len(photos) // meshes]
        first = mesh * num_candidates
        candidates = [assess(generated[first + number], photo_of_mesh, level) for number in range(num_candidates)]
        best = min(candidates, key=lambda candidate: candidate.disagreement)
        refined.append(run_passes(best, photo_of_mesh, passes, refiner=refiner, level=level))
    return refined


def field_grid(field: FieldBatch, level: float = 0.0) -> Float[Tensor, "batch x y z"]:
    """Logits less the level, on a regular grid over [-1, 1]³."""
    axis = torch.linspace(-1, 1, GRID_SAMPLES, device=field.device)
    return field.grid(axis, axis, axis).float() - level


def grid_points(device: torch.device) -> Float[Tensor, "1 samples 3"]:
    """The points of `field_grid`, in its order."""
    axis = torch.linspace(-1, 1, GRID_SAMPLES, device=device)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(1, -1, 3)


def pixel_split(size: int, device: torch.device) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]:
    """Weights of the pixels that are used and of those that are held back: every fourth block, in a fixed pattern."""
    block = torch.arange(size, device=device) // HELD_BACK_BLOCK
    held_back = ((block[:, None] + 2 * block) % 4 == 0).float()
    return 1 - held_back, held_back


def disagreement(
    grid: Float[Tensor, "1 x y z"],
    cameras: FramedCameras,
    mask: Float[Tensor, "rows columns"],
    weights: Float[Tensor, "rows columns"],
) -> float:
    """Pixels that silhouette and mask cover differently, as a share of the mask's pixels; both weighted."""
    covered = silhouettes(grid, cameras.cameras, mask.shape[-1]).logits[0] > 0
    wrong = (covered != (mask > 0.5)).float() * weights
    return float(wrong.sum() / ((mask > 0.5) * weights).sum().clamp(min=1))
