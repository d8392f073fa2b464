"""Poses of OpenCV, COLMAP and Blender: known cameras, round trips."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from triplane3d.geometry.camera_conventions import (
    from_blender,
    from_colmap,
    from_opencv,
    to_blender,
    to_colmap,
    to_opencv,
)
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh.files import z_up


def random_pose(seed: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    matrix[:3, 3] = np.random.default_rng(seed).uniform(-2, 2, 3)
    return matrix


def test_an_opencv_camera_at_the_origin_looks_along_plus_z_with_y_down():
    camera = Camera(from_opencv(np.eye(4)), fx=100.0, width=200)
    pixels, depth = camera.project(torch.tensor([[0.5, 0.25, 2.0]]))
    assert pixels[0].tolist() == pytest.approx([100 * 0.25 + 100, 100 * 0.125 + 100]) and depth.item() == 2


def test_a_colmap_camera_projects_with_its_quaternion_and_translation():
    """COLMAP: X_camera = R(q) X + t; u = f x / z + cx, v = f y / z + cy."""
    quaternion, translation = np.array([0.9, 0.1, -0.3, 0.2]), np.array([0.2, -0.1, 4.0])
    quaternion /= np.linalg.norm(quaternion)
    w, x, y, z = quaternion
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    camera_points = points @ rotation.T + translation
    camera = Camera(from_colmap(quaternion, translation), fx=500.0, cx=310.0, cy=250.0, width=640, height=480)
    pixels, depth = camera.project(torch.from_numpy(points))
    np.testing.assert_allclose(pixels, 500 * camera_points[:, :2] / camera_points[:, 2:] + [310, 250], atol=1e-8)
    np.testing.assert_allclose(depth, camera_points[:, 2], atol=1e-10)


def test_blenders_default_camera_looks_down_and_its_front_is_minus_y():
    """Blender's camera without rotation looks along -z. Turned by 90 degrees about x it looks along +y."""
    down = from_blender(np.eye(4))
    np.testing.assert_allclose(down[:3, 2], [0, 1, 0])  # its back axis points up, so it looks down
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    turned[:3, 3] = [0, -3, 0]
    np.testing.assert_allclose(from_blender(turned), Camera.orbit(distance=3.0).camera_to_world, atol=1e-12)


def test_blenders_world_is_that_of_z_up_files():
    pose = random_pose(1)
    np.testing.assert_allclose(z_up(pose[None, :3, 3])[0], to_blender(pose)[:3, 3])


@pytest.mark.parametrize("seed", range(4))
def test_round_trips(seed):
    pose = random_pose(seed)
    np.testing.assert_allclose(to_opencv(from_opencv(pose)), pose, atol=1e-12)
    np.testing.assert_allclose(to_blender(from_blender(pose)), pose, atol=1e-12)
    quaternion, translation = to_colmap(pose)
    assert quaternion[0] >= 0
    np.testing.assert_allclose(from_colmap(quaternion, translation), pose, atol=1e-12)
