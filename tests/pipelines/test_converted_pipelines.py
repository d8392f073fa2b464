"""Converted pipelines are saved, loaded, moved, cast, offloaded, adapted and trained like other pipelines."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import disk_offload
from convert.tiny_checkpoints import (
    SMALL_DIT,
    SMALL_TRIPOSR,
    SMALL_VAE,
    SMALL_VIT,
    block,
    encoder_sections,
    random_direct3d,
    random_triposr,
    save_direct3d,
    save_encoders,
    save_triposr,
)
from diffusers import DiffusionPipeline
from diffusers.hooks import apply_group_offloading
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from triplane3d import Triplane3DPipeline, TriplaneReconstructionPipeline
from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr
from triplane3d.geometry.cameras import Camera

CLASSES = {"direct3d": Triplane3DPipeline, "triposr": TriplaneReconstructionPipeline}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("converted")
    vae = {**SMALL_VAE, "latents_scale": 0.5, "latents_shift": 0.1}
    models = random_direct3d(vae, SMALL_DIT, 1)
    weights = {part: model.state_dict() for part, model in zip(("vae", "dit"), models, strict=True)}
    save_direct3d(folder / "d", {"vae": vae, "dit": SMALL_DIT}, weights, **encoder_sections())
    clip, dino = save_encoders(folder / "e")
    save_triposr(folder / "t", SMALL_TRIPOSR, SMALL_VIT, random_triposr(SMALL_TRIPOSR, SMALL_VIT, 1).state_dict())
    return {
        "direct3d": convert_direct3d(folder / "d", folder / "direct3d", image_encoder=clip, pixel_encoder=dino),
        "triposr": convert_triposr(folder / "t", folder / "triposr"),
    }


def load(folder: Path, loader: type[DiffusionPipeline] = DiffusionPipeline, **options: Any) -> DiffusionPipeline:
    pipe = loader.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(params=CLASSES)
def pipe(request: pytest.FixtureRequest, folders: dict[str, Path]) -> DiffusionPipeline:
    return load(folders[request.param])


@pytest.fixture
def direct3d(folders: dict[str, Path]) -> Triplane3DPipeline:
    return load(folders["direct3d"])


@pytest.fixture
def triposr(folders: dict[str, Path]) -> TriplaneReconstructionPipeline:
    return load(folders["triposr"])


def result_of(pipe: DiffusionPipeline, image: Any = None, **options: Any) -> Tensor:
    """The pipeline's result for a photo: latents or planes, unless `output_type` is passed."""
    image = block() if image is None else image
    first_seed = options.pop("first_seed", 0)
    if isinstance(pipe, Triplane3DPipeline):
        count = len(image) if isinstance(image, list) else 1
        generators = [torch.Generator().manual_seed(first_seed + index) for index in range(count)]
        defaults = {"generator": generators, "num_inference_steps": 2}
        return pipe(image, **{"output_type": "latent", **defaults, **options}).meshes
    return pipe(image, **{"output_type": "planes", **options}).meshes


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> bool:
    assert ours.shape == theirs.shape
    return bool((ours.float() - theirs.float()).abs().max() <= tolerance * max(1.0, float(theirs.abs().max())))


def correlation(ours: Tensor, theirs: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([ours.flatten().float(), theirs.flatten().float()]))[0, 1])


def denoiser(pipe: DiffusionPipeline) -> nn.Module:
    """The network with the attention layers."""
    return pipe.transformer if isinstance(pipe, Triplane3DPipeline) else pipe.reconstructor


