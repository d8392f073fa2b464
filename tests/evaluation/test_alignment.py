"""The published protocol forgives a turn, a size and a shift, and hardly tells shapes apart."""

import numpy as np
import pytest
import trimesh

from triplane3d.evaluation.alignment import aligned_scores, rigid_fit
from triplane3d.evaluation.shape_metrics import NO_SURFACE, Surface, compare_surfaces
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import rotation_about_y


def surface(mesh: trimesh.Trimesh, seed: int = 0) -> Surface:
    return Surface.of_mesh(Mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces)), 10_000, seed=seed)


def lamp() -> trimesh.Trimesh:
    """Nothing symmetrical about the vertical."""
    foot, arm = trimesh.creation.box(extents=(0.6, 2, 0.6)), trimesh.creation.box(extents=(0.8, 0.3, 0.3))
    arm.apply_translation((0.7, 0.7, 0))
    return trimesh.util.concatenate([foot, arm])


def test_a_turned_scaled_and_shifted_shape_is_the_same_shape() -> None:
    truth, moved = lamp(), lamp()
    turn = np.eye(4)
    turn[:3, :3] = 0.7 * rotation_about_y(2.0)
    moved.apply_transform(turn)
    moved.apply_translation((0.2, -0.1, 0.1))
    scores = aligned_scores(surface(truth), surface(moved, seed=1))
    assert scores["aligned_chamfer"] < 0.04 and scores["aligned_f_score_10"] > 0.99
    assert compare_surfaces(surface(truth), surface(moved))["f_score_10"] < 0.7


def test_another_shape_stays_another_shape() -> None:
    scores = aligned_scores(surface(lamp()), surface(trimesh.creation.icosphere()))
    assert scores["aligned_chamfer"] > 0.1
    assert aligned_scores(surface(lamp()), None)["aligned_chamfer"] == NO_SURFACE


def test_a_rigid_motion_is_found_exactly() -> None:
    points = np.random.default_rng(0).standard_normal((20, 3))
    turn, shift = rotation_about_y(0.4), np.array([0.1, 0.2, -0.3])
    found_turn, found_shift = rigid_fit(points, points @ turn.T + shift)
    assert found_turn == pytest.approx(turn) and found_shift == pytest.approx(shift)
