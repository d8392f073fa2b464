"""Where a command ends: what went wrong becomes one sentence on standard error and an exit code, without a traceback.

    if __name__ == "__main__":
        with errors_as_sentences():
            train(parse_config(AutoencoderConfig))

Exit codes: 0 done; 1 a failure of the program or of the machine; 2 a mistake that the user can mend; 130 and 143
stopped by SIGINT and SIGTERM. `TRIPLANE3D_TRACEBACK=1` shows the traceback as well.
"""

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from safetensors import SafetensorError

from triplane3d.signals import Stopped, is_main_process, stops_at_once

MISTAKES = (ValueError, OSError, SafetensorError)
"""Raised where a value, a file or a folder is not what it should be."""

FAILURES = (RuntimeError, ArithmeticError, MemoryError, ImportError)
"""No memory left, a run that diverged, a package that is missing."""

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
    except MISTAKES as error:
        _traceback()
        fail(sentence(error))
    except FAILURES as error:
        _traceback()
        fail(f"{sentence(error)} ({type(error).__name__}; TRIPLANE3D_TRACEBACK=1 shows where)", code=1)
    else:
        return
    raise SystemExit(code)


def fail(message: str, code: int = 2) -> NoReturn:
    """Prints the message as an error and ends the process with that code."""
    if not is_main_process():
        time.sleep(HEAD_START)
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code) from None


def sentence(error: BaseException) -> str:
    """The message of an error on one line; of an error in a worker process, without that process's traceback."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error).strip()
    if "Original Traceback" in text:  # as torch's DataLoader writes it
        text = text.splitlines()[-1].partition(": ")[2] or text.splitlines()[-1]
    return " ".join(text.split()) or type(error).__name__


def _traceback() -> None:
    if os.environ.get("TRIPLANE3D_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exc()
