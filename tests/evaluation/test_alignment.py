"""Alignment removes a rotation about the vertical axis, a scale and a translation, and nothing else."""

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
    """A shape without rotational symmetry about the vertical axis."""
    foot, arm = trimesh.creation.box(extents=(0.6, 2, 0.6)), trimesh.creation.box(extents=(0.8, 0.3, 0.3))
    arm.apply_translation((0.7, 0.7, 0))
    return trimesh.util.concatenate([foot, arm])


def test_rotated_scaled_and_translated_shape_fits_after_alignment() -> None:
    truth, moved = lamp(), lamp()
    transform = np.eye(4)
    transform[:3, :3] = 0.7 * rotation_about_y(2.0)
    moved.apply_transform(transform)
    moved.apply_translation((0.2, -0.1, 0.1))
    scores = aligned_scores(surface(truth), surface(moved, seed=1))
    assert scores["aligned_chamfer"] < 0.04 and scores["aligned_f_score_10"] > 0.99
    assert compare_surfaces(surface(truth), surface(moved))["f_score_10"] < 0.7


def test_different_shape_does_not_fit_after_alignment() -> None:
    scores = aligned_scores(surface(lamp()), surface(trimesh.creation.icosphere()))
    assert scores["aligned_chamfer"] > 0.1
    assert aligned_scores(surface(lamp()), None)["aligned_chamfer"] == NO_SURFACE


def test_rigid_fit_recovers_a_rigid_motion_exactly() -> None:
    points = np.random.default_rng(0).standard_normal((20, 3))
    rotation, translation = rotation_about_y(0.4), np.array([0.1, 0.2, -0.3])
    found_rotation, found_translation = rigid_fit(points, points @ rotation.T + translation)
    assert found_rotation == pytest.approx(rotation) and found_translation == pytest.approx(translation)
