"""Features of diffusers work with this pipeline: caches, offloading, quantization, guiders, variants."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoModel,
    DiffusionPipeline,
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PipelineQuantizationConfig,
    PyramidAttentionBroadcastConfig,
    QuantoConfig,
    TorchAoConfig,
)
from diffusers.guiders import ClassifierFreeGuidance, SkipLayerGuidance
from diffusers.hooks import LayerSkipConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from pipelines.tiny_pipeline import TINY, build_tiny, grids, photo, seeded
from torchao.quantization import Int8WeightOnlyConfig

from triplane3d import AutoencoderKLTriplane, Triplane3DPipeline, TriplaneTransformer
from triplane3d.models.attention import TriplaneAttention, TriplaneAttnProcessor

STEPS = 8


def latents_of(pipe: Triplane3DPipeline, **options: object) -> torch.Tensor:
    return grids(pipe, output_type="latent", num_inference_steps=STEPS, **options)


# ---- caches

CACHES: dict[str, Callable[[Triplane3DPipeline], object]] = {
    "first block": lambda pipe: FirstBlockCacheConfig(threshold=1.0),
    "mag": lambda pipe: MagCacheConfig(
        threshold=1.0, max_skip_steps=2, retention_ratio=0.2, num_inference_steps=STEPS, mag_ratios=[1.0] * STEPS
    ),
    "pyramid attention broadcast": lambda pipe: PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        cross_attention_block_skip_range=2,
        current_timestep_callback=lambda: pipe.current_timestep,
    ),
    "taylor seer": lambda pipe: TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=2),
    "faster": lambda pipe: FasterCacheConfig(
        spatial_attention_block_identifiers=(r"transformer_blocks\.\d+\.attn$",),
        current_timestep_callback=lambda: pipe.current_timestep,
        unconditional_batch_skip_range=2,
        attention_weight_callback=lambda _: 0.3,
        tensor_format="BCHW",
    ),
}


@pytest.fixture
def attended_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The batch size of every computed attention is appended to this list."""
    rows: list[int] = []
    compute = TriplaneAttnProcessor.__call__

    def counted(self: TriplaneAttnProcessor, attn: object, hidden_states: torch.Tensor, *rest: object, **more: object):
        rows.append(len(hidden_states))
        return compute(self, attn, hidden_states, *rest, **more)

    monkeypatch.setattr(TriplaneAttnProcessor, "__call__", counted)
    return rows


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_skips_computations_and_is_empty_in_the_next_call(
    pipe: Triplane3DPipeline, attended_rows: list[int], name: str
) -> None:
    expected = latents_of(pipe)
    exact = sum(attended_rows)

    attended_rows.clear()
    pipe.transformer.enable_cache(CACHES[name](pipe))
    cached = latents_of(pipe)
    assert 0 < sum(attended_rows) < 0.95 * exact
    assert bool(cached.isfinite().all()) and not torch.equal(cached, expected)
    assert torch.equal(latents_of(pipe), cached)  # no state of the first call remains

    pipe.transformer.disable_cache()
    assert torch.equal(latents_of(pipe), expected)


# ---- memory


@pytest.mark.parametrize(
    "options",
    [
        {"offload_type": "leaf_level"},
        {"offload_type": "block_level", "num_blocks_per_group": 1},
        {"offload_type": "block_level", "num_blocks_per_group": 1, "offload_to_disk_path": "disk"},
    ],
    ids=["leaf", "block", "disk"],
)
def test_group_offloading_gives_the_same_result(pipe: Triplane3DPipeline, options: dict, tmp_path: Path) -> None:
    expected = grids(pipe)
    if "offload_to_disk_path" in options:
        options = {**options, "offload_to_disk_path": str(tmp_path)}
    pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_device=torch.device("cpu"), **options)
    assert torch.allclose(grids(pipe), expected, atol=1e-5)
    assert ("offload_to_disk_path" in options) == any(tmp_path.rglob("*.safetensors"))


