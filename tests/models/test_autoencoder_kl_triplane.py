"""The autoencoder: invariance to the order of points, independent batch entries, saving, precision and errors."""

from pathlib import Path

import pytest
import torch
from models.tiny_models import DIRECT3D_VAE, PIPELINES, surface, tiny_vae

from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane


def test_shapes_of_latents_and_planes() -> None:
    vae = tiny_vae()
    posterior = vae.encode(**surface()).latent_dist
    assert posterior.mean.shape == posterior.logvar.shape == (2, 4, 4, 12)
    assert vae.decode(posterior.mode(), return_dict=False)[0].shape == (2, 3, 8, 16, 16)


@pytest.mark.parametrize("config", [{}, DIRECT3D_VAE], ids=["projection", "perceiver"])
def test_latents_do_not_depend_on_the_order_of_surface_points(config: dict) -> None:
    vae, inputs = tiny_vae(**config), surface()
    order = torch.randperm(inputs["surface_points"].shape[1])
    shuffled = {name: tensor[:, order] for name, tensor in inputs.items()}
    assert torch.allclose(vae.encode(**inputs).latent_dist.mean, vae.encode(**shuffled).latent_dist.mean, atol=1e-5)


@pytest.mark.parametrize("config", [{}, DIRECT3D_VAE], ids=["projection-tokens", "perceiver-conv"])
def test_a_batch_equals_single_calls(config: dict) -> None:
    vae, inputs = tiny_vae(**config), surface(batch=3)
    planes = vae(**inputs).planes
    for index in range(3):
        single = vae(**{name: tensor[index : index + 1] for name, tensor in inputs.items()}).planes
        assert torch.allclose(planes[index : index + 1], single, atol=1e-4)


def test_every_input_changes_the_latents() -> None:
    vae, inputs = tiny_vae(), surface(batch=1)
    mean = vae.encode(**inputs).latent_dist.mean
    for name in inputs:
        changed = {**inputs, name: -inputs[name] if name == "normals" else 0.7 * inputs[name]}
        assert (vae.encode(**changed).latent_dist.mean - mean).abs().max() > 1e-3, name


def test_missing_colors_are_replaced_by_gray() -> None:
    vae, inputs = tiny_vae(), surface()
    gray = {**inputs, "colors": torch.full_like(inputs["colors"], 0.5)}
    colorless = vae.encode(inputs["surface_points"], inputs["normals"]).latent_dist.mean
    assert torch.equal(colorless, vae.encode(**gray).latent_dist.mean)


def test_slicing_and_tiling_do_not_change_the_output() -> None:
    vae, inputs = tiny_vae(), surface()
    points = torch.rand(2, 50, 3) * 2 - 1
    planes = vae(**inputs).planes
    logits, colors = vae.field(planes).occupancy(points), vae.field(planes).color(points)
    vae.enable_slicing()
    assert torch.allclose(vae(**inputs).planes, planes, atol=1e-5)
    vae.enable_tiling()
    vae.tile_points = 7
    assert torch.allclose(vae.field(planes).occupancy(points), logits, atol=1e-6)
    assert torch.allclose(vae.field(planes).color(points), colors, atol=1e-6)


