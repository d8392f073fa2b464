"""One of the processes of `test_run`'s distributed run into the folder named: one update and a stop, or the rest."""

import sys
from pathlib import Path

from test_run import ExactError, ExactPlane, config, fit

if __name__ == "__main__":
    output, part = Path(sys.argv[1]), sys.argv[2]
    fit(config(output, batch_size=4, minutes=0 if part == "stopped" else None), ExactPlane(), ExactError)
