"""Few steps are measured against many, on the same pictures and the same noise."""

import pytest
from evaluation.scripted_pipeline import ScriptedPipeline, ball

from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.criteria import judge_bars
from triplane3d.evaluation.shapes import EvaluationShape, held_out_shapes
from triplane3d.evaluation.steps import steps_suite


@pytest.fixture(scope="module")
def cases() -> list[EvaluationShape]:
    return held_out_shapes(3, sorted(FAMILIES)[:4], resolution=16)


def silent(message: str) -> None:
    pass


def test_answers_that_do_not_change_are_worth_all_of_them(cases: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(cases, lambda case, *, seed, **_: ball(0.4 + 0.1 * seed))
    rows, estimates = steps_suite(pipe, "made up", cases, points=4000, progress=silent)
    shares = [found for found in estimates if "/" in found.name]
    assert [found.name.split(" / ")[0] for found in shares] == ["1 step", "2 steps", "4 steps", "8 steps", "20 steps"]
    assert all(found.value == found.low == found.high == 1 for found in shares)
    met = {verdict.bar.title: verdict.met for verdict in judge_bars(rows, estimates)}
    assert met == {"V-IoU of 4 steps / 50": True, "V-IoU of 1 step / 50": True}


def test_a_step_that_loses_half_is_worth_half(cases: list[EvaluationShape]) -> None:
    """With one step half of the truth is empty."""

    def answer(case: EvaluationShape, *, steps: int, **_):
        return lambda points: case.solid.field(points).where((points[:, 1] > 0) | (steps > 1), -1.0)

    _, estimates = steps_suite(
        ScriptedPipeline(cases, answer), "made up", cases, steps=(1, 50), points=4000, progress=silent
    )
    (found,) = [found for found in estimates if "/" in found.name]
    assert 0 < found.low <= found.value <= found.high < 1


def test_guidance_takes_two_looks_a_step(cases: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(cases, lambda case, **_: case.solid.field)
    rows, estimates = steps_suite(
        pipe, "made up", cases, steps=(1, 4), guidances=(1.0, 3.0), points=1000, progress=silent
    )
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


def test_a_student_is_held_against_its_teacher(cases: list[EvaluationShape]) -> None:
    """The student loses half of every shape at any number of steps, its guided teacher nothing."""

    def halved(case: EvaluationShape, **_):
        return lambda points: case.solid.field(points).where(points[:, 1] > 0, -1.0)

    teacher = ScriptedPipeline(cases, lambda case, **_: case.solid.field)
    rows, estimates = steps_suite(
        ScriptedPipeline(cases, halved),
        "made up",
        cases,
        steps=(1, 4, 50),
        guidances=(1.0,),
        teacher=teacher,
        points=4000,
        progress=silent,
    )
    assert [(row.method, row.values("network_calls")[0]) for row in rows][0] == ("teacher's 50 steps", 100)
    own, of_teacher = (
        [found.value for found in estimates if found.name.endswith(f"/ {whole}")]
        for whole in ("50 steps", "teacher's 50 steps")
    )
    assert own == [1, 1] and len(of_teacher) == 3 and len(set(of_teacher)) == 1 and of_teacher[0] < 0.9
    assert [found.value for found in estimates if found.name == "one network call a step / guided"] == of_teacher[:1]
    met = {verdict.bar.title: verdict.met for verdict in judge_bars(rows, estimates)}
    assert met["V-IoU of 4 steps / 50"] and not met["V-IoU of 4 steps / teacher's 50"]
