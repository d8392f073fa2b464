"""Ablations of recipes: lines are chosen by name, compared for equal seeds, and written as a pipeline's JSON."""

import json
import shutil
from pathlib import Path

import pytest
import typer
from models.tiny_models import PIPELINES
from one_change import Change, chosen, measure_lines, table, write_description

LINES = {"recipe": Change(), "worse": Change({"optim.lr": 1}), "slower": Change(updates=2)}


def test_the_first_line_is_always_included_and_unknown_names_are_refused() -> None:
    assert list(chosen(LINES, None)) == list(LINES)
    assert list(chosen(LINES, ["slower"])) == ["recipe", "slower"]
    with pytest.raises(
        typer.BadParameter, match="there is no row \\['other'\\] in the table; its rows are \\['recipe'"
    ):
        chosen(LINES, ["other"])


def test_results_are_compared_for_equal_seeds(tmp_path: Path) -> None:
    def measure(change: Change, seed: int, folder: Path) -> dict[str, float]:
        assert not list(folder.iterdir())
        (folder / "file").write_text("content")
        worse = 0.1 * (1 + seed) * ("optim.lr" in change.run)
        return {"error": 1 + seed - worse, "seconds": change.updates, "nats": 12.345, "numbers": 6144}

    figures = measure_lines(LINES, 2, measure, output=tmp_path / "figures.json", settings={"steps": 3})
    assert json.loads((tmp_path / "figures.json").read_text()) == {"settings": {"steps": 3}, "figures": figures}
    lines = table(figures, {"error": "error"}, {"nats": "nats", "numbers": "numbers"}).splitlines()
    assert lines[0] == "| | error | ± between seeds | against the recipe | nats | numbers | time |"
    assert lines[2] == "| recipe | 1.5000 | 0.7071 |  | 12.3 | 6,144 | 1.00x |"
    assert lines[3] == "| worse | 1.3500 | 0.6364 | -0.1500 [-0.2000, -0.1000] | 12.3 | 6,144 | 1.00x |"
    assert lines[4].endswith("| +0.0000 [+0.0000, +0.0000] | 12.3 | 6,144 | 2.00x |")


def test_a_pipeline_is_copied_without_weights_and_changed(tmp_path: Path) -> None:
    change = Change(architecture={"vae": {"latent_channels": 6}})
    shutil.copytree(PIPELINES / "tiny", tmp_path / "source")
    (tmp_path / "source" / "vae" / "weights.safetensors").touch()
    described = write_description(tmp_path / "source", tmp_path / "copy", {"vae": {"encoder_layers": 5}}, change)
    config = json.loads((described / "vae" / "config.json").read_text())
    assert (config["encoder_layers"], config["latent_channels"]) == (5, 6)
    assert not list(described.rglob("*.safetensors"))
