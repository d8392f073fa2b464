"""Whatever the vision model, its tokens are a prefix and then the picture row by row, at any size."""

import pytest
import torch
from models.tiny_models import tiny_transformer
from models.vision_models import PREFIX_TOKENS, VISION_MODELS, vision_model

from triplane3d.models.image_encoder import (
    check_tokens,
    check_width,
    freeze_unused,
    image_tokens,
    own_image_size,
    token_width,
)

ALL = pytest.mark.parametrize("name", VISION_MODELS)


@ALL
@pytest.mark.parametrize("size", [32, 48])
@torch.no_grad()
def test_the_picture_follows_the_prefix_row_by_row(name: str, size: int) -> None:
    """A light in one patch changes that patch's token the most, and the light's place is the token's."""
    encoder, prefix, grid = vision_model(name), PREFIX_TOKENS[name], size // 8
    dark = torch.zeros(1, 3, size, size)
    tokens = image_tokens(encoder, dark)
    assert tokens.shape == (1, prefix + grid**2, token_width(encoder.config))
    reach = 1 if name == "ResNetModel" else 0  # a convolution looks beyond its own cell
    for row, column in ((0, grid - 1), (grid - 1, 0), (1, 1), (2, grid - 1)):
        lit = dark.clone()
        lit[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 3
        change = (image_tokens(encoder, lit) - tokens)[0, prefix:].norm(dim=-1)
        found = divmod(int(change.argmax()), grid)
        assert max(abs(found[0] - row), abs(found[1] - column)) <= reach


@ALL
def test_a_fourth_channel_is_read(name: str) -> None:
    encoder = vision_model(name, num_channels=4)
    pixels = torch.rand(1, 4, 32, 32)
    without = pixels * torch.tensor([1.0, 1, 1, 0])[:, None, None]
    assert not torch.allclose(image_tokens(encoder, pixels), image_tokens(encoder, without), atol=1e-4)


@ALL
@torch.no_grad()
def test_half_precision_reads_any_size_too(name: str) -> None:
    pixels = torch.rand(1, 3, 48, 48)
    expected = image_tokens(vision_model(name), pixels)
    rounded = image_tokens(vision_model(name).to(torch.bfloat16), pixels.to(torch.bfloat16))
    assert rounded.dtype == torch.bfloat16 and (rounded - expected).norm() < 0.05 * expected.norm()


@ALL
def test_what_is_left_in_training_gets_a_gradient(name: str) -> None:
    encoder, before = vision_model(name).train(), torch.get_rng_state()
    frozen = freeze_unused(encoder, 32)
    assert torch.equal(torch.get_rng_state(), before), "a run's random numbers stay its own"
    image_tokens(encoder, torch.rand(2, 3, 32, 32)).square().sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None) == (parameter_name not in frozen)
    assert len(frozen) < len(list(encoder.parameters())) / 2


def test_only_the_mask_token_of_dinov2_is_idle() -> None:
    assert freeze_unused(vision_model("Dinov2Model"), 32) == ["embeddings.mask_token"]


def test_the_size_it_was_made_for() -> None:
    assert own_image_size(vision_model("ViTModel").config) == 32
    assert own_image_size(vision_model("ViTModel", image_size=[32, 32]).config) == 32
    assert own_image_size(vision_model("ResNetModel").config) is None
    with pytest.raises(ValueError, match="squares, but vit's image_size is 32 × 48"):
        own_image_size(vision_model("ViTModel", image_size=[32, 48]).config)


@ALL
def test_the_transformers_config_must_fit(name: str) -> None:
    encoder, prefix = vision_model(name), PREFIX_TOKENS[name]
    for size in (32, 48):
        check_tokens(encoder, tiny_transformer(num_prefix_tokens=prefix), size)
        with pytest.raises(ValueError, match=f"here probably {prefix}"):
            check_tokens(encoder, tiny_transformer(num_prefix_tokens=prefix + 1), size)
    check_tokens(encoder, tiny_transformer(num_prefix_tokens=prefix + 1, front_plane_condition=False), 32)
    with pytest.raises(ValueError, match=r"width 24 \(cross_attention_dim\), but those of .*Model.* have 32"):
        check_width(encoder, tiny_transformer(cross_attention_dim=24))
