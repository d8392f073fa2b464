"""Ratios of times refer to the named baseline of the same run."""

from time import sleep

import pytest

from triplane3d.evaluation.timing import time_calls


def test_longer_call_has_a_larger_ratio() -> None:
    timings = time_calls({"short": lambda: sleep(0.005), "long": lambda: sleep(0.02)}, baseline="short", repeats=3)
    assert timings["short"].ratio == 1
    assert timings["long"].ratio > 1.5


def test_unknown_baseline_is_an_error() -> None:
    with pytest.raises(ValueError, match="baseline 'other'"):
        time_calls({"short": lambda: None}, baseline="other")
