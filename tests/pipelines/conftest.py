"""The tiny pipeline, in memory and on disk."""

from pathlib import Path

import pytest
from pipelines.tiny_pipeline import build_tiny

from triplane3d import Triplane3DPipeline


@pytest.fixture
def pipe() -> Triplane3DPipeline:
    return build_tiny()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline as saved on disk."""
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    build_tiny().save_pretrained(folder)
    return folder
