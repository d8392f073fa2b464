"""Errors of a command: one sentence on standard error and an exit code, without a traceback.

    if __name__ == "__main__":
        with errors_as_sentences():
            train(parse_config(AutoencoderConfig))

Exit codes: 0 success; 1 a failure of the program or the machine; 2 an input that the user can correct; 130 and 143
stopped by SIGINT and SIGTERM. With `TRIPLANE3D_TRACEBACK=1` the traceback is printed as well.
"""

import errno
import io
import os
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from safetensors import SafetensorError

from triplane3d.printing import print_line
from triplane3d.signals import Stopped, is_main_process, stops_at_once

MISTAKES = (ValueError, OSError, SafetensorError)
"""Errors of a wrong value, file or folder: exit code 2."""

FAILURES = (RuntimeError, ArithmeticError, MemoryError, ImportError)
"""Out of memory, a run that diverged, a missing package: exit code 1."""

MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
"""Error numbers of the machine (full disk, input/output error, open files): exit code 1."""

PARSER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError,
    ValueError, struct.error,
)  # fmt: skip
"""Errors that libraries raise for damaged files: few of their parsers have an error of their own."""

MEMORY_SIGNS = (
    "out of memory",
    "allocate memory",
    "unable to allocate",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "failed to map segment",
    "can't start new thread",
)
"""Parts of out-of-memory messages of torch (CPU, CUDA, MPS, cuBLAS), numpy, C++, the library loader and threads."""

CHECKOUT = Path(__file__).parents[1]
"""The repository, where the package is used from a checkout."""

SECONDS_FOR_MAIN_PROCESS = 10.0
"""Seconds that the other processes of a run wait while the first prints the error, which is the same in all."""


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Context in which errors and signals end the process as the docstring of this module states.

    Other exceptions (TypeError, KeyError, …) are faults of the program and keep their traceback.
    """
    prepare_streams()
    try:
        with stops_at_once():
            yield
    except Stopped as stopped:
        _traceback()
        if is_main_process():
            print_line(str(stopped) or f"stopped by {stopped.name}", error=True)
        code = 128 + stopped.signum
    except (*MISTAKES, *FAILURES) as error:
        _traceback()
        fail(*explain(error))
    else:
        return
    raise SystemExit(code)


def fail(message: str, code: int = 2) -> NoReturn:
    """Print the message as an error, on one line and without control characters, and end the process with `code`."""
    if not is_main_process():
        time.sleep(SECONDS_FOR_MAIN_PROCESS)
    print_line(f"error: {message}", error=True)
    raise SystemExit(code) from None


def explain(error: BaseException, advice: str = "") -> tuple[str, int]:
    """The message and the exit code for an error. `advice` is added to the message where memory ran out."""
    if is_out_of_memory(error):
        return f"there is not enough memory{f': {advice}' if advice else ''}", 1
    text = sentence(error)
    if (isinstance(error, OSError) and error.errno in MACHINE) or "no space left on device" in text.lower():
        return text, 1
    if isinstance(error, MISTAKES):
        return text, 2
    return f"{text} ({type(error).__name__}; TRIPLANE3D_TRACEBACK=1 shows where)", 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the processor or on a GPU.

    Python and numpy raise `MemoryError`, the system an `OSError` with a number. torch raises `RuntimeError` or a
    subclass, which is recognised by its message.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(sign in text for sign in MEMORY_SIGNS)


def missing_path_message(path: str | Path) -> str:
    """An error message for a path that does not exist: the folder that was searched, and what to do."""
    path = Path(path)
    if path.is_absolute():
        return f"{path} does not exist: check the path"
    if exists_in_checkout_only(path):
        return f"{path} is not in {Path.cwd()} but in {CHECKOUT}: start the command there, or give absolute paths"
    return f"{path} is not in {Path.cwd()}, where the command was started: start it elsewhere, or check the path"


def exists_in_checkout_only(path: str | Path) -> bool:
    """Whether a relative path does not exist here but exists in the checkout that this package is used from."""
    return not Path(path).is_absolute() and not Path(path).exists() and (CHECKOUT / path).exists()


def sentence(error: BaseException) -> str:
    """The message of an error on one line. The traceback of a worker process in the message is removed."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{_text(error.filename)}: {error.strerror}"
    text = str(error).strip()
    if "Original Traceback" in text:  # as torch's DataLoader writes it
        text = text.splitlines()[-1].partition(": ")[2] or text.splitlines()[-1]
    return " ".join(text.split()) or type(error).__name__


def _text(filename: str | bytes | int) -> str:
    return os.fsdecode(filename) if isinstance(filename, bytes) else str(filename)


def prepare_streams() -> None:
    """Write characters that the encoding of the console lacks, such as those of a file name, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _traceback() -> None:
    if shows_traceback():
        traceback.print_exc()


def shows_traceback() -> bool:
    """Whether `TRIPLANE3D_TRACEBACK` is set."""
    return os.environ.get("TRIPLANE3D_TRACEBACK", "0") not in ("", "0")
