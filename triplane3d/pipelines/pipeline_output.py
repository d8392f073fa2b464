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

VIEWS = ("turntable", "still", "depth", "normal")


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
            view: "still" in colour, "depth" (white is near), "normal", or "turntable": `frames` pictures around each
                mesh, which begin in front.
            size: of the pictures, in pixels.
            camera: by default in front of the object at its height, as the photo's camera. Of a turntable it sets the
                elevation only.
            background: an sRGB colour in 0..1; None: transparent.

        Raises:
            ValueError: for an unknown `view`, or an output that does not hold meshes.
        """
        if view not in VIEWS:
            raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
        if view == "turntable":
            elevation = 15.0 if camera is None else camera.elevation
            return [turntable(mesh, frames, size, elevation, background=background) for mesh in self._own_meshes()]
        pictures = [render(mesh, camera, size, background=background) for mesh in self._own_meshes()]
        if view == "still":
            return [picture.image() for picture in pictures]
        return [picture.depth_image() if view == "depth" else picture.normal_image() for picture in pictures]

    def save_preview(self, path: str | Path, index: int = 0, *, size: int = 320, frames: int = 24) -> Path:
        """Write a turntable (.webp, .gif) of mesh `index`, or a still from the front (.png).

        Raises:
            ValueError: for another suffix, or an output that does not hold meshes.
        """
        if Path(path).suffix.lower() not in PREVIEW_SUFFIXES:
            raise ValueError(f"cannot save a preview as {Path(path).name!r}: end the name in .webp, .gif or .png")
        mesh, white = self._own_meshes()[index], (1.0, 1.0, 1.0)
        if Path(path).suffix.lower() == ".png":
            return save_turntable([render(mesh, size=size, background=white).image()], path)
        return save_turntable(turntable(mesh, frames, size, background=white), path)

    def _own_meshes(self) -> list[Mesh]:
        if not isinstance(self.meshes, list) or not all(isinstance(mesh, Mesh) for mesh in self.meshes):
            raise ValueError('only meshes can be rendered: call the pipeline with output_type="mesh"')
        return self.meshes
