"""The Python of the pages does what the pages say: each page's blocks are one program, run in an empty folder."""

import os
import re
import shlex
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

from triplane3d.config import load_config
from triplane3d.config.loading import flatten
from triplane3d.config.schema import SCRIPTS
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


def test_readmes_way_to_mini_is_complete() -> None:
    """Every stage reads what an earlier line has written, in as many processes as its file says; the last line before
    the evaluation assembles the newest autoencoder and denoiser."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = [text for text in blocks if "TWO" in text]
    stages = {script: stage for stage, script in SCRIPTS.items()}
    written, trained = {"pipelines/mini"}, {}
    for line in block.splitlines()[2:]:
        words = shlex.split(line.replace("$TWO", "torchrun --standalone --nproc_per_node 2"), comments=True)
        script = next(word for word in words if word.startswith("scripts/"))
        if script not in stages:
            continue
        path = words[-1]
        assert (ROOT / path).read_text().splitlines()[0] == f"# {' '.join(words)}"
        keys = flatten(load_config(stages[script], ROOT / path))
        read = ("pipeline", "init", "teacher", "vae", "data", *(f"data.{key}" for key in ("folder", "latents", "vae")))
        for key in filter(keys.get, (*read, "data.validation")):
            assert any(Path(keys[key]).is_relative_to(folder) for folder in written), (path, key)
        output = keys.get("run.output") or keys["output"]
        written.add(output)
        if "run.output" in keys:
            trained["autoencoder" if "autoencoder" in script else "denoiser"] = output
    assert f"python scripts/assemble_pipeline.py {trained['autoencoder']} {trained['denoiser']} pipelines/mini" in block
