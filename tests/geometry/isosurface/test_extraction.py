"""Surface extraction on simple solids with an exact surface."""

from math import pi

import numpy as np
import pytest
import torch

from triplane3d.geometry.isosurface import evaluate_grid, extract_surface, surface_of_grid
from triplane3d.geometry.mesh import Mesh

CENTER = torch.tensor([0.13, -0.21, 0.08])


def sphere(points: torch.Tensor) -> torch.Tensor:
    return 0.6 - (points - CENTER).norm(dim=-1)


class GridSphere:
    """The same sphere as a field with the methods `grid` and `color` of a TriplaneField."""

    has_color = True
    slabs = 0

    def __call__(self, points):
        return sphere(points)

    def grid(self, x, y, z):
        self.slabs += 1
        return sphere(torch.stack(torch.meshgrid(x, y, z, indexing="ij"), dim=-1))[None]

    def color(self, points):
        return (points + 1) / 2


@pytest.mark.parametrize("resolution", [16, 33, 64])
def test_a_sphere_off_center_has_the_right_position(resolution):
    mesh = extract_surface(sphere, resolution)
    radii = np.linalg.norm(mesh.vertices - CENTER.numpy(), axis=1)
    assert abs(radii - 0.6).max() < 0.1 * (2 / resolution)
    assert abs(mesh.bounds.mean(axis=0) - CENTER.numpy()).max() < 0.1 * (2 / resolution)
    assert mesh.check().ok and mesh.check().components == 1


def test_sphere_encloses_its_volume_and_its_normals_point_away():
    mesh = extract_surface(sphere, 64)
    assert mesh.volume == pytest.approx(4 / 3 * pi * 0.6**3, rel=0.01)
    away = (mesh.vertices - CENTER.numpy()) / 0.6
    assert (mesh.vertex_normals * away).sum(axis=1).min() > 0.99


def test_torus_has_one_hole():
    mesh = extract_surface(lambda p: 0.25 - torch.hypot(torch.hypot(p[:, 0], p[:, 1]) - 0.6, p[:, 2]), 48)
    assert mesh.check().ok and mesh.euler_number == 0


@pytest.mark.parametrize("resolution", [8, 15])
@pytest.mark.parametrize(
    "solid",
    [
        pytest.param(lambda p: 1.3 - p.norm(dim=-1), id="ball through all six walls"),
        pytest.param(lambda p: p[:, 0] + 0.3 * p[:, 1] + 0.1, id="half space"),
        pytest.param(lambda p: 0.6 - (p - 1).norm(dim=-1), id="ball in a corner"),
    ],
)
def test_a_solid_cut_by_the_box_is_closed_exactly_at_its_walls(solid, resolution):
    mesh = extract_surface(solid, resolution)
    assert mesh.check().ok, mesh.check()
    assert mesh.bounds.min() >= -1 and mesh.bounds.max() == 1
    at_walls = (abs(mesh.vertices) == 1).any(axis=1)
    inside = ~at_walls & (abs(mesh.vertices) > 1 - 1e-4 / resolution).any(axis=1)
    assert at_walls.sum() > 3 and inside.sum() == 0


def test_half_box_has_half_the_volume():
    mesh = extract_surface(lambda p: 0.25 - p[:, 1], 10, bounds=(0.0, 0.5))
    assert mesh.volume == pytest.approx(0.5**3 / 2, rel=1e-3)
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [0.5, 0.25, 0.5]], atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_noise_gives_a_closed_surface_without_empty_faces(seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal([int(rng.integers(3, 12))] * 3).astype(np.float32)
    if seed % 3 == 1:
        values = np.rint(values)  # many samples on the surface itself
    if seed % 3 == 2:
        values *= 10 ** rng.uniform(-8, 2, values.shape).astype(np.float32)
    assert Mesh(*surface_of_grid(values)).check().ok


def test_grid_and_point_evaluation_give_the_same_mesh_in_any_chunks():
    field = GridSphere()
    by_grid = extract_surface(field, 20)
    for other in (
        extract_surface(sphere, 20),
        extract_surface(sphere, 20, chunk_size=777),
        extract_surface(field, 20, chunk_size=1),
    ):
        np.testing.assert_array_equal(by_grid.vertices, other.vertices)
        np.testing.assert_array_equal(by_grid.faces, other.faces)
    assert field.slabs == 1 + 21


def test_vertex_colors_are_the_colors_of_the_field():
    mesh = extract_surface(GridSphere(), 12, chunk_size=100)
    np.testing.assert_allclose(mesh.vertex_colors, (mesh.vertices + 1) / 2, atol=1e-6)
    assert extract_surface(sphere, 12).vertex_colors is None


def test_level_moves_the_surface_inwards():
    mesh = extract_surface(sphere, 32, level=0.2)
    assert mesh.volume == pytest.approx(4 / 3 * pi * 0.4**3, rel=0.02)


def test_grid_samples_include_both_walls():
    values = evaluate_grid(lambda p: p[:, 0] + 10 * p[:, 1] + 100 * p[:, 2], 4, (-1.0, 1.0))
    axis = torch.tensor([-1, -0.5, 0, 0.5, 1])
    torch.testing.assert_close(values, axis[:, None, None] + 10 * axis[:, None] + 100 * axis)


def test_progress_reaches_the_end():
    reports = []
    extract_surface(sphere, 10, chunk_size=500, progress=lambda done, total: reports.append((done, total)))
    assert reports == sorted(reports) and reports[-1] == (11**3, 11**3) and len(reports) == 3


@pytest.mark.parametrize(
    ("field", "level", "message"),
    [
        (lambda p: -1 - p[:, 0].abs(), 0.0, r"no surface: the field stays in \[-2, -1\].*level=0.0.*lower level"),
        (lambda p: 1 + p[:, 0].abs(), 0.0, r"no surface: the field stays in \[1, 2\].*higher level"),
        (sphere, 7.0, r"no surface: .*level=7.0"),
        (lambda p: p[:, 0] / 0, 0.0, "NaN or infinite at 729 of 729"),
        (lambda p: p, 0.0, r"values of shape \(729,\), got \(729, 3\)"),
    ],
)
def test_the_error_for_a_field_without_a_surface_states_the_reason(field, level, message):
    with pytest.raises(ValueError, match=message):
        extract_surface(field, 8, level=level)


@pytest.mark.parametrize("resolution", [1, 0, -3, True])
def test_invalid_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match="resolution counts the cells"):
        extract_surface(sphere, resolution)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("peak", [5.0, 50.0, 200.0])
def test_vertices_are_interpolated_between_activated_values(peak: float, dense: bool) -> None:
    """A ball whose density increases exponentially inwards, up to values beyond the range of float32."""
    resolution, level = 96, 3.0

    def field(points: torch.Tensor) -> torch.Tensor:
        return level + peak * (0.7 - points.norm(dim=-1))

    def density(points: torch.Tensor) -> torch.Tensor:
        return (field(points) - level).clamp(max=10).exp()  # far from the surface the value has no effect

    found = extract_surface(field, resolution, level=level, activation=torch.exp, dense=dense)
    expected = extract_surface(density, resolution, level=1.0, dense=True)
    plain = extract_surface(field, resolution, level=level)
    assert found.check().ok and len(found.faces) == len(expected.faces)
    means = [np.linalg.norm(mesh.vertices, axis=1).mean() for mesh in (found, expected, plain)]
    assert abs(means[0] - means[1]) < 1e-5 and means[0] > means[2] + 5e-5
