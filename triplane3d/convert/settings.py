"""What the arguments of a published class may be: one of the wrong kind is named before anything is made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triplane3d.arguments import check_number, check_whole
from triplane3d.limits import LIMITS

MOST, MOST_LAYERS = LIMITS["width"].most, LIMITS["layers"].most


def check_there(checkpoint: str | Path) -> None:
    """Said first: settings that are missing beside a checkpoint that is missing are no news."""
    if not Path(checkpoint).exists():
        raise FileNotFoundError(
            f"{checkpoint} does not exist: name a downloaded checkpoint, or the folder that holds it"
        )


def complete(given: object, defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`given` with what is taken for granted; a type among the `defaults` marks what must be said, None what may be.

    Keys are known already; see `check_settings`.
    """
    assert isinstance(given, Mapping), "its keys were looked at"
    params = {**defaults, **given}
    wanted = [key for key, default in defaults.items() if isinstance(default, type)]
    if lacking := [key for key in wanted if params[key] is None or params[key] is defaults[key]]:
        raise ValueError(f"{where} does not say {', '.join(lacking)}")
    for key, value in params.items():
        _check(f"{where}: {key}", value, defaults[key], layers="layers" in key)
    return params


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """A section of settings; none given is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must hold keys and values, got {value!r}")
    return value


def _check(name: str, value: object, default: object, *, layers: bool) -> None:
    kind = default if isinstance(default, type) else type(default)
    if default is None or value == default:
        return
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    if kind is str and not isinstance(value, str):
        raise ValueError(f"{name} must be a name, got {value!r}")
    if kind is float:
        check_number(name, value)
    if kind is int:
        check_whole(name, value, 0 if layers or default == 0 else 1, MOST_LAYERS if layers else MOST)
    if kind is list:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{name} must be a list of whole numbers, got {value!r}")
        for number in value:
            check_whole(name, number, 1, MOST)
