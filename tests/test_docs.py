"""The Python of the pages does what the pages say: each page's blocks are one program, run in an empty folder."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
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
from safetensors import safe_open
from safetensors.torch import load_file

from triplane3d import Triplane3DPipeline
from triplane3d.config import load_config
from triplane3d.config.loader import flatten
from triplane3d.config.stages import SCRIPTS
from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr
from triplane3d.models.attention import TriplaneAttnProcessor
from triplane3d.pipelines import pipeline_triplane3d

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("page", "leaves"),
    [
        ("README.md", {"chair.glb", "turntable.webp", "ball.stl"}),
        ("docs/diffusers.md", {"my-model", "my-bytes", "my-lora"}),
        ("docs/surface.md", {"ring.glb"}),
        ("docs/formats.md", {"egg.stl", "egg.glb"}),
        ("docs/data.md", {"two.safetensors"}),
        ("docs/checkpoints.md", {"armchair.glb", "direct3d.glb"}),
    ],
)
def test_a_pages_python_runs(page: str, leaves: set[str], tmp_path: Path) -> None:
    blocks = python_blocks((ROOT / page).read_text())
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
    if page == "docs/diffusers.md":
        check_what_the_diffusers_page_saves(tmp_path)


def check_what_the_diffusers_page_saves(folder: Path) -> None:
    """Half precision on disk, in files no larger than it says; and an adapter with its alpha."""
    files = list((folder / "my-model").glob("*/*.fp16*.safetensors"))
    assert {path.parent.name for path in files} == {"image_encoder", "transformer", "vae"}
    for path in files:
        assert path.stat().st_size <= 20e6
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    with safe_open(folder / "my-lora" / "pytorch_lora_weights.safetensors", "pt") as file:
        config = json.loads(file.metadata()["lora_adapter_metadata"])
    assert (config["transformer.r"], config["transformer.lora_alpha"]) == (4, 8)


def test_the_pages_first_block_cache_skips_work(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    compute = TriplaneAttnProcessor.__call__

    def counted(self: TriplaneAttnProcessor, *arguments: object, **options: object) -> object:
        calls.append(1)
        return compute(self, *arguments, **options)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(TriplaneAttnProcessor, "__call__", counted)
    monkeypatch.setattr(pipeline_triplane3d, "extract_surfaces", lambda *_, **__: [None])
    page = (ROOT / "docs/diffusers.md").read_text()
    block = next(block for block in python_blocks(page) if "FirstBlockCacheConfig" in block)
    names = {"Triplane3DPipeline": Triplane3DPipeline, "photo": "docs/images/armchair.png"}
    exec(block, names)
    pipe = names["pipe"]
    exact = 2 * len(pipe.transformer.transformer_blocks) * pipe.config.presets["high"]["num_inference_steps"]
    assert 0.4 * exact < len(calls) < 0.8 * exact


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


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
