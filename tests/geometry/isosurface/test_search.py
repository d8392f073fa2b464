"""The coarse-to-fine search gives the mesh of the whole grid."""

import logging

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from triplane3d.geometry.isosurface import extract_surface, extract_surfaces
from triplane3d.geometry.isosurface.bricks import Bricks, Lattice
from triplane3d.geometry.isosurface.field_sampling import FieldSampler
from triplane3d.geometry.isosurface.node_sampling import sample_nodes
from triplane3d.geometry.mesh import Mesh
from triplane3d.models.triplane import TriplaneField, TriplaneFieldDecoder

CELL = 2 / 128


def ball(center=(0.13, -0.21, 0.08), radius=0.6):
    center = torch.tensor(center)
    return lambda p: radius - (p - center).norm(dim=-1)


def wire(radius):
    """A ring in a slanted plane, so thin that a coarse grid may have no sample inside."""
    normal = torch.nn.functional.normalize(torch.tensor([0.3, 1.0, 0.2]), dim=0)

    def field(p):
        height = p @ normal
        around = (p - height[:, None] * normal).norm(dim=-1) - 0.62
        return radius - torch.hypot(around, height)

    return field


def shell(thickness):
    return lambda p: thickness / 2 - (p.norm(dim=-1) - 0.7).abs()


def sheets(p):
    """Two plates with a gap of half a coarse cell, in a box of finite size."""
    plates = 0.75 * CELL - ((p[:, 1] + 0.013).abs() - 1.5 * CELL).abs()
    return torch.minimum(plates, 0.8 - p.abs().amax(dim=-1))


def gyroid(p):
    s, c = torch.sin(7 * p), torch.cos(7 * p)
    inside = 0.4 - (s * c.roll(-1, dims=1)).sum(dim=-1).abs()
    return torch.minimum(inside, 3 * (0.85 - p.norm(dim=-1)))