def test_layerwise_casting_stores_weights_in_float8(pipe: Triplane3DPipeline) -> None:
    expected = latents_of(pipe)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    stored = {name: parameter.dtype for name, parameter in pipe.transformer.named_parameters()}
    assert stored["transformer_blocks.0.attn.to_q.weight"] == torch.float8_e4m3fn
    assert stored["patch_embed.weight"] == torch.float32
    assert torch.corrcoef(torch.stack([latents_of(pipe).flatten(), expected.flatten()]))[0, 1] > 0.99


def test_slicing_and_tiling_of_the_vae_do_not_change_the_result(pipe: Triplane3DPipeline) -> None:
    expected = grids(pipe, [photo(0), photo(1)], generator=[seeded(0), seeded(1)])
    pipe.vae.enable_slicing()
    pipe.vae.enable_tiling()
    assert torch.allclose(grids(pipe, [photo(0), photo(1)], generator=[seeded(0), seeded(1)]), expected, atol=1e-5)


# ---- speed


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_attention_backends_give_the_same_result(pipe: Triplane3DPipeline, backend: str) -> None:
    expected = latents_of(pipe)
    pipe.transformer.set_attention_backend(backend)
    assert torch.allclose(latents_of(pipe), expected, atol=1e-4)
    pipe.transformer.set_attention_backend("native")  # it also sets the backend of all later models
    pipe.transformer.reset_attention_backend()
    with pytest.raises(ValueError, match="must be one of"):
        pipe.transformer.set_attention_backend("unknown")


def test_xformers_prints_no_warning_without_cuda_and_is_used_with_cuda(
    pipe: Triplane3DPipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = latents_of(pipe)
    pipe.enable_xformers_memory_efficient_attention()
    assert torch.equal(latents_of(pipe), expected) and not caplog.records
    logging.getLogger("xformers").warning("no CUDA")  # as xformers does when diffusers imports it
    assert len(caplog.records) == int(torch.cuda.is_available())

    switched = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        TriplaneAttention.__mro__[2],
        "set_use_memory_efficient_attention_xformers",
        lambda self, use, attention_op=None: switched.append(self),
    )
    pipe.enable_xformers_memory_efficient_attention()
    models = (pipe.transformer, pipe.vae)
    assert set(switched) == {m for model in models for m in model.modules() if isinstance(m, TriplaneAttention)}


def test_repeated_blocks_compile_as_one_graph() -> None:
    """In a separate process without the shape checks of the test run, which cannot be compiled."""
    code = (
        "import torch\n"
        "from pipelines.tiny_pipeline import build_tiny, grids\n"
        "pipe = build_tiny()\n"
        "expected = grids(pipe)\n"
        "pipe.transformer.compile_repeated_blocks(fullgraph=True, backend='eager')\n"
        "assert torch.allclose(grids(pipe), expected, atol=1e-5)\n"
        "print(sum(type(m).__name__ == 'TriplaneTransformerBlock' and m._compiled_call_impl is not None "
        "for m in pipe.transformer.modules()))"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tests)
    assert done.stdout.split() == ["2"], done.stderr


# ---- guidance


def test_a_guider_replaces_the_guidance_scale(pipe: Triplane3DPipeline, tmp_path: Path) -> None:
    expected = latents_of(pipe, guidance_scale=4.0)
    guided = Triplane3DPipeline(
        **pipe.components, guider=ClassifierFreeGuidance(guidance_scale=4.0), presets=pipe.config.presets
    )
    guided.set_progress_bar_config(disable=True)
    assert torch.allclose(latents_of(guided), expected, atol=1e-4)
    assert guided.guidance_scale == 4.0 and guided.do_classifier_free_guidance
    with pytest.raises(ValueError, match="has a guider: set the scale there"):
        guided(photo(), guidance_scale=2.0)

    guided.save_pretrained(tmp_path)
    loaded = Triplane3DPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.allclose(latents_of(loaded), expected, atol=1e-4)
    loaded.guider = loaded.guider.new(guidance_scale=1.0)
    assert torch.allclose(latents_of(loaded), latents_of(pipe, guidance_scale=1.0), atol=1e-4)


