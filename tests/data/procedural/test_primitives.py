"""Primitives: correct sign, correct distance near the surface, and never a larger distance than the true one."""

from math import pi

import numpy as np
import pytest
import torch

from triplane3d.data.procedural.parts import Part, box, capsule, cylinder, ellipsoid, prism, revolve, torus, tube
from triplane3d.data.procedural.shape_batch import ShapeBatch

STAR = [
    (0, 1),
    (0.3, 0.3),
    (1, 0.2),
    (0.4, -0.2),
    (0.6, -1),
    (0, -0.5),
    (-0.6, -1),
    (-0.4, -0.2),
    (-1, 0.2),
    (-0.3, 0.3),
]
PARTS = {
    "box": box((0.9, 0.5, 0.4), round=0.05),
    "tapered box": box((0.6, 0.7, 0.4), taper=-0.4),
    "ellipsoid": ellipsoid((1, 0.6, 0.4)),
    "superellipsoid": ellipsoid((0.9, 0.8, 0.5), exponents=(0.5, 0.7)),
    "cylinder": cylinder(0.5, 0.8, round=0.04),
    "cone": cylinder(0.8, 0.9, top_radius=0.0),
    "capsule": capsule((-0.7, 0, 0), (0.7, 0.3, 0), 0.3, end_radius=0.2),
    "torus": torus(0.7, 0.2),
    "arc": torus(0.7, 0.2, arc=pi / 2),
    "tube": tube([(-0.8, 0, 0), (0, 0.8, 0), (0.8, 0, 0.2)], 0.15),
    "revolve": revolve([(0, 0), (0.6, 0), (0.8, 1), (0.7, 1), (0.5, 0.1), (0, 0.1)]),
    "prism": prism(STAR, 0.2, round=0.02),
}


def single(part: Part) -> ShapeBatch:
    return ShapeBatch.from_parts([[part]])


@pytest.mark.parametrize("name", PARTS)
def test_distance_is_a_bound_that_is_tight_at_the_surface(name: str) -> None:
    batch = single(PARTS[name])
    points = torch.rand(1, 6000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distance, gradient = batch.gradient(points)
    near = (distance.abs() < 0.03) & (distance.abs() > 0.006)
    slope = gradient.norm(dim=-1)[near]
    assert slope.median() == pytest.approx(1, abs=0.12)
    assert slope.quantile(0.99) < 1.2


@pytest.mark.parametrize("name", PARTS)
def test_object_is_centered_and_its_longest_side_is_two(name: str) -> None:
    batch = single(PARTS[name])
    axis = torch.linspace(-1.1, 1.1, 111)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
    inside = grid[batch.distance(grid) < 0]
    low, high = inside.amin(0), inside.amax(0)
    cell = float(axis[1] - axis[0])
    assert (high + low).abs().max() < 2.5 * cell
    assert float((high - low).max()) == pytest.approx(2, abs=2.5 * cell)


def volume(batch: ShapeBatch, count: int = 200_000) -> float:
    points = torch.rand(1, count, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return 8 * float((batch.distance(points) < 0).float().mean())


def test_volumes_are_those_of_the_formulas() -> None:
    assert volume(single(ellipsoid((1, 1, 1)))) == pytest.approx(4 / 3 * pi, rel=0.02)
    assert volume(single(cylinder(1, 1))) == pytest.approx(2 * pi, rel=0.02)
    assert volume(single(torus(0.75, 0.25))) == pytest.approx(2 * pi**2 * 0.75 * 0.25**2, rel=0.04)
    assert volume(single(revolve([(0, -1), (1, -1), (0, 1)]))) == pytest.approx(pi * 2 / 3, rel=0.03)
    assert volume(single(prism([(-1, -1), (1, -1), (1, 1)], 1))) == pytest.approx(4, rel=0.02)


def test_an_azimuth_turns_the_object() -> None:
    """An azimuth of +90° turns the side that faced +z to +x."""
    nose = [ellipsoid((0.5, 0.5, 0.5)), capsule((0, 0, 0.3), (0, 0, 1), 0.1)]
    batch = ShapeBatch.from_parts([nose], azimuths=[pi / 2])
    tip = torch.tensor([[[0.97, 0, 0], [-0.97, 0, 0]]])
    inside = (batch.distance(tip) < 0)[0]
    assert inside[0]
    surface = batch.distance(torch.tensor([[[-0.97, 0.5, 0.5]]]))
    assert surface > 0.1


def test_a_shape_does_not_depend_on_the_others_of_its_batch() -> None:
    shapes = [[part] for part in PARTS.values()]
    together = ShapeBatch.from_parts(shapes)
    points = torch.rand(1, 500, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1
    joint = together.distance(points.expand(len(shapes), -1, -1))
    for i, shape in enumerate(shapes):
        alone = ShapeBatch.from_parts([shape]).distance(points)[0]
        assert torch.allclose(joint[i], alone, atol=2e-3)  # the pose is found by sampling: equal to a thousandth


def test_subtraction_intersection_and_mirror() -> None:
    ball, hole = ellipsoid((1, 1, 1)), cylinder(0.4, 2, op="subtract")
    batch = ShapeBatch.from_parts(
        [
            [ball, hole],
            [ball, box((2, 1, 2), center=(0, -1, 0), op="intersect")],
            [box((1, 0.1, 0.1)), cylinder(0.1, 0.5, center=(0.8, 0.4, 0), mirror="x")],
        ]
    )
    drilled, halved, posts = batch.distance(torch.zeros(3, 1, 3))[:, 0]
    assert drilled > 0.3
    assert batch[1:2].distance(torch.tensor([[[0.0, 0.9, 0.0]]])) > 0.1
    both = batch[2:3].distance(torch.tensor([[[-0.8, 0.3, 0.0], [0.8, 0.3, 0.0]]]))
    assert (both < 0).all()


def test_wrong_parameters_are_errors() -> None:
    with pytest.raises(ValueError, match="starts and ends on the axis"):
        revolve([(0.1, 0), (0.5, 0.5), (0, 1)])
    with pytest.raises(ValueError, match="2 to 8 points"):
        tube(np.zeros((9, 3)), 0.1)
    with pytest.raises(ValueError, match="op must be one of"):
        box((1, 1, 1), op="join")
