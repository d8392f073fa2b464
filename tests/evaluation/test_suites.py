"""The suites on the tiny pipeline of random weights: every row is there, the truth scores 1, answers are repeatable."""

import pytest
import torch
from pipelines.tiny_pipeline import build_tiny

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.shapes import EvaluationShape, held_out_shapes, procedural_shapes
from triplane3d.evaluation.suites import Bank, autoencoder_suite, generate, image_features, image_suite, others
from triplane3d.evaluation.summary import format_table


@pytest.fixture(scope="module")
def pipe() -> Triplane3DPipeline:
    return build_tiny()


@pytest.fixture(scope="module")
def cases() -> list[EvaluationShape]:
    return held_out_shapes(3, sorted(FAMILIES)[:3], resolution=24)


def silent(message: str) -> None:
    pass


def test_the_truth_scores_one_and_the_hull_beats_the_ellipsoid(
    pipe: Triplane3DPipeline, cases: list[EvaluationShape]
) -> None:
    rows = autoencoder_suite(pipe.vae, "trained", cases, points=4000, surfaces=1, resolution=12, progress=silent)
    scores = {row.method: {name: summary.mean for name, summary in row.summaries().items()} for row in rows}
    assert set(scores) == {"autoencoder", "exact, on the grid", "truth", "convex hull", "bounding ellipsoid"}
    truth = scores["truth"]
    assert truth["volume_iou"] == truth["surface_iou"] == truth["f_score_02"] == 1
    assert truth["point_to_surface"] < 1e-6
    assert 0.1 < scores["convex hull"]["volume_iou"] < 1
    assert "truth" in format_table(rows, {"volume_iou": "V-IoU"})


def test_every_trivial_answer_stands_beside_the_model(pipe: Triplane3DPipeline, cases: list[EvaluationShape]) -> None:
    bank = Bank.of_training_shapes(pipe, 4, image_size=32, progress=silent)
    rows = image_suite(
        pipe,
        "trained",
        cases,
        steps=1,
        guidance=1.0,
        points=1000,
        surfaces=0,
        resolution=12,
        retrievals=bank.retrieve(pipe, cases, 12),
        progress=silent,
    )
    assert {row.method for row in rows} == {
        "model",
        "model, another's picture",
        "another shape",
        "inflated silhouette",
        "truth",
        "convex hull",
        "bounding ellipsoid",
        "retrieval by own features",
        "retrieval by thumbnail",
    }
    assert all(0 <= score["volume_iou"] <= 1 for row in rows for score in row.scores)


def test_a_training_shape_is_retrieved_by_its_own_picture(pipe: Triplane3DPipeline) -> None:
    bank = Bank.of_training_shapes(pipe, 4, image_size=32, progress=silent)
    shapes = procedural_shapes(range(4), None, surface_points=1024, image_size=32, resolution=12)
    for name, values in image_features(pipe, shapes).items():
        assert torch.allclose(values, bank.features[name], atol=1e-5)
    found = bank.retrieve(pipe, shapes, 12)["retrieval by thumbnail"]
    points = shapes[2].surface_points.double().numpy()
    assert (found[2].occupancy(points) == shapes[2].solid.occupancy(points)).all()


def test_what_is_generated_does_not_depend_on_the_batch(pipe: Triplane3DPipeline, cases: list[EvaluationShape]) -> None:
    options = {"steps": 1, "guidance": 2.0, "seed": 3, "resolution": 12}
    points = cases[0].surface_points.double().numpy()
    together = generate(pipe, cases, batch_size=3, **options)
    single = generate(pipe, cases, batch_size=1, **options)
    for one, other in zip(together, single):
        assert (one.occupancy(points) == other.occupancy(points)).mean() > 0.999


def test_another_category_is_found_where_there_is_one() -> None:
    assert others(["mug", "mug", "chair"]) == [2, 2, 0]
    assert others(["mug", "mug"]) == [1, 0]
