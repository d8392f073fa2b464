"""Cameras of framed photos, as five numbers each.

A framed photo is a square around the object (`triplane3d.images.framing`). The object's frame is the cube [-1, 1]³ with
the camera of its first photo at azimuth 0; further photos have a known azimuth. What remains unknown of a camera is

- its elevation,
- its perspective: one over its distance from the origin, 0 for parallel rays,
- the offset: where the origin appears in the square,
- the scale: how large a unit of length appears at the origin's depth.

Distance and focal length change a picture of a small object in nearly the same way. Perspective and scale separate the
two effects: the scale is seen directly, the perspective only by how much nearer parts appear larger.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.cameras import Camera, CameraBatch

NUM_PARAMETERS = 5
CENTERS = (15.0, 0.257, 0.0, 0.0, -0.223)
"""Values of elevation, perspective, offset to the right, offset upwards and log scale that count as zero."""
UNITS = (15.0, 0.125, 0.1, 0.1, 0.25)
"""Changes of the same that count as one. They are about the deviations over photos, so that the numbers that a network
predicts, and their uncertainties, have similar sizes."""
PERSPECTIVE = (0.02, 0.6)
"""Range of perspectives: distances from 50 to 1.67 units. A nearer camera might lie inside the cube."""


@dataclass(frozen=True)
class FramedCameras:
    """Cameras of several framed photos."""

    elevation: Float[Tensor, " batch"]
    """Degrees above the horizon."""
    perspective: Float[Tensor, " batch"]
    """One over the distance from the origin."""
    offset: Float[Tensor, "batch 2"]
    """Where the origin appears, to the right and upwards of the square's centre, in halves of the square's side."""
    scale: Float[Tensor, " batch"]
    """How long a unit at the origin's depth appears, in halves of the square's side."""
    azimuth: Float[Tensor, " batch"] | float = 0.0
    """Degrees, 0 in front (+z) and 90 at the right (+x); one number for all cameras or one for each."""

    @classmethod
    def from_windows(cls, elevation: Float[Tensor, " batch"], windows: Float[Tensor, "batch 4"]) -> "FramedCameras":
        """From elevations and the field `windows` of a training sample (`triplane3d.data.sample`)."""
        distance, right, up, half = windows.unbind(-1)
        return cls(elevation, 1 / distance, -torch.stack([right, up], dim=-1) / half[:, None], 1 / (distance * half))

    @classmethod
    def from_parameters(
        cls, parameters: Float[Tensor, "batch 5"], azimuth: Float[Tensor, " batch"] | float = 0.0
    ) -> "FramedCameras":
        """From numbers near zero, in the `UNITS` of this module. Differentiable."""
        values = parameters * parameters.new_tensor(UNITS) + parameters.new_tensor(CENTERS)
        elevation, perspective, right, up, log_scale = values.unbind(-1)
        return cls(
            elevation, perspective.clamp(*PERSPECTIVE), torch.stack([right, up], dim=-1), log_scale.exp(), azimuth
        )

    @property
    def parameters(self) -> Float[Tensor, "batch 5"]:
        """The inverse of `from_parameters`."""
        values = [self.elevation, self.perspective, *self.offset.unbind(-1), self.scale.log()]
        stacked = torch.stack(values, dim=-1)
        return (stacked - stacked.new_tensor(CENTERS)) / stacked.new_tensor(UNITS)

    @property
    def cameras(self) -> CameraBatch:
        """The cameras, whose window is the square of the framed photo."""
        half = self.perspective / self.scale
        return CameraBatch.orbit(
            torch.zeros_like(self.elevation) + self.azimuth,
            self.elevation,
            1 / self.perspective,
            half[:, None].expand(-1, 2),
            -self.offset * half[:, None],
        )

    def camera(self, index: int = 0, size: int = 512) -> Camera:
        """One of the cameras as a plain value, with a picture of `size` × `size` pixels."""
        batch = self[index : index + 1].cameras
        columns = torch.cat([batch.axes[0].T, batch.position[0][:, None]], dim=1)
        focal = size / (2 * float(batch.half_extent[0, 0]))
        right, up = batch.center[0].tolist()
        column, row = size / 2 - right * focal, size / 2 + up * focal
        return Camera(columns.double().cpu().numpy(), fx=focal, cx=column, cy=row, width=size)

    def __getitem__(self, chosen: slice | Tensor) -> "FramedCameras":
        azimuth = self.azimuth[chosen] if isinstance(self.azimuth, Tensor) else self.azimuth
        numbers = (self.elevation, self.perspective, self.offset, self.scale)
        elevation, perspective, offset, scale = (values[chosen] for values in numbers)
        return FramedCameras(elevation, perspective, offset, scale, azimuth)

    def __len__(self) -> int:
        return len(self.elevation)


def photo_coordinates(
    cameras: CameraBatch, points: Float[Tensor, "batch points 3"]
) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
    """Where points appear in their photo, in [-1, 1]² as `grid_sample` counts, and how much nearer than the origin."""
    seen = cameras.to_camera(points)
    depth = -seen[..., 2]
    window = (seen[..., :2] / depth[..., None].clamp(min=1e-3) - cameras.center[:, None]) / cameras.half_extent[:, None]
    return torch.stack([window[..., 0], -window[..., 1]], dim=-1), cameras.position.norm(dim=-1)[:, None] - depth
