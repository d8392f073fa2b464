"""The reference methods reproduce solids for which they are exact."""

import numpy as np
import torch
import trimesh

from triplane3d.evaluation.baselines import (
    bounding_ellipsoid,
    convex_hull,
    inflated_silhouette,
    nearest_neighbor,
    thumbnail_features,
)
from triplane3d.evaluation.shape_metrics import Solid, compare_solids, volume_iou
from triplane3d.geometry.mesh import Mesh


def solid(shape: trimesh.Trimesh) -> Solid:
    return Solid.from_mesh(Mesh(np.asarray(shape.vertices), np.asarray(shape.faces)), count=2000)


def test_convex_hull_of_a_convex_solid_is_the_solid() -> None:
    box = solid(trimesh.creation.box(extents=(2, 1.2, 0.6)))
    assert compare_solids(box, convex_hull(box.surface, count=2000), count=5000)["volume_iou"] == 1


def test_bounding_ellipsoid_of_an_ellipsoid_is_the_ellipsoid() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4)
    ball.apply_scale([1.0, 0.6, 0.4])
    truth = solid(ball)
    assert compare_solids(truth, bounding_ellipsoid(truth.surface, count=2000), count=20_000)["volume_iou"] > 0.98


def test_inflated_disc_is_a_centered_ball() -> None:
    rows, columns = np.mgrid[:160, :120]
    mask = np.hypot(rows - 90, columns - 55) < 40
    ball = solid(trimesh.creation.icosphere(subdivisions=4))
    assert volume_iou(ball.occupancy, inflated_silhouette(mask).occupancy) > 0.95


def test_inflated_silhouette_keeps_the_image_axes() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:50, 10:20] = True
    mask[40:50, 10:50] = True  # an L whose horizontal part lies at the bottom (-y) and extends to the right (+x)
    inside = inflated_silhouette(mask).occupancy
    assert inside(np.array([[0.7, -0.75, 0], [-0.75, 0.7, 0], [-0.75, -0.75, 0]])).all()
    assert not inside(np.array([[0.7, 0.7, 0], [0.0, 0.0, 0.0]])).any()


def test_nearest_neighbor_finds_noisy_images_and_ignores_a_common_offset() -> None:
    generator = torch.Generator().manual_seed(0)
    stored = torch.rand(20, 4, 32, 32, generator=generator)
    queries = (stored[[3, 17]] + 0.02 * torch.randn(2, 4, 32, 32, generator=generator)).clamp(0, 1)
    features = thumbnail_features(stored)
    assert nearest_neighbor(thumbnail_features(queries), features).tolist() == [3, 17]
    assert nearest_neighbor(features[:4] + 5, features + 5).tolist() == [0, 1, 2, 3]
