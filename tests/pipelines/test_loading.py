"""A saved pipeline loads with the same result, by its class and by diffusers' generic loader, by folder and by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard
from pipelines.tiny_pipeline import grids

from triplane3d import Triplane3DPipeline
from triplane3d.pipelines import saved
from triplane3d.pipelines.saved import embedded_names, embedded_pipeline


def test_the_index_names_the_library_not_its_files(tiny_folder: Path) -> None:
    index = json.loads((tiny_folder / "model_index.json").read_text())
    assert index["_class_name"] == "Triplane3DPipeline"
    assert index["transformer"] == ["triplane3d", "TriplaneTransformer"]
    assert index["vae"] == ["triplane3d", "AutoencoderKLTriplane"]
    assert index["image_encoder"][0] == "transformers" and index["scheduler"][0] == "diffusers"
    assert index["pixel_encoder"] == [None, None]
    assert index["foreground_ratio"] == 0.85


@pytest.mark.parametrize("loader", [Triplane3DPipeline, DiffusionPipeline])
def test_a_saved_pipeline_loads_with_the_same_result(loader: type, tiny_folder: Path, pipe: Triplane3DPipeline) -> None:
    loaded = loader.from_pretrained(tiny_folder)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is Triplane3DPipeline
    assert torch.allclose(grids(loaded), grids(pipe), atol=1e-5)
    assert loaded.config.presets == pipe.config.presets


def test_loading_prints_no_warning_about_types(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    transformer = Triplane3DPipeline.from_pretrained(tiny_folder).transformer
    Triplane3DPipeline.from_pretrained(tiny_folder, transformer=transformer)
    assert "type" not in caplog.text


def test_half_precision_variants_are_saved_and_loaded(
    tiny_folder: Path, pipe: Triplane3DPipeline, tmp_path: Path
) -> None:
    pipe.to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "transformer" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    half = Triplane3DPipeline.from_pretrained(tmp_path, variant="fp16", dtype=torch.float16)
    assert half.transformer.dtype == half.vae.dtype == half.image_encoder.dtype == torch.float16
    for loader in (Triplane3DPipeline, DiffusionPipeline):
        assert loader.from_pretrained(tmp_path).vae.dtype == torch.float32, "the only variant is found"
    # Without `dtype`, diffusers' models load as float32 and the encoder as it was saved.
    mixed = Triplane3DPipeline.from_pretrained(tmp_path, variant="fp16")
    mixed.set_progress_bar_config(disable=True)
    assert bool(grids(mixed).isfinite().all())
    with pytest.raises((OSError, ValueError)):
        Triplane3DPipeline.from_pretrained(tmp_path, variant="bf16")


def test_a_variant_in_another_precision_than_its_name_causes_a_warning(
    pipe: Triplane3DPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe.save_pretrained(tmp_path / "any")
    pipe.save_pretrained(tmp_path / "named", variant="ema")
    assert "variant" not in caplog.text
    pipe.vae.to(torch.bfloat16)
    pipe.save_pretrained(tmp_path / "mixed", variant="bf16")
    warning = caplog.records[-1].getMessage()
    assert "transformer is written in torch.float32" in warning and "pipe.to(torch.bfloat16)" in warning
    assert "vae" not in warning
    caplog.clear()
    pipe.to(torch.bfloat16).save_pretrained(tmp_path / "half", False, "bf16")
    assert "variant" not in caplog.text and (tmp_path / "half/vae/diffusion_pytorch_model.bf16.bin").is_file()


def test_dtype_and_an_omitted_component(tiny_folder: Path) -> None:
    pipe = Triplane3DPipeline.from_pretrained(tiny_folder, dtype=torch.bfloat16, image_encoder=None)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.vae.dtype == torch.bfloat16 and pipe.image_encoder is None
    tokens = torch.zeros(1, 5, pipe.transformer.config.cross_attention_dim)  # a class token and 2 × 2 patches
    assert bool(grids(pipe, image_embeds=tokens).isfinite().all())
    with pytest.raises(ValueError, match="without its image_encoder"):
        pipe("photo.png")


def test_a_photo_needs_no_optional_component(pipe: Triplane3DPipeline, tmp_path: Path) -> None:
    """The same call works without them, before and after saving, as in diffusers' own test of pipelines."""
    for name in Triplane3DPipeline._optional_components:
        setattr(pipe, name, None)
    expected = grids(pipe)
    pipe.save_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert all(getattr(loaded, name) is None for name in Triplane3DPipeline._optional_components)
    assert torch.allclose(grids(loaded), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["image_encoder", "scheduler"])
