"""The agreement of a mesh with a photo: a ball photographed by a known camera."""

import numpy as np
import torch
import trimesh

from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render import render
from triplane3d.refinement.agreement import measure_agreement

CAMERA = FramedCameras.from_parameters(torch.tensor([[0.4, 0.1, 0.2, -0.2, 0.2]]))


def ball(radius: float, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return Mesh(np.asarray(sphere.vertices) + offset, np.asarray(sphere.faces))


def photo_of(mesh: Mesh) -> torch.Tensor:
    return render(mesh, CAMERA.camera(), 96, supersample=1).color.movedim(-1, 0)


def test_a_mesh_agrees_with_its_own_picture() -> None:
    mesh = ball(0.8)
    found = measure_agreement(mesh, CAMERA.camera(), photo_of(mesh))
    assert found.mask_iou == 1 and found.color_error < 1e-3 and found.watertight
    assert found.pieces == 1 and found.largest_piece > 0.999 and abs(found.depth_to_width - 1) < 0.01
    assert found.verdict == "good" and found.advice is None and "mask IoU 1.00" in str(found)


def test_a_smaller_ball_covers_the_square_of_the_ratio() -> None:
    found = measure_agreement(ball(0.6), CAMERA.camera(), photo_of(ball(0.8)))
    assert abs(found.mask_iou - (0.6 / 0.8) ** 2) < 0.05
    assert found.verdict == "poor" and "another seed" in found.advice


def test_pieces_are_counted() -> None:
    both = Mesh.from_trimesh(
        trimesh.util.concatenate([ball(0.5).to_trimesh(), ball(0.25, (0.8, 0.0, 0.0)).to_trimesh()])
    )
    found = measure_agreement(both, CAMERA.camera(), photo_of(both))
    assert found.pieces == 2 and abs(found.largest_piece - 8 / 9) < 0.01
    assert found.verdict == "fair"


def test_without_common_pixels_there_is_no_colour_error() -> None:
    found = measure_agreement(ball(0.1, (0.8, 0.8, 0.0)), CAMERA.camera(), photo_of(ball(0.1, (-0.8, -0.8, 0.0))))
    assert found.mask_iou == 0 and np.isnan(found.color_error)


def test_the_camera_as_a_plain_value_is_the_same_camera() -> None:
    points = torch.rand(1, 20, 3) * 2 - 1
    expected, _ = CAMERA.cameras.project(points, 96, 96)
    found, _ = CAMERA.camera(size=96).project(points[0])
    assert torch.allclose(found, expected[0], atol=1e-3)
