"""Timing for the scripts in `benchmarks/`, and the estimate of the time that a long evaluation still takes.

`time_calls` measures median seconds, and ratios to a baseline measured in the same run. Absolute times vary on a shared
machine. The ratio of two calls that are timed alternately is stable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Timing:
    """Result of timing one call."""

    name: str
    seconds: float
    """Median wall-clock time of the call."""
    ratio: float
    """`seconds` divided by the baseline's `seconds`."""

    def __str__(self) -> str:
        return f"{self.name:32s} {self.seconds:10.4f} s  {self.ratio:8.2f}x"


def time_calls(
    calls: Mapping[str, Callable[[], object]], *, baseline: str, repeats: int = 5, warmup: int = 1
) -> dict[str, Timing]:
    """Time each call `repeats` times after `warmup` untimed calls.

    The calls alternate, so that a change in the machine's load affects all of them. Raises ValueError if `baseline` is
    not one of the calls.
    """
    if baseline not in calls:
        raise ValueError(f"the baseline {baseline!r} is not one of the calls {sorted(calls)}")
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


@dataclass
class TimeLeft:
    """The time that work of several kinds still takes, if its remaining parts take as long as the finished ones."""

    total: Mapping[str, int]
    """Number of parts of each kind."""
    _done: dict[str, int] = field(default_factory=dict)
    _spent: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, count: int, seconds: float) -> None:
        """`count` more parts of a kind are finished and took `seconds` together."""
        self._done[kind] = self._done.get(kind, 0) + count
        self._spent[kind] = self._spent.get(kind, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """The estimate. Kinds of which no part is finished count as nothing."""
        return sum(
            max(0, self.total[kind] - done) * self._spent[kind] / done for kind, done in self._done.items() if done
        )

    def __str__(self) -> str:
        return f"about {self.seconds / 60:.0f} minutes left"
