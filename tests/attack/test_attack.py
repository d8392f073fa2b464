"""A few damaged copies of every kind of file; `make attack` reads thousands."""

import subprocess
import sys
from pathlib import Path


def test_damaged_files_are_refused_in_sentences_and_run_no_code():
    command = [sys.executable, Path(__file__).parent, "--count", "12", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "0 faults" in result.stdout
