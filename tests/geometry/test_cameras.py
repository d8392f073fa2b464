"""Cameras: the frame's promises, and rays and projections that undo one another."""

import pytest
import torch

from triplane3d.geometry.cameras import Camera, camera_rays, fit_distance, orbit, project_points, world_to_clip


@pytest.mark.parametrize(
    ("azimuth", "elevation", "stands"),
    [
        (0, 0, (0, 0, 1)),
        (90, 0, (1, 0, 0)),
        (180, 0, (0, 0, -1)),
        (0, 90, (0, 1, 0)),
    ],
)
def test_camera_stands_where_the_frame_says(azimuth, elevation, stands):
    origins, directions = Camera(azimuth, elevation, distance=3.0).rays(3)
    torch.testing.assert_close(origins[0], 3 * torch.tensor(stands, dtype=torch.float32), atol=1e-5, rtol=0)
    torch.testing.assert_close(directions[4], -torch.tensor(stands, dtype=torch.float32), atol=1e-5, rtol=0)


def test_top_row_looks_up_and_right_column_looks_to_plus_x():
    _, directions = camera_rays(*Camera().tensors(), 8)
    assert (directions[0, 0, :, 1] > 0).all() and (directions[0, -1, :, 1] < 0).all()
    assert (directions[0, :, -1, 0] > 0).all() and (directions[0, :, 0, 0] < 0).all()


def test_points_on_a_pixels_ray_project_to_its_centre():
    generator = torch.Generator().manual_seed(0)
    azimuth = torch.rand(4, generator=generator) * 720 - 360
    elevation = torch.rand(4, generator=generator) * 178 - 89
    fov = torch.rand(4, generator=generator) * 80 + 10
    distance = torch.rand(4, generator=generator) * 3 + 1
    origins, directions = camera_rays(azimuth, elevation, fov, distance, 6)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(4, 6, 6))

    along = torch.rand(4, 6, 6, 1, generator=generator) + 0.5
    points = origins[:, None, None] + along * directions
    pixels, depth = project_points(points.reshape(4, -1, 3), world_to_clip(azimuth, elevation, fov, distance), 6)
    rows, columns = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(6) + 0.5, indexing="ij")
    torch.testing.assert_close(
        pixels.reshape(4, 6, 6, 2), torch.stack([columns, rows], -1).expand(4, -1, -1, -1), atol=1e-3, rtol=0
    )
    assert (depth > 0).all() and (depth <= along.reshape(4, -1) + 1e-5).all()


def test_clip_planes_map_to_minus_one_and_one():
    camera = Camera(30, 20, distance=4.0)
    clip = world_to_clip(*camera.tensors(), near=1.0, far=7.0)[0]
    origins, _ = camera.rays(1)
    forward = -origins[0] / 4
    for along, expected in ((1.0, -1.0), (7.0, 1.0)):
        x, y, z, w = clip @ torch.cat([origins[0] + along * forward, torch.ones(1)])
        assert abs(x) < 1e-4 and abs(y) < 1e-4 and abs(z / w - expected) < 1e-4 and abs(w - along) < 1e-4


def test_fitted_sphere_touches_the_border():
    camera = Camera(field_of_view=50, distance=fit_distance(50, radius=0.8))
    origins, directions = camera.rays(201)
    nearest = torch.linalg.cross(origins, directions).norm(dim=-1).reshape(201, 201)
    border = torch.cat([nearest[0], nearest[-1], nearest[:, 0], nearest[:, -1]])
    assert border.min() == pytest.approx(0.8, abs=0.01)


def test_orbit_is_even_and_impossible_cameras_are_refused():
    assert [camera.azimuth for camera in orbit(4, start=10)] == [10, 100, 190, 280]
    with pytest.raises(ValueError, match="field of view"):
        Camera(field_of_view=180)
    with pytest.raises(ValueError, match="distance"):
        Camera(distance=-1)
