"""A saved pipeline with unacceptable content is refused before it is loaded: both pipelines, through both loaders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
from diffusers import AutoModel, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from pipelines.tiny_pipeline import build_tiny, photo

import triplane3d
from triplane3d import Triplane3DPipeline
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.reconstructor_triplane import TriplaneReconstructor
from triplane3d.models.transformer_triplane import TriplaneTransformer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n"
MAIN = {"Triplane3DPipeline": "transformer", "TriplaneReconstructionPipeline": "reconstructor"}
"""A component of this library in each pipeline."""


def loaders(folder: Path) -> list[type[DiffusionPipeline]]:
    return [getattr(triplane3d, folder.name), DiffusionPipeline]  # the folder is named for the class


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.fixture
def no_network_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading fails the test when it begins to build a network of this library."""
    for model in (AutoencoderKLTriplane, TriplaneReconstructor, TriplaneTransformer):
        monkeypatch.setattr(model, "from_config", lambda *_, **__: pytest.fail("a network was built"))


def set_index(name: str, value: object) -> Callable[[Path, str], None]:
    return lambda folder, main: change_json(
        folder / "model_index.json", lambda index: index.update({name.replace("MAIN", main): value})
    )


def set_config(name: str, value: object) -> Callable[[Path, str], None]:
    return lambda folder, main: change_json(folder / main / "config.json", lambda config: config.update({name: value}))


def write(name: str, content: bytes) -> Callable[[Path, str], None]:
    return lambda folder, main: (folder / name.replace("MAIN", main)).write_bytes(content) and None


def remove(pattern: str) -> Callable[[Path, str], None]:
    def change(folder: Path, main: str) -> None:
        for path in folder.glob(pattern.replace("MAIN", main)):
            path.unlink()

    return change


def remove_folder(folder: Path, main: str) -> None:
    (folder / main).rename(folder.parent / "elsewhere")


WEIGHTS = "MAIN/diffusion_pytorch_model.safetensors"
FAULTS: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "another library": (set_index("MAIN", ["os", "path"]), "where a class of one of these kinds is accepted"),
    "a class that is not a model": (set_index("MAIN", ["transformers", "Trainer"]), "a class of one of these kinds"),
    "a function of this library": (set_index("MAIN", ["triplane3d", "extract_surface"]), "one of these kinds"),
    "a pipeline as component": (set_index("MAIN", ["diffusers", "DiffusionPipeline"]), "one of these kinds"),
    "a downloaded kernel": (
        set_config("_attn_implementation", "owner/kernel"),
        "would be downloaded and run",
    ),
    "a billion layers": (set_config("num_layers", 10**9), "where at most 1,000 are accepted"),
    "nested a thousand times": (write("MAIN/config.json", b"[" * 1000), "nested too deeply|is no JSON"),
    "an index that is not an object": (write("model_index.json", b"[]"), "should hold an object"),
    "an index that is empty": (write("model_index.json", b""), "is no JSON"),
    "an index too large": (write("model_index.json", b" " * (9 << 20)), "where at most 8,388,608 are accepted"),
    "a number that is null": (set_config("num_attention_heads", None), "must not be null|must be a"),
    "a size of zero": (set_config("attention_head_dim", 0), "attention_head_dim must be at least 1, got 0"),
    "a text for a number": (set_config("num_layers", "x"), "num_layers must be a number, got 'x'"),
    "a list for a text": (set_config("activation_fn", ["gelu"]), "activation_fn must be a text"),
    "a config that is not JSON": (write("MAIN/config.json", b"{"), "is no JSON"),
    "a pointer of Git LFS": (write(WEIGHTS, POINTER), "is a Git LFS pointer"),
    "truncated weights": (write(WEIGHTS, b"\x10\0\0\0\0\0\0\0{"), "is not a complete safetensors file"),
    "weights missing": (remove("MAIN/*.safetensors"), "holds no weights"),
    "a config missing": (remove("MAIN/config.json"), "holds weights but no config.json"),
    "a folder missing": (remove_folder, "is not there: download the pipeline again"),
    "a file outside of the folder": (
        write("MAIN/diffusion_pytorch_model.safetensors.index.json", b'{"weight_map": {"a": "../other.safetensors"}}'),
        "where a file beside it is expected",
    ),
    "a shard missing": (
        write("MAIN/diffusion_pytorch_model.safetensors.index.json", b'{"weight_map": {"a": "b.safetensors"}}'),
        "names b.safetensors, which is not there",
    ),
}


@pytest.mark.usefixtures("no_network_is_built")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_a_sentence_before_a_network_is_built(fault: str, saved_copy: Path) -> None:
    change, sentence = FAULTS[fault]
    change(saved_copy, MAIN[saved_copy.name])
    for loader in loaders(saved_copy):
        with pytest.raises(ValueError, match=sentence) as error:
            loader.from_pretrained(saved_copy)
        assert str(saved_copy) in str(error.value)


