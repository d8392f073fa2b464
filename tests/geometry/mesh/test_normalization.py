"""Meshes and points in the library's frame."""

import numpy as np
import pytest
import trimesh

from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import normalize_mesh, normalize_points, rotation_about_y

BOX = Mesh.from_trimesh(trimesh.creation.box([3.0, 1.0, 0.5]))


@pytest.mark.parametrize("azimuth", [0.0, 30.0, -120.0])
def test_normalized_meshes_fit_the_frame_tightly(azimuth):
    moved = Mesh(BOX.vertices * 7 + [1, 2, 3], BOX.faces)
    low, high = normalize_mesh(moved, azimuth).bounds
    np.testing.assert_allclose(low, -high, atol=1e-6)
    assert (high - low).max() == pytest.approx(2)


def test_positive_azimuth_turns_the_front_towards_plus_x():
    front = Mesh(np.array([[0, 0, 2.0], [0.1, 0, -1], [0, 0.1, -1]]), np.array([[0, 1, 2]]))
    assert normalize_mesh(front, 90).vertices[0, 0] == pytest.approx(1, abs=1e-6)


def test_vertices_without_faces_have_no_effect():
    extra = Mesh(np.vstack([BOX.vertices, [[0, 90, 0]]]), BOX.faces)
    one, other = normalize_mesh(extra).vertices[:8], normalize_mesh(BOX).vertices
    np.testing.assert_array_equal(one, other)


def test_rotation_matrices_are_orthogonal():
    turn = rotation_about_y(0.7)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turn @ rotation_about_y(-0.7), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation_about_y(np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_points_are_placed_by_their_reference():
    points = np.array([[0.0, 0, 0], [4, 2, 1]])
    np.testing.assert_allclose(normalize_points(points), [[-1, -0.5, -0.25], [1, 0.5, 0.25]])
    np.testing.assert_allclose(normalize_points(points[:1], points), [[-1, -0.5, -0.25]])


def test_meshes_without_size_are_refused():
    point = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="no size"):
        normalize_mesh(point)
    with pytest.raises(ValueError, match="without faces has no size"):
        normalize_mesh(Mesh(np.zeros((3, 3)), np.zeros((0, 3), np.int64)))


def test_former_names_are_deprecated():
    with pytest.warns(FutureWarning, match=r"use triplane3d\.geometry\.mesh\.normalization\.normalize_mesh"):
        from triplane3d.geometry.surface import normalize
    assert normalize is normalize_mesh
    with pytest.warns(FutureWarning, match=r"use triplane3d\.geometry\.mesh\.simplification\.simplify"):
        from triplane3d.geometry.simplify import simplify
    assert simplify.__module__ == "triplane3d.geometry.mesh.simplification"
    with pytest.raises(ImportError):
        from triplane3d.geometry.surface import nothing  # noqa: F401
