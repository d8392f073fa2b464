"""A signal ends a run after its update, with a checkpoint. The resumed run ends with the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from test_trainer import Plane, begin, config, fit
from tiny_stages import autoencoder_config

from triplane3d.config import save_config
from triplane3d.signals import Stopped
from triplane3d.training.autoencoder import train

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_autoencoder.py"


def last_step(log: Path) -> int:
    lines = log.read_text().splitlines() if log.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def test_a_run_that_was_stopped_twice_ends_with_the_same_weights(work, tmp_path):
    """Runs the script. The signals go to all its processes, as from a terminal or a job scheduler."""
    quick = {"run.steps": 150, "run.log_every": 1, "run.checkpoint_every": 1000, "data.validation": None,
             "data.surface_points": 64, "data.label_points": 64, "run.workers": 1}  # fmt: skip
    stopped = autoencoder_config(work, **quick, **{"run.output": tmp_path / "stopped"})
    save_config(stopped, tmp_path / "stage.yaml")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), *filter(None, sys.path)])}
    step = 0
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, tmp_path / "stage.yaml"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while last_step(tmp_path / "stopped" / "log.jsonl") <= step + 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signum)
        _, printed = process.communicate(timeout=100)
        assert process.returncode == code and children, printed
        step = last_step(tmp_path / "stopped" / "log.jsonl")
        name, folder = signal.Signals(signum).name, tmp_path / "stopped" / f"checkpoint-{step}"
        assert printed.splitlines()[-2:] == [
            f"{name}: stopping after this update; a second signal stops at once",
            f"stopped by {name} at step {step} of 150; its state is in {folder}. To continue, give the same command "
            "again",
        ]
        assert not psutil.wait_procs(children, timeout=10)[1]

    stopped, whole = train(stopped), train(autoencoder_config(work, **quick, **{"run.output": tmp_path / "whole"}))
    for name in ("vae/diffusion_pytorch_model.safetensors", "checkpoint-150/model.safetensors"):
        found, expected = load_file(stopped / name), load_file(whole / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


class SignallingPlane(Plane):
    """Sends a signal to its own process when sample `at`, counted from 0, is read."""

    def __init__(self, at: int):
        self.left = at

    def __getitem__(self, index):
        self.left -= 1
        if self.left == -1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_update_is_finished_and_validation_omitted(tmp_path, accumulation):
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    settings = config(tmp_path, batch_size=4, accumulation=accumulation, validate_every=1, resume="none")
    run, measured = begin(settings), []
    for batch in run.batches(SignallingPlane(at=4 * accumulation)):
        run.update(run.losses(**batch))
        run.validate_and_save(lambda: measured.append(run.step) or ({}, np.zeros((1, 1, 3), np.uint8)))
    with pytest.raises(Stopped) as stopped:
        run.finish()
    assert str(stopped.value).startswith("stopped by SIGTERM at step 2 of 6") and stopped.value.signum == signal.SIGTERM
    assert str(stopped.value).endswith("give the same command again with --run.resume latest")
    assert measured == [1]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_after_a_signal_at_the_last_update_the_run_is_complete(tmp_path):
    with pytest.raises(Stopped, match="SIGTERM came at the last step: the run is complete, .* holds its weights"):
        fit(config(tmp_path, batch_size=4), SignallingPlane(at=23))
    assert (tmp_path / "line" / "weights.safetensors").is_file() and fit(config(tmp_path, batch_size=4)).step == 6
