"""The denoiser: every input has an effect, and diffusers' optimisations change the speed, not the output."""

from pathlib import Path

import pytest
import torch
from diffusers.hooks import FirstBlockCacheConfig
from models.tiny_models import DIRECT3D_TRANSFORMER, PIPELINES, denoiser_inputs, tiny_transformer
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from triplane3d.models.condition_cache import ConditionCache
from triplane3d.models.transformer_triplane import FrontPlaneCondition, TriplaneTransformer


def test_a_batch_equals_single_calls_and_timesteps_can_be_numbers() -> None:
    model, inputs = tiny_transformer(), denoiser_inputs()
    sample = model(**inputs).sample
    assert sample.shape == inputs["hidden_states"].shape
    for index in range(2):
        single = {name: tensor[index : index + 1] for name, tensor in inputs.items()}
        single["timestep"] = float(single["timestep"])
        assert torch.allclose(model(**single, return_dict=False)[0], sample[index : index + 1], atol=1e-5)


def test_every_input_changes_the_output() -> None:
    model, inputs = tiny_transformer(), denoiser_inputs()
    sample = model(**inputs).sample
    for name in inputs:
        assert (model(**{**inputs, name: inputs[name].flip(0)}).sample - sample).abs().max() > 1e-3, name


def test_image_tokens_are_added_along_their_line_of_sight() -> None:
    """Only the token at column 3, row 0 (top) is not zero: it is added to XY at (3, top), XZ at x = 3, YZ at top."""
    condition = FrontPlaneCondition(context_dim=5, dim=6, num_prefix_tokens=1)
    tokens = torch.zeros(1, 1 + 16, 5)
    tokens[:, 1 + 3] = torch.randn(5)
    added = condition(tokens, 4, 4).view(4, 3, 4, 6).abs().amax(dim=-1) > 0
    xy, xz, yz = added.unbind(dim=1)
    assert xy.nonzero().tolist() == [[3, 3]]
    assert xz.nonzero().tolist() == [[row, 3] for row in range(4)]
    assert yz.nonzero().tolist() == [[3, column] for column in range(4)]


@pytest.mark.parametrize("size", [4, 6, 2])
def test_a_zeroed_photo_adds_nothing(size: int) -> None:
    condition = FrontPlaneCondition(context_dim=5, dim=6, num_prefix_tokens=1)
    assert torch.equal(condition(torch.zeros(2, 17, 5), size, size), torch.zeros(2, 3 * size**2, 6))


def test_position_tables_of_finer_grids_contain_the_coarse_ones() -> None:
    """Every second token of a grid twice as fine has a coarse position. Planes share the channels of shared axes."""
    from triplane3d.models.embeddings import plane_positions

    coarse = plane_positions(4, 4, 24, 4, torch.device("cpu")).view(4, 3, 4, 24)
    fine = plane_positions(8, 8, 24, 4, torch.device("cpu")).view(8, 3, 8, 24)
    assert torch.allclose(coarse, fine[::2, :, ::2])
    assert torch.equal(coarse[1, 0, :, :8], coarse[2, 1, :, :8])  # x, on XY and XZ
    assert torch.equal(coarse[:, 0, 1, 8:16], coarse[:, 2, 3, 8:16])  # y, on XY and YZ


def test_fused_projections_do_not_change_the_output() -> None:
    for config, extra in (({}, {}), (DIRECT3D_TRANSFORMER, {"pixel_hidden_states": torch.randn(2, 9, 10)})):
        model = tiny_transformer(**config)
        inputs = {**denoiser_inputs(), **extra}
        if config:
            inputs |= {"hidden_states": torch.randn(2, 4, 8, 24), "encoder_hidden_states": torch.randn(2, 7, 12)}
        sample = model(**inputs).sample
        model.fuse_qkv_projections()
        assert model.transformer_blocks[0].attn.fused_projections
        assert torch.allclose(model(**inputs).sample, sample, atol=1e-5)
        model.unfuse_qkv_projections()
        assert torch.equal(model(**inputs).sample, sample)


def test_attention_has_the_names_that_caches_of_diffusers_require() -> None:
    names = set(tiny_transformer().attn_processors)
    assert names == {f"transformer_blocks.{i}.{kind}.processor" for i in (0, 1) for kind in ("attn", "cross_attn")}


def test_a_first_block_cache_also_omits_the_long_skips() -> None:
    model, inputs = tiny_transformer(num_layers=4), denoiser_inputs()
    exact = model(**inputs).sample
    model.enable_cache(FirstBlockCacheConfig(threshold=1e6))
    with model.cache_context("cond"):
        assert torch.allclose(model(**inputs).sample, exact, atol=1e-5)
        assert torch.allclose(model(**inputs).sample, exact, atol=1e-5)  # the same input: cached residuals are exact
    model.disable_cache()


def test_explicit_attention_on_cpu_equals_dispatched_attention() -> None:
    model = tiny_transformer().to(torch.bfloat16)
    inputs = {name: tensor.to(torch.bfloat16) for name, tensor in denoiser_inputs().items()}
    chunked = model(**inputs).sample
    model.set_attention_backend("native")
    assert torch.allclose(model(**inputs).sample.float(), chunked.float(), atol=0.05)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model, inputs = tiny_transformer(num_layers=3).train(), denoiser_inputs()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.enable_gradient_checkpointing()
        model.zero_grad()
        model(**inputs).sample.square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


