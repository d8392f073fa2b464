"""The metrics on solids with known scores: identical, shifted, scaled and empty solids."""

from math import pi

import numpy as np
import pytest
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from triplane3d.evaluation.shape_metrics import (
    NO_SURFACE,
    Solid,
    Surface,
    compare_solids,
    compare_surfaces,
    intersection_over_union,
    mesh_occupancy,
    uniform_points,
    volume_iou,
)
from triplane3d.geometry.mesh import Mesh


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(shape.vertices), np.asarray(shape.faces))


def sphere(radius: float, center: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    ball.apply_translation(center)
    return mesh_of(ball)


def test_solid_compared_with_itself_has_perfect_scores() -> None:
    mesh = mesh_of(trimesh.creation.torus(0.7, 0.3))
    truth = Solid.from_mesh(mesh, count=2000, seed=0)
    again = Solid.from_mesh(mesh, count=2000, seed=1)
    scores = compare_solids(truth, again, count=5000)
    assert scores["volume_iou"] == scores["surface_iou"] == 1
    assert scores["f_score_02"] == scores["f_score_05"] == scores["f_score_10"] == 1
    assert scores["point_to_surface"] < 1e-6
    assert scores["normal_consistency"] > 0.999
    assert scores["chamfer"] > 1e-3  # the samples of the two surfaces differ


def test_concentric_spheres_have_the_ratio_of_volumes_and_the_difference_of_radii() -> None:
    truth, prediction = Solid.from_mesh(sphere(0.9), count=4000), Solid.from_mesh(sphere(0.84), count=4000)
    scores = compare_solids(truth, prediction, count=40_000)
    assert scores["volume_iou"] == pytest.approx((0.84 / 0.9) ** 3, abs=0.02)
    assert scores["point_to_surface"] == pytest.approx(0.06, abs=1e-3)
    assert scores["f_score_05"] == 0 and scores["f_score_10"] == 1
    assert scores["normal_consistency"] > 0.99


def test_f_score_combines_precision_and_recall() -> None:
    """A correct ball plus a wrong one of the same size: recall is 1 and precision is one half."""
    right = sphere(0.4, (-0.5, 0, 0))
    wrong = sphere(0.4, (0.5, 0, 0))
    both = Mesh(
        np.concatenate([right.vertices, wrong.vertices]),
        np.concatenate([right.faces, wrong.faces + len(right.vertices)]),
    )
    scores = compare_surfaces(Surface.of_mesh(right, 4000), Surface.of_mesh(both, 4000))
    assert scores["f_score_02"] == pytest.approx(2 * 0.5 * 1 / 1.5, abs=0.02)


def test_iou_is_symmetric_and_exact_for_shifted_boxes() -> None:
    def box(low: float) -> Solid:
        shape = trimesh.creation.box(extents=(1, 1, 1))
        shape.apply_translation((low, 0, 0))
        return Solid.from_mesh(mesh_of(shape), count=100)

    one, other = box(0).occupancy, box(0.25).occupancy
    assert volume_iou(one, other) == volume_iou(other, one) == pytest.approx(0.75 / 1.25, abs=0.02)


def test_fields_and_meshes_of_one_sphere_agree() -> None:
    def field(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        return 0.8 - points.norm(dim=1)

    scores = compare_solids(
        Solid.from_mesh(sphere(0.8), count=2000), Solid.from_field(field, resolution=48, count=2000), count=10_000
    )
    assert scores["volume_iou"] > 0.99
    assert scores["f_score_02"] == 1
    assert scores["point_to_surface"] < 2e-3


def test_occupancy_does_not_depend_on_the_orientation_of_components() -> None:
    one, other = sphere(0.4, (-0.5, 0, 0)), sphere(0.4, (0.5, 0, 0))
    mixed = Mesh(
        np.concatenate([one.vertices, other.vertices]),
        np.concatenate([one.faces, other.faces[:, ::-1] + len(one.vertices)]),
    )
    inside = mesh_occupancy(mixed)(uniform_points(40_000))
    assert inside.mean() * 8 == pytest.approx(2 * 4 / 3 * pi * 0.4**3, rel=0.05)


def test_faces_inside_the_solid_are_not_sampled() -> None:
    one, other = sphere(0.6, (-0.3, 0, 0)), sphere(0.6, (0.3, 0, 0))
    overlapping = Mesh(
        np.concatenate([one.vertices, other.vertices]), np.concatenate([one.faces, other.faces + len(one.vertices)])
    )
    surface = Solid.from_mesh(overlapping, count=2000).surface
    assert surface is not None
    depth = np.minimum(
        np.linalg.norm(surface.points + [0.3, 0, 0], axis=1), np.linalg.norm(surface.points - [0.3, 0, 0], axis=1)
    )
    assert depth.min() > 0.55


def test_samples_are_uniform_by_area() -> None:
    points = Surface.of_mesh(sphere(1.0), 20_000).points
    heights = np.sort(points[:, 1])  # Archimedes: heights on a sphere are uniform
    assert np.abs(heights - np.linspace(-1, 1, len(heights))).max() < 0.03


def test_empty_prediction_has_the_worst_scores() -> None:
    truth = Solid.from_mesh(sphere(0.8), count=100)
    nothing = Solid.from_field(lambda points: -torch.ones(len(points)), resolution=8)
    scores = compare_solids(truth, nothing, count=1000)
    assert scores["volume_iou"] == scores["f_score_10"] == scores["normal_consistency"] == 0
    assert scores["chamfer"] == scores["point_to_surface"] == NO_SURFACE
    with pytest.raises(ValueError, match="empty"):
        compare_solids(nothing, truth)


def test_iou_of_two_empty_sets_is_one() -> None:
    assert intersection_over_union(np.zeros(4, dtype=bool), np.zeros(4, dtype=bool)) == 1
