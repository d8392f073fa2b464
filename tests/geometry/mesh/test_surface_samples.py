"""Samples of a surface, and points inside a mesh."""

import numpy as np
import pytest
import trimesh

from triplane3d.geometry.mesh import Mesh, inside
from triplane3d.geometry.mesh.inside import points_inside
from triplane3d.geometry.mesh.sampling import sample_mesh


@pytest.fixture
def slab() -> Mesh:
    return Mesh.from_trimesh(trimesh.creation.box([3.0, 1.0, 0.5]))


def test_samples_lie_on_the_faces_in_proportion_to_area(slab):
    points, normals = sample_mesh(slab, 20_000, np.random.default_rng(0))
    half = np.array([1.5, 0.5, 0.25])
    np.testing.assert_allclose((points * normals / half).sum(axis=1), 1, atol=1e-5)  # on the wall with this normal
    assert (abs(points) <= half + 1e-6).all()

    share = 2 * np.array([1 * 0.5, 3 * 0.5, 3 * 1])
    np.testing.assert_allclose(abs(normals).mean(axis=0), share / share.sum(), atol=0.01)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(points[:2000].mean(axis=0), 0, atol=0.1)  # the first samples cover the surface too


def test_the_same_seed_gives_the_same_samples(slab):
    first, second = (sample_mesh(slab, 10, np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_surface_without_area_cannot_be_sampled():
    point = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="without area"):
        sample_mesh(point, 10, np.random.default_rng(0))


def test_inner_points_are_found_even_with_a_hole(slab):
    points = np.random.default_rng(0).uniform(-1.6, 1.6, (500, 3)).astype(np.float32)
    truth = (abs(points) < [1.5, 0.5, 0.25]).all(axis=1)
    np.testing.assert_array_equal(points_inside(slab, points), truth)

    ball = Mesh.from_trimesh(trimesh.creation.icosphere(3))
    holed = Mesh(ball.vertices, ball.faces[20:])
    inner = points[np.linalg.norm(points, axis=1) < 0.5]
    assert len(inner) and points_inside(holed, inner).all()


def test_without_libigl_the_error_names_the_extra(slab, monkeypatch):
    monkeypatch.setattr(inside, "igl", None)
    with pytest.raises(ImportError, match=r"triplane3d\[data\]"):
        points_inside(slab, np.zeros((1, 3), np.float32))
