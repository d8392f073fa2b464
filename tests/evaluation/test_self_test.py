"""The self-test passes on right metrics, fails on wrong ones, and holds table 1c against what is measured."""

import numpy as np
import pytest
import trimesh
from evaluation.scripted_pipeline import ball

from triplane3d.evaluation.baselines import on_grid
from triplane3d.evaluation.criteria import judge_bars
from triplane3d.evaluation.self_test import TABLE, agreements, self_test
from triplane3d.evaluation.shape_metrics import Solid, compare_surfaces, volume_iou
from triplane3d.evaluation.shapes import EvaluationShape, mesh_shapes
from triplane3d.evaluation.suites import score
from triplane3d.evaluation.summary import Row


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationShape]:
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.torus(0.75, 0.25).export(folder / "ring.ply")
    trimesh.creation.cone(radius=1, height=1.5).export(folder / "cone.ply")
    return mesh_shapes(folder, surface_points=500, image_size=48)


def silent(message: str) -> None:
    pass


def test_the_truth_is_perfect_and_every_row_of_the_table_is_measured(cases: list[EvaluationShape]) -> None:
    rows = self_test("meshes", cases, points=4000, surfaces=2, table=True, resolution=32, progress=silent)
    assert {row.method for row in rows} == {"truth", *TABLE}
    found = agreements(rows)
    assert {(agreement.method, agreement.metric) for agreement in found} == {
        (method, metric) for method, metrics in TABLE.items() for metric in metrics
    }
    bars = {verdict.bar.title: verdict.met for verdict in judge_bars(rows, [], found)}
    assert bars == {
        "V-IoU of the truth": True,
        "F@.02 of the truth": True,
        "share of table 1c that is reproduced": False,
    }


def test_a_ruler_that_is_off_is_found_out(cases: list[EvaluationShape]) -> None:
    """A truth of which one in a hundred places is lost."""

    def worn(case: EvaluationShape) -> Solid:
        return Solid(
            lambda points: case.solid.occupancy(points) & (np.arange(len(points)) % 100 > 0), case.solid.make_surface
        )

    scores = score(cases, [worn(case) for case in cases], points=4000, surfaces=0)
    (verdict,) = judge_bars([Row("self-test", "meshes", "truth", scores)], [])
    assert not verdict.met


def test_a_finer_grid_holds_more_and_a_bare_inside_or_outside_less() -> None:
    """A ball through marching cubes: the chord of a cell h misses h²/8r of it, bare occupancy up to half a cell."""
    solid = Solid.from_field(ball(0.8), resolution=96)
    fine, coarse, bare = on_grid(solid, 32), on_grid(solid, 12), on_grid(solid, 32, binary=True)
    ious = [volume_iou(solid.occupancy, other.occupancy) for other in (fine, coarse, bare)]
    assert ious[0] > max(0.985, *ious[1:])
    normals = [compare_surfaces(solid.surface, other.surface)["normal_consistency"] for other in (fine, bare)]
    assert normals[0] > 0.99 > 0.97 > normals[1]


def test_the_grid_of_a_mesh_holds_its_exact_distance(cases: list[EvaluationShape]) -> None:
    for case in cases:
        scores = compare_surfaces(case.solid.surface, on_grid(case.solid, 48).surface)
        assert scores["f_score_02"] > 0.97 and scores["point_to_surface"] < 0.004


def test_what_falls_between_the_nodes_is_empty() -> None:
    lost = on_grid(Solid.from_field(ball(0.05, (0.1, 0.1, 0.1)), resolution=96), 10)
    assert lost.surface is None and not lost.occupancy(np.zeros((1, 3))).any()
