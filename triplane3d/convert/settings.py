"""Checks of the arguments of published classes, before anything is built from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triplane3d.arguments import check_number, check_whole
from triplane3d.limits import LIMITS
from triplane3d.storage.tensor_files import check_utf8

MOST, MOST_LAYERS = LIMITS["width"].most, LIMITS["layers"].most


def check_exists(checkpoint: str | Path) -> None:
    """Raises a FileNotFoundError if the checkpoint does not exist, a ValueError if its path is not UTF-8.

    Converters call it first, because a message about missing settings would mislead.
    """
    if not Path(checkpoint).exists():
        raise FileNotFoundError(
            f"{checkpoint} does not exist: pass a downloaded checkpoint, or the folder that contains it"
        )
    check_utf8(checkpoint)


def complete(given: object, defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`given`, completed from `defaults` and checked.

    A default that is a type marks a required argument of that type; None marks an optional one without a check. The
    keys of `given` must be checked before; see `check_settings`.

    Raises:
        ValueError: if an argument is missing, or has a value of the wrong type or out of range.
    """
    assert isinstance(given, Mapping), "check_settings was called before"
    params = {**defaults, **given}
    required = [key for key, default in defaults.items() if isinstance(default, type)]
    if missing := [key for key in required if params[key] is None or params[key] is defaults[key]]:
        raise ValueError(f"{where} has no {', '.join(missing)}")
    for key, value in params.items():
        _check(f"{where}: {key}", value, defaults[key], layers="layers" in key)
    return params


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """A section of settings, which may be None: then it is empty."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping of keys to values, got {value!r}")
    return value


def _check(name: str, value: object, default: object, *, layers: bool) -> None:
    expected = default if isinstance(default, type) else type(default)
    if default is None or (value == default and type(value) is type(default)):
        return
    if expected is bool and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    if expected is str and not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {value!r}")
    if expected is float:
        check_number(name, value)
    if expected is int:
        check_whole(name, value, 0 if layers or default == 0 else 1, MOST_LAYERS if layers else MOST)
    if expected is list:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{name} must be a list of whole numbers, got {value!r}")
        for number in value:
            check_whole(name, number, 1, MOST)
