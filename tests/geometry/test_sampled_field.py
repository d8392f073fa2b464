"""Fields on a regular grid: values between the samples, and which samples are exact."""

from dataclasses import dataclass

import pytest
import torch

from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.isosurface import extract_surface
from triplane3d.geometry.sampled_field import SampledField, sample_near_surface


@dataclass
class Ball(FieldBatch):
    """A ball with a thin rod; colours are the coordinates."""

    has_color: bool = True
    device: torch.device = torch.device("cpu")
    evaluated: int = 0

    def occupancy(self, points: torch.Tensor) -> torch.Tensor:
        self.evaluated += points.shape[1]
        ball = 0.5 - points.norm(dim=-1)
        rod = torch.where(points[..., 1].abs() < 0.9, 0.04 - points[..., [0, 2]].norm(dim=-1), -1.0)
        return 20 * torch.maximum(ball, rod)

    def color(self, points: torch.Tensor) -> torch.Tensor:
        return (points + 1) / 2

    def __getitem__(self, index: int) -> "Ball":
        return self

    def __len__(self) -> int:
        return 1


def coarse_grid(field: Ball, samples: int = 65) -> torch.Tensor:
    axis = torch.linspace(-1, 1, samples)
    return field.grid(axis, axis, axis)


def test_samples_next_to_the_surface_are_exact() -> None:
    field = Ball()
    coarse = coarse_grid(field)
    field.evaluated = 0
    sampled = sample_near_surface(field, coarse)
    assert field.evaluated < 0.3 * 129**3
    axis = torch.linspace(-1, 1, 129)
    exact = field.grid(axis, axis, axis)
    near = exact.abs() < 0.3
    assert torch.allclose(sampled.logits[near], exact[near], atol=1e-5)
    assert torch.equal(sampled.logits > 0, exact > 0)


def test_values_and_colours_between_the_samples() -> None:
    field = Ball()
    sampled = sample_near_surface(field, coarse_grid(field))
    mesh = extract_surface(field, 128)
    surface = torch.from_numpy(mesh.vertices).float()[None]
    assert field.occupancy(surface).abs().max() < 1.0
    assert (sampled.occupancy(surface) - field.occupancy(surface)).abs().mean() < 0.02
    assert torch.allclose(sampled.color(surface), field.color(surface), atol=1e-4)
    away = torch.tensor([[[0.9, 0.2, -0.7], [0.1, 0.0, 0.1]]])
    assert torch.allclose(sampled.color(away), field.color(away), atol=1e-4)
    assert torch.equal(sampled.occupancy(away) > 0, torch.tensor([[False, True]]))


def test_the_level_moves_the_exact_samples() -> None:
    field = Ball()
    sampled = sample_near_surface(field, coarse_grid(field), level=-4.0)
    surface = torch.tensor([[[0.7, 0.0, 0.0], [0.0, 0.0, -0.7]]])  # logit 20 (0.5 - 0.7) = -4
    assert torch.allclose(sampled.occupancy(surface), torch.full((1, 2), -4.0), atol=0.05)


def test_fields_without_colour_and_batches() -> None:
    field = Ball(has_color=False)
    sampled = sample_near_surface(field, coarse_grid(field, 17))
    assert not sampled.has_color
    with pytest.raises(ValueError, match="no colour"):
        sampled.color(torch.zeros(1, 1, 3))
    both = SampledField(torch.stack([sampled.logits[0], -sampled.logits[0]]))
    points = torch.rand(2, 20, 3) * 2 - 1
    values = both.occupancy(points)
    assert torch.allclose(both[-1].occupancy(points[1:]), values[1:]) and len(both) == 2
    with pytest.raises(ValueError, match="batch of 2: pick one"):
        sample_near_surface(both, both.logits[:1])
