"""A converted Direct3D gives the outputs of the original: for fixtures, random checkpoints, and from photo to field."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from convert.tiny_checkpoints import (
    ENCODER_SIZE,
    EULER,
    FIXTURE,
    SMALL_DIT,
    SMALL_VAE,
    agrees,
    arrays,
    block,
    direct3d_fixture,
    encoder_sections,
    lies_on_the_surface,
    random_direct3d,
    save_direct3d,
    save_encoders,
)
from diffusers import EulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange
from reference import Direct3DTransformer, Direct3DVAE, direct3d_preprocess
from torch import Tensor
from transformers import CLIPVisionModel, Dinov2Model

from triplane3d import AutoencoderKLTriplane, Triplane3DPipeline, TriplaneTransformer
from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.images.image_processor import IMAGE_STATISTICS

Converted = tuple[AutoencoderKLTriplane, TriplaneTransformer]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def load(folder: Path, **options: Any) -> Converted:
    return (
        AutoencoderKLTriplane.from_pretrained(folder, subfolder="vae", **options),
        TriplaneTransformer.from_pretrained(folder, subfolder="transformer", **options),
    )


@pytest.fixture(scope="module", params=["safetensors", "pickle"])
def fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    folder = tmp_path_factory.mktemp("fixture")
    save_direct3d(folder / "in", FIXTURE, direct3d_fixture(), pickled=request.param == "pickle")
    return load(convert_direct3d(folder / "in", folder / "out", skip_encoders=True))


# ---- outputs of the published code


def test_the_autoencoder_gives_the_outputs_of_the_fixture(fixture: Converted) -> None:
    vae, data = fixture[0], arrays("direct3d_vae")
    posterior = vae.encode(data["enc_pc"], data["enc_normals"]).latent_dist
    assert agrees(posterior.mean, data["enc_mean"])
    assert agrees(posterior.logvar, data["enc_logvar"])
    torch.manual_seed(5)
    assert agrees(posterior.sample(), data["enc_sample_seed5"])

    planes = vae.decode(data["dec_latents"]).planes
    assert agrees(planes, data["dec_triplane"])
    for field_planes, tolerance in ((data["dec_triplane"], 1e-5), (planes, 1e-5)):
        assert agrees(vae.field(field_planes).occupancy(data["occ_points"]), data["occ_logits"], tolerance)


def test_the_transformer_gives_the_outputs_of_the_fixture(fixture: Converted) -> None:
    model, data = fixture[1], arrays("direct3d_dit")
    time, semantic, pixel = data["dit_t"], data["dit_semantic"], data["dit_pixel"]
    assert agrees(model(data["dit_x"], time, semantic, pixel).sample, data["dit_out"])
    assert agrees(model(data["dit2_x"], time[:1], semantic[:1], pixel[:1]).sample, data["dit2_out"])

    latents = torch.cat([data["dit_x"][:1]] * 2)
    uncond, cond = model(latents, data["cfg_t"], semantic[:1], pixel[:1], num_without_photo=1).sample.split(1)
    assert agrees(uncond, data["cfg_uncond"])
    assert agrees(cond, data["cfg_cond"])
    assert agrees(uncond + data["cfg_guidance"] * (cond - uncond), data["cfg_out"])


def test_the_surface_is_that_of_the_fixture_without_its_scaling_error(tmp_path: Path) -> None:
    data = arrays("direct3d_vae")
    save_direct3d(tmp_path / "in", FIXTURE, direct3d_fixture())
    convert_direct3d(tmp_path / "in", tmp_path / "out", skip_encoders=True)
    pipe = Triplane3DPipeline.from_pretrained(tmp_path / "out")
    field, level = pipe.vae.field(data["dec_triplane"][:1]), float(data["mesh_threshold"])
    (mesh,) = pipe._meshes_or_grids(field, 24, level, "mesh")
    indices = (torch.from_numpy(mesh.vertices).float() + 1) * 12
    within = ((indices > 1e-3) & (indices < 24 - 1e-3)).all(dim=1)
    assert lies_on_the_surface(indices[within], data["mesh_grid_logits"], data["mesh_threshold"])
    theirs = (data["mesh_vertices"] + 1) / 2 * 25 / 24 * 2 - 1  # with the correct number of cells
    inner = theirs[(theirs.abs() < 1 - 1e-4).all(dim=1)]
    distances = torch.cdist(inner.double(), torch.from_numpy(mesh.vertices).double()).amin(dim=1)
    assert distances.quantile(0.98) < 1e-3


# ---- other configs of the family

VARIATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deeper, patches of one pixel": (
        {"triplane_res": 6, "latent_dim": 3, "num_encoder_layers": 3, "num_geodecoder_layers": 2, "num_freqs": 5},
        {"in_channels": 3, "num_layers": 4, "sample_size": [6, 18], "patch_size": 1, "activation_fn": "gelu"},
    ),
    "three scales, no attention in the middle, biases, gated": (
        {"block_out_channels": [32, 64, 32], "mid_block_add_attention": False, "num_attention_heads": 3,
         "attention_head_dim": 8, "latents_scale": 0.18, "latents_shift": -0.7},
        {"attention_bias": True, "activation_fn": "geglu", "num_attention_heads": 4, "attention_head_dim": 12,
         "semantic_channels": 40, "pixel_channels": 7},
    ),
    "four scales, one layer, other epsilon": (
        {"block_out_channels": [32, 32, 64, 64], "triplane_dim": 3, "num_encoder_layers": 0, "latents_scale": 3,
         "latents_shift": 1, "triplane_res": 8},
        {"num_layers": 1, "norm_eps": 1e-2, "activation_fn": "swiglu", "sample_size": [8, 24], "patch_size": 4},
    ),
    "one scale, odd widths": (
        {"block_out_channels": [32], "triplane_res": 5, "num_geodecoder_layers": 7, "attention_head_dim": 4},
        {"num_attention_heads": 1, "attention_head_dim": 20, "activation_fn": "geglu-approximate",
         "sample_size": [5, 15], "patch_size": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIATIONS)
def test_random_checkpoints_of_other_configs_give_equal_outputs(name: str, tmp_path: Path) -> None:
    seed = list(VARIATIONS).index(name)
    params = {"vae": SMALL_VAE | VARIATIONS[name][0], "dit": SMALL_DIT | VARIATIONS[name][1]}
    theirs = random_direct3d(params["vae"], params["dit"], seed)
    weights = {part: model.state_dict() for part, model in zip(("vae", "dit"), theirs, strict=True)}
    save_direct3d(tmp_path / "in", params, weights, pickled=seed % 2 == 0)
    convert_direct3d(tmp_path / "in", tmp_path / "out", skip_encoders=True)
    same_autoencoder(tmp_path / "out", theirs[0])
    same_transformer(load(tmp_path / "out")[1], theirs[1], params["dit"])


def same_autoencoder(folder: Path, theirs: Direct3DVAE) -> None:
    pipe = Triplane3DPipeline.from_pretrained(folder)
    points, normals = torch.rand(2, 60, 3) * 2 - 1, F.normalize(torch.randn(2, 60, 3), dim=-1)
    posterior = pipe.vae.encode(points, normals).latent_dist
    mean, logvar = theirs.encode(points, normals)
    assert agrees(posterior.mean, mean) and agrees(posterior.logvar, logvar)

    denoised = torch.randn(mean.shape)
    field = pipe.decode_latents(denoised)
    planes = theirs.decode(theirs.from_denoised(denoised))
    assert agrees(field.planes, planes)
    points = torch.rand(2, 200, 3) * 2.4 - 1.2
    assert agrees(field.occupancy(points), theirs.occupancy(planes, points))
    assert agrees(pipe._meshes_or_grids(field, 9, 0.0, "pt"), theirs.dense_grid(planes, 9), 1e-4)


def same_transformer(ours: TriplaneTransformer, theirs: Direct3DTransformer, params: dict[str, Any]) -> None:
    size, patch = params["sample_size"][0], params["patch_size"]
    semantic = torch.randn(2, 5, params["semantic_channels"])
    pixel = torch.randn(2, 9, params["pixel_channels"])
    time = torch.tensor([3.0, 876.5])
    for height, width in ((size, 3 * size), (2 * patch, 7 * patch)):
        latents = torch.randn(2, params["in_channels"], height, width)
        assert agrees(ours(latents, time, semantic, pixel).sample, theirs(latents, time, semantic, pixel))
        both = ours(torch.cat([latents, latents]), time[0], semantic, pixel, num_without_photo=2).sample
        uncond, cond = both.chunk(2)
        assert agrees(uncond + 4 * (cond - uncond), theirs.guided_step(latents, time[0], semantic, pixel, 4.0))


def test_each_block_gives_the_output_of_the_reference(tmp_path: Path) -> None:
    vae, dit = random_direct3d(SMALL_VAE, SMALL_DIT, 11)
    weights = {"vae": vae.state_dict(), "dit": dit.state_dict()}
    save_direct3d(tmp_path / "in", {"vae": SMALL_VAE, "dit": SMALL_DIT}, weights)
    our_vae, our_dit = load(convert_direct3d(tmp_path / "in", tmp_path / "out", skip_encoders=True))
    dim = 32
    tokens, semantic, pixel, modulation = (torch.randn(2, count, dim) for count in (12, 5, 7, 6))
    for ours, theirs in zip(our_dit.transformer_blocks, dit.transformer_blocks, strict=True):
        output = ours(tokens, semantic, modulation, pixel_hidden_states=pixel)
        assert agrees(output, theirs(tokens, semantic, pixel, modulation))
    context = torch.randn(2, 20, dim)
    assert agrees(our_vae.encoder.cross_block(tokens, context), vae.encoder.cross_attn(tokens, context))
    for ours, theirs in zip(our_vae.encoder.blocks, vae.encoder.self_attn, strict=True):
        assert agrees(ours(tokens), theirs(tokens))


def test_another_number_of_output_channels_is_converted(tmp_path: Path) -> None:
    vae, dit = random_direct3d(SMALL_VAE, SMALL_DIT, 12)
    dit.proj_out = torch.nn.Linear(32, 4 * 8)
    params = {"vae": SMALL_VAE, "dit": {**SMALL_DIT, "out_channels": 8}}
    save_direct3d(tmp_path / "in", params, {"vae": vae.state_dict(), "dit": dit.state_dict()})
    ours = load(convert_direct3d(tmp_path / "in", tmp_path / "out", skip_encoders=True))[1]
    inputs = torch.randn(1, 4, 4, 12), torch.tensor([7.0]), torch.randn(1, 3, 16), torch.randn(1, 3, 24)
    assert ours.config.out_channels == 8
    assert agrees(ours(*inputs).sample, dit(*inputs))


# ---- the whole pipeline


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(3)
    return save_encoders(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def references() -> tuple[Direct3DVAE, Direct3DTransformer]:
    return random_direct3d({**SMALL_VAE, "latents_scale": 0.6, "latents_shift": 0.2}, SMALL_DIT, 5)


@pytest.fixture(scope="module")
def checkpoint(references: tuple[Direct3DVAE, Direct3DTransformer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    params = {"vae": {**SMALL_VAE, "latents_scale": 0.6, "latents_shift": 0.2}, "dit": SMALL_DIT}
    weights = {part: model.state_dict() for part, model in zip(("vae", "dit"), references, strict=True)}
    return save_direct3d(tmp_path_factory.mktemp("whole") / "in", params, weights, pickled=True, **encoder_sections())


@pytest.fixture(scope="module")
def converted(checkpoint: Path, encoders: tuple[Path, Path]) -> Path:
    clip, dino = encoders
    return convert_direct3d(
        checkpoint, checkpoint.with_name("out"), image_encoder=clip, pixel_encoder=dino, variant="fp16",
        max_shard_size="50KB",
    )  # fmt: skip


def reference_latents(
    references: tuple[Direct3DVAE, Direct3DTransformer],
    encoders: tuple[Path, Path],
    seed: int,
    steps: int,
    guidance: float,
) -> Tensor:
    """The latents of the published pipeline for `block()`, with noise scaled by the scheduler's `init_noise_sigma`."""
    image = direct3d_preprocess(np.asarray(block()))[None]
    image = F.interpolate(image, (ENCODER_SIZE,) * 2, mode="bilinear", align_corners=False, antialias=True)
    pixels = {}
    for name in ("clip", "imagenet"):
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGE_STATISTICS[name])
        pixels[name] = (image - mean) / std
    clip, dino = CLIPVisionModel.from_pretrained(encoders[0]), Dinov2Model.from_pretrained(encoders[1])
    semantic = clip(pixels["clip"]).last_hidden_state
    # transformers 4.40 resampled positions by a factor with an offset of 0.1, here from 5 × 5 to 2 × 2 patches.
    table = dino.embeddings.position_embeddings
    patches = rearrange(table[:, 1:], "1 (row column) dim -> 1 dim row column", row=5)
    patches = F.interpolate(patches, scale_factor=((2 + 0.1) / 5,) * 2, mode="bicubic", align_corners=False)
    resampled = torch.cat([table[:, :1], rearrange(patches, "1 dim row column -> 1 (row column) dim")], dim=1)
    assert resampled.shape[1] == 5
    dino.embeddings.interpolate_pos_encoding = lambda *_: resampled
    pixel = dino(pixels["imagenet"]).last_hidden_state

    scheduler = EulerDiscreteScheduler(**EULER["params"])
    scheduler.set_timesteps(steps)
    latents = randn_tensor((1, 4, 4, 12), generator=torch.Generator().manual_seed(seed)) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, time)
        prediction = references[1].guided_step(scaled, time, semantic, pixel, guidance)
        latents = scheduler.step(prediction, time, latents).prev_sample
    return latents


