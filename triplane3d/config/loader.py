"""YAML files of the training stages to dataclasses and back.

Every error message names the key, its source (the file or a flag), the accepted values and the value found. An unknown
key is an error that suggests the most similar valid key. Keys that were renamed are still read under their former
name, with a `FutureWarning`.
"""

import difflib
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from triplane3d.config.stages import RENAMED, SCRIPTS
from triplane3d.config.values import convert
from triplane3d.errors import missing_path_message
from triplane3d.limits import read_yaml
from triplane3d.printing import one_line
from triplane3d.storage.durable import write_file

T = TypeVar("T")


def load_config(
    cls: type[T],
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    origins: Mapping[str, str] | None = None,
) -> T:
    """Read the YAML file at `path` as a `cls` and apply the dotted `overrides` ({"run.steps": 100}).

    `origins` names the source of overrides for error messages ({"run.steps": "command line, --steps"}).

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: the file is damaged, belongs to another stage, or a key or value is not valid.
    """
    if not Path(path).exists():
        raise FileNotFoundError(missing_path_message(path))
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold a mapping of keys to values, not {type(values).__name__}")
    origins = {key: f"override {key}" for key in overrides or {}} | dict(origins or {})
    current: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        name = current_name(cls, key, origins[key])
        current[name], origins[name] = value, origins[key]
    for key in current:
        section = values
        for part in key.split(".")[:-1]:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ValueError(f"{path}: {part} should be a section of keys, not {section!r}")
    if (script := script_of(cls, _with(values, current))) is not None:
        why = ", ".join(misfits(cls, values)[:3])
        raise ValueError(f"{path} is a configuration of {script}, not of {SCRIPTS[cls]} ({why}): run {script} with it")
    values = _with(with_current_names(cls, values, str(path)), current)
    return build(cls, values, where=str(path), origins=origins)


def build(
    cls: type[T],
    values: Mapping[str, Any],
    *,
    where: str = "config",
    origins: Mapping[str, str] | None = None,
    prefix: str = "",
) -> T:
    """Make a `cls` of nested `values`. `where` is their source, `origins` the source of dotted keys from elsewhere.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    if not prefix:
        values = with_current_names(cls, values, where)
    hints = get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in hints:
            raise ValueError(unknown_key(f"{prefix}{key}", dict(leaves(cls, prefix)), where))
    arguments = {}
    for name, value in values.items():
        kind, key = hints[name], f"{prefix}{name}"
        if is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ValueError(f"{where}: {key} should be a section of keys, not {value!r}")
            arguments[name] = build(kind, value, where=where, origins=origins, prefix=f"{key}.")  # type: ignore[arg-type]
        else:
            arguments[name] = convert(value, kind, f"{(origins or {}).get(key, where)}: {key}")
    if missing := [f.name for f in fields(cls) if _is_required(f) and f.name not in arguments]:  # type: ignore[arg-type]
        raise ValueError(f"{where} lacks {', '.join(prefix + name for name in missing)}")
    return cls(**arguments)


# Renamed keys


def current_name(cls: type, key: str, where: str) -> str:
    """The present name of a dotted key; a former name gives a `FutureWarning` that begins with `where`."""
    new = RENAMED.get(key, key)
    if new == key or new not in dict(leaves(cls)):
        return key
    warnings.warn(one_line(f"{where}: the key {key!r} is now called {new!r}"), FutureWarning, stacklevel=3)
    return new


def with_current_names(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A copy of nested `values` in which former names of keys are replaced.

    Raises:
        ValueError: a key is given by its former and by its present name.
    """
    result: dict[Any, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }
    for old in RENAMED:
        section, _, name = old.rpartition(".")
        found = result.get(section) if section else result
        if isinstance(found, dict) and name in found and (new := current_name(cls, old, where)) != old:
            new_name = new.rpartition(".")[2]
            if new_name in found:
                raise ValueError(f"{where}: {old} is the former name of {new}, and both are given: remove {old}")
            found[new_name] = found.pop(name)
    return result


