"""Output of the command: results on standard output, all else on standard error; photos and meshes as bytes."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from triplane3d.errors import printable


def print_result(line: str) -> None:
    """Print a result on standard output."""
    try:
        typer.echo(printable(line))
    except BrokenPipeError:
        raise  # the reader of the pipe has ended: typer ends the command without a message
    except OSError as error:
        _give_up_output(sys.stdout, error)


def print_message(line: str) -> None:
    """Print a message on standard error."""
    typer.echo(printable(line), err=True)


def read_input(path: Path) -> None:
    """Copy standard input to a file."""
    if sys.stdin is None or sys.stdin.closed:
        raise ValueError("- reads a photo from standard input, which is closed: pipe a photo in, or name a file")
    if sys.stdin.isatty():
        raise ValueError("- reads a photo from standard input, which is a terminal: pipe a photo in, or name a file")
    path.write_bytes(sys.stdin.buffer.read())


def check_output() -> None:
    """Refuse a standard output that is closed or a terminal."""
    if sys.stdout is None or sys.stdout.closed:
        raise ValueError("--output - writes to standard output, which is closed: redirect it, or name a file")
    if sys.stdout.isatty():
        raise ValueError("--output - writes to standard output, which is a terminal: redirect it, or name a file")


def write_output(stream: Any, content: bytes) -> None:
    """Write bytes to standard output, which is `stream`."""
    try:
        stream.buffer.write(content)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _give_up_output(stream, error)


def _give_up_output(stream: Any, error: OSError) -> NoReturn:
    """Raise `error` with the name of the stream. It is redirected first: Python would write again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise OSError(error.errno, error.strerror, "standard output") from error