def test_lora_is_added_scaled_saved_and_loaded(tmp_path: Path) -> None:
    model, inputs = tiny_transformer(), denoiser_inputs()
    plain = model(**inputs).sample
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False))
    adapted = model(**inputs).sample
    assert (adapted - plain).abs().max() > 1e-3
    assert torch.allclose(model(**inputs, attention_kwargs={"scale": 0.0}).sample, plain, atol=1e-5)
    assert len(get_peft_model_state_dict(model)) == 2 * 2 * 8  # A and B, blocks, linears of attn and cross_attn

    model.save_lora_adapter(tmp_path)
    model.unload_lora()
    assert torch.equal(model(**inputs).sample, plain)
    model.load_lora_adapter(tmp_path, prefix=None, use_safetensors=True)
    assert torch.allclose(model(**inputs).sample, adapted, atol=1e-6)


def test_a_saved_model_loads_with_the_same_output(tmp_path: Path) -> None:
    model, inputs = tiny_transformer(), denoiser_inputs()
    model.save_pretrained(tmp_path)
    assert torch.equal(TriplaneTransformer.from_pretrained(tmp_path)(**inputs).sample, model(**inputs).sample)


def test_direct3d_accepts_any_rolled_size() -> None:
    model = tiny_transformer(**DIRECT3D_TRANSFORMER)
    sample = model(torch.randn(1, 4, 6, 20), 500, torch.randn(1, 7, 12), torch.randn(1, 9, 10)).sample
    assert sample.shape == (1, 4, 6, 20)


def test_parameter_counts_of_mini_and_direct3d() -> None:
    with torch.device("meta"):
        mini = TriplaneTransformer.from_config(
            TriplaneTransformer.load_config(PIPELINES / "mini", subfolder="transformer")
        )
        direct3d = TriplaneTransformer(
            **{
                **DIRECT3D_TRANSFORMER,
                "in_channels": 16,
                "sample_size": 32,
                "num_layers": 28,
                "num_attention_heads": 16,
                "attention_head_dim": 72,
                "cross_attention_dim": 1024,
                "pixel_attention_dim": 1024,
            }
        )
    # The limit is for a model for one photo, without the embeddings of cameras and intervals.
    added = sum(part.numel() for module in (mini.camera_embed, mini.interval_embed) for part in module.parameters())
    assert mini.num_parameters() - added <= 9_700_000 and added <= 200_000
    assert direct3d.num_parameters() == 609_987_008


def test_image_tokens_may_have_another_width_than_the_blocks() -> None:
    """Without a projection, cross-attention and the plane tokens accept tokens of the encoder's width."""
    model = tiny_transformer(cross_attention_dim=20)
    inputs = denoiser_inputs() | {"encoder_hidden_states": torch.randn(2, 17, 20)}
    assert model(**inputs).sample.shape == inputs["hidden_states"].shape


def test_wrong_inputs_raise_errors() -> None:
    model, inputs = tiny_transformer(), denoiser_inputs()
    wrong = (
        ({"hidden_states": torch.zeros(2, 3, 4, 12)}, r"expected latents of shape \(batch, 4, height, width\)"),
        ({"hidden_states": torch.zeros(2, 4, 4, 4)}, "natively 4 × 12; got"),
        ({"encoder_hidden_states": torch.zeros(2, 17, 31)}, r"shape \(2, tokens, 32\), got \(2, 17, 31\)"),
        ({"encoder_hidden_states": torch.zeros(2, 16, 32)}, "set num_prefix_tokens"),
        ({"timestep": torch.zeros(3)}, "one for each of the 2 samples"),
        ({"pixel_hidden_states": torch.zeros(2, 5, 32)}, "takes no pixel_hidden_states"),
    )
    for change, message in wrong:
        with pytest.raises(ValueError, match=message):
            model(**{**inputs, **change})
    with pytest.raises(ValueError, match="pass pixel_hidden_states"):
        tiny_transformer(**DIRECT3D_TRANSFORMER)(torch.zeros(1, 4, 8, 24), 0, torch.zeros(1, 7, 12))


@pytest.mark.parametrize("name", ["tiny", "direct3d"])
def test_entries_without_a_photo_equal_those_with_tokens_of_zeros(name: str) -> None:
    """`num_without_photo` and the condition cache save time and do not change the output."""
    torch.manual_seed(0)
    transformer, inputs = tiny_transformer(), denoiser_inputs(3)
    if name == "direct3d":
        transformer = TriplaneTransformer(**DIRECT3D_TRANSFORMER).eval()
        inputs |= {"hidden_states": torch.randn(3, 4, 8, 24), "encoder_hidden_states": torch.randn(3, 7, 12)}
        inputs |= {"pixel_hidden_states": torch.randn(3, 9, 10)}
    streams = {key: value for key, value in inputs.items() if key.endswith("encoder_hidden_states") or "pixel" in key}
    conditional = {key: value[1:] for key, value in streams.items()}
    zeroed = {key: torch.cat([torch.zeros_like(value[:1]), value[1:]]) for key, value in streams.items()}
    cache = ConditionCache()
    for timestep in (900.0, 100.0):
        noisy = torch.randn_like(inputs["hidden_states"])
        expected = transformer(noisy, timestep, **zeroed).sample
        shortened = transformer(noisy, timestep, **conditional, num_without_photo=1, condition_cache=cache).sample
        assert (shortened - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_batch_without_any_photo_raises_an_error() -> None:
    inputs = denoiser_inputs(2)
    with pytest.raises(ValueError, match="must be 0 to 1, .* got 2"):
        tiny_transformer()(**inputs, num_without_photo=2)
    with pytest.raises(ValueError, match=r"shape \(1, tokens, 32\).*that has a photo"):
        tiny_transformer()(**inputs, num_without_photo=1)
