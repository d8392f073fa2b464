"""Cameras: the library's frame, rays that project to their own pixels, posed photographs, invalid values."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from triplane3d.geometry.cameras import Camera, CameraBatch, fit_distance, orbit_cameras


def look_at(position: tuple[float, float, float], target: tuple[float, float, float]) -> np.ndarray:
    """Camera-to-world matrix of a camera whose picture is upright."""
    back = np.subtract(position, target) / np.linalg.norm(np.subtract(position, target))
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return matrix


@pytest.mark.parametrize(
    ("azimuth", "elevation", "direction"),
    [
        (0, 0, (0, 0, 1)),
        (90, 0, (1, 0, 0)),
        (180, 0, (0, 0, -1)),
        (0, 90, (0, 1, 0)),
    ],
)
def test_angles_follow_the_frame(azimuth, elevation, direction):
    camera = Camera.orbit(azimuth, elevation, distance=3.0)
    origins, directions = camera.rays(3)
    torch.testing.assert_close(origins[0], 3 * torch.tensor(direction, dtype=torch.float32), atol=1e-5, rtol=0)
    torch.testing.assert_close(directions[4], -torch.tensor(direction, dtype=torch.float32), atol=1e-5, rtol=0)
    assert camera.position == pytest.approx([3 * component for component in direction], abs=1e-12)


def test_top_row_looks_up_and_right_column_looks_to_plus_x():
    directions = Camera.orbit().rays(8)[1].view(8, 8, 3)
    assert (directions[0, :, 1] > 0).all() and (directions[-1, :, 1] < 0).all()
    assert (directions[:, -1, 0] > 0).all() and (directions[:, 0, 0] < 0).all()


def test_points_on_the_ray_of_a_pixel_project_to_its_center():
    """The cameras form a batch, and their pictures are neither square nor centred."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(4, *shape, generator=generator)

    half_extent, center = uniform(0.1, 1, 2), uniform(-0.5, 0.5, 2)
    cameras = CameraBatch.orbit(uniform(-360, 360), uniform(-89, 89), uniform(1, 4), half_extent, center)
    origins, directions = cameras.rays(7, 5)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(4, 5, 7))

    along = uniform(0.5, 1.5, 5, 7, 1)
    points = origins[:, None, None] + along * directions
    pixels, depth = cameras.project(points.reshape(4, -1, 3), 7, 5)
    rows, columns = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(7) + 0.5, indexing="ij")
    torch.testing.assert_close(
        pixels.reshape(4, 5, 7, 2), torch.stack([columns, rows], -1).expand(4, -1, -1, -1), atol=1e-3, rtol=0
    )
    assert (depth > 0).all() and (depth <= along.reshape(4, -1) + 1e-5).all()


def test_fitted_sphere_touches_the_border():
    camera = Camera.orbit(field_of_view=50, distance=fit_distance(50, radius=0.8))
    origins, directions = camera.rays(201)
    nearest = torch.linalg.cross(origins, directions).norm(dim=-1).reshape(201, 201)
    border = torch.cat([nearest[0], nearest[-1], nearest[:, 0], nearest[:, -1]])
    assert border.min() == pytest.approx(0.8, abs=0.01)


def test_a_posed_camera_projects_by_the_pinhole_equations():
    """u = fx X / Z + cx and v = fy Y / Z + cy, in a frame of right, down and forward."""
    pose = look_at((1.0, 2.0, 3.0), (0.2, 0.1, -0.3))
    camera = Camera(pose, fx=300.0, fy=280.0, cx=170.0, cy=110.0, width=320, height=240)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    right, down, forward = (np.diag([1, -1, -1]) @ pose[:3, :3].T @ (points.numpy() - pose[:3, 3]).T).copy()
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(pixels[:, 0], 300 * right / forward + 170, atol=1e-9)
    np.testing.assert_allclose(pixels[:, 1], 280 * down / forward + 110, atol=1e-9)
    np.testing.assert_allclose(depth, forward, atol=1e-9)

    half, _ = camera.project(points, size=160)
    torch.testing.assert_close(half, pixels / 2)


