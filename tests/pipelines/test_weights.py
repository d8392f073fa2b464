"""A pipeline whose weights do not fit its configs is refused, with every loader."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoModel, DiffusionPipeline
from safetensors.torch import load_file, save_file

from triplane3d import Triplane3DPipeline

COMPONENTS = ["image_encoder", "transformer", "vae"]
Tensors = dict[str, torch.Tensor]


def drop(tensors: Tensors, name: str) -> None:
    del tensors[name]


def rename(tensors: Tensors, name: str) -> None:
    tensors[f"{name}_renamed"] = tensors.pop(name)


def add(tensors: Tensors, name: str) -> None:
    tensors["surplus"] = torch.zeros(3)


def reshape(tensors: Tensors, name: str) -> None:
    tensors[name] = torch.zeros(*tensors[name].shape[:-1], tensors[name].shape[-1] + 1)


def set_last_value(value: float) -> Callable[[Tensors, str], None]:
    def change(tensors: Tensors, name: str) -> None:
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[-1] = value

    return change


def make_integer(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].view(torch.int32)


FAULTS = {
    "integer": (make_integer, "1 tensors that are not floating-point numbers .*: I32"),
    "missing": (drop, "1 missing"),
    "renamed": (rename, "1 missing .*; 1 that the model does not have"),
    "surplus": (add, "1 that the model does not have .surplus."),
    "reshaped": (reshape, "of another shape|expected shape|mismatched_sizes"),
    "nan": (set_last_value(float("nan")), "NaN or infinite values in 1 tensors"),
    "infinite": (set_last_value(float("-inf")), "NaN or infinite values in 1 tensors"),
}


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_do_not_fit_are_named(fault: str, component: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_folder, folder)
    file = next((folder / component).glob("*.safetensors"))
    tensors = load_file(file)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 1 and tensor.numel() > 2)
    change, sentence = FAULTS[fault]
    change(tensors, name)
    save_file(tensors, file, metadata={"format": "pt"})

    for load in (Triplane3DPipeline.from_pretrained, DiffusionPipeline.from_pretrained):
        # transformers itself refuses another shape, with a table in its log instead of names in the error.
        with pytest.raises((ValueError, RuntimeError), match=sentence) as error:
            load(folder)
        assert component in str(error.value) or "mismatched_sizes" in str(error.value)
    if component != "image_encoder":
        with pytest.raises(ValueError, match=sentence):
            AutoModel.from_pretrained(folder, subfolder=component)


def test_a_file_without_any_expected_weight_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_folder, folder)
    save_file({"nothing": torch.zeros(1)}, next((folder / "image_encoder").glob("*.safetensors")), {"format": "pt"})
    with pytest.raises(ValueError, match="missing"):
        Triplane3DPipeline.from_pretrained(folder)


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16}, {"low_cpu_mem_usage": False}])
def test_weights_that_fit_are_loaded(options: dict, tiny_folder: Path) -> None:
    pipe = Triplane3DPipeline.from_pretrained(tiny_folder, **options)
    assert all(not parameter.is_meta for parameter in pipe.transformer.parameters())


def test_an_encoder_that_is_part_of_a_larger_file_is_not_refused(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {**small, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    CLIPModel(CLIPConfig(text_config={**small, "vocab_size": 16}, vision_config=vision)).save_pretrained(tmp_path)
    encoder = CLIPVisionModel.from_pretrained(tmp_path)
    Triplane3DPipeline(encoder, None, None, None)
