"""The commands of docs/encoders.md run with `mini`, few shapes and two steps."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_stages import latents_config

from triplane3d import Triplane3DPipeline
from triplane3d.config import DenoiserConfig, parse_config
from triplane3d.training.denoiser import train
from triplane3d.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "encoders.md").read_text()
SECTIONS = {heading: text for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)}


@pytest.fixture(scope="session")
def mini(work, tmp_path_factory) -> Path:
    """A copy of `pipelines/mini` and `configs/mini`, with a few shapes and their latents."""
    from triplane3d.training.latents import encode

    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("pipelines", "configs"):
        shutil.copytree(ROOT / folder / "mini", checkout / folder / "mini")
    shutil.copytree(ROOT / "pipelines" / "mini" / "vae", checkout / "runs" / "mini" / "autoencoder_smooth" / "vae")
    encode(latents_config(work, vae=checkout / "runs/mini/autoencoder_smooth/vae", output=checkout / "latents"))
    return checkout


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_commands_of_the_page_run(heading, mini, work, monkeypatch):
    monkeypatch.chdir(mini)
    copy_mini, *commands = re.findall(r"```bash\n(.*?)```", SECTIONS[heading], re.S)
    subprocess.run(["bash", "-ec", copy_mini], check=True)
    edits = re.findall(r"`(pipelines/\S+\.json)`[^`]*```json\n(.*?)```", SECTIONS[heading], re.S)
    assert len(edits) == 3
    for file, values in edits:
        whole = f"the whole of `{file}`" in SECTIONS[heading]
        kept = {} if whole else json.loads(Path(file).read_text())
        Path(file).write_text(json.dumps({**kept, **json.loads(values)}))

    training, assembly = commands[0].splitlines()
    assert training.startswith("python scripts/train_denoiser.py ")
    data = {"folder": work / "data", "latents": "latents", "validation": "none"}
    few = ["--steps", "2", "--batch_size", "2", "--workers", "0", "--mixed_precision", "no", "--trackers", ""]
    few += [f"--set=data.{name}={value}" for name, value in data.items()]
    monkeypatch.setattr(Trainer, "save", lambda run: None)  # saves half a gigabyte of unused checkpoints
    train(parse_config(DenoiserConfig, [*shlex.split(training)[2:], *few]))

    script, *arguments = shlex.split(assembly)[1:]
    monkeypatch.setattr("sys.argv", [script, *arguments])
    runpy.run_path(str(ROOT / script), run_name="__main__")
    pipe = Triplane3DPipeline.from_pretrained(arguments[2])
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe.image_encoder).__name__ == json.loads(edits[0][1])["image_encoder"][1]
    photo = str(ROOT / "docs" / "images" / "armchair.png")
    assert pipe(photo, num_inference_steps=1, resolution=4, output_type="pt").meshes.isfinite().all()
