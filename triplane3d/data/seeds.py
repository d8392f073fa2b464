"""Seeds: every use of random numbers has a stream of its own, named by whole numbers."""

import numpy as np


def stream(*numbers: int) -> int:
    """A seed for the stream of random numbers that `numbers` name; neighbours are unrelated."""
    return int(np.random.SeedSequence([number % 2**32 for number in numbers]).generate_state(1)[0])
