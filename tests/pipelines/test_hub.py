"""A pipeline is pushed to the Hub and loaded from it, without remote code and without stub files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from pipelines.mock_hub import mock_hub

from triplane3d import Triplane3DPipeline

PUSH_AND_LOAD = """
import sys
import torch
import triplane3d
from diffusers import AutoModel, DiffusionPipeline
from pipelines.tiny_pipeline import grids

pipe = triplane3d.Triplane3DPipeline.from_pretrained(sys.argv[1])
pipe.push_to_hub("somebody/chairs", token="hf_secret")
expected = grids(pipe)
for loader in (DiffusionPipeline, triplane3d.Triplane3DPipeline):
    loaded = loader.from_pretrained("somebody/chairs")
    print(type(loaded).__name__, torch.equal(grids(loaded), expected))
print(type(AutoModel.from_pretrained("somebody/chairs", subfolder="vae")).__name__)
print(type(triplane3d.TriplaneTransformer.from_pretrained("somebody/chairs", subfolder="transformer")).__name__)
"""


def test_a_pipeline_is_pushed_to_the_hub_and_loaded_from_it(tiny_folder: Path, tmp_path: Path) -> None:
    with mock_hub() as (address, files):
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, "-c", PUSH_AND_LOAD, str(tiny_folder)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],
        )
    assert done.stdout.split() == [
        *("Triplane3DPipeline", "True") * 2,
        "AutoencoderKLTriplane",
        "TriplaneTransformer",
    ], done.stderr
    assert not [name for name in files if name.endswith((".py", ".bin", ".ckpt"))]
    assert {"image-to-3d", "triplane3d", "diffusers"} <= set(ModelCard(files["README.md"].decode()).data.tags)


@pytest.mark.parametrize("name", ["nobody/nothing"])
def test_the_error_names_an_unknown_model_without_a_network(name: str) -> None:
    with pytest.raises(OSError, match=name):
        Triplane3DPipeline.from_pretrained(name)


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("# Chairs\n" + " " * (2 << 20), "where at most 1,048,576 are accepted"),
        ("---\na: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 8)}]\n" for n in range(8)
        ) + "---\n# Chairs\n", "with all anchors written out"),
        ("---\n- chairs\n---\n# Chairs\n", "is not a model card"),
        ("---\nlicense: [\n---\n", "is no plain YAML file"),
    ],
    ids=["large", "anchors", "a list", "damaged"],
)  # fmt: skip
def test_a_card_beyond_the_limits_is_not_pushed(
    pipe: Triplane3DPipeline, tmp_path: Path, card: str, sentence: str
) -> None:
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(ValueError, match=sentence) as error:
        pipe._upload_folder(tmp_path, "somebody/chairs")
    assert str(tmp_path / "README.md") in str(error.value)
    (tmp_path / "own").mkdir()
    (tmp_path / "README.md").rename(tmp_path / "own" / "README.md")
    (tmp_path / "README.md").write_text("This model card has been automatically generated.")
    pipe.register_to_config(_name_or_path=str(tmp_path / "own"))
    with pytest.raises(ValueError, match=sentence):
        pipe._upload_folder(tmp_path, "somebody/chairs")
