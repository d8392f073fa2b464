"""What the command says and where: results on standard output, all else on standard error; bytes in and out."""

import io
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

import typer


def prepare_streams() -> None:
    """A file name that the console's encoding lacks is written with backslashes; it does not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """A result, on standard output."""
    try:
        typer.echo(printable(line))
    except BrokenPipeError:
        raise  # whoever read the output has gone: typer ends the command without a word
    except OSError as error:
        _give_up_output(sys.stdout, error)


def tell(line: str) -> None:
    """Anything but a result, on standard error."""
    typer.echo(printable(line), err=True)


def printable(text: str) -> str:
    """`text` with control characters written out: those of a model card or a file name could drive a terminal."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _drives_terminals(character) else character
        for character in text
    )


def _drives_terminals(character: str) -> bool:
    """Control and format characters and lone surrogates; not line feeds, tabs and the joiner within emoji."""
    return character not in "\n\t\u200d" and unicodedata.category(character) in ("Cc", "Cf", "Cs")


def read_input(path: Path) -> None:
    """Standard input, to its end, into a file."""
    if sys.stdin is None or sys.stdin.closed:
        raise ValueError("- reads a photo from standard input, which is closed: pipe a photo in, or name a file")
    if sys.stdin.isatty():
        raise ValueError("- reads a photo from standard input, which is a terminal: pipe a photo in, or name a file")
    path.write_bytes(sys.stdin.buffer.read())


def check_output() -> None:
    """Standard output can take a file."""
    if sys.stdout is None or sys.stdout.closed:
        raise ValueError("--output - writes to standard output, which is closed: redirect it, or name a file")
    if sys.stdout.isatty():
        raise ValueError("--output - writes to standard output, which is a terminal: redirect it, or name a file")


def write_output(stream: Any, content: bytes) -> None:
    """Bytes to standard output, which is `stream`."""
    try:
        stream.buffer.write(content)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _give_up_output(stream, error)


def _give_up_output(stream: Any, error: OSError) -> NoReturn:
    """Raise `error` by the name of what it happened to; the interpreter does not try to write again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise OSError(error.errno, error.strerror, "standard output") from error
