"""Losses on solids with known values."""

import pytest
import torch

from triplane3d.training.losses import (
    descent,
    drop_condition,
    normal_loss,
    occupancy_iou,
    occupancy_loss,
    soft_occupancy,
    tetrahedra,
)


def sphere(points: torch.Tensor, radius: float) -> torch.Tensor:
    return points.norm(dim=-1) - radius


def test_occupancy_is_half_on_the_surface_and_constant_outside_the_band():
    distance = torch.tensor([-1.0, -0.1, -0.05, 0.0, 0.05, 0.1, 1.0])
    assert torch.allclose(soft_occupancy(distance, band=0.1), torch.tensor([1, 1, 0.75, 0.5, 0.25, 0, 0]))


def test_the_loss_is_minimal_at_the_logits_of_the_target():
    distance = torch.linspace(-0.2, 0.2, 40)[None]
    best = torch.logit(soft_occupancy(distance, band=0.1), eps=1e-6)
    least = occupancy_loss(best, distance, band=0.1, near=0.5)
    for moved in (best + 0.5, best - 0.5, 0.7 * best, 1.5 * best):
        assert occupancy_loss(moved, distance, band=0.1, near=0.5) > least


def test_near_weighs_the_second_half_of_the_labels():
    distance = torch.ones(2, 10)
    logits = torch.cat([torch.full((2, 5), -20.0), torch.full((2, 5), 20.0)], dim=1)
    wrong = occupancy_loss(logits, distance, band=0.1, near=1.0)
    assert occupancy_loss(logits, distance, band=0.1, near=0.0) < 1e-6
    assert occupancy_loss(logits, distance, band=0.1, near=0.25) == pytest.approx(0.25 * wrong.item())


def test_iou_of_concentric_spheres_is_the_ratio_of_their_volumes():
    points = torch.rand(2, 200_000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    iou = occupancy_iou(-sphere(points, 0.6), sphere(points, 0.8))
    assert torch.allclose(iou, torch.full((2,), (0.6 / 0.8) ** 3), atol=0.01)
    assert occupancy_iou(-sphere(points, 0.8), sphere(points, 0.8)).tolist() == [1, 1]
    assert occupancy_iou(torch.full((1, 9), -1.0), torch.full((1, 9), 1.0)).tolist() == [1]  # both are empty


def test_occupancy_decreases_along_the_normals():
    normals = torch.nn.functional.normalize(torch.randn(2, 50, 3), dim=-1)
    points = tetrahedra(0.6 * normals, size=0.01)
    assert torch.allclose((points.unflatten(1, (50, 4)) - 0.6 * normals[:, :, None]).norm(dim=-1), torch.tensor(0.01))
    logits = -100 * sphere(points, 0.6)
    assert normal_loss(logits, normals) < 1e-3
    assert normal_loss(-logits, normals) > 2 - 1e-3
    sideways = torch.linalg.cross(normals, torch.randn(2, 50, 3))
    assert normal_loss(logits, sideways).item() == pytest.approx(1, abs=1e-2)
    # The length of the descent is proportional to the slope, with this factor for a tetrahedron.
    assert torch.allclose(descent(logits).norm(dim=-1), torch.tensor(4 / 3**0.5), rtol=1e-2)


def test_slopes_are_computed_in_float32_and_flat_points_do_not_dominate():
    logits, normals = 8 + 0.02 * torch.randn(2, 40), torch.nn.functional.normalize(torch.randn(2, 10, 3), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = descent(logits)
    assert torch.equal(autocast, descent(logits))
    flat = torch.full((2, 40), 8.0, requires_grad=True)
    normal_loss(flat, normals).backward()
    assert 0 < flat.grad.abs().max() < 10


def test_only_the_dropped_samples_lose_their_condition():
    tokens = torch.randn(3, 4, 5)
    kept = drop_condition(tokens, torch.tensor([False, True, False]))
    assert torch.equal(kept[[0, 2]], tokens[[0, 2]]) and not kept[1].any()
