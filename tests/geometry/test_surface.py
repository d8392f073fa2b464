"""Mesh queries: even samples, right insides, the frame."""

import numpy as np
import pytest
import trimesh

from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh import queries as surface
from triplane3d.geometry.mesh.queries import normalize, occupancy, sample_surface


@pytest.fixture
def slab() -> Mesh:
    return Mesh.from_trimesh(trimesh.creation.box([3.0, 1.0, 0.5]))


def test_samples_lie_on_the_faces_in_proportion_to_area(slab):
    points, normals = sample_surface(slab, 20_000, np.random.default_rng(0))
    half = np.array([1.5, 0.5, 0.25])
    np.testing.assert_allclose((points * normals / half).sum(axis=1), 1, atol=1e-5)  # on the wall its normal names
    assert (abs(points) <= half + 1e-6).all()

    share = 2 * np.array([1 * 0.5, 3 * 0.5, 3 * 1])
    np.testing.assert_allclose(abs(normals).mean(axis=0), share / share.sum(), atol=0.01)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(points[:2000].mean(axis=0), 0, atol=0.1)  # a prefix is a sample as well


def test_samples_repeat_for_a_seed(slab):
    first, second = (sample_surface(slab, 10, np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_inside_is_inside_even_with_a_hole(slab):
    points = np.random.default_rng(0).uniform(-1.6, 1.6, (500, 3)).astype(np.float32)
    truth = (abs(points) < [1.5, 0.5, 0.25]).all(axis=1)
    np.testing.assert_array_equal(occupancy(slab, points), truth)

    ball = Mesh.from_trimesh(trimesh.creation.icosphere(3))
    holed = Mesh(ball.vertices, ball.faces[20:])
    inner = points[np.linalg.norm(points, axis=1) < 0.5]
    assert len(inner) and occupancy(holed, inner).all()


def test_without_libigl_the_error_names_the_extra(slab, monkeypatch):
    monkeypatch.setattr(surface, "igl", None)
    with pytest.raises(ImportError, match=r"triplane3d\[data\]"):
        occupancy(slab, np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("azimuth", [0.0, 30.0, -120.0])
def test_normalised_meshes_fit_the_frame_tightly(slab, azimuth):
    moved = Mesh(slab.vertices * 7 + [1, 2, 3], slab.faces)
    low, high = normalize(moved, azimuth).bounds
    np.testing.assert_allclose(low, -high, atol=1e-6)
    assert (high - low).max() == pytest.approx(2)


def test_positive_azimuth_turns_the_front_towards_plus_x():
    front = Mesh(np.array([[0, 0, 2.0], [0.1, 0, -1], [0, 0.1, -1]]), np.array([[0, 1, 2]]))
    assert normalize(front, 90).vertices[0, 0] == pytest.approx(1, abs=1e-6)


def test_what_has_no_area_cannot_be_sampled():
    point = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="without area"):
        sample_surface(point, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no size"):
        normalize(point)
