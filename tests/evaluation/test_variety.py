"""Variety is counted where the picture leaves it open, and a picture that is not looked at cannot be missed."""

import math

import pytest
import torch
from evaluation.scripted_pipeline import ScriptedPipeline, ball

from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.shape_metrics import Solid
from triplane3d.evaluation.shapes import EvaluationShape, held_out_shapes
from triplane3d.evaluation.summary import Estimate
from triplane3d.evaluation.variety import variety_suite
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.fields import Field


@pytest.fixture(scope="module")
def cases() -> list[EvaluationShape]:
    return held_out_shapes(4, sorted(FAMILIES)[:4], resolution=32)


def silent(message: str) -> None:
    pass


def findings(cases: list[EvaluationShape], answer, **options) -> dict[str, Estimate]:
    _, estimates = variety_suite(
        ScriptedPipeline(cases, answer), "made up", cases, seeds=4, points=4000, progress=silent, **options
    )
    return {estimate.name: estimate for estimate in estimates}


def truth(case: EvaluationShape, **_) -> Field:
    return case.solid.field


def true_front_random_back(case: EvaluationShape, *, seed: int, **_) -> Field:
    """The truth from the middle on towards the camera; behind, in or out by the toss of the seed's coin."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand((8, 8, 8), generator=generator) - 0.5

    def field(points: torch.Tensor) -> torch.Tensor:
        i, j, k = ((points + 1) * 4).long().clamp(0, 7).unbind(-1)
        return torch.where(points[:, 2] > 0, case.solid.field(points), grid[i, j, k])

    return field


def test_what_varies_only_behind_has_a_high_ratio() -> None:
    """Of a ball the camera sees a little less than the half before the middle."""
    solid, picture = Solid.from_field(ball(0.9), resolution=32), torch.zeros(4, 8, 8)
    points = torch.from_numpy(solid.surface.points[:10]).float()
    balls = [
        EvaluationShape(name, name, solid, solid.surface, points, points, points, picture + shade, Camera.orbit())
        for name, shade in (("one", 0.2), ("other", 0.6))
    ]
    found = findings(balls, true_front_random_back)
    assert found["hidden / visible variance"].low > 20
    assert found["best of 4 - mean"].low > 0


def test_the_same_answer_every_time_varies_nowhere_and_needs_its_picture(cases: list[EvaluationShape]) -> None:
    found = findings(cases, truth)
    assert found["hidden / visible variance"].value == 1
    assert found["best of 4 - mean"].value == 0
    assert found["own - another's picture"].low > 0.2


def test_noise_alike_on_both_sides_has_the_ratio_one(cases: list[EvaluationShape]) -> None:
    found = findings(cases, lambda case, *, seed, **_: noisy(seed))
    assert found["hidden / visible variance"].value == pytest.approx(1, abs=0.15)


def noisy(seed: int) -> Field:
    def field(points: torch.Tensor) -> torch.Tensor:
        phase = torch.rand(3, generator=torch.Generator().manual_seed(seed)) * 1000
        return torch.sin((points + phase) @ torch.tensor([97.0, 113.0, 89.0]) * math.pi)

    return field


def test_a_model_that_ignores_its_picture_loses_nothing_by_a_swap(cases: list[EvaluationShape]) -> None:
    found = findings(cases, lambda case, *, seed, **_: ball(0.4 + 0.1 * seed))
    swap = found["own - another's picture"]
    assert swap.value == swap.low == swap.high == 0


def test_one_answer_shows_no_variety(cases: list[EvaluationShape]) -> None:
    with pytest.raises(ValueError, match="two answers"):
        variety_suite(ScriptedPipeline(cases, truth), "made up", cases, seeds=1, progress=silent)