# ---- saving, loading, casting, moving


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_pipeline_gives_the_same_result_after_loading(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    first = load(folders[name])
    assert type(first) is CLASSES[name]
    first.save_pretrained(tmp_path)
    again = load(tmp_path, CLASSES[name])
    assert {key: value for key, value in again.config.items() if key[0] != "_"} == {
        key: value for key, value in first.config.items() if key[0] != "_"
    }
    for options in ({}, {"output_type": "pt", "resolution": 6}):
        assert same(result_of(again, **options), result_of(first, **options), 1e-5)
    assert again.components.keys() == first.components.keys()


def test_a_batch_equals_single_calls(pipe: DiffusionPipeline) -> None:
    photos = [block(0), block(1, 44, 44), block(2, 60, 31)]
    together = result_of(pipe, photos)
    for seed, one in enumerate(photos):
        alone = result_of(pipe, one, first_seed=seed)
        assert same(together[seed], alone[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close(pipe: DiffusionPipeline, dtype: torch.dtype, folders: dict[str, Path]) -> None:
    expected = result_of(pipe)
    grid = result_of(pipe, output_type="pt", resolution=6)
    pipe.to(dtype)
    assert {module.dtype for module in pipe.components.values() if isinstance(module, nn.Module)} == {dtype}
    assert correlation(result_of(pipe), expected) > 0.99
    density = result_of(pipe, output_type="pt", resolution=6)
    assert density.isfinite().all() and correlation(density, grid) > 0.97
    name = next(name for name, pipeline_class in CLASSES.items() if type(pipe) is pipeline_class)
    assert torch.equal(result_of(load(folders[name], dtype=dtype)), result_of(pipe))


def test_half_precision_renders(triposr: TriplaneReconstructionPipeline) -> None:
    result_of(triposr)
    expected = triposr.render(2, size=8).color
    triposr.to(torch.bfloat16)  # with planes from before the cast
    assert (triposr.render(2, size=8).color - expected).abs().max() < 0.05
    result_of(triposr)
    assert (triposr.render(2, size=8).color - expected).abs().max() < 0.05


def test_each_thread_renders_the_planes_of_its_own_last_call(triposr: TriplaneReconstructionPipeline) -> None:
    def call(hue: int) -> Tensor:
        triposr(block(hue), output_type="planes")
        return triposr.render(1, size=8).color

    expected = [call(hue) for hue in range(3)]
    assert not torch.equal(expected[0], expected[1])
    with ThreadPoolExecutor(3) as pool:
        for alone, together in zip(3 * expected, pool.map(call, 3 * list(range(3))), strict=True):
            assert torch.equal(alone, together)


def test_pictures_of_planes_without_a_gradient_have_no_gradient(triposr: TriplaneReconstructionPipeline) -> None:
    """With a gradient, the activations of the point MLP at eight million points would be stored."""
    result_of(triposr)
    assert not triposr.render(1, size=8).color.requires_grad
    planes = torch.randn_like(triposr._calls.current.planes).requires_grad_()
    assert triposr.render(1, planes, size=8).color.requires_grad


# ---- offloading

OFFLOADS = {
    "model": lambda pipe, folder: pipe.enable_model_cpu_offload(device="cpu"),
    "sequential": lambda pipe, folder: layer_by_layer(pipe, folder),
    "groups of layers": lambda pipe, folder: pipe.enable_group_offload(CPU, CPU, offload_type="leaf_level"),
    "groups of blocks": lambda pipe, folder: pipe.enable_group_offload(
        CPU, CPU, offload_type="block_level", num_blocks_per_group=1
    ),
    # Weights on disk are not in memory until a hook loads them. Offloading from CPU to CPU hides a missing hook.
    "groups of layers on disk": lambda pipe, folder: in_groups(pipe, folder, offload_type="leaf_level"),
    "groups of blocks on disk": lambda pipe, folder: in_groups(
        pipe, folder, offload_type="block_level", num_blocks_per_group=1
    ),
}
CPU = torch.device("cpu")


def layer_by_layer(pipe: DiffusionPipeline, folder: Path) -> None:
    """The hooks of `enable_sequential_cpu_offload`, which needs an accelerator, with the weights on disk instead."""
    for name, component in pipe.components.items():
        if isinstance(component, nn.Module):
            disk_offload(component, str(folder / name), execution_device=CPU)


def in_groups(pipe: DiffusionPipeline, folder: Path, **options: Any) -> None:
    """Offloads to one folder for each component, because the files of two encoders have the same names."""
    for name, component in pipe.components.items():
        if isinstance(component, nn.Module):
            apply_group_offloading(component, CPU, CPU, offload_to_disk_path=str(folder / name), **options)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_offloading_gives_the_same_result(pipe: DiffusionPipeline, offload: str, tmp_path: Path) -> None:
    expected, grid = result_of(pipe), result_of(pipe, output_type="pt", resolution=6)
    reconstructs = isinstance(pipe, TriplaneReconstructionPipeline)
    picture = pipe.render(2, expected, size=8).color if reconstructs else None
    OFFLOADS[offload](pipe, tmp_path)
    for _ in range(2):
        assert same(result_of(pipe), expected)
        assert same(result_of(pipe, output_type="pt", resolution=6), grid)
        if reconstructs:
            assert same(pipe.render(2, size=8).color, picture)
            assert same(pipe.render(2, expected, size=8).color, picture)
            assert same(pipe(planes=expected, output_type="pt", resolution=6).meshes, grid)


@pytest.mark.parametrize("offload", ["sequential", "groups of blocks on disk"])
def test_an_offloaded_pipeline_renders_before_any_other_call(
    folders: dict[str, Path], offload: str, tmp_path: Path
) -> None:
    pipe = load(folders["triposr"])
    planes = result_of(pipe)
    picture = pipe.render(1, planes, size=8).color
    pipe = load(folders["triposr"])
    OFFLOADS[offload](pipe, tmp_path)
    assert same(pipe.render(1, planes, size=8).color, picture)


# ---- attention, layerwise casting


def test_attention_backends_and_fused_projections_give_the_same_result(pipe: DiffusionPipeline) -> None:
    expected, model = result_of(pipe), denoiser(pipe)
    model.set_attention_backend("_native_math")
    assert same(result_of(pipe), expected)
    model.reset_attention_backend()
    model.fuse_qkv_projections()
    assert any(name.endswith("to_qkv") for name, _ in model.named_modules())
    assert same(result_of(pipe), expected)
    model.unfuse_qkv_projections()
    assert same(result_of(pipe), expected)


def test_layerwise_casting_stores_weights_in_float8(pipe: DiffusionPipeline) -> None:
    expected = result_of(pipe)
    denoiser(pipe).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert torch.float8_e4m3fn in {parameter.dtype for parameter in denoiser(pipe).parameters()}
    assert correlation(result_of(pipe), expected) > 0.97


# ---- wrong arguments


PLANES = torch.zeros(1, 3, 6, 8, 8)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": None}, "either `image` or `planes`"),
        ({"planes": PLANES}, "not both"),
        ({"image": None, "planes": PLANES[:, :2]}, r"planes must have shape \(photos, 3, 6, 8, 8\)"),
        ({"image": None, "planes": PLANES / 0}, "planes holds NaN"),
        ({"image": None, "planes": PLANES.numpy()}, "planes must be a tensor"),
        ({"image": []}, "empty list"),
        ({"output_type": "glb"}, "output_type must be one of"),
        ({"resolution": 1}, "resolution must be from 2 to 2048"),
        ({"resolution": 1500, "output_type": "np"}, "resolution must be from 2 to 1024"),
        ({"resolution": "high"}, "resolution must be a whole number"),
        ({"level": 0}, "level is a density"),
        ({"level": -1}, "level must be a finite number of at least 0"),
        ({"level": float("nan")}, "level must be a finite number"),
        ({"quality": "best"}, "quality must be one of .'balanced', 'draft', 'high'"),
        ({"quality": ["high"]}, "quality must be one of"),
        ({"background_removal": "magic"}, "background_removal is one of"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_named_before_a_network_is_called(
    triposr: TriplaneReconstructionPipeline, options: dict, sentence: str
) -> None:
    triposr.reconstructor.forward = lambda *_, **__: pytest.fail("a network was called")
    with pytest.raises(ValueError, match=sentence):
        triposr(**{"image": block(), **options})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "nothing to render yet"),
        ({"planes": PLANES[:, :, :3]}, r"planes must have shape \(photos, 3, 6, 8, 8\)"),
        ({"planes": PLANES, "views": 0}, "views must be at least 1"),
        ({"planes": PLANES, "views": []}, "views must be a Camera, a list of them, or a number"),
        ({"planes": PLANES, "views": "front"}, "views must be a Camera"),
        ({"planes": PLANES, "views": True}, "views must be a Camera"),
        ({"planes": PLANES, "views": [Camera.orbit(), 3]}, "views must be a Camera"),
        ({"planes": PLANES, "size": 0}, "size"),
        ({"planes": PLANES, "size": 2.5}, "size must be a whole number"),
        ({"planes": PLANES, "num_samples": 0}, "num_samples"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_of_render_are_named(
    triposr: TriplaneReconstructionPipeline, options: dict, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        triposr.render(**options)


def test_a_missing_network_is_named(triposr: TriplaneReconstructionPipeline, direct3d: Triplane3DPipeline) -> None:
    empty = TriplaneReconstructionPipeline(None)
    photo = torch.zeros(1, 3, 4, 4)
    for call in (lambda: empty(block()), lambda: empty.render(1, PLANES), lambda: empty.reconstruct(photo)):
        with pytest.raises(ValueError, match="without its reconstructor"):
            call()
    direct3d.pixel_encoder = None
    with pytest.raises(ValueError, match="no pixel_encoder for it"):
        result_of(direct3d)


# ---- training


def test_gradient_checkpointing_changes_no_gradient(pipe: DiffusionPipeline) -> None:
    model = denoiser(pipe).train()
    found = []
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            model.enable_gradient_checkpointing()
        torch.manual_seed(1)
        if isinstance(pipe, Triplane3DPipeline):
            out = model(torch.randn(2, 4, 4, 12), 300, torch.randn(2, 5, 16), torch.randn(2, 5, 24)).sample
        else:
            out = model(torch.rand(2, 3, 32, 32)).planes
        out.square().mean().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6, rtol=1e-4) for name in found[0])


ADAPTER = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0", "linear_1", "linear_2"])


def denoising_loss(pipe: Triplane3DPipeline) -> Tensor:
    """Mean square error of the predicted noise, for fixed latents at four fixed noise levels."""
    pipe.scheduler.set_timesteps(1000)
    generator = torch.Generator().manual_seed(3)
    latents, noise = (torch.randn(4, 4, 4, 12, generator=generator) for _ in range(2))
    times = torch.tensor([100, 400, 600, 900])
    noisy = pipe.scheduler.add_noise(latents, noise, times)
    sigma = pipe.scheduler.sigmas.flip(0)[1:][times].view(-1, 1, 1, 1)
    tokens = [torch.randn(4, 5, width, generator=generator) for width in (16, 24)]
    return F.mse_loss(pipe.transformer(noisy / (sigma**2 + 1) ** 0.5, times, *tokens).sample, noise)


def losses(parameters: list[nn.Parameter], loss: Any, steps: int = 6, rate: float = 3e-3) -> list[float]:
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    values = []
    for _ in range(steps):
        value = loss()
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return values


def test_direct3d_is_fine_tuned(direct3d: Triplane3DPipeline) -> None:
    direct3d.transformer.train()
    values = losses(list(direct3d.transformer.parameters()), lambda: denoising_loss(direct3d))
    assert values[-1] < 0.9 * values[0]
    assert all(parameter.grad is not None for parameter in direct3d.transformer.parameters())


def test_a_direct3d_adapter_is_trained(direct3d: Triplane3DPipeline, folders: dict[str, Path], tmp_path: Path) -> None:
    plain = result_of(direct3d)
    model = direct3d.transformer.requires_grad_(False)
    model.add_adapter(ADAPTER)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    values = losses(trained, lambda: denoising_loss(direct3d), rate=1e-2)
    assert values[-1] < 0.98 * values[0]
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)
    changed = result_of(direct3d)
    assert not same(changed, plain, 1e-3)
    Triplane3DPipeline.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(model))
    again = load(folders["direct3d"])
    again.load_lora_weights(tmp_path)
    assert same(result_of(again), changed)
    again.unload_lora_weights()
    assert same(result_of(again), plain)


def test_the_autoencoder_of_direct3d_is_fine_tuned(direct3d: Triplane3DPipeline) -> None:
    """Points on a sphere are encoded, the latents are decoded, and the occupancy of points is predicted."""
    vae = direct3d.vae.train()
    normals = F.normalize(torch.randn(2, 80, 3), dim=-1)
    points = torch.rand(2, 200, 3) * 2 - 1
    inside = (points.norm(dim=-1) < 0.7).float()

    def loss() -> Tensor:
        out = vae(0.7 * normals, normals, query_points=points)
        return F.binary_cross_entropy_with_logits(out.occupancy_logits, inside) + 1e-4 * out.latent_dist.kl().mean()

    values = losses(list(vae.parameters()), loss)
    assert values[-1] < 0.9 * values[0]
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in vae.parameters())


