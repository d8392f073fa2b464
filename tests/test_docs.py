"""The Python of the pages does what the pages say: each page's blocks are one program, run in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("page", "leaves"),
    [
        ("README.md", {"chair.glb", "turntable.webp", "ball.stl"}),
        ("docs/diffusers.md", {"my-model", "my-bytes", "my-lora"}),
        ("docs/surface.md", {"ring.glb"}),
    ],
)
def test_a_pages_python_runs(page: str, leaves: set[str], tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "page.py").write_text("\n".join(blocks))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "page.py"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert leaves <= {path.name for path in tmp_path.iterdir()}