def random_planes(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    planes = torch.nn.functional.interpolate(torch.randn(3, 8, 6, 6), size=(32, 32), mode="bicubic")[None]
    decoder = TriplaneFieldDecoder(8, hidden_dim=16, num_freqs=2, padding_mode="border" if seed % 2 else "zeros")
    return TriplaneField(planes.to(dtype), decoder.requires_grad_(False).to(dtype))


def same_surface(a: Mesh, b: Mesh) -> bool:
    """The same vertices and the same number of faces, in any order."""
    if len(a.vertices) != len(b.vertices) or len(a.faces) != len(b.faces):
        return False
    distance = max(cKDTree(one.vertices).query(other.vertices)[0].max() for one, other in ((a, b), (b, a)))
    return distance < 2e-3 * CELL and a.euler_number == b.euler_number


@pytest.mark.parametrize("resolution", [96, 128, 151])
@pytest.mark.parametrize(
    "field",
    [
        pytest.param(ball(), id="ball"),
        pytest.param(ball((0.31, 0.52, -0.43), 1.5 * CELL), id="ball of three cells"),
        pytest.param(wire(0.6 * CELL), id="wire one cell thick"),
        pytest.param(shell(1.2 * CELL), id="shell one cell thick"),
        pytest.param(sheets, id="two sheets half a coarse cell distance"),
        pytest.param(gyroid, id="gyroid"),
        pytest.param(lambda p: 1.3 - p.norm(dim=-1), id="ball through all six walls"),
        pytest.param(ball((1.0, 1.0, 1.0)), id="ball in a corner"),
        pytest.param(lambda p: p[:, 0] + 0.3 * p[:, 1] + 0.1, id="half space"),
    ],
)
def test_search_finds_the_surface_of_the_whole_grid(field, resolution):
    dense = extract_surface(field, resolution, dense=True)
    found = extract_surface(field, resolution)
    assert same_surface(found, dense)
    assert found.check().ok, found.check()


@pytest.mark.parametrize("seed", range(4))
def test_the_whole_surface_of_a_triplane_is_found(seed):
    field = random_planes(seed)
    level = float(field(torch.rand(4096, 3) * 2 - 1).quantile(0.8))
    dense = extract_surface(field, 128, level=level, dense=True)
    found = extract_surface(field, 128, level=level)
    assert same_surface(found, dense) and found.check().ok


def test_a_fraction_of_the_grid_is_sampled():
    reports = []
    extract_surface(ball(), 256, progress=lambda done, total: reports.append((done, total)))
    done, total = reports[-1]
    assert done == total < 0.06 * 257**3
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert all(done <= total for done, total in reports)


def test_nodes_are_sampled_once():
    """Only nodes of a coarser lattice may be sampled again, where the surface is followed into unselected cells."""
    sampled = []

    def field(points):
        sampled.append(points.clone())
        return ball()(points)

    extract_surface(field, 128)
    points = torch.cat(sampled)
    assert len(points) - len(points.unique(dim=0)) < 0.01 * len(points)


class Counted:
    """A field that counts its samples."""

    def __init__(self, field):
        self.field, self.count = field, 0

    def __call__(self, points):
        self.count += len(points)
        return self.field(points)


def waves(frequency):
    return lambda p: torch.sin(frequency * p).prod(dim=-1) + 0.1


def test_a_field_that_crosses_everywhere_is_sampled_on_the_whole_grid(caplog):
    field, reports = Counted(waves(61.0)), []
    with caplog.at_level(logging.INFO):
        found = extract_surface(field, 96, level=0.003, progress=lambda *parts: reports.append(parts))
    assert field.count == 97**3
    assert "every sample of the grid was computed" in caplog.text
    assert reports[-1] == (97**3, 97**3) and reports == sorted(reports)
    dense = extract_surface(waves(61.0), 96, level=0.003, dense=True)
    assert np.array_equal(found.vertices, dense.vertices) and np.array_equal(found.faces, dense.faces)


@pytest.mark.parametrize(
    ("frequency", "max_ratio"),
    [
        (61.0, 1.0),
        (150.0, 1.07),  # a wavelength of one coarse cell: smooth at the coarse samples, so the surface is followed
    ],
)
def test_few_nodes_of_two_dense_levels_are_sampled_twice(frequency, max_ratio):
    sampler = FieldSampler(waves(frequency), torch.linspace(-1, 1, 193))
    found = sampler.search(0.75)
    assert found.origins is None and found.values.shape == (193, 193, 193)
    assert sampler.count <= max_ratio * 193**3
    some = torch.randint(193, (1000, 3))
    expected = waves(frequency)(sampler.axis[some])
    assert np.array_equal(found.values[tuple(some.T.numpy())], expected.numpy())


@pytest.mark.parametrize("share", [0.5, 0.85, 0.95])
def test_the_search_takes_at_most_the_samples_of_the_whole_grid(share, caplog):
    """Waves in a slab, a constant outside: bricks or the whole grid are sampled, whichever has fewer samples."""
    field = Counted(lambda p: torch.where(p[:, 0] < 2 * share - 1, waves(61.0)(p), -1.5))
    with caplog.at_level(logging.INFO):
        found = extract_surface(field, 96)
    assert field.count <= 97**3 and ("every sample" in caplog.text) == (share > 0.9)
    dense = extract_surface(field.field, 96, dense=True)
    assert (len(found.vertices), len(found.faces)) == (len(dense.vertices), len(dense.faces))


def test_a_network_that_crosses_everywhere_gives_the_dense_surface():
    torch.manual_seed(0)
    decoder = TriplaneFieldDecoder(8, hidden_dim=16).requires_grad_(False)
    field = TriplaneField(torch.randn(1, 3, 8, 64, 64), decoder)
    level = float(field(torch.rand(4096, 3) * 2 - 1).median())
    sampler = FieldSampler(field, torch.linspace(-1, 1, 97), level)
    assert sampler.search(0.75).origins is None and sampler.count == 97**3
    for activation in (None, torch.exp):
        found = extract_surface(field, 96, level=level, activation=activation)
        dense = extract_surface(field, 96, level=level, activation=activation, dense=True)
        assert np.array_equal(found.faces, dense.faces)
        assert abs(found.vertices - dense.vertices).max() < 2e-3 * CELL


def test_a_dense_search_respects_its_memory_limit():
    with pytest.raises(MemoryError, match="max_memory allows 1: lower the resolution"):
        extract_surface(waves(61.0), 96, max_memory=2**20)


def test_found_components_have_no_holes_even_with_a_tiny_margin():
    """With a tiny margin whole components may be missed, but each component that is found is complete."""
    for field in (wire(0.8 * CELL), gyroid, sheets):
        assert extract_surface(field, 128, margin=1e-6).check().ok


def test_the_result_does_not_depend_on_level_scale_and_offset():
    plain = extract_surface(gyroid, 96)
    assert same_surface(plain, extract_surface(lambda p: 1e4 * gyroid(p), 96))
    assert same_surface(plain, extract_surface(lambda p: gyroid(p) - 3.0, 96, level=-3.0))
    moved = extract_surface(lambda p: gyroid(p / 2 - 1.5), 96, bounds=(1.0, 5.0))
    assert same_surface(plain, Mesh(moved.vertices / 2 - 1.5, moved.faces))


@pytest.mark.parametrize(
    ("field", "level", "message"),
    [
        (lambda p: -1 - p[:, 0].abs(), 0.0, r"no surface: the field stays in \[-2, -1.*\].*all of the box is outside"),
        (lambda p: 1 + p[:, 0].abs(), 0.0, r"no surface: the field stays in \[1.*, 2\].*all of the box is inside"),
        (ball(), 7.0, r"no surface: .*level=7.0"),
        (
            lambda p: torch.where(p[:, 0] > 0.2, torch.nan, 1.0) * ball()(p),
            0.0,
            r"NaN or infinite at [\d,]+ of [\d,]+ sam",
        ),
        (lambda p: torch.where(p[:, 0] > 0.2, torch.inf, 1.0) * ball()(p), 0.0, r"NaN or infinite"),
        (lambda p: p, 0.0, r"values of shape \(\d+,\), got"),
    ],
)
def test_the_error_for_a_field_without_a_surface_states_the_reason(field, level, message):
    with pytest.raises(ValueError, match=message):
        extract_surface(field, 96, level=level)


@pytest.mark.parametrize("margin", [0, -1, float("nan"), float("inf")])
def test_invalid_margins_are_refused(margin):
    with pytest.raises(ValueError, match="margin is the factor"):
        extract_surface(ball(), 96, margin=margin)


def test_memory_is_bounded():
    with pytest.raises(MemoryError, match="needs about .* MiB, but max_memory allows 1: lower the resolution"):
        extract_surface(ball(), 256, max_memory=2**20)
    extract_surface(ball(), 128, max_memory=2**26)


def test_progress_can_cancel():
    class Stopped(Exception):
        pass

    def stop(done, total):
        raise Stopped

    with pytest.raises(Stopped):
        extract_surface(ball(), 128, progress=stop)


def test_refined_vertices_lie_on_the_surface(caplog):
    center = np.array([0.13, -0.21, 0.08])
    plain = extract_surface(ball(), 96)
    with caplog.at_level(logging.INFO):
        refined = extract_surface(ball(), 96, refine=True)
    off = [abs(np.linalg.norm(mesh.vertices - center, axis=1) - 0.6).mean() for mesh in (plain, refined)]
    assert off[1] < 0.15 * off[0]
    assert "of a cell off the surface" in caplog.text
    assert refined.check().ok and (refined.faces == plain.faces).all()


def test_refinement_does_not_move_vertices_on_the_walls():
    mesh = extract_surface(ball((1.0, 1.0, 1.0)), 96, refine=True)
    assert mesh.check().ok and mesh.bounds.max() == 1
    assert ((mesh.vertices == 1).any(axis=1)).sum() > 1000


def test_several_fields_in_one_call():
    reports = []
    batch = random_planes(0).planes, random_planes(2).planes
    fields = TriplaneField(torch.cat(batch), random_planes(0).decoder)
    meshes = extract_surfaces(fields, 192, progress=lambda done, total: reports.append((done, total)))
    assert len(meshes) == 2 and reports[-1] == (2000, 2000) and reports == sorted(reports)
    assert same_surface(meshes[1], extract_surface(fields[1], 192))


class ConstantSampler:
    """A sampler that returns 5 for every node."""

    def sample_nodes(self, x, y, z, nodes):
        return torch.full((len(nodes),), 5.0)

    def announce(self, count):
        self.count = count

    def check_memory(self, size):
        pass

    def sample_lattice(self, lattice, coarser):
        raise NotImplementedError


def test_a_node_without_an_owner_is_sampled_once_for_all_bricks_that_store_it():
    # The owner of their common edge would be the brick at (1, 1, 2).
    origins = torch.tensor([[0, 0, 2], [1, 0, 2], [0, 1, 2]], dtype=torch.int32)
    bricks = Bricks(Lattice(128, 1), origins, torch.zeros(3, 9, 9, 9), torch.zeros(3, 8, 8, 8, dtype=torch.bool), None)
    needed = torch.zeros(3, 9, 9, 9, dtype=torch.bool)
    needed[0, 8, 8, 3] = True
    sampler = ConstantSampler()
    sample_nodes(bricks, needed, sampler)
    assert sampler.count == 1
    assert bricks.values[0, 8, 8, 3] == bricks.values[1, 0, 8, 3] == bricks.values[2, 8, 0, 3] == 5
    assert bricks.values.count_nonzero() == 3


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_invalid_levels_are_refused(level):
    with pytest.raises(ValueError, match="level is a value of the field"):
        extract_surface(ball(), 96, level=level)


def test_a_field_that_ends_at_the_level_has_no_surface():
    with pytest.raises(ValueError, match="all of the box is outside"):
        extract_surface(lambda p: ball()(p).clamp(max=0.1), 96, level=0.1)


def test_the_result_does_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        double = extract_surface(ball(), 96)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same_surface(double, extract_surface(ball(), 96))


def test_a_field_in_half_precision_gives_a_closed_mesh():
    field = random_planes(0, torch.bfloat16)
    mesh = extract_surface(field, 96)
    assert mesh.check().ok
    assert mesh.volume == pytest.approx(extract_surface(random_planes(0), 96).volume, rel=0.05)


def test_the_sampler_records_count_and_range():
    sampler = FieldSampler(ball(), torch.linspace(-1, 1, 97))
    sampler.search(0.75)
    assert 49**3 < sampler.count < 0.3 * 97**3
    assert sampler.high == pytest.approx(0.6, abs=0.05)
