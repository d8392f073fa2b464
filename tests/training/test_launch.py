"""A training script that is started from another folder says where it looked, and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from triplane3d.config import AutoencoderConfig, DenoiserConfig, build
from triplane3d.training.launch import CHECKOUT, inputs, launch, not_there

MINI = "configs/mini/autoencoder.yaml"


def started(*argv: str) -> tuple[list, int | None]:
    """Configurations that a stage was given, and the exit code."""
    given: list = []
    try:
        launch(given.append, AutoencoderConfig, argv, description=None)
    except SystemExit as ended:
        return given, ended.code
    return given, None


def test_the_yaml_and_the_folders_in_it_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    remedy = f"is not in {tmp_path} but in {CHECKOUT}: start the command there (cd {CHECKOUT}), or give whole paths\n"
    assert started(MINI) == ([], 2)
    assert capsys.readouterr().err == f"error: {MINI} {remedy}"
    assert started(str(CHECKOUT / MINI)) == ([], 2)
    assert capsys.readouterr().err == f"error: pipeline: pipelines/mini {remedy}"
    assert started("nowhere.yaml") == ([], 2)
    assert f"nowhere.yaml is not in {tmp_path}, where the command was started" in capsys.readouterr().err
    assert started(str(tmp_path / "nowhere.yaml")) == ([], 2)
    assert f"there is no {tmp_path / 'nowhere.yaml'}: check the path" in capsys.readouterr().err


def test_with_whole_paths_it_starts_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "validation"):
        (tmp_path / name).mkdir()
    pipeline = str(CHECKOUT / "pipelines" / "mini")
    flags = ["--pipeline", pipeline, "--data.folder", "train", "--data.validation", "validation"]
    (config,), code = started(str(CHECKOUT / MINI), *flags)
    assert code is None and config.data.folder == "train"


def test_a_folder_near_the_yaml_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert f"but in {project}:" in not_there(Path("data"), (project / "configs", project))


def test_streamed_shapes_come_from_no_folder() -> None:
    run = {"output": "o", "steps": 1, "batch_size": 1}
    data = {"vae": "v", "folder": "f", "latents": "l", "validation": "w"}
    for stream, keys in ((False, ["pipeline", "data.folder", "data.latents", "data.vae", "data.validation"]),
                         (True, ["pipeline", "data.vae", "data.validation"])):  # fmt: skip
        config = build(DenoiserConfig, {"pipeline": "p", "run": run, "data": {**data, "stream": stream}})
        assert [key for key, _ in inputs(config)] == keys


def test_the_script_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "train_denoiser.py", "configs/mini/denoiser.yaml"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and f"but in {CHECKOUT}" in done.stderr
