"""The shapes that models are judged on stand in the library's frame, seen from its camera."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from triplane3d.data.procedural import FAMILIES, FIRST_EVALUATION_SEED
from triplane3d.evaluation.baselines import inflated_silhouette
from triplane3d.evaluation.shape_metrics import uniform_points, volume_iou
from triplane3d.evaluation.shapes import EvaluationShape, family_groups, held_out_shapes, mesh_shapes
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import normalize_mesh


@pytest.fixture(scope="module")
def cases() -> list[EvaluationShape]:
    return held_out_shapes(2, sorted(FAMILIES)[:3], resolution=32)


def test_the_side_that_the_camera_sees_comes_to_the_front() -> None:
    """A camera at azimuth 90 degrees stands at +x: what sticks out there comes to +z."""
    box = trimesh.creation.box(extents=(2, 1, 1))
    knob = trimesh.creation.box(extents=(0.2, 0.2, 0.2))
    knob.apply_translation((1.1, 0, 0))
    both = trimesh.util.concatenate([box, knob])
    mesh = normalize_mesh(Mesh(np.asarray(both.vertices), np.asarray(both.faces)), azimuth=-90)
    tip = mesh.vertices[mesh.vertices[:, 2] > 0.99]
    assert np.abs(tip[:, :2]).max() < 0.11
    assert np.allclose(mesh.vertices.min(0), -mesh.vertices.max(0), atol=1e-6)
    assert (mesh.vertices.max(0) - mesh.vertices.min(0)).max() == pytest.approx(2)


def test_surface_points_lie_where_inside_meets_outside(cases: list[EvaluationShape]) -> None:
    for case in cases:
        points, normals = case.surface_points.numpy(), case.surface_normals.numpy()
        inside, outside = (case.solid.occupancy(points + side * 0.01 * normals) for side in (-1, 1))
        assert inside.mean() > 0.95 and outside.mean() < 0.05


def test_the_view_is_that_of_the_solid(cases: list[EvaluationShape]) -> None:
    """Its inflated silhouette, which stands in the camera's frame, overlaps the solid."""
    for case in cases:
        assert case.picture.mode == "RGBA" and 0.05 < case.mask.mean() < 0.9
        assert volume_iou(case.solid.occupancy, inflated_silhouette(case.mask).occupancy, count=10_000) > 0.05


def test_the_same_seed_is_the_same_case(cases: list[EvaluationShape]) -> None:
    again = held_out_shapes(2, sorted(FAMILIES)[:3], resolution=32)
    assert [case.name for case in again] == [f"seed {FIRST_EVALUATION_SEED}", f"seed {FIRST_EVALUATION_SEED + 1}"]
    for one, other in zip(cases, again):
        assert torch.equal(one.image, other.image)
        points = uniform_points(1000)
        assert (one.solid.occupancy(points) == other.solid.occupancy(points)).all()


def test_families_are_judged_apart_by_whether_training_saw_them() -> None:
    groups = family_groups()
    names = [name for group in groups.values() for name in group]
    assert len(names) == len(set(names))
    assert set(groups["unseen families"]).isdisjoint(FAMILIES)


def test_meshes_are_read_from_a_folder_and_seen_from_every_side(tmp_path: Path) -> None:
    cone = trimesh.creation.cone(radius=1, height=4)  # along z: towards the camera of azimuth 0
    cone.export(tmp_path / "cone.ply")
    front, side = mesh_shapes(tmp_path, azimuths=(0, 90), surface_points=200, image_size=64)
    assert front.name == side.name == "cone"
    # From +x, what pointed at the first camera points left... to the right hand of one who looks along -x.
    base, beside = np.array([[0, 0.3, -0.95]]), np.array([[0.95, 0.3, 0]])
    assert front.solid.occupancy(base)[0] and not front.solid.occupancy(-base)[0]
    assert side.solid.occupancy(beside)[0] and not side.solid.occupancy(-beside)[0]
    front_columns, side_columns = (np.nonzero(case.mask.any(0))[0] for case in (front, side))
    assert np.ptp(side_columns) > 1.5 * np.ptp(front_columns)


def test_a_folder_without_meshes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no meshes"):
        mesh_shapes(tmp_path)
