"""Few denoising steps are compared with many, with the same images and the same noise."""

import pytest
from evaluation.scripted_pipeline import ScriptedPipeline, ball, no_log

from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.criteria import evaluate_criteria
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes
from triplane3d.evaluation.steps import steps_suite


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(3, sorted(FAMILIES)[:4], resolution=16)


def test_predictions_that_do_not_depend_on_the_steps_have_ratio_one(shapes: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(shapes, lambda shape, *, seed, **_: ball(0.4 + 0.1 * seed))
    rows, estimates = steps_suite(pipe, "made up", shapes, points=4000, log=no_log)
    ratios = [found for found in estimates if "/" in found.name]
    assert [found.name.split(" / ")[0] for found in ratios] == ["1 step", "2 steps", "4 steps", "8 steps", "20 steps"]
    assert all(found.value == found.low == found.high == 1 for found in ratios)
    passed = {result.criterion.title: result.passed for result in evaluate_criteria(rows, estimates)}
    assert passed == {"V-IoU of 4 steps / 50": True, "V-IoU of 1 step / 50": True}


def test_step_that_loses_half_of_the_shape_has_a_ratio_below_one(shapes: list[EvaluationShape]) -> None:
    """With one step, the lower half of every shape is empty."""

    def script(shape: EvaluationShape, *, steps: int, **_):
        return lambda points: shape.solid.field(points).where((points[:, 1] > 0) | (steps > 1), -1.0)

    pipe = ScriptedPipeline(shapes, script)
    _, estimates = steps_suite(pipe, "made up", shapes, steps=(1, 50), points=4000, log=no_log)
    (found,) = [found for found in estimates if "/" in found.name]
    assert 0 < found.low <= found.value <= found.high < 1


def test_guidance_doubles_the_network_calls(shapes: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(shapes, lambda shape, **_: shape.solid.field)
    rows, estimates = steps_suite(pipe, "made up", shapes, steps=(1, 4), guidances=(1.0, 3.0), points=1000, log=no_log)
    calls = {(row.data, row.method): row.values("network_calls")[0] for row in rows}
    assert calls == {
        ("made up, guidance 1", "1 step"): 1,
        ("made up, guidance 1", "4 steps"): 4,
        ("made up, guidance 3", "1 step"): 2,
        ("made up, guidance 3", "4 steps"): 8,
    }
    assert [found.value for found in estimates if found.name == "network calls per step"] == [1, 2]
    (without,) = (found for found in estimates if found.name == "one network call a step / guided")
    assert (without.data, without.value) == ("made up, guidance 1", 1)


def test_student_is_compared_with_its_teacher(shapes: list[EvaluationShape]) -> None:
    """The student loses half of every shape at any number of steps; its guided teacher loses nothing."""

    def halved(shape: EvaluationShape, **_):
        return lambda points: shape.solid.field(points).where(points[:, 1] > 0, -1.0)

    teacher = ScriptedPipeline(shapes, lambda shape, **_: shape.solid.field)
    rows, estimates = steps_suite(
        ScriptedPipeline(shapes, halved),
        "made up",
        shapes,
        steps=(1, 4, 50),
        guidances=(1.0,),
        teacher=teacher,
        points=4000,
        log=no_log,
    )
    assert [(row.method, row.values("network_calls")[0]) for row in rows][0] == ("teacher's 50 steps", 100)
    own, of_teacher = (
        [found.value for found in estimates if found.name.endswith(f"/ {reference}")]
        for reference in ("50 steps", "teacher's 50 steps")
    )
    assert own == [1, 1] and len(of_teacher) == 3 and len(set(of_teacher)) == 1 and of_teacher[0] < 0.9
    assert [found.value for found in estimates if found.name == "one network call a step / guided"] == of_teacher[:1]
    passed = {result.criterion.title: result.passed for result in evaluate_criteria(rows, estimates)}
    assert passed["V-IoU of 4 steps / 50"] and not passed["V-IoU of 4 steps / teacher's 50"]
