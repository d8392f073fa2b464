"""Output of the command: results on standard output, all else on standard error; photos and meshes as bytes."""

import sys
from pathlib import Path
from typing import Any

from triplane3d.printing import print_line, raise_output_error


def print_result(line: str) -> None:
    """Print a result on standard output."""
    print_line(line)  # where the reader of a pipe has ended, typer ends the command without a message


def print_message(line: str) -> None:
    """Print a message on standard error."""
    print_line(line, error=True)


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
        raise_output_error(stream, error)
