"""One of the processes of `test_run`'s distributed run into the folder named: until one is signalled, or the rest."""

import os
import signal
import sys
from pathlib import Path

from test_trainer import ExactError, ExactPlane, config, fit

from triplane3d.errors import errors_as_sentences


class SignallingPlane(ExactPlane):
    """Reading the second batch, the second process is told to stop."""

    read = 0

    def __getitem__(self, index):
        self.read += 1
        if self.read == 5 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


if __name__ == "__main__":
    output, part = Path(sys.argv[1]), sys.argv[2]
    with errors_as_sentences():
        fit(config(output, batch_size=4), SignallingPlane() if part == "stopped" else ExactPlane(), ExactError)
