"""The tiny pipelines, in memory and on disk."""

import shutil
from pathlib import Path

import pytest
from pipelines.tiny_pipeline import build_tiny, build_tiny_reconstruction

from triplane3d import Triplane3DPipeline

BUILDERS = {"Triplane3DPipeline": build_tiny, "TriplaneReconstructionPipeline": build_tiny_reconstruction}


@pytest.fixture
def pipe() -> Triplane3DPipeline:
    return build_tiny()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline as saved on disk. Not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    build_tiny().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved pipeline of each class, by the name of the class. Not to be changed."""
    folder = tmp_path_factory.mktemp("both")
    for name, build in BUILDERS.items():
        build().save_pretrained(folder / name)
    return {name: folder / name for name in BUILDERS}


@pytest.fixture(params=BUILDERS)
def saved_copy(request: pytest.FixtureRequest, saved_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A saved pipeline of each class, to be changed."""
    return Path(shutil.copytree(saved_folders[request.param], tmp_path / request.param))
