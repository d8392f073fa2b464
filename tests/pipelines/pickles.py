"""A pickle that shows whether it was executed."""

import os
from pathlib import Path


def malicious_pickle(marker: Path) -> bytes:
    """A pickle that creates the file `marker` when it is read without restrictions."""
    return f"c{os.name}\nsystem\n(S'touch {marker}'\ntR.".encode()