def test_a_component_that_was_not_saved_can_be_passed(pipe: Triplane3DPipeline, name: str, tmp_path: Path) -> None:
    expected, component = grids(pipe), getattr(pipe, name)
    setattr(pipe, name, None)
    pipe.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())[name] == [None, None]
    assert getattr(Triplane3DPipeline.from_pretrained(tmp_path), name) is None
    for loader in (Triplane3DPipeline, DiffusionPipeline):
        loaded = loader.from_pretrained(tmp_path, **{name: component})
        loaded.set_progress_bar_config(disable=True)
        assert torch.allclose(grids(loaded), expected, atol=1e-5)
        assert getattr(loader.from_pretrained(tmp_path, **{name: None}), name) is None


def test_from_pipe_shares_the_weights(pipe: Triplane3DPipeline) -> None:
    other = Triplane3DPipeline.from_pipe(pipe, foreground_ratio=0.7)
    assert other.transformer is pipe.transformer
    assert other.image_processor.foreground_ratio == 0.7
    assert other.config.presets == pipe.config.presets


def test_components_exclude_optional_ones_that_are_none(pipe: Triplane3DPipeline) -> None:
    assert set(pipe.components) == {"image_encoder", "transformer", "vae", "scheduler"}


def test_a_name_without_a_folder_selects_the_shipped_pipeline(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "EMBEDDED", (tmp_path / "nothing", tiny_folder.parent))
    monkeypatch.chdir(tmp_path)
    assert embedded_names() == ["tiny"]
    assert embedded_pipeline("tiny") == tiny_folder
    assert isinstance(Triplane3DPipeline.from_pretrained("tiny"), Triplane3DPipeline)
    for other in ("", "huge", ".", "..", "./tiny", "owner/tiny", str(tiny_folder)):
        assert embedded_pipeline(other) is None


def test_a_local_folder_of_that_name_has_priority(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "EMBEDDED", (tiny_folder.parent,))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert embedded_pipeline("tiny") == tiny_folder  # the local folder holds no pipeline
    (tmp_path / "tiny" / "model_index.json").write_text("{}")
    assert embedded_pipeline("tiny") is None


def test_diffusers_loads_the_pipeline_after_the_package_is_imported(tiny_folder: Path) -> None:
    code = (
        "import triplane3d, sys\n"
        "from diffusers import DiffusionPipeline\n"
        f"print(type(DiffusionPipeline.from_pretrained({str(tiny_folder)!r})).__name__)\n"
        "print('cv2' in sys.modules, 'torchvision' in sys.modules, 'typer' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Triplane3DPipeline", "False", "False", "False"]


def test_a_push_uploads_the_card_and_the_tags(
    pipe: Triplane3DPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = {}
    generated = "---\nlibrary_name: diffusers\n---\nThis model card has been automatically generated."
    hub = "diffusers.utils.hub_utils"
    monkeypatch.setattr(f"{hub}.create_repo", lambda repo_id, **_: type("Repository", (), {"repo_id": repo_id}))
    monkeypatch.setattr(f"{hub}.load_or_create_model_card", lambda *_, **__: ModelCard(generated))
    monkeypatch.setattr(
        f"{hub}.upload_folder",
        lambda folder_path, **_: pushed.update(
            {str(path.relative_to(folder_path)): path.read_bytes() for path in Path(folder_path).rglob("*.*")}
        ),
    )
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\ntags: [chairs]\n---\n# Chairs\n")
    pipe.register_to_config(_name_or_path=str(tmp_path))
    pipe.push_to_hub("somebody/chairs")
    card = ModelCard(pushed["README.md"].decode())
    assert card.data.tags == ["chairs", "image-to-3d", "triplane3d", "diffusers"]
    assert card.data.license == "apache-2.0" and "# Chairs" in card.text
    assert "model_index.json" in pushed and "vae/diffusion_pytorch_model.safetensors" in pushed
