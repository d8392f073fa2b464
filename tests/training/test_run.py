"""The promises of `Run`: exact resumption, a bounded number of checkpoints, gradients that are not finite."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from triplane3d.config import AutoencoderConfig, OptimConfig, RunConfig, ShapeDataConfig
from triplane3d.training.run import Batches, Run, checkpoints, learning_rate, start


class Line(nn.Module):
    """y = a x + b, saved as diffusers' models are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "weights.safetensors")


class SquaredError(nn.Module):
    """Noisy regression, so that a run also depends on the random numbers drawn within its steps."""

    def __init__(self, model: Line):
        super().__init__()
        self.model = model

    def forward(self, x, y):
        prediction = self.model.linear(x + 0.1 * torch.randn_like(x))
        return {"loss": (prediction - y).square().mean()}


class Plane:
    """Points of a plane in four dimensions; every visit adds fresh noise."""

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


def fit(settings: AutoencoderConfig, source=None) -> Run:
    accelerator = start(settings)
    line = Line()
    run = Run(accelerator, settings, SquaredError(line), {"line": line})
    for batch in run.batches(source or Plane()):
        run.update(run.objective(**batch))
        if run.due(settings.run.checkpoint_every):
            run.save()
    run.finish()
    return run


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_killed_run_ends_with_the_weights_it_would_have_had(tmp_path, accumulation, muon):
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


def test_averaged_weights_are_saved_and_lag_behind(tmp_path):
    run = fit(config(tmp_path))
    saved = load_file(tmp_path / "line/weights.safetensors")
    line = run.components["line"]
    for (name, trained), average in zip(line.named_parameters(), run.averages["line"].shadow_params, strict=True):
        assert torch.equal(saved[name], average)
        assert not torch.equal(saved[name], trained)


def test_only_the_latest_checkpoints_are_kept(tmp_path):
    fit(config(tmp_path, steps=5, checkpoint_every=1, checkpoint_limit=2))
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-5"]


def test_an_epoch_visits_every_sample_once_whoever_reads_it():
    class Numbers:
        generator = None

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return {"index": torch.tensor(index)}

    halves = [Batches(Numbers(), 3, rank=rank, processes=2) for rank in range(2)]
    epochs = [torch.cat([half[n]["index"] for n in pair for half in halves]).tolist() for pair in ((0, 1), (2, 3))]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 2
    assert epochs[0] != epochs[1]


class PoisonedPlane(Plane):
    """Sample 3 is broken; or all are."""

    def __init__(self, all_broken: bool):
        self.all_broken = all_broken

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {**sample, "y": sample["y"] * torch.nan} if self.all_broken or index == 3 else sample


def test_an_update_with_a_broken_sample_is_skipped_and_counted(tmp_path):
    run = fit(config(tmp_path, batch_size=4, steps=10, log_every=10), PoisonedPlane(all_broken=False))
    assert run.skipped == 2  # twice in two epochs of five batches
    assert torch.isfinite(run.components["line"].linear.weight).all()
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["skipped"] == 2 and line["loss"] < 10


def test_a_run_of_broken_updates_ends_in_a_sentence(tmp_path):
    with pytest.raises(FloatingPointError, match="not finite for 3 updates in a row.*lower optim.lr"):
        fit(config(tmp_path, nonfinite_limit=2), PoisonedPlane(all_broken=True))


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a checkpoint folder"):
        fit(config(tmp_path, resume=str(tmp_path / "elsewhere")))


def test_the_rate_warms_up_and_ends_at_its_floor():
    optim = OptimConfig(lr=1.0, warmup_steps=10, final_lr=0.1)
    rates = [learning_rate(step, 100, optim) for step in range(100)]
    assert rates[9] == max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in zip(rates[9:], rates[10:], strict=False))
