"""The sanity checks pass with correct metrics, fail with wrong ones, and compare scores with the reference scores."""

import numpy as np
import pytest
import trimesh
from evaluation.scripted_pipeline import ball, no_log

from triplane3d.evaluation.baselines import on_grid
from triplane3d.evaluation.command import current_suite
from triplane3d.evaluation.criteria import evaluate_criteria
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, mesh_shapes
from triplane3d.evaluation.runner import SUITES
from triplane3d.evaluation.sanity_checks import REFERENCE_SCORES, compare_with_reference, sanity_check_suite
from triplane3d.evaluation.shape_metrics import Solid, compare_surfaces, volume_iou
from triplane3d.evaluation.suites import score_solids
from triplane3d.evaluation.summary import Row


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationShape]:
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.torus(0.75, 0.25).export(folder / "ring.ply")
    trimesh.creation.cone(radius=1, height=1.5).export(folder / "cone.ply")
    return mesh_shapes(folder, surface_points=500, image_size=48)


def test_truth_scores_one_and_every_reference_score_is_measured(shapes: list[EvaluationShape]) -> None:
    rows = sanity_check_suite("meshes", shapes, points=4000, surfaces=2, all_methods=True, resolution=32, log=no_log)
    assert {row.method for row in rows} == {"truth", *REFERENCE_SCORES}
    checks = compare_with_reference(rows)
    assert {(check.method, check.metric) for check in checks} == {
        (method, metric) for method, metrics in REFERENCE_SCORES.items() for metric in metrics
    }
    passed = {result.criterion.title: result.passed for result in evaluate_criteria(rows, [], checks)}
    assert passed == {
        "V-IoU of the truth": True,
        "F@.02 of the truth": True,
        "fraction of reference scores reproduced": False,
    }


def test_wrong_occupancy_fails_the_check_of_the_truth(shapes: list[EvaluationShape]) -> None:
    """The truth, in which one point of a hundred is wrong."""

    def damaged(shape: EvaluationShape) -> Solid:
        return Solid(
            lambda points: shape.solid.occupancy(points) & (np.arange(len(points)) % 100 > 0), shape.solid.make_surface
        )

    scores = score_solids(shapes, [damaged(shape) for shape in shapes], points=4000, surfaces=0)
    (result,) = evaluate_criteria([Row("sanity checks", "meshes", "truth", scores)], [])
    assert not result.passed


def test_finer_grids_and_distances_are_better_than_coarse_grids_and_binary_values() -> None:
    """For a ball of radius r, cells of size h lose a volume of h²/8r per area; binary values lose up to half a cell."""
    solid = Solid.from_field(ball(0.8), resolution=96)
    fine, coarse, binary = on_grid(solid, 32), on_grid(solid, 12), on_grid(solid, 32, binary=True)
    ious = [volume_iou(solid.occupancy, other.occupancy) for other in (fine, coarse, binary)]
    assert ious[0] > max(0.985, *ious[1:])
    normals = [compare_surfaces(solid.surface, other.surface)["normal_consistency"] for other in (fine, binary)]
    assert normals[0] > 0.99 > 0.97 > normals[1]


def test_grid_of_a_mesh_holds_its_exact_distance(shapes: list[EvaluationShape]) -> None:
    for shape in shapes:
        scores = compare_surfaces(shape.solid.surface, on_grid(shape.solid, 48).surface)
        assert scores["f_score_02"] > 0.97 and scores["point_to_surface"] < 0.004


def test_solid_between_the_nodes_of_the_grid_is_empty() -> None:
    lost = on_grid(Solid.from_field(ball(0.05, (0.1, 0.1, 0.1)), resolution=96), 10)
    assert lost.surface is None and not lost.occupancy(np.zeros((1, 3))).any()


def test_the_former_name_of_the_suite_is_deprecated() -> None:
    with pytest.warns(FutureWarning, match="--suite sanity-checks"):
        assert current_suite("selftest") == "sanity-checks"
    assert [current_suite(suite) for suite in SUITES] == list(SUITES)
