"""Lines that commands print. Control characters in them, as a file name can contain, are written as escapes.

All lines of the package and its scripts are printed here, because control characters can change a terminal or hide a
part of a line. `tests/test_layers.py` refuses `print` elsewhere.
"""

import os
import sys
import unicodedata
from typing import Any, NoReturn


def print_line(line: str, *, error: bool = False) -> None:
    """Print one line on standard output, or with `error` on standard error, at once.

    Raises:
        BrokenPipeError: the reader of the pipe has ended.
        OSError: the line could not be written. The message names the stream.
    """
    try:
        print(one_line(line), file=sys.stderr if error else sys.stdout, flush=True)
    except BrokenPipeError:
        raise
    except OSError as failure:
        if error:
            raise  # there is no other place for a message
        raise_output_error(sys.stdout, failure)


def raise_output_error(stream: Any, failure: OSError) -> NoReturn:
    """Raise `failure` with the name of the stream. It is redirected first: Python would write again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise OSError(failure.errno, failure.strerror, "standard output") from failure


def one_line(text: str) -> str:
    """`text` on one line: as `printable`, and line feeds and tabs are escapes too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def printable(text: str) -> str:
    """`text` with control characters written as escapes, except line feeds and tabs."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _changes_terminals(character) else character
        for character in text
    )


def _changes_terminals(character: str) -> bool:
    """Control and format characters, line separators, lone surrogates; not line feeds, tabs and the joiner in emoji."""
    return character not in "\n\t\u200d" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
