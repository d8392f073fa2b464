"""A stage's YAML file and the flags of its command become its dataclass; and back.

A script reads `configs/mini/<stage>.yaml` and then the flags: `--run.steps 100`, or `--steps 100` where the last word
alone is unambiguous, or `--set run.steps=100`. An unknown key is an error that names the nearest valid one.
"""

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from triplane3d.config.values import convert

T = TypeVar("T")


def load_config(cls: type[T], path: str | Path, overrides: Mapping[str, Any] | None = None) -> T:
    """The YAML file at `path` as a `cls`, dotted `overrides` ({"run.steps": 100}) applied on top."""
    values = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold a mapping of keys to values, not {type(values).__name__}")
    for key, value in (overrides or {}).items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return build(cls, values, where=str(path))


def build(cls: type[T], values: Mapping[str, Any], *, where: str = "config", prefix: str = "") -> T:
    """`values` as a `cls`, every key known and every value of its declared type."""
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ValueError(unknown_key(f"{prefix}{key}", dict(leaves(cls, prefix)), where))
    arguments = {}
    for name, value in values.items():
        kind = hints[name]
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ValueError(f"{where}: {prefix}{name} should be a section of keys, not {value!r}")
            arguments[name] = build(kind, value, where=where, prefix=f"{prefix}{name}.")
        else:
            arguments[name] = convert(value, kind, f"{where}: {prefix}{name}")
    try:
        return cls(**arguments)
    except TypeError:
        required = [f.name for f in fields(cls)  # type: ignore[arg-type]
                    if f.name not in arguments and _is_required(f)]  # fmt: skip
        raise ValueError(f"{where} lacks {', '.join(prefix + name for name in required)}") from None


def parse_config(cls: type[T], argv: Sequence[str] | None = None, *, description: str | None = None) -> T:
    """The configuration a script was asked for: `script.py CONFIG.yaml [--flag value …] [--set key=value …]`."""
    known = dict(leaves(cls))
    last_words = [key.rpartition(".")[2] for key in known]
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="YAML file of this stage, e.g. configs/mini/….yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override any key; repeatable")
    for key, kind in known.items():
        word = key.rpartition(".")[2]
        names = [f"--{key}"] if word == key or last_words.count(word) > 1 else [f"--{key}", f"--{word}"]
        names += [name.replace("_", "-") for name in names if "_" in name]
        shown = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
        parser.add_argument(*names, dest=key, default=None, metavar="VALUE", help=shown)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(unknown_key(unknown[0].lstrip("-").partition("=")[0], known, "command line"))

    overrides = {key: value for key, value in vars(arguments).items() if key in known and value is not None}
    for assignment in arguments.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            parser.error(f"--set takes KEY=VALUE, not {assignment!r}")
        if key not in known:
            parser.error(unknown_key(key, known, "--set"))
        overrides[key] = value
    try:
        return load_config(cls, arguments.config, overrides)
    except (ValueError, OSError, yaml.YAMLError) as error:
        parser.error(str(error))


def save_config(config: Any, path: str | Path) -> None:
    """Writes `config` as the YAML that `load_config` reads back."""
    Path(path).write_text(yaml.safe_dump(_plain(asdict(config)), sort_keys=False))


def leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and type of every value below `cls`."""
    for name, kind in get_type_hints(cls).items():
        if isinstance(kind, type) and is_dataclass(kind):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def unknown_key(key: str, known: Mapping[str, Any], where: str) -> str:
    """A sentence that names the valid key most like `key`, by its whole path or by its last word."""
    word = key.rpartition(".")[2]
    last_words = {name.rpartition(".")[2]: name for name in known}
    if close := difflib.get_close_matches(word, last_words, n=1, cutoff=0.5):
        nearest = last_words[close[0]]
    else:
        nearest = max(known, key=lambda name: difflib.SequenceMatcher(None, key, name).ratio())
    return f"{where}: unknown key {key!r}; did you mean {nearest!r}?"


def _is_required(declared: Field) -> bool:
    return declared.default is MISSING and declared.default_factory is MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
