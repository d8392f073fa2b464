"""Warm starts: weights fit architectures with additional modules, and no others."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from models.tiny_models import PIPELINES, denoiser_inputs, surface, tiny_transformer, tiny_vae

from triplane3d.training.warm_start import warm_start_autoencoder, warm_start_transformer


def pipeline_with(folder: Path, component: str = "transformer", **changes: object) -> Path:
    """A copy of the tiny pipeline's JSON with a changed component."""
    shutil.copytree(PIPELINES / "tiny", folder)
    path = folder / component / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_added_modules_do_not_change_the_output_until_they_are_trained(tmp_path: Path) -> None:
    trained, inputs = tiny_transformer(), denoiser_inputs()
    trained.half().save_pretrained(tmp_path / "trained" / "transformer")
    pipeline = pipeline_with(tmp_path / "pipeline", camera_condition=True, interval_condition=True)
    model = warm_start_transformer(tmp_path / "trained", pipeline).eval()
    assert model.dtype == torch.float32 and model.config.interval_condition
    sample = model(**inputs, timestep_end=0.0).sample
    assert torch.allclose(sample, trained.float()(**inputs).sample, atol=1e-5)


def test_configs_without_the_newer_keys_are_accepted(tmp_path: Path) -> None:
    trained, inputs = tiny_transformer(), denoiser_inputs()
    trained.save_pretrained(tmp_path / "trained" / "transformer")
    path = tmp_path / "trained" / "transformer" / "config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({name: saved[name] for name in saved if not name.endswith("_condition")
                                or name in ("time_condition", "front_plane_condition")}))  # fmt: skip
    for changes in ({}, {"camera_condition": True}, {"interval_condition": True}):
        pipeline = pipeline_with(tmp_path / "-".join(["pipeline", *changes]), **changes)
        model = warm_start_transformer(tmp_path / "trained", pipeline).eval()
        assert torch.allclose(model(**inputs).sample, trained(**inputs).sample, atol=1e-5)


@pytest.mark.parametrize("changes", [{"num_layers": 3}, {"num_layers": 1}, {"cross_attention_dim": 48}])
def test_weights_of_another_architecture_are_refused(tmp_path: Path, changes: dict) -> None:
    tiny_transformer().save_pretrained(tmp_path / "trained" / "transformer")
    with pytest.raises(ValueError, match=rf"of another architecture than .*: {next(iter(changes))}=\d+ there, "):
        warm_start_transformer(
            tmp_path / "trained", pipeline_with(tmp_path / "pipeline", interval_condition=True, **changes)
        )


def test_trained_modules_cannot_be_removed(tmp_path: Path) -> None:
    tiny_transformer(interval_condition=True).save_pretrained(tmp_path / "trained" / "transformer")
    with pytest.raises(ValueError, match="interval_condition=True there, False here"):
        warm_start_transformer(tmp_path / "trained", pipeline_with(tmp_path / "pipeline"))


def test_an_autoencoder_keeps_its_latent_statistics(tmp_path: Path) -> None:
    trained, inputs = tiny_vae(latents_mean=[0.1] * 4, latents_std=[2.0] * 4), surface()
    trained.save_pretrained(tmp_path / "vae")
    model = warm_start_autoencoder(
        tmp_path / "vae", pipeline_with(tmp_path / "pipeline", "vae", decoder_resnet_layers=2)
    ).eval()
    assert torch.allclose(model(**inputs).planes, trained(**inputs).planes, atol=1e-6)
    assert len(model.decoder.resnets) == 2 and model.config.latents_std == [2.0] * 4
    model.save_pretrained(tmp_path / "extended")
    with pytest.raises(ValueError, match="decoder_resnet_layers=2 there, 0 here"):
        warm_start_autoencoder(tmp_path / "extended", pipeline_with(tmp_path / "other", "vae"))
