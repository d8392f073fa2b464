"""Errors of the `triplane3d` command: one sentence on standard error and an exit code.

Exit code 1 is a failure (out of memory, a full disk), 2 a wrong input, 130 a stop by the user. With the environment
variable `TRIPLANE3D_TRACEBACK` set, the traceback is printed as well.
"""

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from safetensors import SafetensorError
from typer.core import TyperGroup

from triplane3d.cli.console import print_message
from triplane3d.errors import explain, prepare_streams, shows_traceback

FAILURE, MISTAKE, STOPPED = 1, 2, 130

ERRORS = (ValueError, OSError, RuntimeError, MemoryError, ImportError, SafetensorError)
"""Errors that depend on the input or the machine, of the library, torch and the system. Others are program faults."""

MACHINE_ERRORS = (OSError, RuntimeError, MemoryError, ImportError)
"""Those of `ERRORS` that can occur anywhere. The others are handled only where the library is called."""

PASSED_ON = (typer.Exit, typer.Abort, BrokenPipeError)
"""Exceptions with which typer ends the command."""

USAGE_ERROR: Any = typer.BadParameter.__base__
"""Raised by typer for an invalid option or argument, and to show the help where no argument is given."""

_stopped = threading.Event()


@contextmanager
def stops_are_recorded() -> Iterator[None]:
    """Context in which Ctrl-C ends the process with 130, also where a library's import turns it into another error."""

    def record_and_interrupt(signum: int, frame: FrameType | None) -> None:
        _stopped.set()
        signal.default_int_handler(signum, frame)

    before = signal.getsignal(signal.SIGINT)
    if callable(before):  # not ignored, as it is for background jobs
        signal.signal(signal.SIGINT, record_and_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if _stopped.is_set():
            _stopped.clear()
            raise SystemExit(STOPPED)


def fail(message: str, code: int = MISTAKE) -> NoReturn:
    """Print an error message and end the command."""
    print_message(f"error: {message}")
    raise typer.Exit(code)


def sentence(error: BaseException, advice: str = "") -> tuple[str, int]:
    """The message and the exit code for an error. `advice` is added to the message where memory ran out.

    Raises:
        KeyboardInterrupt: the user has stopped the command, and the error is a consequence.
    """
    if _stopped.is_set():
        raise KeyboardInterrupt from error
    if shows_traceback():
        traceback.print_exception(error)
    return explain(error, advice)


@contextmanager
def errors_are_sentences(
    subject: str = "", advice: str = "", *, kinds: tuple[type[Exception], ...] = ERRORS
) -> Iterator[None]:
    """Context in which an error of one of `kinds` ends the command. Its message begins with `subject`."""
    try:
        yield
    except PASSED_ON:
        raise
    except kinds as error:
        text, code = sentence(error, advice)
        fail(f"{subject}: {text}" if subject and subject not in text else text, code)


class SubcommandGroup(TyperGroup):
    """The subcommands. Errors that they do not handle end the command as the docstring of this file states."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        prepare_streams()
        try:
            return super().parse_args(ctx, args)
        except USAGE_ERROR as error:
            _refuse(error)

    def invoke(self, ctx: Any) -> Any:
        try:
            with errors_are_sentences(kinds=MACHINE_ERRORS):
                return super().invoke(ctx)
        except USAGE_ERROR as error:
            _refuse(error)
        except KeyboardInterrupt:
            print_message("stopped")
            raise typer.Exit(STOPPED) from None


def _refuse(error: Any) -> NoReturn:
    """Print typer's message about a wrong option as one sentence, and end the command."""
    if type(error).__name__ == "NoArgsIsHelpError":
        raise error  # shows the help
    command = error.ctx.command_path if error.ctx is not None else "triplane3d"
    fail(f"{error.format_message().rstrip('.')}; see {command} --help")
