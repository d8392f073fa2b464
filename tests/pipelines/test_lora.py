"""An adapter changes the answer, can be scaled, saved, loaded, fused and taken off again."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pipelines.tiny_pipeline import grids

from triplane3d import Triplane3DPipeline


@pytest.fixture
def adapter(pipe: Triplane3DPipeline) -> dict[str, torch.Tensor]:
    """Tensors of a trained-looking adapter for the tiny transformer."""
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


def test_fusing_gives_the_same_answer_and_unfusing_takes_it_back(pipe: Triplane3DPipeline, adapter: dict) -> None:
    plain = grids(pipe)
    pipe.load_lora_weights({f"transformer.{name}": tensor for name, tensor in adapter.items()})
    changed = grids(pipe)
    pipe.fuse_lora()
    assert torch.allclose(grids(pipe), changed, atol=1e-3)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert torch.allclose(grids(pipe), plain, atol=1e-3)


def test_what_is_no_adapter_is_refused(pipe: Triplane3DPipeline) -> None:
    with pytest.raises(ValueError, match="not a LoRA adapter"):
        pipe.load_lora_weights({"transformer.proj_out.weight": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="nothing to save"):
        Triplane3DPipeline.save_lora_weights("nowhere")
