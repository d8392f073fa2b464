"""Seeds of independent random number generators."""

import numpy as np


def derive_seed(*numbers: int) -> int:
    """A 32-bit seed that depends on all `numbers`, in order. Seeds of neighbouring numbers are statistically unrelated
    (`numpy.random.SeedSequence`)."""
    return int(np.random.SeedSequence([number % 2**32 for number in numbers]).generate_state(1)[0])
