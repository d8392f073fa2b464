"""The true camera of the framed photo: compared with what the photo shows, and with cameras that are known exactly."""

from dataclasses import replace
from math import asin, tan

import numpy as np
import pytest
import torch
import trimesh

from triplane3d.data.procedural import FAMILIES, HOLDOUT_FAMILIES
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes, render_image
from triplane3d.evaluation.solids import Solid
from triplane3d.evaluation.true_cameras import camera_errors, true_camera
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.framed_cameras import FramedCameras, photo_coordinates
from triplane3d.geometry.mesh import Mesh
from triplane3d.images.image_processor import frame_foreground
from triplane3d.refinement.silhouettes import mask_agreement, silhouettes

RATIO = 0.85


def framed_mask(shape: EvaluationShape, size: int) -> torch.Tensor:
    return frame_foreground(shape.image[None], size, foreground_ratio=RATIO)[:, 3]


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(6, sorted(FAMILIES | HOLDOUT_FAMILIES), image_size=160, resolution=32)


def agreement(grid: torch.Tensor, camera: FramedCameras, mask: torch.Tensor) -> float:
    return float(mask_agreement(silhouettes(grid, camera.cameras, 96, num_samples=192).logits, mask)[0])


def test_the_true_camera_sees_the_true_shape_as_the_photo_shows_it(shapes: list[EvaluationShape]) -> None:
    axis = torch.linspace(-1, 1, 97)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    for shape in shapes:
        grid, camera = shape.solid.field(points).view(1, 97, 97, 97), true_camera(shape, RATIO)
        mask = framed_mask(shape, 96)

        own = agreement(grid, camera, mask)
        assert own > 0.94
        # A camera that is off by little more than the evaluation must be able to tell is worse.
        for parameter, step in ((2, 0.4), (3, -0.4), (4, 0.3)):
            change = torch.zeros(1, 5)
            change[0, parameter] = step
            changed = FramedCameras.from_parameters(camera.parameters + change)
            assert agreement(grid, changed, mask) < own - 0.02


def test_the_surface_fills_the_framed_square(shapes: list[EvaluationShape]) -> None:
    for shape in shapes:
        surface = torch.from_numpy(shape.solid.surface.mesh.vertices).float()[None]
        seen, _ = photo_coordinates(true_camera(shape, RATIO).cameras, surface)
        low, high = seen[0].amin(dim=0), seen[0].amax(dim=0)
        assert (low + high).abs().max() < 0.06
        assert float((high - low).max()) == pytest.approx(2 * RATIO, abs=0.08)


def ball_shape(center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> EvaluationShape:
    """A ball of radius 0.5, photographed from a distance of 4 at an elevation of 30 degrees."""
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    mesh = Mesh(np.asarray(sphere.vertices) + center, np.asarray(sphere.faces))
    camera = Camera.orbit(elevation=30.0, field_of_view=40.0, distance=4.0)
    solid, none = Solid.from_mesh(mesh), torch.zeros(1, 3)
    half = float(camera.batch().half_extent[0, 0])
    return EvaluationShape(
        "ball", "ball", solid, solid.surface, none, none, none, render_image(mesh, camera, 300), camera, mesh,
        torch.tensor([4.0, 0.0, 0.0, half]),
    )  # fmt: skip


def test_camera_of_a_ball_is_that_of_geometry() -> None:
    """The outline of a ball of radius r at distance d is a circle of radius tan(asin(r / d)) at depth 1."""
    camera = true_camera(ball_shape(), RATIO)
    assert float(camera.elevation) == 30 and float(camera.perspective) == pytest.approx(1 / 4)
    assert camera.offset.abs().max() < 0.01
    outline = tan(asin(0.5 / 4))
    assert float(camera.scale) == pytest.approx(RATIO / (4 * outline), rel=0.02)


def test_a_ball_beside_the_origin_moves_the_origin_the_other_way() -> None:
    centered, beside = true_camera(ball_shape(), RATIO), true_camera(ball_shape((0.25, 0.0, 0.0)), RATIO)
    right, up = (beside.offset - centered.offset)[0].tolist()
    assert right == pytest.approx(-0.25 * float(centered.scale), rel=0.05) and abs(up) < 0.02


def test_the_place_of_the_object_in_the_photo_does_not_matter() -> None:
    """The same photo on a larger canvas, beside the middle: the window of the canvas is known, the crop is the same."""
    shape = ball_shape((0.25, 0.1, 0.0))
    size = shape.image.shape[-1]
    image = torch.zeros(4, 2 * size, 2 * size)
    image[:, 40 : 40 + size, 10 : 10 + size] = shape.image
    distance, right, up, half = shape.window.tolist()
    pixel = 2 * half / size
    canvas = torch.tensor([distance, right + (size / 2 - 10) * pixel, up - (size / 2 - 40) * pixel, 2 * half])
    errors = camera_errors(true_camera(replace(shape, image=image, window=canvas), RATIO), true_camera(shape, RATIO))
    assert max(errors.values()) < 1e-4


def test_errors_have_the_documented_units() -> None:
    true = FramedCameras.from_parameters(torch.zeros(1, 5))
    assert camera_errors(true, true) == {"elevation_error": 0, "offset_error": 0, "scale_error": 0}
    for factor in (1.25, 1 / 1.25):
        other = FramedCameras(
            true.elevation - 7, true.perspective, true.offset + torch.tensor([0.06, -0.08]), true.scale * factor
        )
        errors = camera_errors(other, true)
        assert errors["elevation_error"] == pytest.approx(7)
        assert errors["offset_error"] == pytest.approx(0.05) and errors["scale_error"] == pytest.approx(0.25)


def test_shape_without_a_known_framing_is_an_error() -> None:
    with pytest.raises(ValueError, match="ball has no image with a known framing"):
        true_camera(replace(ball_shape(), window=None), RATIO)
