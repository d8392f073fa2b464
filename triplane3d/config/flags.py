"""The command line of a training script: a YAML file, and flags that override its keys.

`--run.steps 100`, `--steps 100` where the last word is unambiguous, and `--set run.steps=100` have the same effect.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from triplane3d.config.loader import leaves, load_config, unknown_key
from triplane3d.config.stages import RENAMED
from triplane3d.config.values import describe
from triplane3d.errors import fail, sentence

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """Prints one sentence for an error; argparse would print its long usage first."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (see {self.prog} --help)")


def named_path(text: str) -> Path:
    """The argument as a path. An empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("a folder's name is empty")
    return Path(text)


class Flag(argparse.Action):
    """Stores the value of a flag together with the flag as it was written."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, (values, option))


def parse_config(cls: type[T], argv: Sequence[str] | None = None, *, description: str | None = None) -> T:
    """Read the arguments of a script: `script.py CONFIG.yaml [--flag value …] [--set key=value …]`.

    An error ends the process with one sentence and exit code 2.
    """
    valid = dict(leaves(cls))
    former = {old: new for old, new in RENAMED.items() if new in valid}
    last_words = [key.rpartition(".")[2] for key in valid]
    parser = Parser(
        description=description,
        usage="%(prog)s CONFIG.yaml [--KEY VALUE …] [--set KEY=VALUE …]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="YAML file of this stage, e.g. configs/mini/….yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override any key; repeatable")
    for key, kind in valid.items():
        help_text = describe(kind).replace("%", "%%")
        parser.add_argument(*_spellings(key, last_words), action=Flag, dest=key, metavar="VALUE", help=help_text)
    for key in former:
        parser.add_argument(*_spellings(key, last_words), action=Flag, dest=key, help=argparse.SUPPRESS)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown and not unknown[0].startswith("-"):
        parser.error(f"one YAML file and flags are expected, but {unknown[0]!r} is given as well")
    if unknown:
        parser.error(unknown_key(unknown[0].lstrip("-").partition("=")[0], valid, "command line"))

    accepted = valid.keys() | former.keys()
    given = {key: flag for key, flag in vars(arguments).items() if key in accepted and flag is not None}
    overrides: dict[str, Any] = {key: value for key, (value, _) in given.items()}
    origins = {key: f"command line, {option}" for key, (_, option) in given.items()}
    for assignment in arguments.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            parser.error(f"--set takes KEY=VALUE, not {assignment!r}")
        if key not in accepted:
            parser.error(unknown_key(key, valid, "command line, --set"))
        overrides[key], origins[key] = value, "command line, --set"
    try:
        return load_config(cls, arguments.config, overrides, origins=origins)
    except (ValueError, OSError) as error:
        fail(sentence(error))


def _spellings(key: str, last_words: list[str]) -> list[str]:
    """The flags of a key: its path, its last word where no other key has it, and both with dashes."""
    word = key.rpartition(".")[2]
    names = [f"--{key}"] if word == key or last_words.count(word) > 1 else [f"--{key}", f"--{word}"]
    return names + [name.replace("_", "-") for name in names if "_" in name]
