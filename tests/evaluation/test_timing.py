"""Ratios of times refer to the named baseline of the same run; the time left follows from the finished parts."""

from time import sleep

import pytest

from triplane3d.evaluation.timing import TimeLeft, time_calls


def test_longer_call_has_a_larger_ratio() -> None:
    timings = time_calls({"short": lambda: sleep(0.005), "long": lambda: sleep(0.02)}, baseline="short", repeats=3)
    assert timings["short"].ratio == 1
    assert timings["long"].ratio > 1.5


def test_unknown_baseline_is_an_error() -> None:
    with pytest.raises(ValueError, match="baseline 'other'"):
        time_calls({"short": lambda: None}, baseline="other")


def test_time_left_follows_from_the_finished_parts_of_each_kind() -> None:
    left = TimeLeft({"shapes": 100, "surfaces": 4})
    assert left.seconds == 0
    left.add("shapes", 10, 30.0)
    left.add("surfaces", 0, 0.0)
    assert left.seconds == pytest.approx(90 * 3)
    left.add("shapes", 10, 50.0)
    left.add("surfaces", 3, 60.0)
    assert left.seconds == pytest.approx(80 * 4 + 1 * 20) and str(left) == "about 6 minutes left"
    left.add("surfaces", 2, 1.0)  # more than expected
    assert left.seconds == pytest.approx(80 * 4)
