"""Processes of a run are described. Launches with unintended effects are refused or cause a warning."""

import pytest
import torch
from accelerate import Accelerator

from triplane3d.training.processes import describe_batch, describe_processes, launch_warnings, make_accelerator


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_accelerate_starting_one_process_instead_of_several_causes_a_warning(monkeypatch, capsys):
    """The environment that `accelerate launch --num_processes 2 --cpu` sets for its only process."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert launch_warnings(1, "bf16") == []
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    make_accelerator(mixed_precision="no")
    warning = capsys.readouterr().err
    assert "given several processes" in warning and "this is the only one" in warning
    assert "torchrun --standalone --nproc_per_node 2" in warning
    assert launch_warnings(2, "no") == []


def test_a_precision_of_the_launcher_without_effect_causes_a_warning(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    (warning,) = launch_warnings(1, "bf16")
    assert "--mixed_precision fp16" in warning and warning.endswith("is used: bf16")


def test_processes_that_are_not_connected_are_refused(monkeypatch):
    """As with accelerate on a CPU without `cpu=True`."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with pytest.raises(ValueError, match="2 processes were .* not connected.*ACCELERATE_USE_CPU=true"):
        make_accelerator(mixed_precision="no")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_half_precision_is_refused_on_a_cpu():
    with pytest.raises(ValueError, match="mixed_precision=fp16 needs a GPU, and there is none: set it to bf16 or no"):
        make_accelerator(mixed_precision="fp16")


def test_a_run_is_described_in_words():
    assert describe_batch(24, 2, 2) == "96 samples an update: batches of 24 x 2 accumulated x 2 processes"
    assert describe_batch(1, 1, 1) == "1 sample an update: batches of 1 x 1 accumulated x 1 process"
    assert describe_processes(Accelerator(), "no").startswith("1 process on ")