def picture_loss(pipe: TriplaneReconstructionPipeline, recompute: bool = False) -> Tensor:
    """Mean square error of two rendered views of a fixed photo's object and a plain colour."""
    photos = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    rendering = pipe.render(2, pipe.reconstruct(photos), size=8, num_samples=16, recompute=recompute)
    return F.mse_loss(rendering.color, torch.tensor([0.9, 0.2, 0.1]).expand_as(rendering.color))


@pytest.mark.parametrize("recompute", [False, True])
def test_triposr_is_trained_from_pictures(triposr: TriplaneReconstructionPipeline, recompute: bool) -> None:
    triposr.reconstructor.train()
    values = losses(list(triposr.reconstructor.parameters()), lambda: picture_loss(triposr, recompute))
    assert values[-1] < 0.9 * values[0]

    trained = {name: bool(p.grad is not None and p.grad.any()) for name, p in triposr.reconstructor.named_parameters()}
    assert all(trained.values()), [name for name, has_gradient in trained.items() if not has_gradient]


def test_a_triposr_adapter_is_trained(
    triposr: TriplaneReconstructionPipeline, folders: dict[str, Path], tmp_path: Path
) -> None:
    plain = result_of(triposr)
    model = triposr.reconstructor.requires_grad_(False)
    model.add_adapter(ADAPTER)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    values = losses(trained, lambda: picture_loss(triposr), rate=1e-2)
    assert values[-1] < 0.98 * values[0]
    changed = result_of(triposr)
    assert not same(changed, plain, 1e-3)
    model.save_lora_adapter(tmp_path)
    again = load(folders["triposr"])
    again.reconstructor.load_lora_adapter(tmp_path, prefix=None, weight_name="pytorch_lora_weights.safetensors")
    assert same(result_of(again), changed)
    again.reconstructor.unload_lora()
    assert same(result_of(again), plain)


