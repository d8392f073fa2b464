"""Release criteria are tested at the end of the confidence interval and apply only to the data that they name."""

from pathlib import Path

import pytest

from triplane3d.evaluation.criteria import (
    CRITERIA,
    Criterion,
    Subject,
    evaluate_criteria,
    format_results,
    format_unmeasured,
    unmeasured_criteria,
)
from triplane3d.evaluation.report import FORMER_NUMBERS
from triplane3d.evaluation.sanity_checks import ReferenceCheck
from triplane3d.evaluation.summary import Estimate, Row

AUTOENCODER = Subject("autoencoder", "trained families", "autoencoder")
ANY_ROW = Subject("autoencoder", "*", "*")
CRITERION = Criterion("reconstruction", "V-IoU", AUTOENCODER, "volume_iou", 0.9, floor=0.5)
PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def row(values: list[float], metric: str = "volume_iou", **names: str) -> Row:
    named = {"suite": "autoencoder", "data": "trained families", "method": "autoencoder"} | names
    return Row(
        scores=[{metric: value, "fill": 0.1} for value in values],
        categories=[f"mesh {index}" for index in range(len(values))],
        **named,
    )


def test_mean_above_the_target_is_not_enough() -> None:
    scattered = row([0.7, 1.0] * 10 + [1.0] * 14)
    (result,) = evaluate_criteria([scattered], [], criteria=[CRITERION])
    assert result.low < 0.9 < result.value
    assert not result.passed and result.floor_passed
    assert "not passed; floor 0.5 passed" in format_results([result])
    (result,) = evaluate_criteria([row([0.95] * 20)], [], criteria=[CRITERION])
    assert result.passed


def test_upper_bound_is_tested_at_the_upper_end() -> None:
    criterion = Criterion("generalization", "lost", Subject("autoencoder", "a - b", "volume_iou"), at_most=0.03)
    estimate = Estimate("autoencoder", "a - b", "volume_iou", 0.02, 0.0, 0.04)
    (result,) = evaluate_criteria([], [estimate], criteria=[criterion])
    assert not result.passed


def test_each_requires_every_shape() -> None:
    photos = Subject("photos", "photos", "model")
    criterion = Criterion("photos", "each", photos, "mask_iou", 0.7, each=True)
    good, bad = (
        row(values, "mask_iou", suite="photos", data="photos", method="model")
        for values in ([0.7] * 30, [0.99] * 30 + [0.69])
    )
    assert evaluate_criteria([good], [], criteria=[criterion])[0].passed
    assert not evaluate_criteria([bad], [], criteria=[criterion])[0].passed


def test_pass_threshold_counts_shapes_and_applies_to_selects_them() -> None:
    criterion = Criterion("meshes of photos", "pieces", ANY_ROW, "volume_iou", 0.95, pass_threshold=0.97)
    assert evaluate_criteria([row([0.98] * 3)], [], criteria=[criterion])[0].value == 1
    assert evaluate_criteria([row([0.98, 0.96])], [], criteria=[criterion])[0].value == 0.5
    first = Criterion("x", "first", ANY_ROW, "volume_iou", 0.5, applies_to=lambda score, name: name == "mesh 0")
    assert evaluate_criteria([row([0.6, 0.1])], [], criteria=[first])[0].passed
    none = Criterion("x", "none", ANY_ROW, "volume_iou", 0.5, applies_to=lambda score, name: False)
    assert evaluate_criteria([row([0.6, 0.1])], [], criteria=[none]) == []


def test_a_criterion_about_these_photos_is_tested_at_the_mean() -> None:
    nine_of_ten = row([0.99] * 9 + [0.5])
    criterion = Criterion("x", "nine of ten", ANY_ROW, "volume_iou", 0.9, pass_threshold=0.97, these_only=True)
    assert evaluate_criteria([nine_of_ten], [], criteria=[criterion])[0].passed
    assert not evaluate_criteria([row([0.99] * 8 + [0.5] * 2)], [], criteria=[criterion])[0].passed
    sampled = Criterion("x", "of any ten", ANY_ROW, "volume_iou", 0.9, pass_threshold=0.97)
    assert not evaluate_criteria([nine_of_ten], [], criteria=[sampled])[0].passed


def test_unmeasured_criteria_of_measured_groups_are_found() -> None:
    other = Criterion("reconstruction", "S-IoU", AUTOENCODER, "surface_iou", 0.9)
    elsewhere = Criterion("image", "V-IoU", Subject("image", "*", "model"), "volume_iou", 0.9)
    criteria = [CRITERION, other, elsewhere]
    results = evaluate_criteria([row([1.0])], [], criteria=criteria)
    assert unmeasured_criteria(results, criteria=criteria) == [other]
    assert format_unmeasured([other]).split()[-2:] == ["not", "measured"]


def test_unmeasured_criteria_have_no_result() -> None:
    other = row([1.0], data="unseen families")
    assert evaluate_criteria([other], [], criteria=[CRITERION]) == []
    assert evaluate_criteria([], []) == []


def test_reference_scores_are_reproduced_if_every_check_agrees() -> None:
    near, far = (ReferenceCheck("convex hull", "volume_iou", "all", 0.545, value) for value in (0.553, 0.56))
    assert near.agrees and not far.agrees
    assert "agrees" in str(near) and "off by +0.015" in str(far)
    (passed,), (failed,) = evaluate_criteria([], [], [near]), evaluate_criteria([], [], [near, far])
    assert passed.passed and not failed.passed and failed.value == 0.5


def test_every_criterion_has_a_target_and_a_former_number() -> None:
    assert all(criterion.target for criterion in CRITERIA)
    assert {(criterion.group, criterion.floor) for criterion in CRITERIA if criterion.floor} == {
        ("reconstruction", 0.92),
        ("reconstruction", 0.8),
        ("image", 0.62),
        ("steps", 0.95),
    }
    assert {criterion.group for criterion in CRITERIA} - set(FORMER_NUMBERS) == {"agreement"}


def test_the_page_lists_exactly_these_criteria() -> None:
    listed = [line for line in PAGE.read_text().splitlines() if "≥" in line or "≤" in line]
    listed = [line for line in listed if line.startswith("| ")]
    expected = []
    for criterion in CRITERIA:
        data = "all" if criterion.subject.data == "*" else criterion.subject.data
        floor = "" if criterion.floor is None else f"{criterion.floor:g}"
        expected.append(f"| {criterion.group} | {criterion.title} | {data} | {criterion.target} | {floor} |")
    assert listed == expected


@pytest.mark.parametrize(("low", "passed"), [(0.03, True), (0.01, False)])
def test_two_limits_require_the_whole_interval_between_them(low: float, passed: bool) -> None:
    gain = Subject("variety", "*", "best of * - mean")
    criterion = Criterion("variety", "gain", gain, at_least=0.02, at_most=0.10)
    estimate = Estimate("variety", "trained families", "best of 8 - mean", 0.05, low, 0.07)
    (result,) = evaluate_criteria([], [estimate], criteria=[criterion])
    assert result.passed is passed
    too_high = Estimate("variety", "x", "best of 8 - mean", 0.09, 0.05, 0.11)
    assert not evaluate_criteria([], [too_high], criteria=[criterion])[0].passed
