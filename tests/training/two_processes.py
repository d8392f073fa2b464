"""One process of the distributed run of `test_trainer`: until a signal stops one of them, or the remaining steps."""

import os
import signal
import sys
from pathlib import Path

from test_trainer import ExactError, ExactPlane, config, fit

from triplane3d.errors import errors_as_sentences


class SignallingPlane(ExactPlane):
    """Sends a signal to the second process when it reads the second batch."""

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