def test_guidance_can_be_limited_to_some_steps_or_skip_layers(
    pipe: Triplane3DPipeline, attended_rows: list[int]
) -> None:
    pipe.guider = ClassifierFreeGuidance(guidance_scale=4.0, stop=0.5)
    latents_of(pipe)
    attentions = 2 * len(pipe.transformer.transformer_blocks)
    assert sum(attended_rows) == (STEPS // 2 * 2 + STEPS // 2) * attentions
    half = latents_of(pipe)
    pipe.guider = SkipLayerGuidance(
        guidance_scale=4.0,
        skip_layer_guidance_scale=2.0,
        skip_layer_guidance_start=0.0,
        skip_layer_guidance_stop=1.0,
        skip_layer_config=LayerSkipConfig(indices=[1], fqn="transformer_blocks"),
    )
    skipped = latents_of(pipe)
    assert bool(skipped.isfinite().all()) and not torch.allclose(skipped, half, atol=1e-3)


# ---- loading and saving


def test_components_load_without_a_pipeline(tiny_folder: Path) -> None:
    folder = str(tiny_folder)
    for subfolder, model in (("transformer", TriplaneTransformer), ("vae", AutoencoderKLTriplane)):
        assert type(AutoModel.from_pretrained(folder, subfolder=subfolder)) is model
        assert type(AutoModel.from_pretrained(folder, subfolder=subfolder, device_map="auto")) is model
        assert type(model.from_pretrained(folder, subfolder=subfolder)) is model


def test_sharded_weights_load(pipe: Triplane3DPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list((tmp_path / "transformer").glob("*-of-*.safetensors"))) > 1
    loaded = Triplane3DPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.allclose(grids(loaded), grids(pipe), atol=1e-5)


def test_each_component_can_have_its_own_dtype(tiny_folder: Path) -> None:
    pipe = Triplane3DPipeline.from_pretrained(
        tiny_folder, dtype={"transformer": torch.bfloat16, "default": torch.float32}
    )
    assert (pipe.transformer.dtype, pipe.vae.dtype) == (torch.bfloat16, torch.float32)


def test_a_device_map_places_all_components(tiny_folder: Path, pipe: Triplane3DPipeline) -> None:
    placed = DiffusionPipeline.from_pretrained(tiny_folder, device_map="cpu")
    placed.set_progress_bar_config(disable=True)
    assert placed.device.type == "cpu"
    assert torch.allclose(grids(placed), grids(pipe), atol=1e-5)


def test_the_index_names_no_class_that_only_newer_libraries_have(tiny_folder: Path) -> None:
    assert "Pil" not in (tiny_folder / "model_index.json").read_text()


@pytest.mark.parametrize(
    "config",
    [QuantoConfig(weights_dtype="int8"), TorchAoConfig(Int8WeightOnlyConfig(version=2))],
    ids=["quanto", "torchao"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_quantized_to_int8_is_saved_and_loaded(tiny_folder: Path, config: object, tmp_path: Path) -> None:
    pipe = Triplane3DPipeline.from_pretrained(
        tiny_folder, quantization_config=PipelineQuantizationConfig(quant_mapping={"transformer": config})
    )
    pipe.set_progress_bar_config(disable=True)
    expected = latents_of(build_tiny())
    quantized = latents_of(pipe)
    assert torch.corrcoef(torch.stack([quantized.flatten(), expected.flatten()]))[0, 1] > 0.98
    assert not torch.equal(quantized, expected)

    pipe.save_pretrained(tmp_path)
    size = (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size < 0.6 * (tiny_folder / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    again = Triplane3DPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert torch.allclose(latents_of(again), quantized, atol=1e-5)


def test_json_alone_builds_every_component() -> None:
    """Test suites outside of this repository need this: `from_config` builds each folder of `pipelines/tiny`."""
    for subfolder, model in (("transformer", TriplaneTransformer), ("vae", AutoencoderKLTriplane)):
        assert isinstance(model.from_config(model.load_config(TINY, subfolder=subfolder)), model)
