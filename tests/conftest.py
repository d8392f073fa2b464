"""Settings of all tests: few threads, no network, the same random numbers each time.

Nothing of the package is imported here: pytest installs the hook that checks shapes after it has read this file.
"""

import os
from collections.abc import Iterator

# At most two threads: more are slower for small tensors. The limit must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "2" if (os.cpu_count() or 1) > 1 else "1")
# Waiting threads sleep: if they spin on a busy machine, tests take several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import jaxtyping
import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def as_users_run_it() -> Iterator[None]:
    """Disables the type checks of the test run, which would raise other errors first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