def test_the_result_is_a_closed_mesh(pipe: DiffusionPipeline) -> None:
    grid = result_of(pipe, output_type="pt", resolution=12)
    level = float(grid[:, 2:-2, 2:-2, 2:-2].median())
    (mesh,) = result_of(pipe, output_type="mesh", resolution=12, level=level)
    assert mesh.check().watertight
    colored = isinstance(pipe, TriplaneReconstructionPipeline)
    assert (mesh.vertex_colors is not None) == colored
    assert np.abs(mesh.vertices).max() <= (0.87 if colored else 1) + 1e-6


def test_a_pipeline_with_an_attached_adapter_is_not_saved(pipe: DiffusionPipeline, tmp_path: Path) -> None:
    name = "reconstructor" if isinstance(pipe, TriplaneReconstructionPipeline) else "transformer"
    getattr(pipe, name).add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
    with pytest.raises(ValueError, match=f"a LoRA is attached to the {name}"):
        pipe.save_pretrained(tmp_path)


def test_an_adapter_disabled_by_a_callback_is_disabled(direct3d: Triplane3DPipeline) -> None:
    """Cached values that depend on the adapter are removed."""
    without = result_of(direct3d, output_type="latent")
    transformer = direct3d.transformer
    transformer.add_adapter(LoraConfig(r=4, target_modules=["to_k", "to_v"], init_lora_weights=False))

    def switch_off(pipe, step, timestep, tensors):
        transformer.disable_adapters()

    transformer.enable_adapters()
    late = result_of(direct3d, output_type="latent", callback_on_step_end=switch_off)
    transformer.enable_adapters()
    throughout = result_of(direct3d, output_type="latent")
    listed = ("latents", "image_embeds")
    transformer.enable_adapters()
    listed_tokens = result_of(
        direct3d, output_type="latent", callback_on_step_end=switch_off, callback_on_step_end_tensor_inputs=listed
    )
    assert torch.equal(late, listed_tokens)
    assert not torch.allclose(late, throughout, atol=1e-3) and not torch.allclose(late, without, atol=1e-3)
