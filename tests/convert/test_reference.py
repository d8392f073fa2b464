"""The reference code has the tensors of the published code, and its outputs for the same weights and inputs."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from convert.tiny_checkpoints import FIXTURES, agrees, arrays, lies_on_the_surface
from einops import rearrange
from reference import (
    Direct3DTransformer,
    Direct3DVAE,
    TripoSR,
    direct3d_preprocess,
    foreground,
    random_checkpoint,
    resize_foreground,
)
from reference.direct3d import PLANE_AXES, position_table, sample_planes
from reference.triposr import PUBLISHED
from safetensors.torch import load_file
from torch import nn


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    lines = [line.split("\t") for line in (FIXTURES / name).read_text().splitlines() if "\t" in line]
    return {key: tuple(json.loads(shape)) for key, shape, _ in lines}


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def vae() -> Direct3DVAE:
    model = Direct3DVAE(**json.loads((FIXTURES / "direct3d_config.json").read_text())["vae"])
    model.load_state_dict(load_file(FIXTURES / "direct3d_vae.safetensors"))
    return model


@pytest.fixture(scope="module")
def transformer() -> Direct3DTransformer:
    model = Direct3DTransformer(**json.loads((FIXTURES / "direct3d_config.json").read_text())["dit"])
    model.load_state_dict(load_file(FIXTURES / "direct3d_dit.safetensors"))
    return model


@pytest.fixture(scope="module")
def triposr() -> TripoSR:
    settings = json.loads((FIXTURES / "triposr_config.json").read_text())
    model = TripoSR({**settings["config"], "vit": settings["vit"]})
    model.load_state_dict(load_file(FIXTURES / "triposr.safetensors"))
    return model


def test_state_dicts_have_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        vae, transformer, triposr = shapes(Direct3DVAE()), shapes(Direct3DTransformer()), shapes(TripoSR(PUBLISHED))
    assert not vae.keys() & transformer.keys()
    assert vae | transformer == published_shapes("direct3d_keys.txt")
    assert triposr == published_shapes("triposr_keys.txt")
    assert (len(vae), len(transformer), len(triposr)) == (276, 440, 549)


# ---- Direct3D


def test_direct3d_encodes_points(vae: Direct3DVAE) -> None:
    data = arrays("direct3d_vae")
    mean, logvar = vae.encode(data["enc_pc"], data["enc_normals"])
    assert agrees(mean, data["enc_mean"])
    assert agrees(logvar, data["enc_logvar"])
    torch.manual_seed(5)
    assert agrees(mean + (0.5 * logvar).exp() * torch.randn(mean.shape), data["enc_sample_seed5"])


def test_direct3d_decodes_to_planes_and_a_field(vae: Direct3DVAE) -> None:
    data = arrays("direct3d_vae")
    planes = vae.decode(data["dec_latents"])
    assert agrees(planes, data["dec_triplane"], 1e-4)
    features = rearrange(data["occ_features"], "batch plane points channel -> batch points (plane channel)")
    assert agrees(sample_planes(data["dec_triplane"], data["occ_points"], PLANE_AXES), features)
    assert agrees(vae.occupancy(data["dec_triplane"], data["occ_points"]), data["occ_logits"])
    assert agrees(vae.occupancy(planes, data["occ_points"]), data["occ_logits"], 1e-4)
    denoised = (data["dec_latents"] - 0.1) * 0.7
    assert agrees(vae.from_denoised(denoised), data["dec_latents"])


@pytest.mark.parametrize("chunk_size", [50_000, 1000])
def test_direct3d_computes_a_grid(vae: Direct3DVAE, chunk_size: int) -> None:
    data = arrays("direct3d_vae")
    grid = vae.dense_grid(data["dec_triplane"], 24, chunk_size)
    assert agrees(grid[0], data["mesh_grid_logits"])
    # Their vertices are the indices of nodes divided by 25, although the box has 24 cells.
    assert lies_on_the_surface((data["mesh_vertices"] + 1) / 2 * 25, grid[0], data["mesh_threshold"])


def test_direct3d_has_the_published_position_table() -> None:
    assert torch.equal(position_table(4, 12, 32)[None], arrays("direct3d_dit")["pos_embed"])


def test_direct3d_denoises(transformer: Direct3DTransformer) -> None:
    data = arrays("direct3d_dit")
    time, semantic, pixel = data["dit_t"], data["dit_semantic"], data["dit_pixel"]
    assert agrees(transformer(data["dit_x"], time, semantic, pixel), data["dit_out"])
    assert agrees(transformer(data["dit2_x"], time[:1], semantic[:1], pixel[:1]), data["dit2_out"])


def test_direct3d_combines_predictions_by_guidance(transformer: Direct3DTransformer) -> None:
    data = arrays("direct3d_dit")
    arguments = data["dit_x"][:1], data["cfg_t"], data["dit_semantic"][:1], data["dit_pixel"][:1]
    for guidance, expected in ((0.0, "cfg_uncond"), (1.0, "cfg_cond"), (data["cfg_guidance"].item(), "cfg_out")):
        assert agrees(transformer.guided_step(*arguments, guidance), data[expected])


@pytest.mark.parametrize("name", ["rgba_wide", "rgba_square", "rgb_tall"])
def test_direct3d_preprocesses_images(name: str) -> None:
    data = arrays("direct3d_preprocess")
    assert torch.equal(direct3d_preprocess(data[f"in_{name}"].numpy()), data[f"out_{name}"])


# ---- TripoSR


def test_triposr_encodes_images(triposr: TripoSR) -> None:
    data = arrays("triposr")
    assert agrees(triposr.resize(data["image2"][None]), data["image2_resized"])
    tokens = rearrange(triposr.image_tokens(data["image"][None]), "batch token dim -> batch 1 dim token")
    assert agrees(tokens, data["image_tokens"])


def test_triposr_computes_planes(triposr: TripoSR) -> None:
    data = arrays("triposr")
    context = rearrange(data["image_tokens"], "batch 1 dim token -> batch token dim")
    assert torch.equal(triposr.plane_tokens(1), data["triplane_tokens_in"])
    assert agrees(triposr.backbone(data["triplane_tokens_in"], context), data["backbone_out"])
    assert agrees(triposr.scene_codes(data["backbone_out"]), data["scene_codes"])
    assert agrees(triposr(data["image"][None]), data["scene_codes"])
    assert agrees(triposr(data["image2"][None]), data["scene_codes2"])


def test_triposr_computes_the_field_at_points(triposr: TripoSR) -> None:
    data = arrays("triposr")
    raw_density, features, density, color = triposr.query(data["scene_codes"][0], data["points"])
    assert agrees(raw_density, data["density"])
    assert agrees(features, data["features"])
    assert agrees(density.log(), data["density_act"].log())
    assert agrees(color, data["color"])


@pytest.mark.parametrize("chunk_size", [8192, 1000])
def test_triposr_computes_a_grid(triposr: TripoSR, chunk_size: int) -> None:
    data = arrays("triposr")
    grid = triposr.dense_density(data["scene_codes"][0], 24, chunk_size)
    assert agrees(grid.log(), data["grid_density"].log(), 1e-4)
    indices = (data["mesh_vertices"] / triposr.radius + 1) / 2 * 23
    assert lies_on_the_surface(indices, grid, data["mesh_threshold"])


def test_triposr_renders(triposr: TripoSR) -> None:
    data = arrays("triposr")
    assert agrees(triposr.render(data["scene_codes"][0], height=16, width=16), data["render_1view_16"])


def test_triposr_preprocesses_images() -> None:
    data = arrays("triposr")
    rgba = data["pre_in_rgba"].numpy()
    assert np.array_equal(resize_foreground(rgba), data["pre_foreground"].numpy())
    assert np.array_equal(foreground(rgba), data["pre_out_rgb"].numpy())


# ---- random checkpoints


@pytest.mark.parametrize("name", ["vae", "transformer", "triposr"])
def test_all_values_of_random_checkpoints_depend_on_the_seed(name: str, request: pytest.FixtureRequest) -> None:
    fixture = request.getfixturevalue(name)
    start = {key: tensor.clone() for key, tensor in fixture.state_dict().items()}
    checkpoints = []
    for seed in (1, 1, 2):
        fixture.load_state_dict(start)
        checkpoints.append(random_checkpoint(fixture, seed))
    fixture.load_state_dict(start)
    assert all(torch.equal(checkpoints[0][key], checkpoints[1][key]) for key in start)
    for other in (checkpoints[2], start):
        assert all((checkpoints[0][key] != other[key]).double().mean() > 0.99 for key in start)


def test_fields_of_random_checkpoints_vary() -> None:
    vae = Direct3DVAE(
        triplane_res=4,
        latent_dim=4,
        triplane_dim=8,
        num_attention_heads=2,
        attention_head_dim=16,
        num_encoder_layers=1,
        block_out_channels=(32, 32),
    )
    vae.load_state_dict(random_checkpoint(vae, 1))
    logits = vae.dense_grid(vae.decode(torch.randn(1, 4, 4, 12)), 8)
    assert logits.std() > 0.1
