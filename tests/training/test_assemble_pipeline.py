"""Outputs of the stages become a pipeline folder that diffusers' loader reads."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_stages import autoencoder_config

from triplane3d import AutoencoderKLTriplane, PhotoPlaneRefiner, Triplane3DPipeline
from triplane3d.training.assemble_pipeline import add_refiner, assemble_pipeline
from triplane3d.training.autoencoder import train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(ROOT / "pipelines" / "tiny", tmp_path / "tiny"))


def test_half_precision_weights_load_in_float32(folder, autoencoder, latents, denoiser):
    size = assemble_pipeline(autoencoder, denoiser, folder)
    stored = [file for file in folder.rglob("*.safetensors")]
    assert len(stored) == 3 and sum(file.stat().st_size for file in stored) == pytest.approx(1e6 * size)
    assert all(value.dtype == torch.float16 for file in stored for value in load_file(file).values()
               if value.is_floating_point())  # fmt: skip

    pipe = Triplane3DPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    assert {pipe.vae.dtype, pipe.transformer.dtype, pipe.image_encoder.dtype} == {torch.float32}
    assert len(pipe.vae.config.latents_std) == pipe.vae.config.latent_channels
    photo = Image.new("RGBA", (40, 40))
    photo.paste((200, 80, 40, 255), (10, 10, 30, 30))
    grid = pipe(photo, num_inference_steps=2, resolution=4, output_type="pt")[0]
    assert torch.isfinite(grid).all()


def test_a_further_trained_decoder_keeps_the_latent_statistics(folder, work, autoencoder, latents, denoiser, tmp_path):
    """As in README for mini: after stage 2, the decoder alone is trained further and assembled."""
    settings = {"init": autoencoder / "vae", "train_encoder": False, "run.steps": 1, "data.validation": None}
    decoder = train(autoencoder_config(work, **settings, **{"run.output": tmp_path / "decoder"}))
    assemble_pipeline(decoder, denoiser, folder)
    before, after = (AutoencoderKLTriplane.load_config(vae) for vae in (autoencoder / "vae", folder / "vae"))
    assert before["latents_std"] == after["latents_std"] is not None


def test_too_large_weights_are_refused_before_anything_is_written(folder, autoencoder, latents, denoiser):
    with pytest.raises(ValueError, match="more than the 0.01 MB allowed"):
        assemble_pipeline(autoencoder, denoiser, folder, limit_mb=0.01)
    assert not list(folder.rglob("*.safetensors"))


def test_weights_of_another_architecture_are_refused(folder, autoencoder, latents, denoiser):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_layers": 5}))
    with pytest.raises(ValueError, match="num_layers=5, but the weights were trained with"):
        assemble_pipeline(autoencoder, denoiser, folder)
    assert not list(folder.rglob("*.safetensors"))  # not even those of the components that fit


def test_a_refiner_is_added_to_a_pipeline(folder, autoencoder, latents, denoiser, tmp_path):
    without = assemble_pipeline(autoencoder, denoiser, folder)
    trained = PhotoPlaneRefiner.from_config(PhotoPlaneRefiner.load_config(folder, subfolder="refiner"))
    trained.save_pretrained(tmp_path / "run" / "refiner")
    with pytest.raises(ValueError, match="MB allowed"):
        add_refiner(tmp_path / "run", folder, limit_mb=without)
    assert Triplane3DPipeline.from_pretrained(folder).refiner is None
    size = add_refiner(tmp_path / "run", folder)
    assert size == pytest.approx(1e-6 * sum(file.stat().st_size for file in folder.rglob("*.safetensors")))
    loaded = Triplane3DPipeline.from_pretrained(folder).refiner
    assert loaded is not None and loaded.dtype == torch.float32
    assert torch.allclose(loaded.point_in.weight, trained.point_in.weight, atol=1e-3)

    PhotoPlaneRefiner.from_config(trained.config | {"hidden_dim": 8}).save_pretrained(tmp_path / "other" / "refiner")
    with pytest.raises(ValueError, match="hidden_dim=16, but the weights were trained with 8"):
        add_refiner(tmp_path / "other", folder)
    with pytest.raises(ValueError, match="stage 5, scripts/train_refiner.py"):
        add_refiner(tmp_path / "nothing", folder)
