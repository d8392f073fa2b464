"""The learning curve uses its budget of operations and reports the scores of every seed."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer
from learning_curve import BUDGETS, Budget, autoencoder_config, measure, parsed, step_flops, write_shapes

from triplane3d.evaluation.report import Report

TINY = BUDGETS["tiny"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return measure(TINY, range(1), tmp_path_factory.mktemp("curve"), "tiny")


def test_number_of_steps_uses_the_budget(tmp_path: Path) -> None:
    write_shapes(TINY, tmp_path / "train", range(2))
    config = autoencoder_config(TINY, tmp_path, seed=0)
    assert config.run.steps * step_flops(config) == pytest.approx(TINY.flops, rel=0.1)
    twice: Budget = replace(TINY, flops=2 * TINY.flops)
    assert autoencoder_config(twice, tmp_path, seed=0).run.steps == pytest.approx(2 * config.run.steps, abs=1)


def test_changed_recipe_has_the_same_budget(tmp_path: Path) -> None:
    write_shapes(TINY, tmp_path / "train", range(2))
    plain, changed = (autoencoder_config(TINY, tmp_path, 0, changes) for changes in
                      (None, parsed(["run.batch_size=2", "optim.lr=6e-3"])))  # fmt: skip
    assert (changed.run.batch_size, changed.optim.lr) == (2, 6e-3)
    assert changed.run.steps == pytest.approx(plain.run.steps * plain.run.batch_size / 2, rel=0.05)
    with pytest.raises(typer.BadParameter, match="--set takes KEY=VALUE, as in optim.lr=6e-3, not 'lr'"):
        parsed(["lr"])


def test_report_has_every_seed_and_compares_the_denoiser_with_its_autoencoder(report: Report) -> None:
    scores = {row.method: row.values("volume_iou") for row in report.rows}
    assert [len(values) for values in scores.values()] == [TINY.held_out, 8, 8]
    assert sum(scores["its autoencoder"]) / 8 > 0.2  # these shapes were trained on
    (ratio,) = (estimate for estimate in report.estimates if estimate.name == "denoiser / autoencoder")
    assert ratio.value == pytest.approx(sum(scores["denoiser"]) / sum(scores["its autoencoder"]))
    assert "generated / reconstructed V-IoU of overfitted shapes" in report.text()
