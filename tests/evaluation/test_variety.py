"""The variety suite separates variance where the image shows the surface from variance where it does not."""

import math

import pytest
import torch
from evaluation.scripted_pipeline import ScriptedPipeline, ball, no_log

from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes
from triplane3d.evaluation.shape_metrics import Solid
from triplane3d.evaluation.summary import Estimate
from triplane3d.evaluation.variety import variety_suite
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.fields import Field


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(4, sorted(FAMILIES)[:4], resolution=32)


def measure(shapes: list[EvaluationShape], script, **options) -> dict[str, Estimate]:
    _, estimates = variety_suite(
        ScriptedPipeline(shapes, script), "made up", shapes, seeds=4, points=4000, log=no_log, **options
    )
    return {estimate.name: estimate for estimate in estimates}


def truth(shape: EvaluationShape, **_) -> Field:
    return shape.solid.field


def true_front_random_back(shape: EvaluationShape, *, seed: int, **_) -> Field:
    """The truth in the half towards the camera; in the other half each cell is inside or outside at random."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand((8, 8, 8), generator=generator) - 0.5

    def field(points: torch.Tensor) -> torch.Tensor:
        i, j, k = ((points + 1) * 4).long().clamp(0, 7).unbind(-1)
        return torch.where(points[:, 2] > 0, shape.solid.field(points), grid[i, j, k])

    return field


def test_variance_of_the_hidden_half_only_gives_a_high_ratio() -> None:
    """The camera sees slightly less than the front half of a ball."""
    solid, image = Solid.from_field(ball(0.9), resolution=32), torch.zeros(4, 8, 8)
    points = torch.from_numpy(solid.surface.points[:10]).float()
    balls = [
        EvaluationShape(name, name, solid, solid.surface, points, points, points, image + shade, Camera.orbit())
        for name, shade in (("one", 0.2), ("other", 0.6))
    ]
    found = measure(balls, true_front_random_back)
    assert found["hidden / visible variance"].low > 20
    assert found["best of 4 - mean"].low > 0


def test_equal_predictions_have_no_variance_and_depend_on_the_image(shapes: list[EvaluationShape]) -> None:
    found = measure(shapes, truth)
    assert found["hidden / visible variance"].value == 1
    assert found["best of 4 - mean"].value == 0
    assert found["own - another's picture"].low > 0.2


def test_uniform_noise_has_ratio_one(shapes: list[EvaluationShape]) -> None:
    found = measure(shapes, lambda shape, *, seed, **_: noisy(seed))
    assert found["hidden / visible variance"].value == pytest.approx(1, abs=0.15)


def noisy(seed: int) -> Field:
    def field(points: torch.Tensor) -> torch.Tensor:
        phase = torch.rand(3, generator=torch.Generator().manual_seed(seed)) * 1000
        return torch.sin((points + phase) @ torch.tensor([97.0, 113.0, 89.0]) * math.pi)

    return field


def test_another_image_does_not_change_the_score_of_a_model_that_ignores_it(shapes: list[EvaluationShape]) -> None:
    found = measure(shapes, lambda shape, *, seed, **_: ball(0.4 + 0.1 * seed))
    swap = found["own - another's picture"]
    assert swap.value == swap.low == swap.high == 0


def test_one_prediction_per_image_is_an_error(shapes: list[EvaluationShape]) -> None:
    with pytest.raises(ValueError, match="at least two predictions"):
        variety_suite(ScriptedPipeline(shapes, truth), "made up", shapes, seeds=1, log=no_log)
