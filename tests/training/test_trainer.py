"""`Trainer`: exact resumption, a bounded number of checkpoints, gradients that are not finite."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import nn

from triplane3d.config import AutoencoderConfig, OptimConfig, RunConfig, ShapeDataConfig
from triplane3d.data.batches import NumberedBatches
from triplane3d.training.checkpointing import checkpoints
from triplane3d.training.optim import learning_rate
from triplane3d.training.run_setup import start_run
from triplane3d.training.trainer import Trainer


class Line(nn.Module):
    """y = a x + b, saved as diffusers' models are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "weights.safetensors")


class SquaredError(nn.Module):
    """Noisy regression: the result also depends on random numbers within the steps."""

    def __init__(self, model: Line):
        super().__init__()
        self.model = model

    def forward(self, x, y):
        prediction = self.model.linear(x + 0.1 * torch.randn_like(x))
        return {"loss": (prediction - y).square().mean()}


class Plane:
    """Points of a plane in four dimensions; every read adds new noise."""

    generator = None

    def __len__(self):
        return 20

    def __getitem__(self, index):
        x = torch.tensor([index, index**2 / 20, 1.0]) / 20
        return {"x": x, "y": x.sum(0, keepdim=True) + 0.01 * torch.randn(1, generator=self.generator)}


def config(output: Path, muon: bool = False, **changes) -> AutoencoderConfig:
    run = {"steps": 6, "batch_size": 8, "mixed_precision": "no", "workers": 0, "trackers": (), "log_every": 2}
    return AutoencoderConfig(
        pipeline="unused",
        run=RunConfig(output=str(output), **{**run, "checkpoint_every": 3, **changes}),
        data=ShapeDataConfig(folder="unused"),
        optim=OptimConfig(lr=0.05, warmup_steps=2, muon=muon),
    )


class ExactError(SquaredError):
    """The error without noise: the noise would differ between processes."""

    def forward(self, x, y):
        return {"loss": (self.model.linear(x) - y).square().mean()}


class ExactPlane(Plane):
    def __getitem__(self, index):
        x = super().__getitem__(index)["x"]
        return {"x": x, "y": x.sum(0, keepdim=True)}


def begin(settings: AutoencoderConfig, objective=SquaredError) -> Trainer:
    accelerator, line = start_run(settings), Line()
    return Trainer(accelerator, settings, objective(line), {"line": line})


def fit(settings: AutoencoderConfig, source=None, objective=SquaredError) -> Trainer:
    run = begin(settings, objective)
    for batch in run.batches(source or Plane()):
        run.update(run.losses(**batch))
        if run.due(settings.run.checkpoint_every):
            run.save()
    run.finish()
    return run


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path, accumulation, muon):
    fit(config(tmp_path / "whole", muon, accumulation=accumulation))
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "killed" / "checkpoint-3")
    resumed = fit(config(tmp_path / "killed", muon, accumulation=accumulation))

    assert resumed.step == 6
    for name in ("line/weights.safetensors", "checkpoint-6/model.safetensors"):
        whole, killed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
        assert all(torch.equal(whole[key], killed[key]) for key in whole), name


def test_workers_read_the_same_batches_as_the_loop(tmp_path):
    fit(config(tmp_path / "loop"))
    fit(config(tmp_path / "worker", workers=1))
    loop, worker = (load_file(tmp_path / name / "line/weights.safetensors") for name in ("loop", "worker"))
    assert all(torch.equal(loop[key], worker[key]) for key in loop)


def test_averaged_weights_are_saved(tmp_path):
    run = fit(config(tmp_path))
    saved = load_file(tmp_path / "line/weights.safetensors")
    line = run.components["line"]
    for (name, trained), average in zip(line.named_parameters(), run.averages["line"].shadow_params, strict=True):
        assert torch.equal(saved[name], average)
        assert not torch.equal(saved[name], trained)


def test_only_the_latest_checkpoints_are_kept(tmp_path):
    fit(config(tmp_path, steps=5, checkpoint_every=1, checkpoint_limit=2))
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-5"]


def test_an_epoch_reads_every_sample_once_with_any_number_of_processes():
    class Numbers:
        generator = None

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return {"index": torch.tensor(index)}

    halves = [NumberedBatches(Numbers(), 3, rank=rank, processes=2) for rank in range(2)]
    epochs = [torch.cat([half[n]["index"] for n in pair for half in halves]).tolist() for pair in ((0, 1), (2, 3))]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 2
    assert epochs[0] != epochs[1]


class NanPlane(Plane):
    """Sample 3 is NaN, or all are."""

    def __init__(self, all_broken: bool):
        self.all_broken = all_broken

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {**sample, "y": sample["y"] * torch.nan} if self.all_broken or index == 3 else sample


def test_an_update_with_a_broken_sample_is_skipped_and_counted(tmp_path):
    run = fit(config(tmp_path, batch_size=4, steps=10, log_every=10), NanPlane(all_broken=False))
    assert run.skipped == 2  # twice in two epochs of five batches
    assert torch.isfinite(run.components["line"].linear.weight).all()
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["skipped"] == 2 and line["loss"] < 10


