"""One of the processes of `test_run`'s distributed run: one update, a stop, and the rest, into the folder named."""

import sys
from pathlib import Path

from accelerate.state import AcceleratorState
from test_run import ExactError, ExactPlane, config, fit

if __name__ == "__main__":
    output = Path(sys.argv[1])
    fit(config(output, batch_size=4, minutes=0), ExactPlane(), ExactError)
    AcceleratorState._reset_state(reset_partial_state=True)  # as if the command were given again
    fit(config(output, batch_size=4), ExactPlane(), ExactError)
