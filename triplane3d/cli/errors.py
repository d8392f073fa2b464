"""Errors become one sentence on standard error and an exit code.

1 is a failure (out of memory, a full disk), 2 the user's mistake, 130 a stop by the user. With the environment variable
`TRIPLANE3D_TRACEBACK` set, the traceback is printed as well.
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

from triplane3d.cli.console import prepare_streams, tell
from triplane3d.errors import explain, shows_traceback

FAILURE, MISTAKE, STOPPED = 1, 2, 130

ERRORS = (ValueError, OSError, RuntimeError, MemoryError, ImportError, SafetensorError)
"""What the library, torch and the system raise for reasons outside the program's text. Others are faults of ours."""

MACHINE_ERRORS = (OSError, RuntimeError, MemoryError, ImportError)
"""Of those, the ones that may come from anywhere; the others do where the library is called."""

PASSED_ON = (typer.Exit, typer.Abort, BrokenPipeError)
"""Of those, the ones that typer ends the command with."""

USAGE_ERROR: Any = typer.BadParameter.__base__
"""An option or an argument that the command does not take; also of its own words, when nothing is given: the help."""

_stopped = threading.Event()


@contextmanager
def stops_are_noted() -> Iterator[None]:
    """Inside, Ctrl-C ends the process with 130, also where it comes as another error out of a library's import."""

    def note(signum: int, frame: FrameType | None) -> None:
        _stopped.set()
        signal.default_int_handler(signum, frame)

    before = signal.getsignal(signal.SIGINT)
    if callable(before):  # not ignored, as it is for background jobs
        signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if _stopped.is_set():
            _stopped.clear()
            raise SystemExit(STOPPED)


def fail(message: str, code: int = MISTAKE) -> NoReturn:
    tell(f"error: {message}")
    raise typer.Exit(code)


def sentence(error: BaseException, advice: str = "") -> tuple[str, int]:
    """What to print for an error, and the exit code. `advice` is what to do where memory ran out.

    Raises KeyboardInterrupt if the user has stopped the command, from which the error comes then.
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
    """An error of the library ends the command with its sentence: a traceback would hide it."""
    try:
        yield
    except PASSED_ON:
        raise
    except kinds as error:
        text, code = sentence(error, advice)
        fail(f"{subject}: {text}" if subject and subject not in text else text, code)


class Verbs(TyperGroup):
    """The command's verbs. An error that no verb has handled ends them as this file's docstring says."""

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
            tell("stopped")
            raise typer.Exit(STOPPED) from None


def _refuse(error: Any) -> NoReturn:
    """What typer says of a wrong option, as one sentence."""
    if type(error).__name__ == "NoArgsIsHelpError":
        raise error  # shows the help
    command = error.ctx.command_path if error.ctx is not None else "triplane3d"
    fail(f"{error.format_message().rstrip('.')}; see {command} --help")