@pytest.mark.parametrize("config", [{}, DIRECT3D_VAE], ids=["projection-tokens", "perceiver-conv"])
def test_gradient_checkpointing_gives_the_same_gradients(config: dict) -> None:
    vae, inputs = tiny_vae(**config).train(), surface()
    queries = torch.rand(2, 20, 3) * 2 - 1
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            vae.enable_gradient_checkpointing()
        vae.zero_grad()
        output = vae(**inputs, query_points=queries)
        (output.occupancy_logits.square().mean() + output.latent_dist.kl().mean()).backward()
        gradients.append({name: p.grad.clone() for name, p in vae.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4, rtol=1e-3), name


def test_every_parameter_gets_a_gradient() -> None:
    vae = tiny_vae(decoder_resnet_layers=1).train()
    output = vae(**surface(), query_points=torch.rand(2, 20, 3) * 2 - 1, sample_posterior=True)
    (output.occupancy_logits.sum() + output.colors.sum() + output.latent_dist.kl().sum()).backward()
    assert [name for name, parameter in vae.named_parameters() if parameter.grad is None] == []


def test_residual_blocks_add_zero_at_first_and_cover_the_borders_of_patches() -> None:
    vae, plain = tiny_vae(decoder_resnet_layers=1), tiny_vae()
    plain.load_state_dict(vae.state_dict(), strict=False)
    latents = torch.randn(2, 4, 4, 12)
    assert torch.equal(vae.decode(latents).planes, plain.decode(latents).planes)

    # With other weights, a pixel beside a seam depends on the pixel across it more than on a distant one.
    block = vae.decoder.resnets[0]
    torch.nn.init.normal_(block.conv2.weight)
    side, planes = vae.decoder.plane_patch, torch.randn(1, 8, 16, 16)
    moved = []
    for column in (side, side + 6):
        changed = planes.clone()
        changed[..., column] += 1
        moved.append((block(changed, None) - block(planes, None)).abs()[..., side - 1].mean())
    assert moved[0] > 3 * moved[1]


def test_a_saved_model_loads_with_the_same_output(tmp_path: Path) -> None:
    vae, inputs = tiny_vae(latents_mean=[0.1] * 4, latents_std=[2.0] * 4), surface()
    vae.save_pretrained(tmp_path)
    loaded = AutoencoderKLTriplane.from_pretrained(tmp_path)
    assert torch.equal(loaded(**inputs).planes, vae(**inputs).planes)
    assert loaded.config.latents_std == [2.0] * 4


def test_latents_are_normalized_and_denormalized() -> None:
    latents = 3 + 2 * torch.randn(2, 4, 4, 12)
    vae = tiny_vae(latents_mean=[3.0, 1.0, 0.0, 2.0], latents_std=[2.0, 2.0, 4.0, 1.0])
    normal = vae.normalize_latents(latents)
    assert torch.allclose(normal[:, 1], (latents[:, 1] - 1) / 2) and torch.allclose(normal[:, 2], latents[:, 2] / 4)
    assert torch.allclose(vae.denormalize_latents(normal), latents, atol=1e-5)

    plain = tiny_vae(latents_mean=None, latents_std=None)
    assert plain.normalize_latents(latents) is plain.denormalize_latents(latents) is latents


def test_half_precision_stays_close() -> None:
    vae, inputs = tiny_vae(), surface()
    points = torch.rand(2, 50, 3) * 2 - 1
    exact = vae.field(vae(**inputs).planes).occupancy(points)
    vae.to(torch.bfloat16)
    half = vae.field(vae(**inputs).planes).occupancy(points)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_wrong_shapes_raise_errors() -> None:
    vae = tiny_vae()
    with pytest.raises(ValueError, match=r"expected latents of shape \(batch, 4, 4, 12\), got \(1, 4, 12, 4\)"):
        vae.decode(torch.zeros(1, 4, 12, 4))
    with pytest.raises(ValueError, match="take them from decode"):
        vae.field(torch.zeros(1, 3, 4, 16, 16))
    with pytest.raises(ValueError, match="set plane_size=32"):
        AutoencoderKLTriplane(**{**DIRECT3D_VAE, "latent_size": 4})
    with pytest.raises(ValueError, match='decoder_resnet_layers=2 is for decoder_type="tokens"'):
        AutoencoderKLTriplane(**{**DIRECT3D_VAE, "decoder_resnet_layers": 2})


def test_parameter_counts_of_mini_and_direct3d() -> None:
    with torch.device("meta"):
        mini = AutoencoderKLTriplane.from_config(AutoencoderKLTriplane.load_config(PIPELINES / "mini", subfolder="vae"))
        direct3d = AutoencoderKLTriplane(
            latent_channels=16,
            latent_size=32,
            plane_channels=32,
            plane_size=256,
            encoder_type="perceiver",
            encoder_dim=768,
            encoder_heads=12,
            encoder_layers=8,
            num_freqs=8,
            decoder_type="conv",
            decoder_dim=768,
            field_layers=5,
            padding_mode="zeros",
        )
    assert mini.num_parameters() <= 7_500_000
    assert direct3d.num_parameters() == 119_275_265
