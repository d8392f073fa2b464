"""A run in half precision begins with a comparison to float32, of every layer, that leaves no trace in the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from test_trainer import config, fit
from tiny_stages import autoencoder_config, denoiser_config, distill_config
from torch import nn
from torch.nn import functional

from triplane3d.training import trainer as run_module
from triplane3d.training.autoencoder import train as train_autoencoder
from triplane3d.training.denoiser import train as train_denoiser
from triplane3d.training.distill import train as train_distilled
from triplane3d.training.precision import check_objective

SAID = "mixed_precision bf16 reproduces float32 within "


@pytest.fixture(autouse=True)
def _of_its_own_precision() -> Iterator[None]:
    """accelerate keeps one precision for a process, which the other tests share."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


class WrongKernel(nn.Linear):
    """In half precision noise of the right size."""

    def forward(self, tokens):
        right = super().forward(tokens)
        return right if right.dtype == torch.float32 else torch.randn_like(right) * right.std()


class Objective(nn.Module):
    """What its first layer says does not reach the loss yet: the last one begins at zero."""

    def __init__(self, first: type[nn.Linear]):
        super().__init__()
        self.body = nn.Sequential(first(64, 64), nn.Dropout(0.5), nn.BatchNorm1d(64))
        self.head = nn.Linear(64, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x, y):
        disturbed = x + 0.1 * torch.randn_like(x)
        return {"loss": functional.mse_loss(self.head(self.body(disturbed)).float(), y), "scale": x.mean() * 0}


def check(first: type[nn.Linear], *, precision: str = "bf16") -> Objective:
    objective = Objective(first)
    batch = {"x": torch.randn(8, 64), "y": torch.randn(8, 1)}
    check_objective(Accelerator(mixed_precision=precision), objective, (), batch, batch_size=8)
    return objective


def test_rounding_passes_and_is_told(capsys: pytest.CaptureFixture) -> None:
    check(nn.Linear)
    assert SAID in capsys.readouterr().out


def test_a_wrong_layer_is_named_though_the_loss_is_right() -> None:
    with pytest.raises(ValueError, match=r"output of body.0 deviates by 1\d\d%.*set run.mixed_precision=no"):
        check(WrongKernel)


def test_numbers_that_are_broken_in_float32_too_are_not_its_business() -> None:
    objective, batch = Objective(nn.Linear), {"x": torch.full((8, 64), torch.nan), "y": torch.zeros(8, 1)}
    check_objective(Accelerator(mixed_precision="bf16"), objective, (), batch, batch_size=8)


def test_float32_needs_no_check(capsys: pytest.CaptureFixture) -> None:
    check(WrongKernel, precision="no")
    assert not capsys.readouterr().out


def test_no_trace_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    fresh, expected = Objective(nn.Linear), torch.get_rng_state()
    torch.manual_seed(1)
    objective = Objective(nn.Linear)
    batch = {"x": torch.ones(8, 64), "y": torch.ones(8, 1)}
    check_objective(Accelerator(mixed_precision="bf16"), objective, (), batch, batch_size=8)
    assert torch.equal(torch.get_rng_state(), expected)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in objective.state_dict().items())
    assert not any(layer._forward_hooks for layer in objective.modules())

    fit(config(tmp_path / "checked", mixed_precision="bf16"))
    monkeypatch.setattr(run_module, "check_objective", lambda *_args, **_options: None)
    fit(config(tmp_path / "unchecked", mixed_precision="bf16"))
    for name in ("line/weights.safetensors", "checkpoint-6/model.safetensors"):
        checked, unchecked = (load_file(tmp_path / folder / name) for folder in ("checked", "unchecked"))
        assert all(torch.equal(checked[key], unchecked[key]) for key in checked)


def test_every_stage_says_what_it_found(
    work: Path, latents: Path, denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stages = [
        (train_autoencoder, autoencoder_config, 1), (train_denoiser, denoiser_config, 1),
        (train_distilled, distill_config, 2),  # the frozen encoder apart, since it is not in the objective
    ]  # fmt: skip
    for train, of, lines in stages:
        AcceleratorState._reset_state()
        capsys.readouterr()
        short = {"run.mixed_precision": "bf16", "run.steps": 1, "data.validation": None}
        train(of(work, **short, **{"run.output": tmp_path / of.__name__}))
        assert capsys.readouterr().out.count(SAID) == lines
