"""Types and ranges of configuration values, and their conversion from YAML and flags.

The range of a key is part of its annotation: `steps: Steps`, `lr: LearningRate`. `convert` refuses all other values.
Every number has an upper bound, so that a typing error such as `shapes: 1e12` is refused before any work.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

LONGEST_TEXT = 4096
"""Characters of a text, which is a path or a name. Linux accepts paths of 4,096 bytes."""

LONGEST_LIST = 1000
"""Entries of a list."""


@dataclass(frozen=True)
class Range:
    """Accepted numbers: `least` to `most`, both included unless an end is marked as open."""

    least: float
    most: float
    least_open: bool = False
    most_open: bool = False
    power_of_two: bool = False

    def contains(self, value: float) -> bool:
        """Whether `value` is accepted."""
        above = value > self.least if self.least_open else value >= self.least
        below = value < self.most if self.most_open else value <= self.most
        return above and below and not (self.power_of_two and int(value) & (int(value) - 1))

    def describe(self, kind: type) -> str:
        """The range in words, for error messages and `--help`."""
        noun = "a number" if kind is float else "a power of two" if self.power_of_two else "a whole number"
        if not (self.least_open or self.most_open):
            return f"{noun} from {self.least:,} to {self.most:,}"
        lower = f"above {self.least:,}" if self.least_open else f"of at least {self.least:,}"
        return f"{noun} {lower} and {'below' if self.most_open else 'at most'} {self.most:,}"


@dataclass(frozen=True)
class NotEmpty:
    """Accepted texts: UTF-8 that is not empty and not longer than `LONGEST_TEXT`."""

    def contains(self, value: str) -> bool:
        """Whether `value` is accepted."""
        if not 0 < len(value) <= LONGEST_TEXT or "\0" in value:
            return False
        try:
            return bool(value.encode())  # file names of other bytes become surrogates, which no YAML file can contain
        except UnicodeEncodeError:
            return False

    def describe(self, kind: type) -> str:
        """The rule in words, for error messages."""
        return f"text of 1 to {LONGEST_TEXT:,} characters in UTF-8"


Name = Annotated[str, NotEmpty()]

# The upper bounds are far above any useful value. They bound memory and time where a configuration is wrong.
Steps = Annotated[int, Range(1, 1_000_000_000)]  # at 100 a second, four months
StepsOrNone = Annotated[int, Range(0, 1_000_000_000)]
Shapes = Annotated[int, Range(1, 2**30)]  # training seeds end at 2³⁰
ShapesOrNone = Annotated[int, Range(0, 2**30)]
FirstSeed = Annotated[int, Range(0, 2**32)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
BatchSize = Annotated[int, Range(1, 65_536)]
PoolSize = Annotated[int, Range(1, 2**22)]
Reuse = Annotated[int, Range(1, 1_000_000)]
Points = Annotated[int, Range(1, 2**24)]
LabelPoints = Annotated[int, Range(2, 2**24)]  # one half uniform, the other near the surface
Pixels = Annotated[int, Range(1, 4096)]
Views = Annotated[int, Range(1, 64)]
ViewsOrNone = Annotated[int, Range(0, 64)]
Pictures = Annotated[int, Range(1, 1024)]
Workers = Annotated[int, Range(1, 512)]
WorkersOrNone = Annotated[int, Range(0, 512)]
Limit = Annotated[int, Range(1, 1_000_000)]
LimitOrNone = Annotated[int, Range(0, 1_000_000)]
SamplingSteps = Annotated[int, Range(1, 10_000)]
ScheduleSteps = Annotated[int, Range(2, 4096, power_of_two=True)]
NoiseLevels = Annotated[int, Range(1, 256)]
Minutes = Annotated[float, Range(0, 1_000_000, least_open=True)]
LearningRate = Annotated[float, Range(0, 10, least_open=True)]
Norm = Annotated[float, Range(0, 1_000_000, least_open=True)]
Weight = Annotated[float, Range(0, 1_000_000)]
Guidance = Annotated[float, Range(0, 1_000)]
Deviation = Annotated[float, Range(0, 100)]
DeviationAboveZero = Annotated[float, Range(0, 100, least_open=True)]
Logit = Annotated[float, Range(-100, 100)]
Length = Annotated[float, Range(0, 2, least_open=True)]  # the object is inside [-1, 1]³
Share = Annotated[float, Range(0, 1)]
ShareAboveZero = Annotated[float, Range(0, 1, least_open=True)]
ShareBelowOne = Annotated[float, Range(0, 1, most_open=True)]


class Section:
    """A part of a configuration. A value out of its range is refused, also where the section is made in Python."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            if not is_dataclass(kind):
                convert(getattr(self, name), kind, f"{type(self).__name__}.{name}")


