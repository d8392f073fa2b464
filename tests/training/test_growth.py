"""Weights go into an architecture that has grown, and into no other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from models.tiny_models import PIPELINES, denoiser_inputs, tiny_transformer

from triplane3d.training.growth import grown_transformer


def declared(folder: Path, **changes: object) -> Path:
    """The tiny pipeline's description with a changed transformer."""
    shutil.copytree(PIPELINES / "tiny", folder)
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_what_has_grown_answers_as_before_until_it_is_trained(tmp_path: Path) -> None:
    trained, inputs = tiny_transformer(), denoiser_inputs()
    trained.half().save_pretrained(tmp_path / "trained" / "transformer")
    pipeline = declared(tmp_path / "pipeline", camera_condition=True, interval_condition=True)
    grown = grown_transformer(tmp_path / "trained", pipeline).eval()
    assert grown.dtype == torch.float32 and grown.config.interval_condition
    sample = grown(**inputs, timestep_end=0.0).sample
    assert torch.allclose(sample, trained.float()(**inputs).sample, atol=1e-5)


def test_weights_from_before_there_was_anything_to_grow_are_welcome(tmp_path: Path) -> None:
    trained, inputs = tiny_transformer(), denoiser_inputs()
    trained.save_pretrained(tmp_path / "trained" / "transformer")
    path = tmp_path / "trained" / "transformer" / "config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({name: saved[name] for name in saved if not name.endswith("_condition")
                                or name in ("time_condition", "front_plane_condition")}))  # fmt: skip
    for changes in ({}, {"camera_condition": True}, {"interval_condition": True}):
        pipeline = declared(tmp_path / "-".join(["pipeline", *changes]), **changes)
        grown = grown_transformer(tmp_path / "trained", pipeline).eval()
        assert torch.allclose(grown(**inputs).sample, trained(**inputs).sample, atol=1e-5)


@pytest.mark.parametrize("changes", [{"num_layers": 3}, {"num_layers": 1}, {"cross_attention_dim": 48}])
def test_weights_of_another_architecture_are_refused(tmp_path: Path, changes: dict) -> None:
    tiny_transformer().save_pretrained(tmp_path / "trained" / "transformer")
    with pytest.raises(ValueError, match=rf"of another architecture than .*: {next(iter(changes))}=\d+ there, "):
        grown_transformer(tmp_path / "trained", declared(tmp_path / "pipeline", interval_condition=True, **changes))


def test_what_was_grown_is_not_taken_away(tmp_path: Path) -> None:
    tiny_transformer(interval_condition=True).save_pretrained(tmp_path / "trained" / "transformer")
    with pytest.raises(ValueError, match="interval_condition=True there, False here"):
        grown_transformer(tmp_path / "trained", declared(tmp_path / "pipeline"))
