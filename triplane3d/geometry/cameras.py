"""Cameras on a sphere about the origin: where they stand, the ray through each pixel, and where a point is seen.

Functions take batches of cameras as tensors and run on the tensors' device; `Camera` is one of them as a plain value.
A camera's own axes are right, up and back (it looks along minus back); its pictures are square.
"""

from dataclasses import dataclass
from math import radians, sin

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

FRAME_RADIUS = 1.3
"""Radius of the sphere that `fit_distance` frames: it holds nearly every object whose longest side is 2, and keeps
the front of the cube [-1, 1]³ in the picture of a level camera."""


def fit_distance(field_of_view: float, radius: float = FRAME_RADIUS) -> float:
    """Distance from which a sphere of this radius touches the borders of the picture; `field_of_view` in degrees."""
    if not 0 < field_of_view < 180:
        raise ValueError(f"field of view must lie between 0 and 180 degrees, got {field_of_view}")
    return radius / sin(radians(field_of_view) / 2)


def camera_axes(azimuth: Float[Tensor, " batch"], elevation: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3 3"]:
    """Rows are the camera's right, up and back in the world; the camera stands at `distance * back`."""
    azimuth, elevation = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    sin_a, cos_a, sin_e, cos_e = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    right = torch.stack([cos_a, torch.zeros_like(azimuth), -sin_a], dim=-1)
    up = torch.stack([-sin_a * sin_e, cos_e, -cos_a * sin_e], dim=-1)
    back = torch.stack([sin_a * cos_e, sin_e, cos_a * cos_e], dim=-1)
    return torch.stack([right, up, back], dim=-2)


def camera_rays(
    azimuth: Float[Tensor, " batch"],
    elevation: Float[Tensor, " batch"],
    field_of_view: Float[Tensor, " batch"],
    distance: Float[Tensor, " batch"],
    size: int,
) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch size size 3"]]:
    """Origin of each camera and the unit direction through each of its pixel centres (row 0 is the top)."""
    axes = camera_axes(azimuth, elevation)
    origins = distance[:, None] * axes[:, 2]

    across = (torch.arange(size, device=axes.device, dtype=axes.dtype) + 0.5) * (2 / size) - 1
    half_extent = torch.tan(torch.deg2rad(field_of_view) / 2)
    x = half_extent[:, None, None] * across[None, None, :].expand(1, size, size)
    y = -half_extent[:, None, None] * across[None, :, None].expand(1, size, size)
    seen = torch.stack([x, y, -torch.ones_like(x)], dim=-1)
    directions = einsum(seen, axes, "batch row column own, batch own world -> batch row column world")
    return origins, torch.nn.functional.normalize(directions, dim=-1)


def world_to_clip(
    azimuth: Float[Tensor, " batch"],
    elevation: Float[Tensor, " batch"],
    field_of_view: Float[Tensor, " batch"],
    distance: Float[Tensor, " batch"],
    *,
    near: float = 0.01,
    far: float = 100.0,
) -> Float[Tensor, "batch 4 4"]:
    """OpenGL's view-projection matrix: clip = matrix @ (x, y, z, 1), whose last entry is the depth along the axis."""
    axes = camera_axes(azimuth, elevation)
    view = torch.zeros(len(axes), 4, 4, device=axes.device, dtype=axes.dtype)
    view[:, :3, :3] = axes
    view[:, 2, 3] = -distance
    view[:, 3, 3] = 1

    focal = 1 / torch.tan(torch.deg2rad(field_of_view) / 2)
    projection = torch.zeros_like(view)
    projection[:, 0, 0] = focal
    projection[:, 1, 1] = focal
    projection[:, 2, 2] = (near + far) / (near - far)
    projection[:, 2, 3] = 2 * near * far / (near - far)
    projection[:, 3, 2] = -1
    return projection @ view


def project_points(
    points: Float[Tensor, "batch points 3"], clip: Float[Tensor, "batch 4 4"], size: int
) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
    """Pixel coordinates (column, row) of `points` under `world_to_clip`'s matrices, and their depth along the axis.

    Only points of positive depth are seen; the coordinates of the others mean nothing.
    """
    seen = einsum(points, clip[:, :, :3], "batch points world, batch clip world -> batch points clip")
    seen = seen + rearrange(clip[:, :, 3], "batch clip -> batch 1 clip")
    depth = seen[..., 3]
    flipped = torch.stack([seen[..., 0], -seen[..., 1]], dim=-1)
    return (flipped / depth[..., None] + 1) * (size / 2), depth


@dataclass(frozen=True)
class Camera:
    """One camera looking at the origin; angles in degrees.

    Azimuth 0 looks from +z and grows towards +x, elevation grows towards +y. `distance=None` stands where an object of
    the library's frame fits the picture (`fit_distance`).
    """

    azimuth: float = 0.0
    elevation: float = 0.0
    field_of_view: float = 40.0
    distance: float | None = None

    def __post_init__(self) -> None:
        fitted = fit_distance(self.field_of_view)
        if self.distance is None:
            object.__setattr__(self, "distance", fitted)
        elif self.distance <= 0:
            raise ValueError(f"a camera's distance from the origin must be positive, got {self.distance}")

    def tensors(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(azimuth, elevation, field_of_view, distance) as this module's functions take them: a batch of one."""
        values = torch.tensor(
            [self.azimuth, self.elevation, self.field_of_view, self.distance], device=device, dtype=dtype
        )[:, None]
        return values[0], values[1], values[2], values[3]

    def rays(
        self,
        size: int,
        device: torch.device | str = "cpu",
    ) -> tuple[Float[Tensor, "pixels 3"], Float[Tensor, "pixels 3"]]:
        """Origins and unit directions of the rays through the pixel centres, row by row from the top."""
        origins, directions = camera_rays(*self.tensors(device), size)
        directions = rearrange(directions, "1 row column world -> (row column) world")
        return origins.expand_as(directions), directions

    def project(
        self,
        points: Float[Tensor, "points 3"],
        size: int,
    ) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
        """Pixel coordinates (column, row) of world points in a picture of this size, and their depths."""
        clip = world_to_clip(*self.tensors(points.device, points.dtype))
        pixels, depth = project_points(points[None], clip, size)
        return pixels[0], depth[0]


def orbit(
    count: int,
    *,
    elevation: float = 15.0,
    start: float = 0.0,
    field_of_view: float = 40.0,
    distance: float | None = None,
) -> list[Camera]:
    """`count` cameras evenly spaced around the object, the first at azimuth `start`."""
    return [Camera(start + 360 * turn / count, elevation, field_of_view, distance) for turn in range(count)]
