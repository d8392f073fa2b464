"""For every vision model, the tokens are a prefix and then the image's patches row by row, at any size."""

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
def test_patches_follow_the_prefix_row_by_row(name: str, size: int) -> None:
    """A bright patch changes the token at its own row and column the most."""
    encoder, prefix, grid = vision_model(name), PREFIX_TOKENS[name], size // 8
    dark = torch.zeros(1, 3, size, size)
    tokens = image_tokens(encoder, dark)
    assert tokens.shape == (1, prefix + grid**2, token_width(encoder.config))
    reach = 1 if name == "ResNetModel" else 0  # the receptive field of a convolution is larger than a cell
    for row, column in ((0, grid - 1), (grid - 1, 0), (1, 1), (2, grid - 1)):
        bright = dark.clone()
        bright[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 3
        change = (image_tokens(encoder, bright) - tokens)[0, prefix:].norm(dim=-1)
        found = divmod(int(change.argmax()), grid)
        assert max(abs(found[0] - row), abs(found[1] - column)) <= reach


@ALL
def test_a_fourth_channel_changes_the_tokens(name: str) -> None:
    encoder = vision_model(name, num_channels=4)
    pixels = torch.rand(1, 4, 32, 32)
    without_mask = pixels * torch.tensor([1.0, 1, 1, 0])[:, None, None]
    assert not torch.allclose(image_tokens(encoder, pixels), image_tokens(encoder, without_mask), atol=1e-4)


@ALL
@torch.no_grad()
def test_half_precision_stays_close_at_other_sizes(name: str) -> None:
    pixels = torch.rand(1, 3, 48, 48)
    expected = image_tokens(vision_model(name), pixels)
    rounded = image_tokens(vision_model(name).to(torch.bfloat16), pixels.to(torch.bfloat16))
    assert rounded.dtype == torch.bfloat16 and (rounded - expected).norm() < 0.05 * expected.norm()


@ALL
def test_exactly_the_parameters_that_are_not_frozen_get_a_gradient(name: str) -> None:
    encoder, before = vision_model(name).train(), torch.get_rng_state()
    frozen = freeze_unused(encoder, 32)
    assert torch.equal(torch.get_rng_state(), before), "freeze_unused uses no random numbers"
    image_tokens(encoder, torch.rand(2, 3, 32, 32)).square().sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None) == (parameter_name not in frozen)
    assert len(frozen) < len(list(encoder.parameters())) / 2


def test_only_the_mask_token_of_dinov2_is_frozen() -> None:
    assert freeze_unused(vision_model("Dinov2Model"), 32) == ["embeddings.mask_token"]


def test_the_image_size_of_a_model_is_read_from_its_config() -> None:
    assert own_image_size(vision_model("ViTModel").config) == 32
    assert own_image_size(vision_model("ViTModel", image_size=[32, 32]).config) == 32
    assert own_image_size(vision_model("ResNetModel").config) is None
    with pytest.raises(ValueError, match="must be square, but vit has 32 × 48"):
        own_image_size(vision_model("ViTModel", image_size=[32, 48]).config)


@ALL
def test_a_transformer_that_does_not_fit_raises_an_error(name: str) -> None:
    encoder, prefix = vision_model(name), PREFIX_TOKENS[name]
    for size in (32, 48):
        check_tokens(encoder, tiny_transformer(num_prefix_tokens=prefix), size)
        with pytest.raises(ValueError, match=f"here probably {prefix}"):
            check_tokens(encoder, tiny_transformer(num_prefix_tokens=prefix + 1), size)
    check_tokens(encoder, tiny_transformer(num_prefix_tokens=prefix + 1, front_plane_condition=False), 32)
    with pytest.raises(ValueError, match=r"width 24 \(cross_attention_dim\), but those of .*Model.* have 32"):
        check_width(encoder, tiny_transformer(cross_attention_dim=24))
