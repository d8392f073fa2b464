"""One interface to transformers' vision models: image size, tokens, width of tokens, and checks.

Any of them can be a pipeline's `image_encoder`: DINOv2 with or without registers, CLIP, SigLIP, plain ViT, ResNet.
docs/encoders.md lists the settings of each.
"""

import inspect
from contextlib import nullcontext
from copy import deepcopy

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from triplane3d.models.convolutions import SafeConvolutions
from triplane3d.models.transformer_triplane import TriplaneTransformer


def image_tokens(
    encoder: nn.Module, pixel_values: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch tokens features"]:
    """The last hidden state: class and register tokens if the encoder has them, then the image's patches row by row.

    Images may have another size than the encoder's own; its position embeddings are then interpolated.
    """
    # DINOv2 always interpolates and ResNet has no positions; the other models need an option.
    can_interpolate = "interpolate_pos_encoding" in inspect.signature(encoder.forward).parameters
    options = {"interpolate_pos_encoding": True} if can_interpolate else {}
    with SafeConvolutions() if pixel_values.device.type == "cpu" else nullcontext():
        hidden_state = encoder(pixel_values, **options).last_hidden_state
    if hidden_state.ndim == 4:  # a convolutional network's feature map
        return rearrange(hidden_state, "batch feature row column -> batch (row column) feature")
    return hidden_state


def own_image_size(config: PretrainedConfig) -> int | None:
    """The side in pixels of the encoder's own image size; None for an encoder without one, such as ResNet.

    Raises:
        ValueError: if the size is not square.
    """
    size = getattr(config, "image_size", None)
    if size is None or isinstance(size, int):
        return size
    height, width = size
    if height != width:
        raise ValueError(f"image_size must be square, but {config.model_type} has {height} × {width}")
    return height


def token_width(config: PretrainedConfig) -> int:
    """The width of a token; of a network with stages, that of the last stage."""
    return config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]


def check_width(encoder: PreTrainedModel, transformer: TriplaneTransformer) -> None:
    """Raises a ValueError if the encoder's tokens do not have the transformer's `cross_attention_dim`."""
    width, expected = token_width(encoder.config), transformer.config.cross_attention_dim
    if width != expected:
        raise ValueError(
            f"the transformer needs image tokens of width {expected} (cross_attention_dim), but those of "
            f"{type(encoder).__name__} have {width}; train a transformer with cross_attention_dim={width}, "
            f"or use an image encoder of width {expected}"
        )


def check_tokens(encoder: PreTrainedModel, transformer: TriplaneTransformer, image_size: int) -> None:
    """Raises a ValueError if width or number of the encoder's tokens do not fit the transformer.

    The number for images of `image_size` pixels is found on the meta device, without computation.
    """
    check_width(encoder, transformer)
    if transformer.front_plane is not None:
        batch = torch.empty(1, encoder.config.num_channels, image_size, image_size, device="meta")
        transformer.front_plane.grid_side(image_tokens(_on_meta(encoder).eval(), batch).shape[1])


def freeze_unused(encoder: PreTrainedModel, image_size: int) -> list[str]:
    """Freezes the parameters on which the tokens do not depend (mask tokens, poolers), and returns their names.

    They never get a gradient, but distributed training waits for a gradient of each trained parameter.
    """
    shadow = _on_meta(encoder).train()
    batch = torch.empty(2, encoder.config.num_channels, image_size, image_size, device="meta")
    image_tokens(shadow, batch).sum().backward()
    used = {name for name, parameter in shadow.named_parameters() if parameter.grad is not None}
    unused = {name: parameter for name, parameter in encoder.named_parameters() if name not in used}
    for parameter in unused.values():
        parameter.requires_grad_(False)
    return list(unused)


def _on_meta(encoder: PreTrainedModel) -> PreTrainedModel:
    """The architecture on the meta device: shapes and the paths of gradients, without memory or computation."""
    with torch.device("meta"):
        shadow = type(encoder)(deepcopy(encoder.config))
    shadow.set_attn_implementation("eager")  # fused kernels do not support the meta device
    return shadow
