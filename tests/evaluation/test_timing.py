"""Ratios come from one run, against a named baseline."""

from time import sleep

import pytest

from triplane3d.evaluation.timing import time_calls


def test_a_call_that_sleeps_longer_takes_longer() -> None:
    timings = time_calls({"short": lambda: sleep(0.005), "long": lambda: sleep(0.02)}, baseline="short", repeats=3)
    assert timings["short"].ratio == 1
    assert timings["long"].ratio > 1.5


def test_the_baseline_must_be_one_of_the_calls() -> None:
    with pytest.raises(ValueError, match="baseline 'other'"):
        time_calls({"short": lambda: None}, baseline="other")
