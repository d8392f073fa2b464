"""Silhouettes of a sphere on a grid, against the closed form."""

import torch

from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.refinement.silhouettes import mask_agreement, silhouettes

CAMERA = FramedCameras(torch.tensor([20.0]), torch.tensor([0.25]), torch.tensor([[0.1, -0.2]]), torch.tensor([0.7]))


def sphere_grid(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0), count: int = 65) -> torch.Tensor:
    axis = torch.linspace(-1, 1, count)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    return radius - (points - torch.tensor(center)).norm(dim=-1)[None]


def test_the_silhouette_of_a_sphere_is_its_cone() -> None:
    radius, center = 0.5, torch.tensor([0.2, -0.1, 0.3])
    cameras = CAMERA.cameras
    found = silhouettes(sphere_grid(radius, tuple(center.tolist())), cameras, 48, num_samples=128)
    direction = torch.nn.functional.normalize(cameras.pixel_directions(48, 48)[0], dim=-1)
    towards = center - cameras.position[0]
    along = direction @ towards
    distance = (towards.square().sum() - along**2).clamp(min=0).sqrt()
    near = distance < radius + 0.1  # farther rays may leave the grid
    assert torch.allclose(found.logits[0][near], radius - distance[near], atol=0.02)
    covered = (distance < radius)[None]
    assert mask_agreement(found.logits, covered.float()) > 0.98
    to_center = (found.points[0] - center).norm(dim=-1)
    assert (to_center - distance)[distance < radius].abs().max() < 0.03


def test_the_silhouette_is_differentiable_in_the_camera() -> None:
    """The camera that shows a sphere too far to the left is moved to the right by the gradient."""
    parameters = torch.zeros(1, 5, requires_grad=True)
    target = silhouettes(sphere_grid(0.4), FramedCameras.from_parameters(torch.zeros(1, 5) + 0.2).cameras, 32).logits
    logits = silhouettes(sphere_grid(0.4), FramedCameras.from_parameters(parameters).cameras, 32).logits
    (torch.sigmoid(8 * logits) - (target > 0).float()).square().mean().backward()
    assert parameters.grad[0, 2] < 0 and parameters.grad[0, 3] < 0


def test_rays_that_miss_the_cube_have_the_lowest_value() -> None:
    small = FramedCameras(torch.tensor([0.0]), torch.tensor([0.2]), torch.zeros(1, 2), torch.tensor([0.2]))
    grid = sphere_grid(0.5)
    found = silhouettes(grid, small.cameras, 32).logits
    assert torch.isclose(found[0, 0, 0], grid.amin())