def test_an_orbiting_camera_equals_the_same_camera_by_its_pose():
    orbit = Camera.orbit(33.0, 21.0, field_of_view=35.0, distance=2.5, width=96, height=64)
    posed = Camera(orbit.camera_to_world, fx=orbit.fx, width=96, height=64)
    assert posed == orbit and hash(posed) == hash(orbit)
    for name in ("azimuth", "elevation", "distance", "field_of_view"):
        assert getattr(posed, name) == pytest.approx(getattr(orbit, name), abs=1e-9)
    for one, other in zip(posed.rays(), orbit.rays()):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert copy.deepcopy(orbit) == orbit
    assert Camera.orbit(725.0).azimuth == 725.0  # angles are returned as they were given


def test_the_field_of_view_spans_the_shorter_side():
    for width, height in ((60, 40), (40, 60)):
        camera = Camera.orbit(field_of_view=50.0, width=width, height=height)
        directions = camera.rays()[1].view(height, width, 3)
        middle = directions[:, width // 2] if height < width else directions[height // 2]
        assert -middle[0] @ -middle[-1] == pytest.approx(np.cos(np.radians(50 * 39 / 40)), abs=2e-3)
        assert camera.fx == camera.fy


def test_a_crop_moves_the_principal_point():
    camera = Camera.orbit(20.0, 10.0, width=64)
    crop = replace(camera, cx=camera.cx - 16, width=32)
    torch.testing.assert_close(
        crop.rays()[1].view(64, 32, 3), camera.rays()[1].view(64, 64, 3)[:, 16:48], atol=1e-6, rtol=0
    )


def test_orbit_cameras_are_evenly_spaced():
    assert [camera.azimuth for camera in orbit_cameras(4, start=10)] == [10, 100, 190, 280]


def test_angles_in_the_constructor_are_deprecated():
    with pytest.warns(FutureWarning, match=r"use Camera\.orbit"):
        camera = Camera(azimuth=90, distance=1.9)
    assert camera == Camera.orbit(90, distance=1.9) and camera.azimuth == 90
    with pytest.warns(FutureWarning):
        assert Camera().position == Camera.orbit().position
    with pytest.raises(TypeError, match="no argument zoom"):
        Camera(zoom=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field_of_view": 180}, "field of view"),
        ({"distance": -1}, "distance"),
        ({"azimuth": float("nan")}, "finite angles"),
        ({"width": 0}, "width is a number of pixels"),
    ],
)
def test_invalid_orbits_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Camera.orbit(**options)


@pytest.mark.parametrize(
    ("pose", "options", "message"),
    [
        (np.eye(4), {}, "needs fx"),
        (np.eye(4), {"fx": 0.0}, "focal lengths are finite numbers of pixels above 0"),
        (np.eye(4), {"fx": 1.0, "fy": float("inf")}, "focal lengths"),
        (np.eye(4), {"fx": 1.0, "cx": float("nan")}, "principal point"),
        (np.eye(4), {"fx": 1.0, "height": 0}, "height is a number of pixels"),
        (np.eye(4), {"fx": 1.0, "azimuth": 3.0}, "not both"),
        (np.eye(3), {"fx": 1.0}, "4 × 4 or 3 × 4"),
        (30.0, {"fx": 1.0}, "for angles use Camera.orbit"),
        (2 * np.eye(4), {"fx": 1.0}, "last row"),
        (np.diag([2.0, 2, 2, 1]), {"fx": 1.0}, "orthonormal"),
        (np.diag([1.0, 1, -1, 1]), {"fx": 1.0}, "right-handed"),
        (np.full((4, 4), np.nan), {"fx": 1.0}, "finite"),
    ],
)
def test_invalid_poses_are_refused(pose, options, message):
    with pytest.raises(ValueError, match=message):
        Camera(pose, **options)
