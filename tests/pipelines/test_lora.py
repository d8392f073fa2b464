"""A LoRA adapter changes the result. It can be scaled, saved, loaded, fused and unloaded."""

from pathlib import Path

import pytest
import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pipelines.tiny_pipeline import grids

from triplane3d import Triplane3DPipeline


@pytest.fixture
def adapter(pipe: Triplane3DPipeline) -> dict[str, torch.Tensor]:
    """Tensors of an adapter for the tiny transformer, with values as large as after training."""
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    pipe.transformer.add_adapter(config)
    for name, parameter in pipe.transformer.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    state = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(pipe.transformer).items()}
    pipe.unload_lora_weights()
    return state


def test_save_load_scale_and_unload(pipe: Triplane3DPipeline, adapter: dict, tmp_path: Path) -> None:
    plain = grids(pipe)
    Triplane3DPipeline.save_lora_weights(tmp_path, transformer_lora_layers=adapter)
    assert (tmp_path / "pytorch_lora_weights.safetensors").is_file()
    pipe.load_lora_weights(tmp_path, adapter_name="style")
    assert pipe.get_active_adapters() == ["style"]
    changed = grids(pipe)
    assert not torch.allclose(changed, plain, atol=1e-3)
    assert torch.allclose(grids(pipe, attention_kwargs={"scale": 0.0}), plain, atol=1e-5)
    assert torch.allclose(grids(pipe, attention_kwargs={"scale": 1.0}), changed, atol=1e-5)
    pipe.unload_lora_weights()
    assert torch.allclose(grids(pipe), plain, atol=1e-6)


def attach(pipe: Triplane3DPipeline, name: str, rank: int, alpha: int) -> None:
    pipe.transformer.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=["to_q", "to_v"]), name)
    for key, parameter in pipe.transformer.named_parameters():
        if f"lora_B.{name}" in key:
            torch.nn.init.normal_(parameter, std=0.5)


def test_a_saved_transformer_keeps_the_alpha_of_its_adapter(pipe: Triplane3DPipeline, tmp_path: Path) -> None:
    attach(pipe, "style", rank=4, alpha=16)
    expected = grids(pipe)
    Triplane3DPipeline.save_lora_weights(tmp_path, pipe.transformer)
    pipe.unload_lora_weights()
    pipe.load_lora_weights(tmp_path, adapter_name="again")
    assert torch.allclose(grids(pipe), expected, atol=1e-5)
    config = pipe.transformer.peft_config["again"]
    assert (config.r, config.lora_alpha) == (4, 16)


