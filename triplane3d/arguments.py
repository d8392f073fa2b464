"""Checks of numbers before any work. Each error names the argument, the accepted values and the value passed.

Imports neither torch nor numpy. `pipelines/arguments.py` checks tensors and callbacks.
"""

import math
from numbers import Integral, Real

# The largest finite number of float32 is slightly larger. All values are computed in float32.
LARGEST = 3e38


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise a ValueError if `value` is no whole number from `least` to `most`. Numbers of numpy are accepted."""
    accepted = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, {accepted}; got {value!r}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name} must be {accepted}, got {value}")


def check_number(name: str, value: object, least: float = -math.inf, most: float = math.inf) -> None:
    """Raise a ValueError if `value` is no finite number from `least` to `most`."""
    plain = isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not plain or not least <= value <= most:
        accepted = "a finite number" + ("" if least == -math.inf else f" of at least {least:g}")
        if most < math.inf:
            accepted = f"a number from {least:g} to {most:g}"
        raise ValueError(f"{name} must be {accepted}, got {value!r}")