class InfiniteLoss(SquaredError):
    """From the fourth call on the loss is not finite, but its gradient is, as for a constant that overflows."""

    calls = 0

    def forward(self, x, y):
        self.calls += 1
        loss = super().forward(x, y)["loss"]
        return {"loss": loss + (torch.inf if self.calls > self.good else 0.0)}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_loss_that_is_not_finite_changes_nothing(tmp_path, accumulation):
    """One part of an accumulation is enough. Weights, averages and the checkpoint stay the same."""
    settings = config(tmp_path, accumulation=accumulation, checkpoint_every=2, nonfinite_limit=2, steps=9)
    accelerator, line = start_run(settings), Line()
    objective = InfiniteLoss(line)
    objective.good = 1 + 2 * accumulation + (accumulation - 1)  # the first call counts FLOPs
    run = Trainer(accelerator, settings, objective, {"line": line})
    with pytest.raises(FloatingPointError, match="not finite for 3 updates in a row.*lower optim.lr") as stopped:
        for batch in run.batches(Plane()):
            run.update(run.losses(**batch))
            if run.due(settings.run.checkpoint_every) and run.step <= 2:
                run.save()
    assert run.step == 4 and run.skipped == 3
    assert f"The last checkpoint, {tmp_path / 'checkpoint-2'}, was written before" in str(stopped.value)

    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in objective.state_dict().items())
    averaged = load_file(tmp_path / "checkpoint-2" / "line" / "weights.safetensors")
    names = [name for name, _ in line.named_parameters()]
    for name, average in zip(names, run.averages["line"].shadow_params, strict=True):
        assert torch.equal(averaged[name], average)
    # The checkpoint is complete: another run resumes from it.
    assert fit(config(tmp_path, accumulation=accumulation, steps=4, resume="changed")).step == 4


def test_the_message_of_a_failure_before_the_first_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match="3 updates in a row.*No checkpoint was written before"):
        fit(config(tmp_path, nonfinite_limit=2), NanPlane(all_broken=True))


def test_compiled_and_uncompiled_runs_have_the_same_names_and_weights(tmp_path):
    """With the backend `eager`, which only traces. Each resumes from the other's checkpoint."""
    whole, compiled = config(tmp_path / "whole"), {"compile": True, "compile_backend": "eager"}
    fit(whole)
    fit(config(tmp_path / "compiled", **compiled))
    (tmp_path / "both").mkdir()
    shutil.copytree(tmp_path / "compiled" / "checkpoint-3", tmp_path / "both" / "checkpoint-3")
    fit(config(tmp_path / "both"))
    for name in ("line/weights.safetensors", "checkpoint-6/model.safetensors"):
        expected = load_file(tmp_path / "whole" / name)
        for other in ("compiled", "both"):
            found = load_file(tmp_path / other / name)
            assert expected.keys() == found.keys()
            assert all(torch.allclose(expected[key], found[key], atol=1e-6) for key in expected), (name, other)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    settings = config(tmp_path, steps=3)
    fit(settings)
    accelerator, line = start_run(settings), Line()
    line.linear = nn.Linear(4, 1)
    with pytest.raises(ValueError, match=r"another architecture: model.linear.weight is \(1, 3\) there and \(1, 4\)"):
        Trainer(accelerator, settings, SquaredError(line), {"line": line})
    line.linear = nn.Sequential(nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"linear.0.bias is missing there and \(1,\) here, and so on for 4 tensors"):
        Trainer(accelerator, settings, SquaredError(line), {"line": line})


def test_a_truncated_checkpoint_is_named(tmp_path):
    fit(config(tmp_path, steps=3))
    model = tmp_path / "checkpoint-3" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:50])
    with pytest.raises(ValueError, match="checkpoint-3 is not a whole checkpoint.*delete it"):
        fit(config(tmp_path, steps=3))


def test_sharded_models_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(ValueError, match="FSDP splits the model over devices.*Choose multi-GPU"):
        start_run(config(tmp_path))


def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    """DistributedDataParallel over gloo: same weights and names, also after a signal to one process stopped both."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).parent / "two_processes.py"
    environment = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    paths = [str(script.parents[2]), str(script.parent), *filter(None, sys.path)]
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    stopped, rest = (
        subprocess.run([*command, str(script), str(tmp_path / "two"), part], env=environment, capture_output=True,
                       text=True, timeout=300) for part in ("stopped", "rest")
    )  # fmt: skip
    first = f"stopped by SIGTERM at step 2 of 6; its state is in {tmp_path / 'two' / 'checkpoint-2'}."
    assert stopped.returncode == 1 and stopped.stderr.count(first) == 1, stopped.stderr
    assert "exitcode  : 143" in stopped.stderr  # of a process; torchrun itself ends with 1
    assert "2 processes on cpu" in stopped.stdout
    assert stopped.stdout.count("8 samples an update: batches of 4 x 1 accumulated x 2 processes") == 1
    assert rest.returncode == 0 and "resuming from" in rest.stdout, rest.stderr

    fit(config(tmp_path / "one", batch_size=8), ExactPlane(), ExactError)
    for name in ("line/weights.safetensors", "checkpoint-6/model.safetensors"):
        one, two = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[key], two[key], atol=1e-6) for key in one), name


def test_the_learning_rate_warms_up_and_ends_at_final_lr():
    optim = OptimConfig(lr=1.0, warmup_steps=10, final_lr=0.1)
    rates = [learning_rate(step, 100, optim) for step in range(100)]
    assert rates[9] == max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in zip(rates[9:], rates[10:], strict=False))
