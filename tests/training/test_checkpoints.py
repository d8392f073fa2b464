"""A run resumes only with the same settings, and does not mix its files with those of another run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from test_trainer import config, fit

from triplane3d.config import AutoencoderConfig, load_config
from triplane3d.training.checkpointing import changed_settings, checkpoints
from triplane3d.training.run_setup import start_run
from triplane3d.training.state import read_state


def with_rate(settings: AutoencoderConfig, lr: float) -> AutoencoderConfig:
    return replace(settings, optim=replace(settings.optim, lr=lr))


@pytest.fixture
def stopped(tmp_path) -> Path:
    """A run of six steps that stopped after three."""
    fit(config(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / "checkpoint-6")
    return tmp_path / "run"


@pytest.mark.parametrize("key, value", [("batch_size", 4), ("seed", 1), ("accumulation", 2), ("steps", 8)])
def test_other_settings_are_refused_with_the_differences(stopped, key, value):
    before = (stopped / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match=rf"checkpoint-3 was .*: run.{key}: \d, now {value}\. .*--run.resume changed"):
        start_run(config(stopped, **{key: value}))
    assert (stopped / "config.yaml").read_bytes() == before


def test_settings_of_logging_and_reading_may_change(stopped):
    free = {"log_every": 1, "checkpoint_every": 2, "checkpoint_limit": 3, "max_minutes": 10, "nonfinite_limit": 1}
    assert fit(config(stopped, workers=1, compile=True, compile_backend="eager", **free)).step == 6


def test_a_changed_rate_is_accepted_with_resume_changed(stopped, capsys):
    settings = config(stopped)
    with pytest.raises(ValueError, match=r"optim.lr: 0.05, now 0.01"):
        start_run(with_rate(settings, 0.01))
    changed = with_rate(config(stopped, resume="changed"), 0.01)
    assert fit(changed).step == 6
    message = f"settings differ from those of {stopped / 'checkpoint-3'}: optim.lr: 0.05, now 0.01"
    assert message in capsys.readouterr().out
    # From now on these are the run's settings.
    assert load_config(AutoencoderConfig, stopped / "checkpoint-6" / "config.yaml").optim.lr == 0.01
    assert changed_settings(stopped / "checkpoint-6", with_rate(settings, 0.01), 1) == []
    assert changed_settings(stopped / "checkpoint-6", settings, 1) == ["optim.lr: 0.01, now 0.05"]


def test_another_number_of_processes_is_a_difference(stopped):
    assert changed_settings(stopped / "checkpoint-3", config(stopped), 2) == ["processes: 1, now 2"]


def test_keys_added_after_a_checkpoint_had_their_default(stopped):
    path = stopped / "checkpoint-3" / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    del saved["optim"]["final_lr"], saved["loss"]
    path.write_text(yaml.safe_dump(saved))
    settings = config(stopped)
    assert changed_settings(path.parent, settings, 1) == []
    settings = replace(settings, optim=replace(settings.optim, final_lr=0.5))
    assert changed_settings(path.parent, settings, 1) == ["optim.final_lr: 0.02, now 0.5"]


def test_relative_and_absolute_paths_are_equal(stopped, monkeypatch):
    monkeypatch.chdir(stopped.parent)
    settings = config(stopped)
    elsewhere = replace(settings, pipeline=str(stopped.parent / "unused"))
    assert changed_settings(stopped / "checkpoint-3", elsewhere, 1) == []


def test_another_run_can_start_from_a_checkpoint(stopped, tmp_path, capsys):
    other = with_rate(config(tmp_path / "other", resume=str(stopped / "checkpoint-3")), 0.01)
    assert fit(other).step == 6
    assert "settings differ" in capsys.readouterr().out
    assert [path.name for path in checkpoints(stopped)] == ["checkpoint-3"]


def test_resume_none_moves_the_earlier_run_aside(tmp_path, capsys):
    fit(config(tmp_path))
    earlier = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    fit(with_rate(config(tmp_path, steps=3, resume="none"), 0.01))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    assert f"files of an earlier run in {tmp_path} are now in {tmp_path / 'earlier-1'}" in capsys.readouterr().out
    kept = load_file(tmp_path / "earlier-1" / "checkpoint-6" / "model.safetensors")
    assert all((kept[name] == earlier[name]).all() for name in earlier)
    steps = [[json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
             for folder in (tmp_path / "earlier-1", tmp_path)]  # fmt: skip
    assert steps == [[2, 4, 6], [2, 3]]


def test_resuming_an_early_checkpoint_moves_later_ones_aside(tmp_path):
    fit(config(tmp_path))
    fit(config(tmp_path, resume=str(tmp_path / "checkpoint-3"), checkpoint_every=1, checkpoint_limit=2))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-5", "checkpoint-6"]
    assert [path.name for path in (tmp_path / "earlier-1").iterdir()] == ["checkpoint-6"]


@pytest.mark.parametrize(
    "changes, sentence",
    [({"resume": "elsewhere"}, "run.resume=elsewhere: elsewhere is not a checkpoint folder.*latest, changed or none"),
     ({"steps": 2, "resume": "changed"}, "checkpoint-3 is at step 3, beyond run.steps=2: raise run.steps")],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_used_is_refused(stopped, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        start_run(config(stopped, **changes))


@pytest.mark.parametrize("value", [10**400, -1, True, "3", None])
def test_numbers_of_a_checkpoint_without_sense_are_refused(value, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"step": 3, "skipped": value, "processes": 1}))
    with pytest.raises(ValueError, match="holds no whole number 'skipped'"):
        read_state(tmp_path)
