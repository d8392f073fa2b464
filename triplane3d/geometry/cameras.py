"""Pinhole cameras: pose, intrinsics, the ray through each pixel, and the pixel at which a point is seen.

`Camera` is one camera as a plain value. `CameraBatch` holds several cameras as tensors on one device; it is the only
place where points are projected and where rays are computed.

A camera's own axes are right, up and back: it looks along minus back, as cameras of OpenGL, glTF and Blender do.
`camera_conventions.py` converts the poses of OpenCV and COLMAP.

The intrinsics are stored twice. `Camera` states them in pixels, as photographs do. The computation uses a window: the
rectangle that the picture covers on the plane one unit in front of the camera. The window does not depend on the number
of pixels. With the focal lengths fx and fy and the principal point (cx, cy) in pixels,

    half extent = (width / (2 fx), height / (2 fy))
    centre      = ((width / 2 - cx) / fx, (cy - height / 2) / fy)

where the second components count upwards (Hartley and Zisserman, Multiple View Geometry, 2004, section 6.1).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import asin, atan, atan2, degrees, hypot, isfinite, radians, sin
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

FRAME_RADIUS = 1.3
"""Radius of the sphere that `fit_distance` frames. The sphere contains nearly every object whose longest side is 2.
A level camera at this distance sees the front of the cube [-1, 1]³ whole."""

ROTATION_TOLERANCE = 1e-3
"""Largest deviation of a pose's axes from orthonormal axes: poses in text files are rounded."""


def fit_distance(field_of_view: float, radius: float = FRAME_RADIUS) -> float:
    """Distance from which a sphere of this radius touches the borders of the picture; `field_of_view` in degrees."""
    if not 0 < field_of_view < 180:
        raise ValueError(f"field of view must lie between 0 and 180 degrees, got {field_of_view}")
    return radius / sin(radians(field_of_view) / 2)


