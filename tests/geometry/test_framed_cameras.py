"""Cameras of framed photos: five numbers and back, and agreement with the views that training renders."""

import torch

from triplane3d.data.procedural import OrbitCameras, generate_shapes, render_views, sample_surface
from triplane3d.data.procedural.samples import sample_shapes
from triplane3d.geometry.framed_cameras import FramedCameras


def test_parameters_are_inverted() -> None:
    parameters = torch.randn(6, 5).clamp(-1.5, 1.5)
    assert torch.allclose(FramedCameras.from_parameters(parameters).parameters, parameters, atol=1e-4)


def test_offset_and_scale_are_where_and_how_large_the_origin_appears() -> None:
    cameras = FramedCameras(torch.tensor([20.0]), torch.tensor([0.2]), torch.tensor([[0.1, -0.3]]), torch.tensor([0.6]))
    batch = cameras.cameras
    beside = batch.axes[:, 0]  # one unit to the right of the origin, at its depth
    pixels, depth = batch.project(torch.stack([torch.zeros(1, 3), beside], dim=1), 2, 2)
    assert torch.allclose(depth, torch.tensor([[5.0, 5.0]]), atol=1e-5)
    # Two pixels along a side: half a side is one pixel, and the centre is at (1, 1).
    assert torch.allclose(pixels[0, 0] - 1, torch.tensor([0.1, 0.3]), atol=1e-5)
    assert torch.allclose(pixels[0, 1] - pixels[0, 0], torch.tensor([0.6, 0.0]), atol=1e-5)


def test_windows_of_a_sample_give_the_camera_of_its_view() -> None:
    """Surface points, projected by the stored camera, fall on the mask of the stored view."""
    shapes = generate_shapes([3, 11, 12])
    generator = torch.Generator().manual_seed(0)
    sample = sample_shapes(shapes, surface_points=512, label_points=8, views=1, image_size=64, generator=generator)
    cameras = FramedCameras.from_windows(sample["cameras"][:, 0, 1], sample["windows"][:, 0])
    pixels, _ = cameras.cameras.project(sample["surface_points"].float(), 64, 64)
    # The square around the projections is centred and fills 85% of the view.
    low, high = pixels.amin(dim=1), pixels.amax(dim=1)
    assert torch.allclose((low + high) / 2, torch.full((3, 2), 32.0), atol=0.1)
    assert torch.allclose((high - low).amax(dim=1), torch.full((3,), 0.85 * 64), atol=0.1)
    columns, rows = pixels.long().clamp(0, 63).unbind(-1)
    alpha = sample["views"][torch.arange(3)[:, None], 0, 3, rows, columns].float() / 255
    assert (alpha > 0).float().mean() > 0.97


def test_framed_cameras_render_the_framed_view() -> None:
    shapes = generate_shapes([5])
    surface, _ = sample_surface(shapes, 512, torch.Generator().manual_seed(0))
    views = OrbitCameras(torch.tensor([10.0]), torch.tensor([40.0]))
    _, depth = render_views(shapes, views, surface, 32, generator=torch.Generator().manual_seed(0))
    framed = views.framed(surface)
    origin, direction = framed.position, framed.pixel_directions(32, 32)
    hit = depth.isfinite()
    points = (origin[:, None, None] + depth[..., None] * direction)[hit]
    assert len(points) > 50
    assert shapes.distance(points[None]).abs().max() < 0.02
