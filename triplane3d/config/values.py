"""What a configuration's value may be: its type, its range, and how text from YAML or a flag becomes it.

A key's range is part of its annotation: `steps: Count`, `lr: Positive`. `convert` refuses everything else.
"""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Rule:
    """What a value must be beyond its type, in words for the error, and as a test."""

    words: str
    holds: Callable[[Any], bool]


Name = Annotated[str, Rule("text that is not empty", bool)]
Count = Annotated[int, Rule("a whole number of 1 or more", lambda value: value >= 1)]
Natural = Annotated[int, Rule("a whole number of 0 or more", lambda value: value >= 0)]
AtLeastTwo = Annotated[int, Rule("a whole number of 2 or more", lambda value: value >= 2)]
Seed = Annotated[int, Rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)]
PowerOfTwo = Annotated[int, Rule("a power of two, 2 or more", lambda value: value >= 2 and value & (value - 1) == 0)]
Positive = Annotated[float, Rule("a number above 0", lambda value: value > 0)]
NotNegative = Annotated[float, Rule("a number of 0 or more", lambda value: value >= 0)]
Share = Annotated[float, Rule("a number from 0 to 1", lambda value: 0 <= value <= 1)]
ShareAboveZero = Annotated[float, Rule("a number above 0 and at most 1", lambda value: 0 < value <= 1)]
ShareBelowOne = Annotated[float, Rule("a number of at least 0 and below 1", lambda value: 0 <= value < 1)]


class Section:
    """A part of a configuration; whoever makes one, values out of their range are refused."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            if not is_dataclass(kind):
                convert(getattr(self, name), kind, f"{type(self).__name__}.{name}")


def convert(value: Any, kind: Any, where: str) -> Any:
    """`value`, from YAML or a flag, as the declared `kind`: bool, int, float, str, one of several texts, a tuple of
    these, or None. A `ValueError` begins with `where` and names what `kind` takes; numbers must be finite."""
    if get_origin(kind) is Annotated:
        inner, rule = get_args(kind)
        converted = convert(value, inner, where)
        if not rule.holds(converted):
            raise ValueError(f"{where} takes {rule.words}, not {value!r}")
        return converted
    if get_origin(kind) in (types.UnionType, Union):
        if value is None or value in ("none", "null", "None"):
            return None
        return convert(value, next(option for option in get_args(kind) if option is not type(None)), where)
    if get_origin(kind) is Literal:
        text = convert(value, str, where)
        if text not in get_args(kind):
            raise ValueError(f"{where} takes {' or '.join(map(repr, get_args(kind)))}, not {text!r}")
        return text
    if get_origin(kind) is tuple:
        return _convert_items(value, get_args(kind), where)
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError(f"{where} takes true or false, not {value!r}")
        return words[str(value).lower()]
    if kind is int or kind is float:
        return _convert_number(value, kind, where)
    if isinstance(value, (Mapping, list)) or value is None:
        raise ValueError(f"{where} takes text, not {value!r}")
    # YAML 1.1 reads an unquoted `no` as False; the only texts that look like that here are words for "off".
    return "no" if value is False else str(value)


def describe(kind: Any) -> str:
    """What a key of this kind takes, in words, for `--help`."""
    if get_origin(kind) is Annotated:
        inner, rule = get_args(kind)
        return "text" if inner is str else rule.words
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
        raise ValueError(f"{where} takes a list of values, not {value!r}")
    if of[-1] is Ellipsis:
        return tuple(convert(item, of[0], where) for item in items)
    if len(items) != len(of):
        raise ValueError(f"{where} takes {len(of)} values, not {value!r}")
    return tuple(convert(item, one, where) for item, one in zip(items, of, strict=True))


def _convert_number(value: Any, kind: type[int] | type[float], where: str) -> int | float:
    """YAML 1.1 reads 1e-3 as text, and a flag is always text."""
    try:
        if isinstance(value, bool):
            raise TypeError("yes and no are no numbers, though Python counts them as 1 and 0")
        if kind is int and isinstance(value, (int, str)) and str(value).strip().lstrip("+-").isdecimal():
            return int(value)  # by way of a float, large ones would lose their last digits
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where} takes a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{where} takes a finite number, not {value!r}")
    if kind is int and number != int(number):
        raise ValueError(f"{where} takes a whole number, not {value!r}")
    return kind(number)
