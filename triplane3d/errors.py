"""Where a command ends: what went wrong becomes one sentence on standard error and an exit code, without a traceback.

    if __name__ == "__main__":
        with errors_as_sentences():
            train(parse_config(AutoencoderConfig))

Exit codes: 0 done; 1 a failure of the program or of the machine; 2 a mistake that the user can mend; 130 and 143
stopped by SIGINT and SIGTERM. `TRIPLANE3D_TRACEBACK=1` shows the traceback as well.
"""

import errno
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from safetensors import SafetensorError

from triplane3d.signals import Stopped, is_main_process, stops_at_once

MISTAKES = (ValueError, OSError, SafetensorError)
"""Raised where a value, a file or a folder is not what it should be."""

FAILURES = (RuntimeError, ArithmeticError, MemoryError, ImportError)
"""No memory left, a run that diverged, a package that is missing."""

MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
"""Numbers of system errors that no other argument would have avoided."""

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
"""How torch (CPU, CUDA, MPS, cuBLAS), numpy, C++, the loader of libraries and Python's threads name a failed
allocation."""

CHECKOUT = Path(__file__).parents[1]
"""Where the repository lies, for a package that is used from it."""

HEAD_START = 10.0
"""Seconds. All processes of a run make the same mistake; by then the first has printed it and torchrun ended them."""


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Inside, errors and signals end the process as this module's docstring says.

    Other exceptions (TypeError, KeyError, …) are faults of the program and keep their traceback.
    """
    try:
        with stops_at_once():
            yield
    except Stopped as stopped:
        _traceback()
        if is_main_process():
            print(str(stopped) or f"stopped by {stopped.name}", file=sys.stderr, flush=True)
        code = 128 + stopped.signum
    except (*MISTAKES, *FAILURES) as error:
        _traceback()
        fail(*explain(error))
    else:
        return
    raise SystemExit(code)


def fail(message: str, code: int = 2) -> NoReturn:
    """Prints the message as an error and ends the process with that code."""
    if not is_main_process():
        time.sleep(HEAD_START)
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code) from None


def explain(error: BaseException, advice: str = "") -> tuple[str, int]:
    """What to print for an error, and the exit code. `advice` is what to do where memory ran out."""
    if is_out_of_memory(error):
        return f"there is not enough memory{f': {advice}' if advice else ''}", 1
    text = sentence(error)
    if (isinstance(error, OSError) and error.errno in MACHINE) or "no space left on device" in text.lower():
        return text, 1
    if isinstance(error, MISTAKES):
        return text, 2
    return f"{text} ({type(error).__name__}; TRIPLANE3D_TRACEBACK=1 shows where)", 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on the processor or on a GPU.

    Python and numpy raise `MemoryError`. torch raises `RuntimeError` on the CPU and on Apple GPUs, and a subclass of it
    on CUDA, so that only the text tells. The system says it by a number.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(sign in text for sign in MEMORY_SIGNS)


def not_there(path: str | Path) -> str:
    """A sentence for a path that does not exist: where it was looked for, and what to do."""
    path = Path(path)
    if path.is_absolute():
        return f"{path} does not exist: check the path"
    if elsewhere(path):
        return f"{path} is not in {Path.cwd()} but in {CHECKOUT}: start the command there, or give whole paths"
    return f"{path} is not in {Path.cwd()}, where the command was started: start it elsewhere, or check the path"


def elsewhere(path: str | Path) -> bool:
    """Whether a relative path does not exist here, but does in the checkout that this package is used from."""
    return not Path(path).is_absolute() and not Path(path).exists() and (CHECKOUT / path).exists()


def sentence(error: BaseException) -> str:
    """The message of an error on one line; of an error in a worker process, without that process's traceback."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    text = str(error).strip()
    if "Original Traceback" in text:  # as torch's DataLoader writes it
        text = text.splitlines()[-1].partition(": ")[2] or text.splitlines()[-1]
    return " ".join(text.split()) or type(error).__name__


def _traceback() -> None:
    if shows_traceback():
        traceback.print_exc()


def shows_traceback() -> bool:
    """Whether `TRIPLANE3D_TRACEBACK` asks for tracebacks."""
    return os.environ.get("TRIPLANE3D_TRACEBACK", "0") not in ("", "0")
