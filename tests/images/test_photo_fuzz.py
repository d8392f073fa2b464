"""Every damaged photo gives pixels or an error message, without a crash, a hang or a gigabyte of memory."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_damaged_files_give_pixels_or_an_error_message() -> None:
    """In a separate process, which may crash. The full run is `benchmarks/fuzz_photos.py --count 2000`."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "fuzz_photos.py", "--count", "150"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 damaged files" in done.stdout and "tensor" in done.stdout and "sentence" in done.stdout
