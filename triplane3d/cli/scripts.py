"""Scripts whose arguments typer reads. Their errors are those of all scripts: one sentence and an exit code."""

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import typer

from triplane3d.cli.errors import USAGE_ERROR
from triplane3d.errors import errors_as_sentences, fail


def run_script(main: Callable[..., Any]) -> None:
    """Run `main` as a command. A wrong option or argument ends the process with one sentence and exit code 2."""
    for previous, argument in pairwise(sys.argv):
        if argument == "":  # as a path, it would be the current folder
            fail(f"{previous if previous.startswith('-') else 'an argument'} is empty: give a name or a value")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(main)
    with errors_as_sentences():
        try:
            code = app(standalone_mode=False)
        except USAGE_ERROR as error:
            command = "script" if error.ctx is None else error.ctx.command_path
            fail(f"{error.format_message().rstrip('.')}; see {command} --help")
        raise SystemExit(code or 0)
