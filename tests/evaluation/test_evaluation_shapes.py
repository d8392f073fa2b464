"""Evaluation shapes are in the library's frame, with the camera of their image at the front."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from triplane3d.data.procedural import FAMILIES, FIRST_EVALUATION_SEED
from triplane3d.evaluation.baselines import inflated_silhouette
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, family_groups, held_out_shapes, mesh_shapes
from triplane3d.evaluation.shape_metrics import uniform_points, volume_iou


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(2, sorted(FAMILIES)[:3], resolution=32)


def test_side_that_the_camera_sees_is_turned_to_the_front(tmp_path: Path) -> None:
    """A camera at azimuth 90 degrees is at +x. A knob at +x moves to +z."""
    box = trimesh.creation.box(extents=(2, 1, 1))
    knob = trimesh.creation.box(extents=(0.2, 0.2, 0.2))
    knob.apply_translation((1.1, 0, 0))
    trimesh.util.concatenate([box, knob]).export(tmp_path / "box.ply")
    (shape,) = mesh_shapes(tmp_path, azimuths=(90,), surface_points=10)
    vertices = shape.mesh.vertices
    tip = vertices[vertices[:, 2] > 0.99]
    assert np.abs(tip[:, :2]).max() < 0.11
    assert np.allclose(vertices.min(0), -vertices.max(0), atol=1e-6)
    assert (vertices.max(0) - vertices.min(0)).max() == pytest.approx(2)


def test_surface_points_lie_between_inside_and_outside(shapes: list[EvaluationShape]) -> None:
    for shape in shapes:
        points, normals = shape.surface_points.numpy(), shape.surface_normals.numpy()
        inside, outside = (shape.solid.occupancy(points + side * 0.01 * normals) for side in (-1, 1))
        assert inside.mean() > 0.95 and outside.mean() < 0.05


def test_image_shows_the_solid(shapes: list[EvaluationShape]) -> None:
    """The inflated silhouette is in the camera's frame and overlaps the solid."""
    for shape in shapes:
        assert shape.pil_image.mode == "RGBA" and 0.05 < shape.mask.mean() < 0.9
        assert volume_iou(shape.solid.occupancy, inflated_silhouette(shape.mask).occupancy, count=10_000) > 0.05


def test_shape_without_image_raises(tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "box.ply")
    (shape,) = mesh_shapes(tmp_path, surface_points=10)
    with pytest.raises(ValueError, match="box has no image"):
        _ = shape.mask


def test_same_seed_gives_the_same_shape(shapes: list[EvaluationShape]) -> None:
    again = held_out_shapes(2, sorted(FAMILIES)[:3], resolution=32)
    assert [shape.name for shape in again] == [f"seed {FIRST_EVALUATION_SEED}", f"seed {FIRST_EVALUATION_SEED + 1}"]
    for one, other in zip(shapes, again):
        assert torch.equal(one.image, other.image)
        points = uniform_points(1000)
        assert (one.solid.occupancy(points) == other.solid.occupancy(points)).all()


def test_family_groups_are_disjoint_and_unseen_families_are_not_trained_on() -> None:
    groups = family_groups()
    assert all(groups.values()) and "primitives" in groups["free compositions"]
    names = [name for group in groups.values() for name in group]
    assert len(names) == len(set(names))
    assert set(groups["unseen families"]).isdisjoint(FAMILIES)


def test_meshes_are_turned_towards_the_camera_of_each_azimuth(tmp_path: Path) -> None:
    cone = trimesh.creation.cone(radius=1, height=4)  # along z, towards the camera of azimuth 0
    cone.export(tmp_path / "cone.ply")
    front, side = mesh_shapes(tmp_path, azimuths=(0, 90), surface_points=200, image_size=64)
    assert front.name == side.name == "cone"
    # The base is at -z. For a camera at +x, which looks along -x, -z lies to the right.
    base, beside = np.array([[0, 0.3, -0.95]]), np.array([[0.95, 0.3, 0]])
    assert front.solid.occupancy(base)[0] and not front.solid.occupancy(-base)[0]
    assert side.solid.occupancy(beside)[0] and not side.solid.occupancy(-beside)[0]
    front_columns, side_columns = (np.nonzero(shape.mask.any(0))[0] for shape in (front, side))
    assert np.ptp(side_columns) > 1.5 * np.ptp(front_columns)


def test_folder_without_meshes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no mesh files"):
        mesh_shapes(tmp_path)