def test_a_component_passed_by_the_caller_is_not_read(saved_copy: Path) -> None:
    main = MAIN[saved_copy.name]
    set_index("MAIN", ["os", "path"])(saved_copy, main)
    if main == "transformer":
        for name in ("image_encoder", "vae"):
            set_index(name, [None, None])(saved_copy, main)
    for loader in loaders(saved_copy):
        assert getattr(loader.from_pretrained(saved_copy, **{main: None}), main) is None


@pytest.mark.parametrize("name", [None, "StableDiffusionPipeline", "Triplane4DPipeline"])
def test_own_components_in_another_pipeline_are_refused(name: str | None, saved_copy: Path) -> None:
    set_index("_class_name", name)(saved_copy, MAIN[saved_copy.name])
    with pytest.raises(ValueError, match="_class_name is .*Triplane3DPipeline or TriplaneReconstructionPipeline"):
        DiffusionPipeline.from_pretrained(saved_copy)


def test_pipelines_of_other_libraries_are_not_checked(tmp_path: Path) -> None:
    """They are loaded as before: errors are those of diffusers."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline", "unet": ["os", "path"]}')
    with pytest.raises(Exception) as error:
        DiffusionPipeline.from_pretrained(tmp_path)
    assert "is accepted" not in str(error.value)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for loader in (triplane3d.Triplane3DPipeline, triplane3d.TriplaneReconstructionPipeline):
        with pytest.raises(ValueError, match="neither a valid local path nor a valid repo id"):
            loader.from_pretrained(tmp_path / "nothing")


def test_a_single_model_has_the_same_limits(saved_copy: Path) -> None:
    main = MAIN[saved_copy.name]
    set_config("num_layers", 10**9)(saved_copy, main)
    with pytest.raises(ValueError, match="where at most 1,000 are accepted"):
        AutoModel.from_pretrained(saved_copy, subfolder=main)


SETTINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a prefix that is null": (
        "transformer/config.json", {"num_prefix_tokens": None}, "num_prefix_tokens must not be null"),
    "a prefix of another encoder": ("transformer/config.json", {"num_prefix_tokens": 3}, "square"),
    "latents without size": ("transformer/config.json", {"sample_size": 0}, "sample_size must be at least 1"),
    "an optional number as a list": (
        "scheduler/scheduler_config.json", {"shift_terminal": [None]}, "shift_terminal must be a number"),
    "a flag that is null": (
        "scheduler/scheduler_config.json", {"invert_sigmas": None}, "invert_sigmas must not be null"),
    "an optional list as a number": ("vae/config.json", {"latents_mean": 3}, "latents_mean must be a list"),
    "a shift that depends on the image": (
        "scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "cannot compute steps"),
    "a scheduler without timesteps": (
        "scheduler/scheduler_config.json", {"num_train_timesteps": 0}, "cannot compute steps"),
}  # fmt: skip


@pytest.mark.parametrize("fault", SETTINGS)
def test_settings_that_would_fail_in_a_call_are_refused_on_load(fault: str, tmp_path: Path) -> None:
    file, values, sentence = SETTINGS[fault]
    folder = tmp_path / "saved"
    build_tiny().save_pretrained(folder)
    change_json(folder / file, lambda config: config.update(values))
    with pytest.raises(ValueError, match=sentence) as error:
        Triplane3DPipeline.from_pretrained(folder)
    assert str(folder) in str(error.value)


def test_every_scheduler_accepts_its_own_default_settings(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    build_tiny().save_pretrained(folder)
    for name in ("PNDMScheduler", "DDIMScheduler", "UniPCMultistepScheduler", "DPMSolverMultistepScheduler"):
        scheduler = getattr(diffusers, name)()
        scheduler.save_pretrained(folder / "scheduler")
        change_json(folder / "model_index.json", lambda index, n=name: index.update(scheduler=["diffusers", n]))
        assert type(Triplane3DPipeline.from_pretrained(folder).scheduler).__name__ == name


def test_latents_of_another_size_than_the_autoencoders_are_refused(tiny_folder, tmp_path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_folder, folder)
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sample_size": 1000}))
    with pytest.raises(ValueError, match=r"transformer/config.json: sample_size is 1000, but latent_size of .*vae"):
        Triplane3DPipeline.from_pretrained(folder)


def test_one_step_is_refused_by_a_scheduler_with_a_terminal(pipe) -> None:
    pipe.register_modules(scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0, shift_terminal=0.02))
    with pytest.raises(ValueError, match="shift_terminal=0.02 .* needs num_inference_steps of 2 or more"):
        pipe(photo(), num_inference_steps=1, output_type="latent")
