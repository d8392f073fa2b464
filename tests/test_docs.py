"""The Python of the pages does what the pages say: each page's blocks are one program, run in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from convert.tiny_checkpoints import (
    FIXTURE,
    FIXTURES,
    TRIPOSR_FIXTURE,
    direct3d_fixture,
    encoder_sections,
    save_direct3d,
    save_encoders,
    save_triposr,
)
from safetensors.torch import load_file

from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("page", "leaves"),
    [
        ("README.md", {"chair.glb", "turntable.webp", "ball.stl"}),
        ("docs/diffusers.md", {"my-model", "my-bytes", "my-lora"}),
        ("docs/surface.md", {"ring.glb"}),
        ("docs/formats.md", {"egg.stl", "egg.glb"}),
        ("docs/checkpoints.md", {"armchair.glb", "direct3d.glb"}),
    ],
)
def test_a_pages_python_runs(page: str, leaves: set[str], tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    if page == "docs/checkpoints.md":
        save_both_pipelines(tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "page.py"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert leaves <= {path.name for path in tmp_path.iterdir()}


def save_both_pipelines(folder: Path) -> None:
    """What that page's reader has converted, small and of random weights."""
    weights = load_file(FIXTURES / "triposr.safetensors")
    checkpoint = save_triposr(folder / "TripoSR", TRIPOSR_FIXTURE["config"], TRIPOSR_FIXTURE["vit"], weights)
    convert_triposr(checkpoint, folder / "my-triposr")
    checkpoint = save_direct3d(folder / "Direct3D", FIXTURE, direct3d_fixture(), **encoder_sections())
    clip, dino = save_encoders(folder, 12, 10)
    convert_direct3d(checkpoint, folder / "my-direct3d", image_encoder=clip, pixel_encoder=dino)