def _with(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested `values` with dotted `overrides` applied."""
    result: dict[Any, Any] = dict(values)
    for key, value in overrides.items():
        part, _, rest = key.partition(".")
        result[part] = _with(result.get(part, {}), {rest: value}) if rest else value
    return result


# Files of another stage


def script_of(cls: type, values: Mapping[str, Any]) -> str | None:
    """The script of another stage, if `values` fit that stage with less than half as many misfits as `cls`."""
    counts = {stage: len(misfits(stage, values)) for stage in SCRIPTS}
    best = min(counts, key=lambda stage: counts[stage])
    return SCRIPTS[best] if cls in counts and 2 * counts[best] < counts[cls] else None


def misfits(cls: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Unknown and missing keys, each as a phrase for an error message."""
    hints: dict[str, Any] = get_type_hints(cls)
    found = [f"{prefix}{name} is unknown" for name in values if name not in hints and f"{prefix}{name}" not in RENAMED]
    found += [f"{prefix}{f.name} is missing" for f in fields(cls) if _is_required(f) and f.name not in values]
    for name, value in values.items():
        if name in hints and is_dataclass(hints[name]):
            section = value if isinstance(value, Mapping) else {}
            found += misfits(hints[name], section, f"{prefix}{name}.")
    return found


# Saved configurations


def save_config(config: Any, path: str | Path) -> None:
    """Write `config` as a YAML file that `load_config` can read."""
    write_file(path, yaml.safe_dump(_plain(asdict(config)), sort_keys=False))


def refuse_other_settings(
    output: str | Path, saved: Mapping[str, Any], config: Any, changeable: Collection[str], noun: str
) -> None:
    """Raises `ValueError` if `saved`, the settings of the files in `output`, differ from `config`.

    Keys in `changeable` may differ; `noun` names the files. Keys that were added after `saved` was written had their
    default value.
    """
    before = defaults(type(config)) | dict(saved)
    changed = [
        f"{key}: {before.get(key)}, now {value}"
        for key, value in flatten(config).items()
        if key not in changeable and value != before.get(key)
    ]
    if changed:
        raise ValueError(
            f"{output} holds {noun} of other settings ({'; '.join(changed)}): restore them, or choose another output"
        )


def read_saved(path: str | Path) -> dict[str, Any] | None:
    """Dotted keys, by their present names, and values of a file of `save_config`; None if it is missing or damaged."""
    try:
        values = read_yaml(path)
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or not values:
        return None
    return {RENAMED.get(key, key): value for key, value in flatten(values).items()}


def leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and annotation of every value in `cls` and its sections."""
    for name, kind in get_type_hints(cls, include_extras=True).items():
        if is_dataclass(kind):
            yield from leaves(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", kind


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of a configuration, or of the mapping in its YAML file; tuples become lists."""
    flat: dict[str, Any] = {}
    for name, value in (values if isinstance(values, Mapping) else _plain(asdict(values))).items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def defaults(cls: type, prefix: str = "") -> dict[str, Any]:
    """Dotted optional keys of `cls` and their default values; tuples become lists."""
    hints: dict[str, Any] = get_type_hints(cls)
    found: dict[str, Any] = {}
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            found |= defaults(hints[f.name], f"{prefix}{f.name}.")
        elif f.default is not MISSING:
            found[f"{prefix}{f.name}"] = _plain(f.default)
    return found


def unknown_key(key: str, valid: Mapping[str, Any], where: str) -> str:
    """An error message for an unknown key, with the most similar valid key by its last word or its whole path."""
    word = key.rpartition(".")[2]
    last_words = {name.rpartition(".")[2]: name for name in valid}
    if close := difflib.get_close_matches(word, last_words, n=1, cutoff=0.5):
        nearest = last_words[close[0]]
    else:
        nearest = max(valid, key=lambda name: difflib.SequenceMatcher(None, key, name).ratio())
    return f"{where}: unknown key {key!r}; did you mean {nearest!r}?"


def _is_required(declared: Field) -> bool:
    return declared.default is MISSING and declared.default_factory is MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
