"""SIGINT and SIGTERM: a command stops at once, a training loop after its current update.

`stops_at_once` is for work that an exception may end at any moment. `StopRequest` is for a loop that finishes its
current update first. `ignore_signals` is for worker processes, which their parent ends.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

REPEATED = 3.0
"""Seconds within which torchrun repeats to its processes a signal that they may already have from the terminal."""

_PARENT = os.getppid()
_received = threading.Event()


class Stopped(BaseException):
    """A signal ended the command. `str()` describes the finished work for the user; the exit code is 128 + `signum`.

    Like `KeyboardInterrupt` it is not an `Exception`, so that error handlers do not catch it.
    """

    def __init__(self, signum: int, message: str = ""):
        super().__init__(message)
        self.signum = signum

    @property
    def name(self) -> str:
        """SIGINT or SIGTERM."""
        return signal.Signals(self.signum).name


@contextmanager
def stops_at_once() -> Iterator[None]:
    """Context in which SIGINT, SIGTERM and the end of `accelerate launch` or torchrun raise `Stopped`.

    SIGINT is handled also where a shell has set it to be ignored, as for background jobs.
    """

    first: float | None = None

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = _record_time()
            raise Stopped(signum)
        _end_if_new(first, signum)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    if launched():
        threading.Thread(target=_follow_launcher, daemon=True).start()
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class StopRequest:
    """Stores the first SIGINT or SIGTERM between `install` and `restore` in `signum`; the next one ends the process.

    The current work can be finished. Only the main thread can handle signals: in other threads nothing is installed,
    and `signum` stays None.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._first = 0.0
        self._before: dict[int, signal._HANDLER] = {}

    def install(self) -> None:
        """Start to store signals."""
        if not self._before and threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}

    def restore(self) -> None:
        """Restore the handlers from before `install`."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum, self._first = signum, _record_time()
            _write(f"{signal.Signals(signum).name}: stopping after this update; a second signal stops at once")
        else:
            _end_if_new(self._first, signum)


def ignore_signals(*_: object) -> None:
    """Ignore SIGINT and SIGTERM in a worker process; call it at its start.

    A terminal or a scheduler sends signals to all processes of a group. The parent needs the worker until its update is
    finished, and ends it then.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def launched() -> bool:
    """Whether `accelerate launch` or torchrun has started this process."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Whether this is the only process of a command, or the first of those that a launcher has started."""
    return os.environ.get("RANK", "0") == "0"


def _record_time() -> float:
    """Store that a signal was received, and return the time."""
    _received.set()
    return time.monotonic()


def _end_if_new(first: float, signum: int) -> None:
    """End the process and its workers immediately, unless a launcher has only repeated the first signal."""
    if launched() and time.monotonic() - first < REPEATED:
        return
    _write("stopped at once")
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(128 + signum)


def _follow_launcher() -> None:
    """Send SIGTERM to this process when its launcher ends: `accelerate launch` does not forward the signal."""
    while os.getppid() == _PARENT:
        time.sleep(0.5)
    if not _received.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _write(message: str) -> None:
    """Write to standard error without Python's buffers, which a signal handler must not use."""
    if is_main_process():
        os.write(2, f"{message}\n".encode())
