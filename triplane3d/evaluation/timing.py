"""Timing for the scripts in `benchmarks/`: medians, and ratios against a baseline measured in the same run.

Seconds on a shared machine mean little; the ratio of two things timed in turns does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Timing:
    """Median wall-clock seconds of a call, and how many times as long as the baseline's it is."""

    name: str
    seconds: float
    ratio: float

    def __str__(self) -> str:
        return f"{self.name:32s} {self.seconds:10.4f} s  {self.ratio:8.2f}x"


def time_calls(
    calls: Mapping[str, Callable[[], object]], *, baseline: str, repeats: int = 5, warmup: int = 1
) -> dict[str, Timing]:
    """Time each call `repeats` times, in turns, so that a slow minute of the machine slows all of them alike."""
    if baseline not in calls:
        raise ValueError(f"the baseline {baseline!r} is none of the calls: {sorted(calls)}")
    for _ in range(warmup):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = perf_counter()
            call()
            seconds[name].append(perf_counter() - start)
    unit = median(seconds[baseline])
    return {name: Timing(name, median(times), median(times) / unit) for name, times in seconds.items()}
