"""Configurations: what YAML and flags may say, and what a mistake is told."""

from dataclasses import asdict
from pathlib import Path

import pytest

from triplane3d.config import (
    AutoencoderConfig,
    DenoiserConfig,
    DistillConfig,
    LatentsConfig,
    ShapesConfig,
    build,
    load_config,
    parse_config,
    save_config,
)

CONFIGS = Path(__file__).parents[1] / "configs"
STAGES = {
    "data": ShapesConfig,
    "autoencoder": AutoencoderConfig,
    "latents": LatentsConfig,
    "denoiser": DenoiserConfig,
    "distill": DistillConfig,
}
SMALL = {"pipeline": "p", "data": {"folder": "f"}, "run": {"output": "o", "steps": 10, "batch_size": 2}}


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_config_is_understood_and_opens_with_its_command(path):
    stage = STAGES[path.stem.partition("_")[0]]
    load_config(stage, path)
    first = path.read_text().splitlines()[0]
    script = next(word for word in first.split() if word.endswith(".py"))
    assert first.startswith("# ") and first.endswith(f" configs/{path.relative_to(CONFIGS)}")
    assert (CONFIGS.parent / script).is_file()
    assert stage.__name__ in (CONFIGS.parent / script).read_text()


@pytest.mark.parametrize(
    "section, key, nearest",
    [("optim", "lrs", "optim.lr"), ("optim", "warmup", "optim.warmup_steps"), ("run", "stepz", "run.steps")],
)
def test_an_unknown_key_names_its_neighbour(section, key, nearest):
    values = {**SMALL, section: {**SMALL.get(section, {}), key: 1}}
    with pytest.raises(ValueError, match=f"unknown key '{section}.{key}'; did you mean '{nearest}'"):
        build(AutoencoderConfig, values)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="lacks run.steps"):
        build(AutoencoderConfig, {**SMALL, "run": {"output": "o", "batch_size": 2}})


@pytest.mark.parametrize(
    "key, value, sentence",
    [("steps", "many", "takes a number"), ("steps", 1.5, "whole number"), ("compile", "maybe", "true or false")],
)
def test_a_value_of_the_wrong_type_is_refused(key, value, sentence):
    with pytest.raises(ValueError, match=f"run.{key}.*{sentence}"):
        build(AutoencoderConfig, {**SMALL, "run": {**SMALL["run"], key: value}})


def test_yaml_of_the_1_1_kind_is_read_as_meant(tmp_path):
    path = tmp_path / "stage.yaml"
    path.write_text("pipeline: p\ndata: {folder: f}\noptim: {lr: 1e-3}\n"
                    "run: {output: o, steps: 1e3, batch_size: 2, mixed_precision: no}\n")  # fmt: skip
    config = load_config(AutoencoderConfig, path)
    assert (config.optim.lr, config.run.steps, config.run.mixed_precision) == (1e-3, 1000, "no")


@pytest.fixture
def stage(tmp_path) -> Path:
    save_config(build(AutoencoderConfig, SMALL), tmp_path / "stage.yaml")
    return tmp_path / "stage.yaml"


def test_a_saved_config_reads_back_the_same(stage):
    assert load_config(AutoencoderConfig, stage) == build(AutoencoderConfig, SMALL)


def test_flags_override_the_file(stage):
    flags = ["--steps", "7", "--optim.lr", "1e-4", "--batch-size", "3", "--set", "data.validation=none",
             "--set", "run.trackers=", "--optim.betas", "0.8,0.9"]  # fmt: skip
    config = parse_config(AutoencoderConfig, [str(stage), *flags])
    assert (config.run.steps, config.run.batch_size, config.optim.lr) == (7, 3, 1e-4)
    assert (config.data.validation, config.run.trackers, config.optim.betas) == (None, (), (0.8, 0.9))
    assert asdict(config)["data"]["folder"] == "f"


@pytest.mark.parametrize("flags", [["--stepps", "7"], ["--set", "stepps=7"], ["--run.stepps=7"]])
def test_an_unknown_flag_names_its_neighbour(stage, flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_config(AutoencoderConfig, [str(stage), *flags])
    assert stopped.value.code == 2
    assert "did you mean 'run.steps'" in capsys.readouterr().err
