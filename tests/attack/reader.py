"""A process that reads damaged files one after another. It is replaced if it crashes or hangs."""

import logging
import multiprocessing
import os
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError

SECONDS = 10.0
"""Processor time that one file may take; other work on the machine does not count."""
MEMORY = 12 * 1024**3
"""Bytes of address space of the reading process."""

Read = Callable[[Path], str]
"""Reads a folder and returns a fingerprint of the result."""

FAULTS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, NameError,
    RuntimeError, SystemError, TypeError, Warning, SystemExit, SafetensorError, yaml.YAMLError,
)  # fmt: skip
"""Exceptions that no reader of the product may raise. Any other exception ends the process, which is a fault too."""


@dataclass(frozen=True)
class Ending:
    """How a reading ended: "result", "sentence", "exception" or "hang"; with the fingerprint or the message.

    A sentence is the message of a `ValueError` or `OSError` that names the folder or a file in it.
    """

    kind: str
    text: str


class Reader:
    """Runs `reads[way](folder)` in a separate process."""

    def __init__(self, reads: dict[str, Read]) -> None:
        self.reads = reads
        self.context = multiprocessing.get_context("fork")
        self._start()

    def _start(self) -> None:
        self.ours, theirs = self.context.Pipe()
        self.process = self.context.Process(target=_serve, args=(theirs, self.reads), daemon=True)
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def read(self, way: str, folder: Path) -> Ending:
        self.ours.send((way, folder))
        try:
            arrived = self.ours.poll(8 * SECONDS)
            kind, text, seconds = self.ours.recv() if arrived else ("hang", "no end", SECONDS)
        except EOFError:
            arrived, kind, text, seconds = False, "exception", "the process ended", 0.0
        if not arrived:
            self.stop()
            self._start()
        return Ending("hang", f"{seconds:.0f} s: {text}") if seconds > SECONDS else Ending(kind, text)


def _serve(theirs: Connection, reads: dict[str, Read]) -> None:
    torch.set_num_threads(1)
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    while True:
        way, folder = theirs.recv()
        names = {path.name for path in folder.rglob("*")}
        started = time.process_time()
        try:
            kind, text = "result", reads[way](folder)
        except (ValueError, OSError) as error:
            # A subclass, such as json's or Unicode's, comes from a parser and names neither file nor remedy.
            text = f"{error} {getattr(error, 'filename', '')}"
            named = str(folder) in text or any(name in text for name in names)
            kind = "sentence" if named and (type(error) is ValueError or isinstance(error, OSError)) else "exception"
            text = str(error) if kind == "sentence" else traceback.format_exc()
        except FAULTS:
            kind, text = "exception", traceback.format_exc()
        theirs.send((kind, text, time.process_time() - started))
