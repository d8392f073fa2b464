"""Runs in half precision start with a comparison of every layer with float32, which does not change the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from test_trainer import config, fit
from tiny_stages import autoencoder_config, denoiser_config, distill_config, latents_config
from torch import nn
from torch.nn import functional

from triplane3d.training import trainer as trainer_module
from triplane3d.training.autoencoder import train as train_autoencoder
from triplane3d.training.denoiser import train as train_denoiser
from triplane3d.training.distill import train as train_distilled
from triplane3d.training.latents import encode
from triplane3d.training.precision import check_objective

MESSAGE = "mixed_precision bf16 reproduces float32 within "


@pytest.fixture(autouse=True)
def _reset_precision() -> Iterator[None]:
    """accelerate keeps one precision per process; other tests must not inherit it."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def wrong_kernel(layer: nn.Linear, tokens: torch.Tensor) -> torch.Tensor:
    """Returns noise in half precision, with the standard deviation of the right output."""
    right = functional.linear(tokens, layer.weight, layer.bias)
    return right if right.dtype == torch.float32 else torch.randn_like(right) * right.std()


class WrongKernel(nn.Linear):
    forward = wrong_kernel


class Objective(nn.Module):
    """The first layer has no influence on the loss yet: the last layer is initialized to zero."""

    def __init__(self, first: type[nn.Linear]):
        super().__init__()
        self.body = nn.Sequential(first(64, 64), nn.Dropout(0.5), nn.BatchNorm1d(64))
        self.head = nn.Linear(64, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x, y):
        noisy = x + 0.1 * torch.randn_like(x)
        return {"loss": functional.mse_loss(self.head(self.body(noisy)).float(), y), "scale": x.mean() * 0}


def check(first: type[nn.Linear], *, precision: str = "bf16") -> Objective:
    objective = Objective(first)
    batch = {"x": torch.randn(8, 64), "y": torch.randn(8, 1)}
    check_objective(Accelerator(mixed_precision=precision), objective, (), batch, batch_size=8)
    return objective


def test_rounding_errors_pass_and_are_printed(capsys: pytest.CaptureFixture) -> None:
    check(nn.Linear)
    assert MESSAGE in capsys.readouterr().out


def test_a_wrong_layer_is_named_even_if_the_loss_is_right() -> None:
    with pytest.raises(ValueError, match=r"output of body.0 deviates by 1\d\d%.*set run.mixed_precision=no"):
        check(WrongKernel)


def test_numbers_that_are_not_finite_in_float32_either_are_accepted() -> None:
    objective, batch = Objective(nn.Linear), {"x": torch.full((8, 64), torch.nan), "y": torch.zeros(8, 1)}
    check_objective(Accelerator(mixed_precision="bf16"), objective, (), batch, batch_size=8)


def test_float32_is_not_checked(capsys: pytest.CaptureFixture) -> None:
    check(WrongKernel, precision="no")
    assert not capsys.readouterr().out


def test_the_check_does_not_change_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(trainer_module, "check_objective", lambda *_args, **_options: None)
    fit(config(tmp_path / "unchecked", mixed_precision="bf16"))
    for name in ("line/weights.safetensors", "checkpoint-6/model.safetensors"):
        checked, unchecked = (load_file(tmp_path / folder / name) for folder in ("checked", "unchecked"))
        assert all(torch.equal(checked[key], unchecked[key]) for key in checked)


def test_every_stage_prints_the_result_of_its_check(
    work: Path, latents: Path, denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stages = [
        (train_autoencoder, autoencoder_config, 1), (train_denoiser, denoiser_config, 1),
        (train_distilled, distill_config, 2),  # one more for the frozen encoder, which is not part of the objective
    ]  # fmt: skip
    for train, of, lines in stages:
        AcceleratorState._reset_state()
        capsys.readouterr()
        short = {"run.mixed_precision": "bf16", "run.steps": 1, "data.validation": None}
        train(of(work, **short, **{"run.output": tmp_path / of.__name__}))
        assert capsys.readouterr().out.count(MESSAGE) == lines


def test_stage_2_checks_its_encoder(
    work: Path, autoencoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    settings = {"mixed_precision": "bf16", "output": tmp_path / "latents", "measure": False}
    encode(latents_config(work, **settings))
    assert capsys.readouterr().out.count(MESSAGE) == 1
    assert list((tmp_path / "latents").glob("latents-*.safetensors"))


def test_stage_2_refuses_a_wrong_kernel_before_it_writes(
    work: Path, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Linear, "forward", wrong_kernel)
    with pytest.raises(ValueError, match=r"output of encoder\..* deviates by .*: set mixed_precision=no"):
        encode(latents_config(work, mixed_precision="bf16", output=tmp_path / "latents", measure=False))
    assert not (tmp_path / "latents").exists()
