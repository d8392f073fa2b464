"""Tests of the documentation: its Python code runs, its links resolve, and its training commands are complete."""

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
    ("page", "files"),
    [
        ("README.md", {"chair.glb", "turntable.webp"}),
        ("docs/diffusers.md", {"my-model", "my-bytes", "my-lora"}),
        ("docs/surface.md", {"ring.glb"}),
        ("docs/formats.md", {"egg.stl", "egg.glb"}),
        ("docs/data.md", {"two.safetensors"}),
        ("docs/checkpoints.md", {"armchair.glb", "direct3d.glb"}),
        ("docs/evaluation.md", set()),
    ],
)
def test_python_of_a_page_runs(page: str, files: set[str], tmp_path: Path) -> None:
    """The blocks of a page are one program. It runs in an empty folder and writes at least `files`."""
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
    assert files <= {path.name for path in tmp_path.iterdir()}
    if page == "docs/diffusers.md":
        check_files_of_the_diffusers_page(tmp_path)


def check_files_of_the_diffusers_page(folder: Path) -> None:
    """The weights have half precision and limited file sizes, and the adapter has its alpha."""
    files = list((folder / "my-model").glob("*/*.fp16*.safetensors"))
    assert {path.parent.name for path in files} == {"image_encoder", "transformer", "vae"}
    for path in files:
        assert path.stat().st_size <= 20e6
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    with safe_open(folder / "my-lora" / "pytorch_lora_weights.safetensors", "pt") as file:
        config = json.loads(file.metadata()["lora_adapter_metadata"])
    assert (config["transformer.r"], config["transformer.lora_alpha"]) == (4, 8)


def test_first_block_cache_of_the_page_skips_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
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


PAGES = sorted(path for folder in (".", "docs", "docs/images", "pipelines/*") for path in ROOT.glob(f"{folder}/*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    """Linked files exist, and linked headings exist in them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{target} does not exist"
        assert not anchor or anchor in heading_anchors(file), f"{file.name} has no heading {anchor}"


def heading_anchors(page: Path) -> set[str]:
    """Anchors of a page's headings as GitHub forms them: lower case, no punctuation, hyphens for spaces."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def save_both_pipelines(folder: Path) -> None:
    """Saves the converted pipelines that the page loads: small ones with random weights."""
    weights = load_file(FIXTURES / "triposr.safetensors")
    checkpoint = save_triposr(folder / "TripoSR", TRIPOSR_FIXTURE["config"], TRIPOSR_FIXTURE["vit"], weights)
    convert_triposr(checkpoint, folder / "my-triposr")
    checkpoint = save_direct3d(folder / "Direct3D", FIXTURE, direct3d_fixture(), **encoder_sections())
    clip, dino = save_encoders(folder, 12, 10)
    convert_direct3d(checkpoint, folder / "my-direct3d", image_encoder=clip, pixel_encoder=dino)


def test_the_training_commands_are_complete() -> None:
    """Every stage reads files that an earlier command has written, with the number of processes that its file states.

    The last command before the evaluation assembles the newest autoencoder and denoiser.
    """
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL)
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


def test_the_architecture_page_names_existing_files() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    paths = set(re.findall(r"`((?:triplane3d|scripts|tests|benchmarks|configs|pipelines)/[\w./]*)`", page))
    assert len(paths) > 40
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_linked_files_exist() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
