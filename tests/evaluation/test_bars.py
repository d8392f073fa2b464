"""A bar is met by the less kind end of the interval, and speaks only of what it names."""

import pytest

from triplane3d.evaluation.criteria import BARS, Bar, format_verdicts, judge_bars
from triplane3d.evaluation.self_test import Agreement
from triplane3d.evaluation.summary import Estimate, Row

BAR = Bar("Q1", "V-IoU", "autoencoder", "trained families", "autoencoder", "volume_iou", 0.9, floor=0.5)


def row(values: list[float], metric: str = "volume_iou", **names: str) -> Row:
    named = {"suite": "autoencoder", "data": "trained families", "method": "autoencoder"} | names
    return Row(
        scores=[{metric: value, "fill": 0.1} for value in values],
        categories=[f"mesh {index}" for index in range(len(values))],
        **named,
    )


def test_a_mean_above_the_bar_does_not_meet_it() -> None:
    spread = row([0.7, 1.0] * 10 + [1.0] * 14)
    (verdict,) = judge_bars([spread], [], bars=[BAR])
    assert verdict.low < 0.9 < verdict.value
    assert not verdict.met and verdict.floor_met
    assert "not met; floor 0.5 met" in format_verdicts([verdict])
    (verdict,) = judge_bars([row([0.95] * 20)], [], bars=[BAR])
    assert verdict.met


def test_what_must_stay_small_is_judged_by_its_upper_end() -> None:
    bar = Bar("Q3", "lost", "autoencoder", "a - b", "volume_iou", at_most=0.03)
    estimate = Estimate("autoencoder", "a - b", "volume_iou", 0.02, 0.0, 0.04)
    (verdict,) = judge_bars([], [estimate], bars=[bar])
    assert not verdict.met


def test_each_is_every_single_one() -> None:
    bar = Bar("Q6", "each", "photos", "photos", "model", "mask_iou", 0.7, each=True)
    fine, bad = (
        row(values, "mask_iou", suite="photos", data="photos", method="model")
        for values in ([0.7] * 30, [0.99] * 30 + [0.69])
    )
    assert judge_bars([fine], [], bars=[bar])[0].met and not judge_bars([bad], [], bars=[bar])[0].met


def test_a_share_counts_those_that_pass_and_only_those_it_speaks_of() -> None:
    bar = Bar("Q11", "pieces", "autoencoder", "*", "*", "volume_iou", 0.95, passing=0.97)
    assert judge_bars([row([0.98] * 3)], [], bars=[bar])[0].value == 1
    assert judge_bars([row([0.98, 0.96])], [], bars=[bar])[0].value == 0.5
    first = Bar("Q2", "first", "autoencoder", "*", "*", "volume_iou", 0.5, only=lambda score, name: name == "mesh 0")
    assert judge_bars([row([0.6, 0.1])], [], bars=[first])[0].met
    nobody = Bar("Q2", "nobody", "autoencoder", "*", "*", "volume_iou", 0.5, only=lambda score, name: False)
    assert judge_bars([row([0.6, 0.1])], [], bars=[nobody]) == []


def test_what_was_not_measured_is_not_judged() -> None:
    other = row([1.0], data="unseen families")
    assert judge_bars([other], [], bars=[BAR]) == []
    assert judge_bars([], []) == []


def test_the_table_is_reproduced_when_every_row_agrees() -> None:
    near, far = (Agreement("convex hull", "volume_iou", "all", 0.545, value) for value in (0.553, 0.56))
    assert near.agrees and not far.agrees
    assert "agrees" in str(near) and "off by +0.015" in str(far)
    (met,), (missed,) = judge_bars([], [], [near]), judge_bars([], [], [near, far])
    assert met.met and not missed.met and missed.value == 0.5


def test_every_bar_asks_for_something_and_the_floors_are_those_of_a_cpu() -> None:
    assert all(bar.target for bar in BARS)
    assert {(bar.number, bar.floor) for bar in BARS if bar.floor} == {
        ("Q1", 0.92),
        ("Q1", 0.8),
        ("Q4", 0.62),
        ("Q8", 0.95),
    }
    numbers = {bar.number for bar in BARS}
    assert numbers == {f"Q{number}" for number in (*range(1, 9), 11, 14, 15)}


@pytest.mark.parametrize(("low", "met"), [(0.03, True), (0.01, False)])
def test_between_two_limits_the_whole_interval_lies(low: float, met: bool) -> None:
    bar = Bar("Q7", "gain", "variety", "*", "best of * - mean", at_least=0.02, at_most=0.10)
    estimate = Estimate("variety", "trained families", "best of 8 - mean", 0.05, low, 0.07)
    (verdict,) = judge_bars([], [estimate], bars=[bar])
    assert verdict.met is met
    assert not judge_bars([], [Estimate("variety", "x", "best of 8 - mean", 0.09, 0.05, 0.11)], bars=[bar])[0].met
