"""Any vision model of transformers can be the image encoder of a pipeline: saved, loaded and offloaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from models.vision_models import PREFIX_TOKENS, VISION_MODELS, choose_encoder, vision_model
from pipelines.tiny_pipeline import TINY, build_tiny, grids, photo

from triplane3d import Triplane3DPipeline
from triplane3d.pipelines.assembly import component_class


def tiny_with(name: str, folder: Path, **index: int) -> Triplane3DPipeline:
    shutil.copytree(TINY, folder)
    return build_tiny(choose_encoder(folder, name, **index))


@pytest.mark.parametrize("name", VISION_MODELS)
def test_a_pipeline_with_any_encoder_saves_loads_and_offloads(name: str, tmp_path: Path) -> None:
    pipe = tiny_with(name, tmp_path / "json", image_size=40)
    assert type(pipe.image_encoder).__name__ == name
    expected = grids(pipe)
    assert not torch.allclose(grids(pipe, photo(1)), expected, atol=1e-4), "the photo changes the result"

    pipe.save_pretrained(tmp_path / "saved")
    for loader in (Triplane3DPipeline, DiffusionPipeline):
        loaded = loader.from_pretrained(tmp_path / "saved")
        loaded.set_progress_bar_config(disable=True)
        assert type(loaded.image_encoder).__name__ == name
        assert torch.allclose(grids(loaded), expected, atol=1e-5)
    loaded.enable_model_cpu_offload(device="cpu")
    assert torch.allclose(grids(loaded), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["Dinov2Model", "SiglipVisionModel", "ResNetModel"])
def test_the_photo_size_is_a_setting(name: str, tmp_path: Path) -> None:
    pipe = tiny_with(name, tmp_path / "json", image_size=48)
    with torch.no_grad():
        tokens = pipe.encode_image(pipe.image_processor.preprocess(photo()).pixel_values)
    assert tokens.shape[1] == PREFIX_TOKENS[name] + 6 * 6
    assert Triplane3DPipeline.from_pipe(pipe).image_processor.image_size == 48


def test_an_encoder_without_a_size_needs_image_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ResNetModel has no image size of its own: .*`image_size`"):
        tiny_with("ResNetModel", tmp_path / "json")


def test_an_encoder_of_another_width_is_refused_by_the_constructor(pipe: Triplane3DPipeline) -> None:
    wide = vision_model("CLIPVisionModel", hidden_size=48)
    with pytest.raises(ValueError, match=r"width 32 \(cross_attention_dim\), but those of CLIPVisionModel have 48"):
        Triplane3DPipeline(**{**pipe.components, "image_encoder": wide})


def test_another_number_of_prefix_tokens_is_refused_at_the_first_call(pipe: Triplane3DPipeline) -> None:
    siglip = vision_model("SiglipVisionModel", num_channels=4)
    with pytest.raises(ValueError, match="set num_prefix_tokens to .* here probably 0"):
        grids(Triplane3DPipeline(**{**pipe.components, "image_encoder": siglip}))


def test_the_index_names_the_class(tmp_path: Path) -> None:
    assert component_class(TINY, "image_encoder").__name__ == "Dinov2Model"
    for entry in (["transformers", "Dinov9Model"], ["diffusers", "UNet2DModel"], ["transformers", "Dinov2Config"]):
        (tmp_path / "model_index.json").write_text(json.dumps({"image_encoder": entry}))
        with pytest.raises(ValueError, match="name a vision model of transformers, such as"):
            component_class(tmp_path, "image_encoder")
