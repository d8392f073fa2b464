"""One of the processes of `test_run`'s distributed run: one update, a stop, and the rest, into the folder named."""

import sys
from pathlib import Path

from test_run import ExactError, ExactPlane, config, fit

if __name__ == "__main__":
    output = Path(sys.argv[1])
    fit(config(output, batch_size=4, minutes=0), ExactPlane(), ExactError)
    fit(config(output, batch_size=4), ExactPlane(), ExactError)
