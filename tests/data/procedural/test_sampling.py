"""Sampling and rendering: points, normals, labels and pictures agree with shapes whose geometry is known."""

from math import pi

import pytest
import torch

from triplane3d.data.procedural import (
    FAMILIES,
    HOLDOUT_FAMILIES,
    OrbitCameras,
    ShapeBatch,
    distance_grid,
    generate_shapes,
    render_views,
    sample_labels,
    sample_surface,
)
from triplane3d.data.procedural.parts import Material, box, capsule, ellipsoid
from triplane3d.geometry.cameras import fit_distance


def ball(radii: tuple[float, float, float] = (1, 1, 1)) -> ShapeBatch:
    return ShapeBatch.from_parts([[ellipsoid(radii)]])


def test_surface_points_lie_on_the_surface_with_its_normals() -> None:
    points, normals = sample_surface(ball(), 2000, torch.Generator().manual_seed(0))
    assert (points.norm(dim=-1) - 1).abs().max() < 1e-3
    assert (points * normals).sum(-1).min() > 0.999


def test_surface_points_are_uniform_by_area() -> None:
    """On a sphere the height is uniform (Archimedes). On a box the number of points is proportional to face areas."""
    points, _ = sample_surface(ball(), 8000, torch.Generator().manual_seed(0))
    counts = torch.histc(points[0, :, 1], bins=8, min=-1, max=1) / 8000
    assert (counts - 1 / 8).abs().max() < 0.02
    slab = ShapeBatch.from_parts([[box((1, 0.25, 0.5))]])
    points, normals = sample_surface(slab, 8000, torch.Generator().manual_seed(0))
    share = normals[0].abs().gt(0.9).float().mean(0)
    expected = torch.tensor([0.25 * 0.5, 1 * 0.5, 1 * 0.25])
    assert torch.allclose(share / share.sum(), expected / expected.sum(), atol=0.03)


def test_labels_are_signed_distances_and_half_are_near_the_surface() -> None:
    batch = ball()
    surface, _ = sample_surface(batch, 500)
    points, distance = sample_labels(batch, 4000, surface, torch.Generator().manual_seed(0))
    assert torch.allclose(distance, points.norm(dim=-1) - 1, atol=5e-3)
    assert (distance[:, :2000] < 0).float().mean() == pytest.approx(pi / 6, abs=0.03)
    assert distance[:, 2000:].abs().median() < 0.05


def test_grid_nodes_include_both_walls() -> None:
    grid = distance_grid(ball(), 8)
    assert grid.shape == (1, 9, 9, 9)
    assert grid[0, 0, 4, 4] == pytest.approx(0, abs=5e-3) and grid[0, 4, 4, 4] < -0.9


def test_picture_of_a_ball_is_a_centered_disc_of_the_foreground_ratio() -> None:
    batch = ball()
    surface, _ = sample_surface(batch, 4000)
    views = OrbitCameras(torch.tensor([10.0]), torch.tensor([30.0]))
    rgba, depth = render_views(batch, views, surface, 96)
    alpha = rgba[0, 3]
    assert float(alpha.mean()) == pytest.approx(pi / 4 * 0.85**2, rel=0.03)
    rows, columns = (alpha > 0.5).nonzero(as_tuple=True)
    assert rows.float().mean() == pytest.approx(47.5, abs=1) and columns.float().mean() == pytest.approx(47.5, abs=1)
    assert float(depth[0, 48, 48]) == pytest.approx(fit_distance(30.0) - 1, abs=0.02)
    assert torch.isinf(depth[0, 0, 0])


def test_camera_is_at_plus_z_with_x_to_the_right_and_y_up() -> None:
    red, green = Material((0.9, 0.05, 0.05)), Material((0.05, 0.9, 0.05))
    batch = ShapeBatch.from_parts(
        [[capsule((0, 0, 0), (1, 0, 0), 0.15, material=red), capsule((0, 0, 0), (0, 1, 0), 0.15, material=green)]]
    )
    surface, _ = sample_surface(batch, 2000)
    rgba, _ = render_views(batch, OrbitCameras(torch.zeros(1), torch.tensor([30.0])), surface, 64)
    red_at = (rgba[0, 0] > 2 * rgba[0, 1]) & (rgba[0, 3] > 0.5)
    green_at = (rgba[0, 1] > 2 * rgba[0, 0]) & (rgba[0, 3] > 0.5)
    assert red_at.nonzero()[:, 1].float().mean() > green_at.nonzero()[:, 1].float().mean() + 10
    assert green_at.nonzero()[:, 0].float().mean() < red_at.nonzero()[:, 0].float().mean() - 10


def test_there_are_enough_families_and_a_seed_determines_the_shape() -> None:
    assert len(FAMILIES) >= 30 and len(HOLDOUT_FAMILIES) >= 4
    assert not set(FAMILIES) & set(HOLDOUT_FAMILIES)
    first, again = (generate_shapes(range(8), azimuths="random") for _ in range(2))
    assert first.names == again.names
    points = torch.rand(1, 100, 3).expand(8, -1, -1) * 2 - 1
    assert torch.equal(first.distance(points), again.distance(points))


def test_an_unknown_family_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown shape families \\['sofabed'\\]"):
        generate_shapes([0], families=["sofabed"])


@pytest.mark.parametrize("name", sorted(FAMILIES | HOLDOUT_FAMILIES))
def test_every_family_gives_one_bounded_solid(name: str) -> None:
    from scipy import ndimage

    batch = generate_shapes([3, 4], families=[name], azimuths="random")
    inside = (distance_grid(batch, 56) < 0).numpy()
    for solid in inside:
        labels, count = ndimage.label(solid, structure=torch.ones(3, 3, 3).numpy())
        sizes = ndimage.sum(solid, labels, range(1, count + 1))
        assert count > 0 and sizes.max() >= 0.985 * sizes.sum()
        assert 0.0015 < solid.mean() < 0.55
