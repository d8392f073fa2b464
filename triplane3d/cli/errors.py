"""Mistakes become one sentence on standard error and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


def fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


@contextmanager
def mistakes_are_sentences() -> Iterator[None]:
    """What the library refuses is the user's to mend: its sentence is enough, a traceback would hide it."""
    try:
        yield
    except (ValueError, OSError) as error:
        fail(" ".join(str(error).split()))
