"""The suites on the tiny pipeline with random weights: all rows are present and the results are reproducible."""

import pytest
import torch
from evaluation.scripted_pipeline import no_log
from pipelines.tiny_pipeline import build_tiny

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes, procedural_shapes
from triplane3d.evaluation.prediction import predict_shapes
from triplane3d.evaluation.retrieval import RetrievalIndex, image_features
from triplane3d.evaluation.suites import autoencoder_suite, image_suite, partner_indices
from triplane3d.evaluation.summary import format_table


@pytest.fixture(scope="module")
def pipe() -> Triplane3DPipeline:
    return build_tiny()


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(3, sorted(FAMILIES)[:3], resolution=24)


def test_truth_scores_one(pipe: Triplane3DPipeline, shapes: list[EvaluationShape]) -> None:
    rows = autoencoder_suite(pipe.vae, "trained", shapes, points=4000, surfaces=1, resolution=12, log=no_log)
    scores = {row.method: {name: summary.mean for name, summary in row.summaries().items()} for row in rows}
    assert set(scores) == {"autoencoder", "exact, on the grid", "truth", "convex hull", "bounding ellipsoid"}
    truth = scores["truth"]
    assert truth["volume_iou"] == truth["surface_iou"] == truth["f_score_02"] == 1
    assert truth["point_to_surface"] < 1e-6
    assert 0.1 < scores["convex hull"]["volume_iou"] < 1
    assert "truth" in format_table(rows, {"volume_iou": "V-IoU"})


def test_image_suite_has_a_row_for_every_baseline(pipe: Triplane3DPipeline, shapes: list[EvaluationShape]) -> None:
    index = RetrievalIndex.of_training_shapes(pipe, 4, image_size=32, log=no_log)
    rows = image_suite(
        pipe,
        "trained",
        shapes,
        steps=1,
        guidance=1.0,
        points=1000,
        surfaces=0,
        resolution=12,
        retrievals=index.retrieve(pipe, shapes, 12),
        log=no_log,
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


def test_training_shape_is_retrieved_by_its_own_image(pipe: Triplane3DPipeline) -> None:
    index = RetrievalIndex.of_training_shapes(pipe, 4, image_size=32, log=no_log)
    shapes = procedural_shapes(range(4), None, surface_points=1024, image_size=32, resolution=12)
    for name, values in image_features(pipe, shapes).items():
        assert torch.allclose(values, index.features[name], atol=1e-5)
    found = index.retrieve(pipe, shapes, 12)["retrieval by thumbnail"]
    points = shapes[2].surface_points.double().numpy()
    assert (found[2].occupancy(points) == shapes[2].solid.occupancy(points)).all()


def test_predictions_do_not_depend_on_the_batch_size(pipe: Triplane3DPipeline, shapes: list[EvaluationShape]) -> None:
    options = {"steps": 1, "guidance": 2.0, "seed": 3, "resolution": 12}
    points = shapes[0].surface_points.double().numpy()
    together = predict_shapes(pipe, shapes, batch_size=3, **options)
    single = predict_shapes(pipe, shapes, batch_size=1, **options)
    for one, other in zip(together, single):
        assert (one.occupancy(points) == other.occupancy(points)).mean() > 0.999


def test_partner_has_another_category_if_there_is_one() -> None:
    assert partner_indices(["mug", "mug", "chair"]) == [2, 2, 0]
    assert partner_indices(["mug", "mug"]) == [1, 0]