def convert(value: Any, kind: Any, where: str) -> Any:
    """Convert `value`, from YAML or a flag, to the annotation `kind`.

    `kind` is bool, int, float, str, a Literal of texts, a tuple of these, any of them with None, or with a `Range`.

    Raises:
        ValueError: for any other value, and for numbers that are not finite. The message begins with `where`.
    """
    if get_origin(kind) is Annotated:
        inner, rule = get_args(kind)
        converted = convert(value, inner, where)
        if not rule.contains(converted):
            raise ValueError(f"{where} takes {rule.describe(inner)}, not {shown(value)}")
        return converted
    if get_origin(kind) in (types.UnionType, Union):
        if value is None or value in ("none", "null", "None"):
            return None
        return convert(value, next(option for option in get_args(kind) if option is not type(None)), where)
    if get_origin(kind) is Literal:
        text = convert(value, str, where)
        if text not in get_args(kind):
            raise ValueError(f"{where} takes {' or '.join(map(repr, get_args(kind)))}, not {shown(text)}")
        return text
    if get_origin(kind) is tuple:
        return _convert_items(value, get_args(kind), where)
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if not isinstance(value, (bool, int, str)) or shown(value, "{}").lower() not in words:
            raise ValueError(f"{where} takes true or false, not {shown(value)}")
        return words[shown(value, "{}").lower()]
    if kind is int or kind is float:
        return _convert_number(value, kind, where)
    if isinstance(value, (Mapping, list)) or value is None:
        raise ValueError(f"{where} takes text, not {shown(value)}")
    # YAML 1.1 reads an unquoted `no` as False. The only accepted texts of this form mean "off".
    return "no" if value is False else str(value)


def shown(value: Any, form: str = "{!r}") -> str:
    """`value` for an error message, at most 100 characters long."""
    try:
        text = form.format(value)
    except ValueError:  # Python does not write whole numbers of more than 4,300 digits
        text = "a number of more than 4,300 digits"
    return text if len(text) <= 100 else f"{text[:100]}…"


def describe(kind: Any) -> str:
    """The values that a key of this kind takes, in words, for `--help`."""
    if get_origin(kind) is Annotated:
        inner, rule = get_args(kind)
        return "text" if inner is str else rule.describe(inner)
    if get_origin(kind) in (types.UnionType, Union):
        return f"{describe(next(option for option in get_args(kind) if option is not type(None)))}, or none"
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "several, with commas between them: each " + describe(get_args(kind)[0])
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]


def _convert_items(value: Any, of: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    items = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError(f"{where} takes a list of values, not {shown(value)}")
    if len(items) > LONGEST_LIST:
        raise ValueError(f"{where} takes a list of at most {LONGEST_LIST:,} values, not of {len(items):,}")
    if of[-1] is Ellipsis:
        return tuple(convert(item, of[0], where) for item in items)
    if len(items) != len(of):
        raise ValueError(f"{where} takes {len(of)} values, not {shown(value)}")
    return tuple(convert(item, one, where) for item, one in zip(items, of, strict=True))


def _convert_number(value: Any, kind: type[int] | type[float], where: str) -> int | float:
    """A number from a number or a text: YAML 1.1 reads 1e-3 as text, and a flag is always text."""
    try:
        if isinstance(value, bool):
            raise TypeError("yes and no are not numbers, although Python treats them as 1 and 0")
        if kind is int and isinstance(value, (int, str)) and str(value).strip().lstrip("+-").isdecimal():
            return int(value)  # not through a float, which has 53 bits
        number = float(value)
    except OverflowError:
        raise ValueError(f"{where} takes a finite number, not {shown(value)}") from None
    except (TypeError, ValueError):
        raise ValueError(f"{where} takes a number, not {shown(value)}") from None
    if not math.isfinite(number):
        raise ValueError(f"{where} takes a finite number, not {shown(value)}")
    if kind is int and number != int(number):
        raise ValueError(f"{where} takes a whole number, not {shown(value)}")
    return kind(number)
