"""The sdist and the wheel: the complete package with its model, nothing else, and a description for an index."""

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]
ROOT_FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt")
RELATIVE_LINK = re.compile(r"\]\((?!https?:)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str], bytes]:
    """Files of the sdist, files of the wheel built from it, and the wheel's metadata. The weights are placeholders."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    for name in ROOT_FILES:
        shutil.copy(ROOT / name, source)
    for name in ("triplane3d", "pipelines", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.npz", "*.png")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for path in ROOT.glob("pipelines/*/*/*.safetensors"):
        (source / path.relative_to(ROOT)).write_bytes(b"weights")

    build(source, "sdist", folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    build(unpacked, "wheel", folder)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        return files, names, archive.read(metadata)


def build(source: Path, kind: str, output: Path) -> None:
    """Builds as `python -m build --no-isolation` does."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(output)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)


def modules() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "triplane3d").rglob("*.py")}


def model_files() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "pipelines" / "mini").rglob("*") if path.is_file()}


def test_the_sdist_contains_the_sources_of_the_wheel_and_no_tests(built: tuple) -> None:
    files = {name for name in built[0] if not name.startswith("triplane3d.egg-info/")}
    assert files == {*ROOT_FILES, *modules(), *model_files(), "triplane3d/py.typed", "PKG-INFO", "setup.cfg"}


def test_the_wheel_contains_the_package_with_its_model_and_nothing_else(built: tuple) -> None:
    installed = {name for name in built[1] if ".dist-info/" not in name}
    assert installed == {*modules(), "triplane3d/py.typed", *(f"triplane3d/_{name}" for name in model_files())}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in built[1])


def test_the_description_has_no_link_that_is_broken_outside_the_repository(built: tuple) -> None:
    metadata = message_from_bytes(built[2])
    text = metadata.get_payload(decode=True).decode()
    assert metadata["Description-Content-Type"] == "text/markdown" and text.startswith("# triplane3d")
    caption = (ROOT / "README.md").read_text().split("public_photos.png)\n\n*")[1][:60]
    assert not RELATIVE_LINK.search(text) and "![" not in text and caption not in text
    assert "pip install -c constraints.txt ." in text and "turn your own field into a mesh" in text


def test_with_the_address_of_the_repository_all_links_and_pictures_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.setenv("TRIPLANE3D_FILES_URL", "https://example.com/triplane3d/blob/v1/")
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    text, readme = given["long_description"], (ROOT / "README.md").read_text()
    assert not RELATIVE_LINK.search(text)
    assert text.count("](") == readme.count("](")
    for path in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / path).exists(), "links of the README lead to existing files"
        assert f"](https://example.com/triplane3d/blob/v1/{path}" in text
    assert "(https://example.com/triplane3d/blob/v1/docs/images/public_photos.png?raw=true)" in text
