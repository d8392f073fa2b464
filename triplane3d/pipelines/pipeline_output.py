"""The output of a pipeline: meshes, the prepared photos, and rendered views of the meshes."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from triplane3d.file_formats import PREVIEW_SUFFIXES
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render import render, save_turntable, turntable
from triplane3d.images.background import MaskReport
from triplane3d.refinement.agreement import Agreement, measure_agreement
from triplane3d.refinement.refine import Refinement

VIEWS = ("turntable", "still", "depth", "normal", "overlay")
DEFAULT_ELEVATION = 15.0
"""Of a turntable in degrees, where no camera is known."""
OVERLAY_OPACITY = 0.6
"""Of the mesh over its photo."""


@dataclass
class Triplane3DPipelineOutput(BaseOutput):
    """`meshes` has one entry per mesh, of the type that `output_type` names.

    The other fields are None for a call without photos.
    """

    meshes: list[Any] | Tensor | np.ndarray
    images: list[Image.Image] | None = None
    """The squares that the image encoder read, one for each photo, background removed.

    They are in the order of the argument, in one flat list also if objects have several photos.
    """
    mask_reports: list[MaskReport] | None = None
    """How the mask of each photo was found, its confidence and any warning; in the order of `images`."""
    refinements: list[Refinement] | None = None
    """For each mesh the passes of refinement, the fitted camera of its photo, and how well silhouette and mask agree;
    None for a call without refinement."""

    @property
    def cameras(self) -> list[Camera] | None:
        """For each mesh the fitted camera of its object's first photo; pictures from it fit `images`. None without
        refinement."""
        return None if self.refinements is None else [each.cameras.camera() for each in self.refinements]

    @cached_property
    def agreement(self) -> list[Agreement] | None:
        """For each mesh how well it agrees with its photo, from the fitted camera; None without refinement.

        Raises:
            ValueError: for an output that does not hold meshes.
        """
        if self.refinements is None:
            return None
        return [
            measure_agreement(mesh, each.cameras.camera(), each.photo)
            for mesh, each in zip(self._own_meshes(), self.refinements, strict=True)
        ]

    @property
    def mattes(self) -> list[MaskReport] | None:
        """Deprecated name of `mask_reports`."""
        warnings.warn("`mattes` is now called `mask_reports`", FutureWarning, stacklevel=2)
        return self.mask_reports

    def render(
        self,
        view: str = "turntable",
        *,
        size: int = 320,
        frames: int = 24,
        camera: Camera | None = None,
        background: tuple[float, float, float] | None = None,
    ) -> list[Image.Image] | list[list[Image.Image]]:
        """Render every mesh.

        Args:
            view: "still" in colour, "depth" (white is near), "normal", "turntable": `frames` pictures around each mesh,
                which begin in front, or "overlay": the mesh over its photo, from the photo's fitted camera.
            size: of the pictures, in pixels.
            camera: by default the fitted camera of the mesh's photo, and without refinement one in front of the object.
                Of a turntable it sets the elevation only.
            background: an sRGB colour in 0..1; None: transparent.

        Raises:
            ValueError: for an unknown `view`, an output that does not hold meshes, or an overlay without refinement.
        """
        if view not in VIEWS:
            raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
        meshes = self._own_meshes()
        cameras = [self._camera(index) if camera is None else camera for index in range(len(meshes))]
        if view == "overlay":
            return [self._overlay(index, size) for index in range(len(meshes))]
        if view == "turntable":
            elevations = [DEFAULT_ELEVATION if each is None else each.elevation for each in cameras]
            return [
                turntable(mesh, frames, size, elevation, background=background)
                for mesh, elevation in zip(meshes, elevations, strict=True)
            ]
        pictures = [render(mesh, each, size, background=background) for mesh, each in zip(meshes, cameras, strict=True)]
        if view == "still":
            return [picture.image() for picture in pictures]
        return [picture.depth_image() if view == "depth" else picture.normal_image() for picture in pictures]

    def save_preview(self, path: str | Path, index: int = 0, *, size: int = 320, frames: int = 24) -> Path:
        """Write a turntable (.webp, .gif) of mesh `index`, or a still (.png).

        Both are from the fitted camera of the mesh's photo, and without refinement from the front.

        Raises:
            ValueError: for another suffix, or an output that does not hold meshes.
        """
        if Path(path).suffix.lower() not in PREVIEW_SUFFIXES:
            raise ValueError(f"cannot save a preview as {Path(path).name!r}: end the name in .webp, .gif or .png")
        mesh, camera, white = self._own_meshes()[index], self._camera(index), (1.0, 1.0, 1.0)
        if Path(path).suffix.lower() == ".png":
            return save_turntable([render(mesh, camera, size, background=white).image()], path)
        elevation = DEFAULT_ELEVATION if camera is None else camera.elevation
        return save_turntable(turntable(mesh, frames, size, elevation, background=white), path)

    def _camera(self, index: int) -> Camera | None:
        """The fitted camera of a mesh's photo; None without refinement."""
        return None if self.refinements is None else self.refinements[index].cameras.camera()

    def _overlay(self, index: int, size: int) -> Image.Image:
        if self.refinements is None:
            raise ValueError("an overlay needs the fitted camera of the photo: call the pipeline with refine=1 or more")
        photo = self.refinements[index].photo.movedim(0, -1).cpu().numpy()
        under = Image.fromarray((255 * photo).round().astype(np.uint8), mode="RGBA").resize((size, size))
        over = render(self._own_meshes()[index], self._camera(index), size).image().convert("RGBA")
        over.putalpha(over.getchannel("A").point(lambda alpha: round(OVERLAY_OPACITY * alpha)))
        picture = Image.new("RGBA", (size, size), "white")
        picture.alpha_composite(under)
        picture.alpha_composite(over)
        return picture.convert("RGB")

    def _own_meshes(self) -> list[Mesh]:
        if not isinstance(self.meshes, list) or not all(isinstance(mesh, Mesh) for mesh in self.meshes):
            raise ValueError('only meshes can be rendered: call the pipeline with output_type="mesh"')
        return self.meshes