def test_latents_and_field_of_a_photo_equal_those_of_the_reference(
    converted: Path, references: tuple[Direct3DVAE, Direct3DTransformer], encoders: tuple[Path, Path]
) -> None:
    pipe = Triplane3DPipeline.from_pretrained(converted)
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe.scheduler) is EulerDiscreteScheduler
    assert pipe.config.level == -1 and pipe.config.presets["balanced"]["num_inference_steps"] == 50
    for guidance in (4.0, 1.0, 0.5):
        latents = reference_latents(references, encoders, 9, 3, guidance)
        options = {"num_inference_steps": 3, "guidance_scale": guidance}
        ours = pipe(block(), generator=torch.Generator().manual_seed(9), output_type="latent", **options).meshes
        assert agrees(ours, latents, 1e-4)
    latents = reference_latents(references, encoders, 9, 3, 4.0)
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, "resolution": 8, "output_type": "pt"}
    ours = pipe(block(), generator=torch.Generator().manual_seed(9), **options).meshes
    planes = references[0].decode(references[0].from_denoised(latents))
    assert agrees(ours, references[0].dense_grid(planes, 8), 1e-4)


def test_the_half_precision_variant_is_saved_in_shards(converted: Path) -> None:
    assert len(list((converted / "transformer").glob("diffusion_pytorch_model.fp16-*-of-*.safetensors"))) > 1
    full = load(converted)
    half = load(converted, variant="fp16", torch_dtype=torch.float16)
    for ours, other in zip(full, half, strict=True):
        state = other.state_dict()
        assert all(torch.equal(tensor.half(), state[name]) for name, tensor in ours.state_dict().items())
    pipe = Triplane3DPipeline.from_pretrained(converted, variant="fp16", torch_dtype=torch.float16)
    assert {component.dtype for component in pipe.components.values() if isinstance(component, torch.nn.Module)} == {
        torch.float16
    }


