"""How well a mesh agrees with its photo, as numbers and one verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh.mesh import Mesh
from triplane3d.geometry.render import render

GOOD_IOU, FAIR_IOU = 0.9, 0.8
"""Least IoU of silhouette and mask for the verdicts "good" and "fair"."""
MAIN_PIECE = 0.97
"""Least share of the volume in the largest piece for the verdict "good"."""
DEPTHS = (0.1, 4.0)
"""Depths over widths that are not suspicious."""


@dataclass(frozen=True)
class Agreement:
    """A mesh compared with its photo, from the photo's fitted camera."""

    mask_iou: float
    """Intersection over union of the mesh's silhouette and the photo's mask."""
    color_error: float
    """Mean absolute difference of sRGB values, 0..1, on pixels where both show the object; NaN without such pixels. The
    rendered colours are first multiplied by one gain for each channel: the photo's light is unknown."""
    pieces: int
    """Connected pieces of the mesh."""
    largest_piece: float
    """Share of the volume in the largest piece."""
    watertight: bool
    """Whether the mesh is a closed solid, wound outwards."""
    depth_to_width: float
    """Extent along z over extent along x."""

    @property
    def verdict(self) -> str:
        """ "good", "fair" or "poor"."""
        plausible = self.watertight and DEPTHS[0] <= self.depth_to_width <= DEPTHS[1]
        if self.mask_iou >= GOOD_IOU and self.largest_piece >= MAIN_PIECE and plausible:
            return "good"
        return "fair" if self.mask_iou >= FAIR_IOU and plausible else "poor"

    @property
    def advice(self) -> str | None:
        """What to try where the verdict is "poor"; None otherwise."""
        if self.verdict != "poor":
            return None
        return (
            f"the mesh agrees poorly with the photo (IoU of silhouette and mask {self.mask_iou:.2f}): look at the "
            "mask, try another seed or more candidates, or add photos from other sides"
        )

    def __str__(self) -> str:
        pieces = "1 piece" if self.pieces == 1 else f"{self.pieces} pieces, the largest {self.largest_piece:.0%}"
        return f"agreement with the photo: {self.verdict}, mask IoU {self.mask_iou:.2f}, {pieces}"


def measure_agreement(mesh: Mesh, camera: Camera, photo: Float[Tensor, "4 side side"]) -> Agreement:
    """Compare a mesh with its framed photo.

    Args:
        mesh: in the frame of the photo's object.
        camera: the photo's fitted camera; its picture is the framed photo's square.
        photo: straight RGBA in 0..1, sRGB.
    """
    size = photo.shape[-1]
    rendered = render(mesh, camera, size, supersample=1).color
    covered, mask = rendered[..., 3] > 0.5, photo[3] > 0.5
    both, either = covered & mask, covered | mask
    color_error = float("nan")
    if bool(both.any()):
        shown, wanted = rendered[both][:, :3], photo[:3].movedim(0, -1)[both]
        gain = (shown * wanted).sum(dim=0) / shown.square().sum(dim=0).clamp(min=1e-6)
        color_error = float((shown * gain - wanted).abs().mean())
    components = mesh.face_components
    largest = mesh.select_faces(components == np.bincount(components).argmax()).volume
    width, _, depth = mesh.bounds[1] - mesh.bounds[0]
    return Agreement(
        mask_iou=float(both.sum() / either.sum().clamp(min=1)),
        color_error=color_error,
        pieces=int(components.max()) + 1,
        largest_piece=float(largest / max(mesh.volume, 1e-9)),
        watertight=mesh.is_solid,
        depth_to_width=float(depth / max(width, 1e-9)),
    )