def orbit_axes(azimuth: Float[Tensor, " batch"], elevation: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3 3"]:
    """Axes of cameras that look at the origin; angles in degrees. Rows are right, up and back in the world."""
    azimuth, elevation = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    sin_a, cos_a, sin_e, cos_e = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    right = torch.stack([cos_a, torch.zeros_like(azimuth), -sin_a], dim=-1)
    up = torch.stack([-sin_a * sin_e, cos_e, -cos_a * sin_e], dim=-1)
    back = torch.stack([sin_a * cos_e, sin_e, cos_a * cos_e], dim=-1)
    return torch.stack([right, up, back], dim=-2)


def pixel_coordinates(
    seen: Float[Tensor, "*points 3"],
    center: Float[Tensor, "*batch 2"],
    focal: Float[Tensor, "*batch 2"],
    width: int,
    height: int,
) -> Float[Tensor, "*points 2"]:
    """Pixel coordinates (column, row) of points in a camera's own frame (right, up, back).

    `center` is the window's centre, `focal` is one over its half extents; both broadcast against the points. Pixel
    centres lie at half integers. Only points of positive depth (minus the back coordinate) are visible; the results for
    other points have no meaning.
    """
    depth = -seen[..., 2]
    x = ((seen[..., 0] / depth - center[..., 0]) * focal[..., 0] + 1) * (width / 2)
    y = (1 - (seen[..., 1] / depth - center[..., 1]) * focal[..., 1]) * (height / 2)
    return torch.stack([x, y], dim=-1)


@dataclass(frozen=True)
class CameraBatch:
    """Several cameras as tensors on one device."""

    axes: Float[Tensor, "batch 3 3"]
    """Rows are each camera's right, up and back in the world: the rotation from the world to the camera."""
    translation: Float[Tensor, "batch 3"]
    """A world point p lies at axes · p + translation in the camera's frame."""
    center: Float[Tensor, "batch 2"]
    """Centre of the window (right, up), at depth 1. Zero where the axis passes through the middle of the picture."""
    half_extent: Float[Tensor, "batch 2"]
    """Half the width and half the height of the window, at depth 1: tangents of half the field of view."""

    @classmethod
    def orbit(
        cls,
        azimuth: Float[Tensor, " batch"],
        elevation: Float[Tensor, " batch"],
        distance: Float[Tensor, " batch"],
        half_extent: Float[Tensor, "batch 2"],
        center: Float[Tensor, "batch 2"] | None = None,
    ) -> "CameraBatch":
        """Cameras that look at the origin from this distance; angles in degrees."""
        zero = torch.zeros_like(distance)
        translation = torch.stack([zero, zero, -distance], dim=-1)
        center = torch.zeros_like(half_extent) if center is None else center
        return cls(orbit_axes(azimuth, elevation), translation, center, half_extent)

    @property
    def position(self) -> Float[Tensor, "batch 3"]:
        return -einsum(self.axes, self.translation, "batch own world, batch own -> batch world")

    @property
    def focal(self) -> Float[Tensor, "batch 2"]:
        """Focal lengths in units of half the picture's width and height, as in OpenGL's projection matrix."""
        return 1 / self.half_extent

    def to_camera(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """World points in each camera's own frame (right, up, back)."""
        return (points - self.position[:, None]) @ self.axes.mT

    def project(
        self, points: Float[Tensor, "batch points 3"], width: int, height: int
    ) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
        """Pixel coordinates (column, row) of world points, and their depth along the camera's axis."""
        seen = self.to_camera(points)
        return pixel_coordinates(seen, self.center[:, None], self.focal[:, None], width, height), -seen[..., 2]

    def pixel_directions(self, width: int, height: int) -> Float[Tensor, "batch height width 3"]:
        """World directions through the pixel centres, row 0 at the top; each has length 1 along the camera's axis."""
        across, down = (
            (torch.arange(count, device=self.axes.device, dtype=self.axes.dtype) + 0.5) * (2 / count) - 1
            for count in (width, height)
        )
        size = (len(self.axes), height, width)
        x = (self.center[:, :1] + self.half_extent[:, :1] * across)[:, None, :].expand(size)
        y = (self.center[:, 1:] - self.half_extent[:, 1:] * down)[:, :, None].expand(size)
        # The point of the window behind each pixel, at depth 1 in the camera's frame, turned into the world.
        own = torch.stack([x, y, -torch.ones_like(x)], dim=-1)
        return einsum(own, self.axes, "batch row column own, batch own world -> batch row column world")

    def rays(self, width: int, height: int) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch height width 3"]]:
        """Origin of each camera and the unit direction through each of its pixel centres, row 0 at the top."""
        return self.position, torch.nn.functional.normalize(self.pixel_directions(width, height), dim=-1)


class _Orbit(NamedTuple):
    """The arguments of `Camera.orbit`, in degrees and world units."""

    azimuth: float
    elevation: float
    field_of_view: float
    distance: float


@dataclass(frozen=True, init=False)
class Camera:
    """One pinhole camera: pose, intrinsics in pixels, and the size of its picture.

    `Camera.orbit` makes a camera that looks at the origin. `Camera(camera_to_world, fx=…)` states any pose, for example
    that of a photograph.
    """

    camera_to_world: tuple[tuple[float, ...], ...]
    """4 × 4, by rows. Columns are the camera's right, up and back axes and its position in the world."""
    fx: float
    """Focal length in pixels, across."""
    fy: float
    """Focal length in pixels, down."""
    cx: float
    """Column of the principal point. The left border is 0, the first pixel's centre 0.5."""
    cy: float
    """Row of the principal point. The top border is 0, the first pixel's centre 0.5."""
    width: int
    height: int
    _orbit: _Orbit | None = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        camera_to_world: Any = None,
        *,
        fx: float | None = None,
        fy: float | None = None,
        cx: float | None = None,
        cy: float | None = None,
        width: int = 512,
        height: int | None = None,
        **orbit: float | None,
    ) -> None:
        """A posed camera.

        Args:
            camera_to_world: 4 × 4 or 3 × 4 array. Columns are right, up, back and position; the axes are orthonormal.
            fx: focal length in pixels, above 0.
            fy: focal length down; None takes `fx`.
            cx: column of the principal point; None takes the middle of the picture.
            cy: row of the principal point; None takes the middle of the picture.
            width: of the picture, in pixels.
            height: of the picture, in pixels; None takes `width`.
            orbit: deprecated: the arguments of `Camera.orbit`.

        Raises:
            ValueError: where a value is out of range, or the axes are not orthonormal and right-handed.
        """
        unknown = set(orbit) - set(_Orbit._fields)
        if unknown:
            raise TypeError(f"Camera has no argument {', '.join(sorted(unknown))}")
        if camera_to_world is None:
            warnings.warn(
                "Camera(azimuth=…, elevation=…, field_of_view=…, distance=…) is deprecated: use Camera.orbit with the "
                "same arguments",
                FutureWarning,
                stacklevel=2,
            )
            other = Camera.orbit(width=width, height=height, **orbit)  # type: ignore[arg-type]
            self._set(other.camera_to_world, other.fx, other.fy, other.cx, other.cy, width, other.height, other._orbit)
            return
        if orbit:
            raise ValueError("a camera has either a pose (camera_to_world) or angles (Camera.orbit), not both")
        if fx is None:
            raise ValueError("a posed camera needs fx, its focal length in pixels")
        height = width if height is None else height
        self._set(
            _pose_rows(camera_to_world),
            fx,
            fx if fy is None else fy,
            width / 2 if cx is None else cx,
            height / 2 if cy is None else cy,
            width,
            height,
            None,
        )

    def _set(
        self,
        pose: tuple[tuple[float, ...], ...],
        fx: float,
        fy: float,
        cx: float,
        cy: float,
        width: int,
        height: int,
        orbit: _Orbit | None,
    ) -> None:
        """Check all values and store them."""
        _check_size(width, height)
        if not all(isfinite(focal) and focal > 0 for focal in (fx, fy)):
            raise ValueError(f"focal lengths are finite numbers of pixels above 0, got fx={fx} and fy={fy}")
        if not (isfinite(cx) and isfinite(cy)):
            raise ValueError(f"the principal point must be finite, got cx={cx} and cy={cy}")
        values = (pose, float(fx), float(fy), float(cx), float(cy), width, height, orbit)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def orbit(
        cls,
        azimuth: float = 0.0,
        elevation: float = 0.0,
        *,
        field_of_view: float = 40.0,
        distance: float | None = None,
        width: int = 512,
        height: int | None = None,
    ) -> "Camera":
        """A camera that looks at the origin; angles in degrees.

        Azimuth 0 looks from +z and increases towards +x; elevation increases towards +y. `field_of_view` is the angle
        across the shorter side of the picture. `distance=None` places the camera where an object of the library's frame
        fits the picture (`fit_distance`).
        """
        fitted = fit_distance(field_of_view)
        if distance is None:
            distance = fitted
        elif not 0 < distance < float("inf"):
            raise ValueError(f"a camera's distance from the origin must be positive, got {distance}")
        if not (isfinite(azimuth) and isfinite(elevation)):
            raise ValueError(f"azimuth and elevation must be finite angles, got {azimuth} and {elevation}")
        height = width if height is None else height
        _check_size(width, height)
        angles = _Orbit(azimuth, elevation, field_of_view, distance)
        one = _orbit_batch(angles, width, height, torch.device("cpu"), torch.float64)
        rows = torch.cat([one.axes[0].T, one.position[0][:, None]], dim=1)
        focal = width / 2 * float(one.focal[0, 0])
        camera = cls.__new__(cls)
        camera._set(_pose_rows(rows.numpy()), focal, focal, width / 2, height / 2, width, height, angles)
        return camera

    @property
    def position(self) -> tuple[float, float, float]:
        """The camera's position in the world."""
        x, y, z = (row[3] for row in self.camera_to_world[:3])
        return x, y, z

    @property
    def azimuth(self) -> float:
        """Azimuth of the camera's position, in degrees, wherever the camera looks."""
        if self._orbit is not None:
            return self._orbit.azimuth
        x, _, z = self.position
        return degrees(atan2(x, z))

    @property
    def elevation(self) -> float:
        """Elevation of the camera's position, in degrees, wherever the camera looks."""
        if self._orbit is not None:
            return self._orbit.elevation
        if self.distance == 0:
            raise ValueError("a camera at the origin has no elevation")
        return degrees(asin(max(-1.0, min(1.0, self.position[1] / self.distance))))

    @property
    def distance(self) -> float:
        """Distance of the camera's position from the origin."""
        return hypot(*self.position) if self._orbit is None else self._orbit.distance

    @property
    def field_of_view(self) -> float:
        """Angle across the shorter side of the picture, in degrees, for a principal point in the middle."""
        if self._orbit is not None:
            return self._orbit.field_of_view
        return 2 * degrees(atan(min(self.width / self.fx, self.height / self.fy) / 2))

    def resized(self, size: int) -> "Camera":
        """The same view with `size` pixels along the longer side of the picture."""
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size counts pixels, from 1 up; got {size!r}")
        longer = max(self.width, self.height)
        width, height = (max(1, round(side * size / longer)) for side in (self.width, self.height))
        x, y = width / self.width, height / self.height
        camera = Camera.__new__(Camera)
        camera._set(
            self.camera_to_world, self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height, self._orbit
        )
        return camera

    def batch(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> CameraBatch:
        """This camera as tensors, a batch of one."""
        device = torch.device(device)
        if self._orbit is not None:
            # From the angles, in the requested precision: a pose rounded to float32 gives other last digits.
            return _orbit_batch(self._orbit, self.width, self.height, device, dtype)
        pose = torch.tensor(self.camera_to_world, dtype=torch.float64)
        axes = pose[:3, :3].T
        center = pose.new_tensor([(self.width / 2 - self.cx) / self.fx, (self.cy - self.height / 2) / self.fy])
        half_extent = pose.new_tensor([self.width / (2 * self.fx), self.height / (2 * self.fy)])
        values = (axes, -axes @ pose[:3, 3], center, half_extent)
        return CameraBatch(*(value[None].to(device=device, dtype=dtype) for value in values))

    def rays(
        self, size: int | None = None, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "pixels 3"], Float[Tensor, "pixels 3"]]:
        """Origins and unit directions of the rays through the pixel centres, row by row from the top.

        `size` is the number of pixels along the longer side; None takes the camera's own picture.
        """
        camera = self if size is None else self.resized(size)
        origins, directions = camera.batch(device).rays(camera.width, camera.height)
        directions = rearrange(directions, "1 row column world -> (row column) world")
        return origins.expand_as(directions), directions

    def project(
        self, points: Float[Tensor, "points 3"], size: int | None = None
    ) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
        """Pixel coordinates (column, row) of world points, and their depths along the camera's axis.

        `size` is the number of pixels along the longer side; None takes the camera's own picture. Only points of
        positive depth are visible.
        """
        camera = self if size is None else self.resized(size)
        pixels, depth = camera.batch(points.device, points.dtype).project(points[None], camera.width, camera.height)
        return pixels[0], depth[0]


def orbit_cameras(
    count: int,
    *,
    elevation: float = 15.0,
    start: float = 0.0,
    field_of_view: float = 40.0,
    distance: float | None = None,
) -> list[Camera]:
    """`count` cameras evenly spaced around the object, the first at azimuth `start`."""
    return [
        Camera.orbit(start + 360 * step / count, elevation, field_of_view=field_of_view, distance=distance)
        for step in range(count)
    ]


def _orbit_batch(orbit: _Orbit, width: int, height: int, device: torch.device, dtype: torch.dtype) -> CameraBatch:
    """A batch of one from angles, computed in `dtype`."""
    azimuth, elevation, field_of_view, distance = torch.tensor(orbit, device=device, dtype=dtype)[:, None].unbind()
    # The field of view spans the shorter side; pixels are square.
    shorter = min(width, height)
    sides = torch.tensor([width / shorter, height / shorter], device=device, dtype=dtype)
    half_extent = torch.tan(torch.deg2rad(field_of_view) / 2)[:, None] * sides
    return CameraBatch.orbit(azimuth, elevation, distance, half_extent)


def _check_size(width: int, height: int) -> None:
    for name, count in (("width", width), ("height", height)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} is a number of pixels, a whole number from 1 up; got {count!r}")


def _pose_rows(pose: Any) -> tuple[tuple[float, ...], ...]:
    """A checked pose as four rows of four numbers."""
    matrix = np.asarray(pose.cpu() if isinstance(pose, Tensor) else pose, dtype=np.float64)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        raise ValueError(
            f"camera_to_world is a 4 × 4 or 3 × 4 array, got shape {matrix.shape}; for angles use Camera.orbit"
        )
    if not np.isfinite(matrix).all() or not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise ValueError(f"camera_to_world must be finite with the last row 0, 0, 0, 1; got {matrix.tolist()}")
    rotation = matrix[:3, :3]
    deviation = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if deviation > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise ValueError(
            "the axes of camera_to_world must be orthonormal and right-handed; they deviate by "
            f"{deviation:.2g}, determinant {np.linalg.det(rotation):.3g}. A pose with another scale or handedness must "
            "be converted first"
        )
    rows: Sequence[Sequence[float]] = matrix.tolist()
    return tuple(tuple(row) for row in rows)
