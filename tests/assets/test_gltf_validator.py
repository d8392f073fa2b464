"""Written GLB files pass the Khronos validator. Skipped where it is not installed: make validate-assets."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from textured_sphere import colored_sphere, textured_sphere

from triplane3d.assets.textured_mesh import save_asset

FOLDER = Path(__file__).parents[1] / "gltf"


def test_the_validator_has_no_complaints(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (FOLDER / "node_modules").is_dir():
        pytest.skip("the glTF validator is not installed: make validate-assets")
    textured, mapped = textured_sphere(), textured_sphere(normal_map=True)
    files = {
        "plain": save_asset(colored_sphere(), tmp_path / "plain.glb"),
        "raw": colored_sphere().save(tmp_path / "raw.glb"),
        "jpeg": textured.save(tmp_path / "jpeg.glb"),
        "png": textured.save(tmp_path / "png.glb", texture_format="png"),
        "webp": textured.save(tmp_path / "webp.glb", texture_format="webp"),
        "normals": mapped.save(tmp_path / "normals.glb"),
        "z up": mapped.save(tmp_path / "z.glb", up="z", size=80),
        "draco": mapped.save(tmp_path / "draco.glb", draco=True),
    }
    command = ["node", "validate.js", *map(str, files.values())]
    ended = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=True)
    reports = dict(zip(files, map(json.loads, ended.stdout.splitlines()), strict=True))
    for name, report in reports.items():
        assert (report["numErrors"], report["numWarnings"]) == (0, 0), (name, report["messages"])
    assert reports["jpeg"]["info"]["totalTriangleCount"] == len(textured.faces)

    # The validator works: it finds an error in a damaged file.
    content = files["jpeg"].read_bytes()
    (tmp_path / "bad.glb").write_bytes(content.replace(b'"componentType":5126', b'"componentType":5125'))
    command = ["node", "validate.js", str(tmp_path / "bad.glb")]
    ended = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(ended.stdout)["numErrors"] > 0
