"""A stage's YAML file and the flags of its command become its dataclass; and back.

Every error names the key, what it takes, what came, and whether the file or which flag said so.

A script reads `configs/mini/<stage>.yaml` and then the flags: `--run.steps 100`, or `--steps 100` where the last word
alone is unambiguous, or `--set run.steps=100`. An unknown key is an error that names the nearest valid one.
"""

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import yaml

from triplane3d.config.schema import SCRIPTS
from triplane3d.config.values import convert, describe
from triplane3d.errors import fail, not_there, sentence
from triplane3d.limits import read_yaml
from triplane3d.storage.durable import write_file

T = TypeVar("T")


def load_config(
    cls: type[T],
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    origins: Mapping[str, str] | None = None,
) -> T:
    """The YAML file at `path` as a `cls`, dotted `overrides` ({"run.steps": 100}) applied on top.

    `origins` names where an override comes from, for errors ({"run.steps": "command line, --steps"}).
    """
    if not Path(path).exists():
        raise FileNotFoundError(not_there(path))
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold a mapping of keys to values, not {type(values).__name__}")
    overrides = overrides or {}
    for key, value in overrides.items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ValueError(f"{path}: {part} should be a section of keys, not {section!r}")
        section[name] = value
    if (script := script_of(cls, values)) is not None:
        why = ", ".join(misfits(cls, values)[:3])
        raise ValueError(f"{path} is a configuration of {script}, not of {SCRIPTS[cls]} ({why}): run {script} with it")
    origins = {key: f"override {key}" for key in overrides} | dict(origins or {})
    return build(cls, values, where=str(path), origins=origins)


def build(
    cls: type[T],
    values: Mapping[str, Any],
    *,
    where: str = "config",
    origins: Mapping[str, str] | None = None,
    prefix: str = "",
) -> T:
    """`values` as a `cls`, every key known and every value in its range; `origins` where not all are from `where`."""
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


def script_of(cls: type, values: Mapping[str, Any]) -> str | None:
    """The script of another stage, if `values` fit that stage far better than `cls`."""
    counts = {stage: len(misfits(stage, values)) for stage in SCRIPTS}
    best = min(counts, key=lambda stage: counts[stage])
    return SCRIPTS[best] if cls in counts and 2 * counts[best] < counts[cls] else None


def misfits(cls: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys that `cls` does not have or `values` lack, in words."""
    hints: dict[str, Any] = get_type_hints(cls)
    found = [f"{prefix}{name} is unknown" for name in values if name not in hints]
    found += [f"{prefix}{f.name} is missing" for f in fields(cls) if _is_required(f) and f.name not in values]
    for name, value in values.items():
        if name in hints and is_dataclass(hints[name]):
            section = value if isinstance(value, Mapping) else {}
            found += misfits(hints[name], section, f"{prefix}{name}.")
    return found


class Parser(argparse.ArgumentParser):
    """Ends with one sentence, where argparse would print its long usage before it."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message} ({self.prog} --help lists all keys)")


class Flag(argparse.Action):
    """Keeps a flag's value together with how the flag was written."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, (values, option))


def parse_config(cls: type[T], argv: Sequence[str] | None = None, *, description: str | None = None) -> T:
    """The configuration a script was asked for: `script.py CONFIG.yaml [--flag value …] [--set key=value …]`.

    What cannot be read ends the process with a sentence and exit code 2.
    """
    known = dict(leaves(cls))
    last_words = [key.rpartition(".")[2] for key in known]
    parser = Parser(
        description=description,
        usage="%(prog)s CONFIG.yaml [--KEY VALUE …] [--set KEY=VALUE …]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="YAML file of this stage, e.g. configs/mini/….yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override any key; repeatable")
    for key, kind in known.items():
        word = key.rpartition(".")[2]
        names = [f"--{key}"] if word == key or last_words.count(word) > 1 else [f"--{key}", f"--{word}"]
        names += [name.replace("_", "-") for name in names if "_" in name]
        parser.add_argument(*names, action=Flag, dest=key, metavar="VALUE", help=describe(kind).replace("%", "%%"))
    arguments, unknown = parser.parse_known_args(argv)
    if unknown and not unknown[0].startswith("-"):
        parser.error(f"one YAML file and flags are read, but {unknown[0]!r} is given too")
    if unknown:
        parser.error(unknown_key(unknown[0].lstrip("-").partition("=")[0], known, "command line"))

    given = {key: flag for key, flag in vars(arguments).items() if key in known and flag is not None}
    overrides: dict[str, Any] = {key: value for key, (value, _) in given.items()}
    origins = {key: f"command line, {option}" for key, (_, option) in given.items()}
    for assignment in arguments.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            parser.error(f"--set takes KEY=VALUE, not {assignment!r}")
        if key not in known:
            parser.error(unknown_key(key, known, "command line, --set"))
        overrides[key], origins[key] = value, "command line, --set"
    try:
        return load_config(cls, arguments.config, overrides, origins=origins)
    except (ValueError, OSError) as error:
        fail(sentence(error))


def save_config(config: Any, path: str | Path) -> None:
    """Writes `config` as the YAML that `load_config` reads back."""
    write_file(path, yaml.safe_dump(_plain(asdict(config)), sort_keys=False))


def read_saved(path: str | Path) -> dict[str, Any] | None:
    """Dotted keys and values of a file that `save_config` wrote; None if it is missing, damaged or empty."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return flatten(values) if isinstance(values, dict) and values else None


def leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and type of every value below `cls`."""
    for name, kind in get_type_hints(cls, include_extras=True).items():
        if is_dataclass(kind):
            yield from leaves(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", kind


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of a configuration, or of the mapping that its YAML file holds; tuples as lists."""
    flat: dict[str, Any] = {}
    for name, value in (values if isinstance(values, Mapping) else _plain(asdict(values))).items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def defaults(cls: type, prefix: str = "") -> dict[str, Any]:
    """Dotted keys below `cls` that need not be given, and what they are then; tuples as lists."""
    hints: dict[str, Any] = get_type_hints(cls)
    found: dict[str, Any] = {}
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            found |= defaults(hints[f.name], f"{prefix}{f.name}.")
        elif f.default is not MISSING:
            found[f"{prefix}{f.name}"] = _plain(f.default)
    return found


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
