"""Wrong or malicious LoRA files are refused with one sentence. They run no code and change nothing."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from pipelines.pickles import malicious_pickle
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from triplane3d import Triplane3DPipeline

NAME = "pytorch_lora_weights.safetensors"
KEY = "lora_adapter_metadata"


@pytest.fixture
def file(pipe: Triplane3DPipeline, tmp_path: Path) -> Path:
    """A saved adapter of the tiny pipeline. The pipeline itself has no adapter afterwards."""
    config = LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, target_modules=["to_q", "to_v"])
    pipe.transformer.add_adapter(config)
    Triplane3DPipeline.save_lora_weights(tmp_path / "lora", pipe.transformer)
    pipe.unload_lora_weights()
    return tmp_path / "lora" / NAME


def names_of(pipe: Triplane3DPipeline) -> set[str]:
    return set(pipe.transformer.state_dict())


def assert_refused(pipe: Triplane3DPipeline, source: object, sentence: str, **options: object) -> None:
    """Loading raises that sentence, and nothing is attached to the transformer."""
    before = names_of(pipe)
    with pytest.raises((ValueError, OSError), match=sentence):
        pipe.load_lora_weights(source, **options)
    assert names_of(pipe) == before and not getattr(pipe.transformer, "peft_config", None)


def change_config(file: Path, **changes: object) -> None:
    with safe_open(file, "pt") as opened:
        config = json.loads(opened.metadata()[KEY])
    config |= {f"transformer.{name}": value for name, value in changes.items()}
    save_file(load_file(file), file, metadata={"format": "pt", KEY: json.dumps(config)})


def test_the_unchanged_file_loads(pipe: Triplane3DPipeline, file: Path) -> None:
    pipe.load_lora_weights(file.parent, adapter_name="style")
    assert pipe.transformer.peft_config["style"].lora_alpha == 8


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_truncated_file_is_refused(pipe: Triplane3DPipeline, file: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])
    assert_refused(pipe, file.parent, "is not a complete safetensors file")
    assert_refused(pipe, file, "is not a complete safetensors file")


def test_a_file_with_a_changed_byte_is_refused_with_a_sentence_or_loads(pipe: Triplane3DPipeline, file: Path) -> None:
    """One byte of the header is changed: the result is a ValueError or an adapter, and no other error."""
    content, generator = file.read_bytes(), torch.Generator().manual_seed(0)
    length = 8 + int.from_bytes(content[:8], "little")
    outcomes = set()
    for _ in range(60):
        place, value = (int(torch.randint(limit, (), generator=generator)) for limit in (length, 256))
        file.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
        try:
            pipe.load_lora_weights(file)
            pipe.unload_lora_weights()
            outcomes.add("loaded")
        except ValueError as error:
            assert str(error)
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}


@pytest.mark.parametrize("name", [NAME, "pytorch_lora_weights.bin", "style.bin", "style.pt"])
def test_a_pickle_is_not_read(pipe: Triplane3DPipeline, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(malicious_pickle(tmp_path / "marker"))
    assert_refused(pipe, tmp_path, "safetensors")
    assert_refused(pipe, tmp_path / name, "safetensors")
    assert_refused(pipe, tmp_path, "safetensors", weight_name=name)
    assert_refused(pipe, tmp_path, ".", weight_name=name, use_safetensors=False)
    assert not (tmp_path / "marker").exists()


def test_tensors_in_a_pickle_are_read_only_on_demand(pipe: Triplane3DPipeline, file: Path) -> None:
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    assert_refused(pipe, file.parent, "safetensors")
    pipe.load_lora_weights(file.parent, weight_name="pytorch_lora_weights.bin", use_safetensors=False)
    assert list(pipe.transformer.peft_config) == ["default_0"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(pipe: Triplane3DPipeline, file: Path, value: float) -> None:
    tensors = load_file(file)
    name = sorted(tensors)[-1]
    tensors[name][0, 0] = value
    assert_refused(pipe, tensors, f"NaN or infinite values in '{name}'")


def another_width(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.zeros(4, tensors[name].shape[1] + 1)


def another_rank(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.zeros(5, tensors[name].shape[1])


def no_axes(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.zeros(())


def no_second_factor(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name.replace("lora_A", "lora_B")]


def another_layer(tensors: dict[str, torch.Tensor], name: str) -> None:
    for factor in ("lora_A", "lora_B"):
        old = name.replace("lora_A", factor)
        tensors[old.replace("attn.", "attn9.")] = tensors.pop(old)


def another_component(tensors: dict[str, torch.Tensor], name: str) -> None:
    for old in list(tensors):
        tensors[old.replace("transformer.", "unet.", 1)] = tensors.pop(old)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (another_width, r"for the layer .* it has lora_A \(4, 33\)"),
        (another_rank, r"lora_A \(5, 32\) and lora_B \(32, 4\)"),
        (no_axes, r"lora_A \(\)"),
        (no_second_factor, "it has no lora_B for the layer"),
        (another_layer, "this transformer has no layer '.*attn9"),
        (another_component, "no name of a tensor begins with 'transformer.'"),
    ],
)
def test_tensors_of_another_model_are_refused(
    pipe: Triplane3DPipeline, file: Path, change: object, sentence: str
) -> None:
    tensors = load_file(file)
    change(tensors, next(name for name in sorted(tensors) if "lora_A" in name and "attn." in name))
    save_file(tensors, file, metadata={"format": "pt"})
    assert_refused(pipe, file.parent, sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"r": 10**9}, "has the rank 1000000000, where its tensors have at most 4"),
        ({"r": "4"}, "has the rank 4, where"),
        ({"rank_pattern": {"to_q": 10**9}}, "has the rank 1000000000"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
        ({"lora_alpha": "high"}, "lora_alpha=high"),
        ({"megatron_config": {"a": 1}, "megatron_core": "named_module"}, "which makes peft import a module"),
        ({"no_such_setting": 1}, "the LoRA cannot be loaded .TypeError"),
    ],
)
def test_a_config_with_wrong_values_is_refused(
    pipe: Triplane3DPipeline, file: Path, changes: dict, sentence: str
) -> None:
    change_config(file, **changes)
    assert_refused(pipe, file.parent, sentence)


def test_a_second_adapter_is_checked_against_the_base_layer(pipe: Triplane3DPipeline, file: Path) -> None:
    pipe.load_lora_weights(file, adapter_name="first")
    pipe.load_lora_weights(file, adapter_name="second")
    assert set(pipe.transformer.peft_config) == {"first", "second"}
    tensors = load_file(file)
    another_width(tensors, next(name for name in tensors if "lora_A" in name))
    with pytest.raises(ValueError, match="for another model"):
        pipe.load_lora_weights(tensors, adapter_name="third")
    assert set(pipe.transformer.peft_config) == {"first", "second"}
