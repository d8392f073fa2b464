"""`TriplaneReconstructor` as a diffusers model: outputs, saving, precision, gradient checkpointing and errors."""

from pathlib import Path

import pytest
import torch

from triplane3d import TriplaneReconstructor

TINY = {
    "image_size": 32,
    "patch_size": 8,
    "encoder_dim": 32,
    "encoder_heads": 2,
    "encoder_layers": 2,
    "encoder_ff_dim": 64,
    "plane_size": 8,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "norm_num_groups": 4,
    "field_channels": 8,
    "field_hidden_dim": 16,
    "field_layers": 3,
}


@pytest.fixture
def model() -> TriplaneReconstructor:
    return TriplaneReconstructor(**TINY).eval()


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32)


def test_the_output_is_a_dataclass_or_a_tuple(model: TriplaneReconstructor, photos: torch.Tensor) -> None:
    output = model(photos)
    assert output.planes.shape == (2, 3, 8, 16, 16)
    assert list(output) == ["planes"] and torch.equal(output[0], output.planes)
    assert torch.equal(model(photos, return_dict=False)[0], output.planes)
    assert torch.equal(model(pixel_values=photos[1:]).planes, model(photos[1:]).planes)
    assert torch.allclose(model(photos[1:]).planes, output.planes[1:], atol=1e-5)


def test_a_saved_model_loads_with_the_same_output(
    model: TriplaneReconstructor, photos: torch.Tensor, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert torch.equal(TriplaneReconstructor.from_pretrained(tmp_path)(photos).planes, model(photos).planes)


def test_gradient_checkpointing_gives_the_same_gradients(model: TriplaneReconstructor, photos: torch.Tensor) -> None:
    points = torch.rand(2, 10, 3) - 0.5
    gradients = []
    for enable in (model.disable_gradient_checkpointing, model.enable_gradient_checkpointing):
        enable()
        model.zero_grad()
        field = model.field(model(photos).planes)
        (field.density(points).sum() + field.color(points).sum()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, checkpointed = gradients
    assert [name for name, gradient in plain.items() if gradient is None] == []
    assert all(torch.allclose(checkpointed[name], gradient, atol=1e-6) for name, gradient in plain.items())


def test_half_precision_stays_close(model: TriplaneReconstructor, photos: torch.Tensor) -> None:
    exact = model(photos).planes
    half = model.to(torch.bfloat16)(photos).planes
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_shapes_raise_errors(model: TriplaneReconstructor) -> None:
    with pytest.raises(ValueError, match=r"expected photos of shape \(batch, 3, height, width\) in 0..1"):
        model(torch.rand(3, 32, 32))
    with pytest.raises(ValueError, match=r"take them from reconstructor\(pixel_values\)\.planes"):
        model.field(torch.rand(1, 3, 4, 16, 16))