def test_alpha_is_saved_with_the_metadata_and_lost_with_a_warning_without_it(
    pipe: Triplane3DPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attach(pipe, "default", rank=4, alpha=16)
    layers = get_peft_model_state_dict(pipe.transformer)
    Triplane3DPipeline.save_lora_weights(tmp_path / "tensors", layers)
    assert "as if alpha were the rank" in caplog.text
    caplog.clear()
    config = _collate_lora_metadata({"transformer": pipe.transformer})  # as diffusers' training scripts do
    Triplane3DPipeline.save_lora_weights(tmp_path / "both", layers, **config)
    assert not caplog.text
    pipe.unload_lora_weights()
    for folder, alpha in (("tensors", 4), ("both", 16)):
        pipe.load_lora_weights(tmp_path / folder, adapter_name=folder)
        assert pipe.transformer.peft_config[folder].lora_alpha == alpha


def test_one_adapter_of_several_is_saved(pipe: Triplane3DPipeline, tmp_path: Path) -> None:
    for name, alpha in (("first", 2), ("second", 8)):
        attach(pipe, name, rank=4, alpha=alpha)
    pipe.set_adapters(["first", "second"])
    with pytest.raises(ValueError, match=r"adapter_name must be one of \['first', 'second'\], got None"):
        Triplane3DPipeline.save_lora_weights(tmp_path, pipe.transformer)
    Triplane3DPipeline.save_lora_weights(tmp_path / "first", pipe.transformer, adapter_name="first")
    pipe.set_adapters("second")
    Triplane3DPipeline.save_lora_weights(tmp_path / "active", pipe.transformer)
    pipe.unload_lora_weights()
    for folder, alpha in (("first", 2), ("active", 8)):
        pipe.load_lora_weights(tmp_path / folder, adapter_name=folder)
        assert pipe.transformer.peft_config[folder].lora_alpha == alpha
    with pytest.raises(ValueError, match="cannot be specified when not using `safe_serialization`"):
        Triplane3DPipeline.save_lora_weights(tmp_path, pipe.transformer, safe_serialization=False, adapter_name="first")


def test_fusing_gives_the_same_result_and_unfusing_reverts_it(pipe: Triplane3DPipeline, adapter: dict) -> None:
    plain = grids(pipe)
    pipe.load_lora_weights({f"transformer.{name}": tensor for name, tensor in adapter.items()})
    changed = grids(pipe)
    pipe.fuse_lora()
    assert torch.allclose(grids(pipe), changed, atol=1e-3)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert torch.allclose(grids(pipe), plain, atol=1e-3)


def test_several_adapters_are_added_with_their_weights(pipe: Triplane3DPipeline, adapter: dict) -> None:
    plain = grids(pipe)
    for name in ("first", "second"):
        pipe.load_lora_weights({f"transformer.{key}": tensor for key, tensor in adapter.items()}, adapter_name=name)
    pipe.set_adapters(["first"])
    alone = grids(pipe)
    pipe.set_adapters(["first", "second"], [0.25, 0.75])  # the same adapter twice: the weights add up to one
    assert torch.allclose(grids(pipe), alone, atol=1e-3)
    pipe.set_adapters(["first", "second"], [0.5, -0.5])
    assert torch.allclose(grids(pipe), plain, atol=1e-3) and not torch.allclose(alone, plain, atol=1e-2)
    assert pipe.get_list_adapters() == {"transformer": ["first", "second"]}
    pipe.delete_adapters("second")
    assert pipe.get_list_adapters() == {"transformer": ["first"]}
    pipe.disable_lora()
    assert torch.allclose(grids(pipe), plain, atol=1e-5)


def test_an_adapter_is_replaced_in_place(pipe: Triplane3DPipeline, adapter: dict) -> None:
    other = {f"transformer.{key}": 0.5 * tensor for key, tensor in adapter.items()}
    pipe.load_lora_weights(other, adapter_name="style")
    expected = grids(pipe)
    pipe.unload_lora_weights()

    pipe.load_lora_weights({f"transformer.{key}": tensor for key, tensor in adapter.items()}, adapter_name="style")
    modules = list(map(id, pipe.transformer.modules()))
    assert not torch.allclose(grids(pipe), expected, atol=1e-3)
    pipe.load_lora_weights(other, adapter_name="style", hotswap=True)
    assert torch.allclose(grids(pipe), expected, atol=1e-5)
    assert list(map(id, pipe.transformer.modules())) == modules


def test_a_pipeline_with_an_adapter_is_not_saved_until_it_is_fused(
    pipe: Triplane3DPipeline, adapter: dict, tmp_path: Path
) -> None:
    pipe.load_lora_weights({f"transformer.{key}": tensor for key, tensor in adapter.items()})
    with pytest.raises(ValueError, match="a LoRA is attached"):
        pipe.save_pretrained(tmp_path)
    pipe.fuse_lora()
    changed = grids(pipe)
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path)
    loaded = Triplane3DPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.allclose(grids(loaded), changed, atol=1e-4)


def test_tensors_that_are_not_an_adapter_are_refused(pipe: Triplane3DPipeline) -> None:
    with pytest.raises(ValueError, match="not a LoRA adapter"):
        pipe.load_lora_weights({"transformer.proj_out.weight": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="not a LoRA adapter: it holds no tensors"):
        pipe.load_lora_weights({})
    for empty in (None, {}, pipe.transformer):
        with pytest.raises(ValueError, match="nothing to save"):
            Triplane3DPipeline.save_lora_weights("nowhere", empty)
