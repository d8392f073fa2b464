"""Another image encoder needs only a change of the pipeline's JSON."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from models.vision_models import PREFIX_TOKENS, choose_encoder, vision_model
from tiny_stages import denoiser_config

from triplane3d.training.assemble_pipeline import assemble_pipeline
from triplane3d.training.components import build_image_encoder
from triplane3d.training.denoiser import train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(ROOT / "pipelines" / "tiny", tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("name", "index"),
    [("Dinov2WithRegistersModel", {}), ("CLIPVisionModel", {"image_size": 48}), ("ResNetModel", {"image_size": 24})],
)
def test_the_json_determines_the_image_encoder(name, index, folder, work, autoencoder, latents, tmp_path):
    choose_encoder(folder, name, **index)
    quick = {"run.steps": 2, "run.batch_size": 2, "data.validation_steps": 1, "run.output": tmp_path / "denoiser"}
    run = train(denoiser_config(work, pipeline=folder, **quick))
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["val_iou"] <= 1

    assemble_pipeline(autoencoder, run, folder)
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe.image_encoder).__name__ == name
    size = index.get("image_size", 32)
    with torch.no_grad():
        tokens = pipe.encode_image(torch.rand(1, 4, size, size))
    assert tokens.shape[1] == PREFIX_TOKENS[name] + (size // 8) ** 2
    assert pipe(image_embeds=tokens, num_inference_steps=1, resolution=4, output_type="pt").meshes.isfinite().all()


def test_the_encoder_can_start_from_weights_saved_by_transformers(folder, work, tmp_path):
    saved = vision_model("SiglipVisionModel", num_channels=4)
    saved.half().save_pretrained(tmp_path / "public")
    choose_encoder(folder, "SiglipVisionModel")
    config = denoiser_config(work, pipeline=folder, init_image_encoder=tmp_path / "public")
    encoder = build_image_encoder(config)
    assert encoder.dtype == torch.float32
    assert all(torch.equal(found, saved.state_dict()[key].float()) for key, found in encoder.state_dict().items())


def test_initial_weights_that_lack_a_tensor_are_refused(folder, work, tmp_path):
    saved = vision_model("SiglipVisionModel", num_channels=4)
    state = saved.state_dict()
    dropped = next(iter(state))
    saved.save_pretrained(tmp_path / "public", state_dict={key: state[key] for key in state if key != dropped})
    choose_encoder(folder, "SiglipVisionModel")
    with pytest.raises(ValueError, match=f"1 tensors differ, such as {dropped}"):
        build_image_encoder(denoiser_config(work, pipeline=folder, init_image_encoder=tmp_path / "public"))


def test_class_and_config_must_match(folder, work):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_encoder": ["transformers", "ViTModel"]}))
    with pytest.raises(ValueError, match="names ViTModel as image_encoder, but .* of model_type 'dinov2'"):
        build_image_encoder(denoiser_config(work, pipeline=folder))
