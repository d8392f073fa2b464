"""What a configuration's value may be: its type, and how text becomes it."""

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin


def convert(value: Any, kind: Any, where: str) -> Any:
    """`value`, from YAML or a flag, as the declared `kind`: bool, int, float, str, a tuple of these, or None."""
    if get_origin(kind) in (types.UnionType, Union):
        if value is None or value in ("none", "null", "None"):
            return None
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        items = value.replace(",", " ").split() if isinstance(value, str) else list(value)
        of = get_args(kind)
        if of[-1] is Ellipsis:
            return tuple(convert(item, of[0], where) for item in items)
        if len(items) != len(of):
            raise ValueError(f"{where} takes {len(of)} values, not {value!r}")
        return tuple(convert(item, one, where) for item, one in zip(items, of, strict=True))
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError(f"{where} takes true or false, not {value!r}")
        return words[str(value).lower()]
    if kind in (int, float):
        # YAML 1.1 reads 1e-3 as text, and a flag is always text.
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{where} takes a number, not {value!r}") from None
        if kind is int and number != int(number):
            raise ValueError(f"{where} takes a whole number, not {value!r}")
        return kind(number)
    if isinstance(value, (Mapping, list)) or value is None:
        raise ValueError(f"{where} takes text, not {value!r}")
    # YAML 1.1 reads an unquoted `no` as False; the only texts that look like that here are words for "off".
    return "no" if value is False else str(value)