def test_encoders_can_be_omitted_and_passed_later(
    checkpoint: Path, encoders: tuple[Path, Path], tmp_path: Path, converted: Path
) -> None:
    convert_direct3d(checkpoint, tmp_path / "out", skip_encoders=True)
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["image_encoder"] == index["pixel_encoder"] == [None, None]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "model_index.json", "scheduler", "transformer", "vae"
    ]  # fmt: skip
    pipe = Triplane3DPipeline.from_pretrained(tmp_path / "out")
    assert pipe.image_encoder is None
    with pytest.raises(ValueError, match="without its image_encoder"):
        pipe(block())
    whole = Triplane3DPipeline.from_pretrained(converted)
    loaded = {"image_encoder": whole.image_encoder, "pixel_encoder": whole.pixel_encoder}
    pipe = Triplane3DPipeline.from_pretrained(tmp_path / "out", **loaded)
    options = {"num_inference_steps": 2, "output_type": "latent"}
    outputs = []
    for each in (pipe, whole):
        each.set_progress_bar_config(disable=True)
        outputs.append(each(block(), generator=torch.Generator().manual_seed(0), **options).meshes)
    assert agrees(*outputs)
    # The published DINOv2 is for larger images, but the settings' image size is used.
    published = Dinov2Model.from_pretrained(encoders[1])
    pipe = Triplane3DPipeline.from_pretrained(tmp_path / "out", **{**loaded, "pixel_encoder": published})
    assert pipe.pixel_processor.image_size == ENCODER_SIZE != published.config.image_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_encoder": "dino"}, "not contain a complete semantic_encoder"),
        ({"pixel_encoder": "clip"}, "pixel_encoder"),
        ({"pixel_encoder": "nowhere"}, r"pixel_encoder .* could not be loaded \(there is no such folder\)"),
        ({}, "semantic_encoder 'none/such' could not be loaded"),
        ({"image_encoder": "wide"}, "has tokens of width 20, but the dit needs 16"),
    ],
)
def test_wrong_encoders_raise_errors_and_leave_no_files(
    checkpoint: Path, encoders: tuple[Path, Path], tmp_path: Path, options: dict[str, str], message: str
) -> None:
    given = {"image_encoder": str(encoders[0]), "pixel_encoder": str(encoders[1])} if options else {}
    for name, folder in options.items():
        if folder == "wide":
            save_encoders(tmp_path, semantic=20)
            given[name] = str(tmp_path / "clip")
        else:
            given[name] = str(encoders[0].with_name(folder))
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ValueError, OSError), match=message) as caught:
        convert_direct3d(checkpoint, tmp_path / "out", **given)
    assert len(str(caught.value)) < 500
    assert sorted(tmp_path.iterdir()) == before


def test_settings_can_be_in_another_file_and_without_a_scheduler(checkpoint: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((checkpoint / "config.yaml").read_text())
    del settings["scheduler"]
    flat = deepcopy(settings)
    flat["vae"], flat["dit"] = settings["vae"]["params"], settings["dit"]["params"]
    (tmp_path / "settings.json").write_text(json.dumps(flat))
    convert_direct3d(
        checkpoint / "model.ckpt", tmp_path / "out", settings=tmp_path / "settings.json", skip_encoders=True
    )
    pipe = Triplane3DPipeline.from_pretrained(tmp_path / "out")
    assert pipe.scheduler is None
    pipe = Triplane3DPipeline.from_pretrained(tmp_path / "out", scheduler=EulerDiscreteScheduler())
    assert type(pipe.scheduler) is EulerDiscreteScheduler
