"""Fixtures of the command's tests: a tiny saved pipeline, a photo in an empty folder, the command in process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pipelines.tiny_pipeline import build_tiny, grids, photo
from typer.testing import CliRunner, Result

from triplane3d import Triplane3DPipeline
from triplane3d.cli import app


@pytest.fixture(scope="session")
def crossing() -> Triplane3DPipeline:
    """The tiny pipeline with a random field that crosses zero."""
    pipe = build_tiny()
    middle = float(grids(pipe, num_inference_steps=2, resolution=12).median())
    with torch.no_grad():
        pipe.vae.field_decoder.proj_out.bias -= middle
    return pipe


@pytest.fixture(scope="session")
def model(crossing: Triplane3DPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    crossing.save_pretrained(folder)
    return folder


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """block.png, the only file in the current folder."""
    monkeypatch.chdir(tmp_path)
    photo().save("block.png")
    return tmp_path / "block.png"


@pytest.fixture
def run() -> Callable[..., Result]:
    def invoke(*arguments: object, given: bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)

    return invoke
