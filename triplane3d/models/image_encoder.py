"""What transformers' vision models do each in their own way: the side of their picture, their tokens, what these need.

Any of them can be a pipeline's `image_encoder`: DINOv2 with or without registers, CLIP, SigLIP, plain ViT, ResNet.
docs/encoders.md says which settings go with which.
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
    """The last hidden state: class and register tokens if there are any, then the picture's patches row by row.

    Pictures may have another size than the encoder was made for; its position embeddings are then interpolated.
    """
    # DINOv2 interpolates unasked and ResNet has no positions; the others do it only if told to.
    can_interpolate = "interpolate_pos_encoding" in inspect.signature(encoder.forward).parameters
    options = {"interpolate_pos_encoding": True} if can_interpolate else {}
    with SafeConvolutions() if pixel_values.device.type == "cpu" else nullcontext():
        hidden_state = encoder(pixel_values, **options).last_hidden_state
    if hidden_state.ndim == 4:  # a convolutional network's feature map
        return rearrange(hidden_state, "batch feature row column -> batch (row column) feature")
    return hidden_state


def own_image_size(config: PretrainedConfig) -> int | None:
    """Side in pixels of the square that the encoder was made for; None where, as for ResNet, there is no such size."""
    size = getattr(config, "image_size", None)
    if size is None or isinstance(size, int):
        return size
    height, width = size
    if height != width:
        raise ValueError(f"photos are framed as squares, but {config.model_type}'s image_size is {height} × {width}")
    return height


def token_width(config: PretrainedConfig) -> int:
    """Features of a token; of a network of stages, those of the last one."""
    return config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]


def check_width(encoder: PreTrainedModel, transformer: TriplaneTransformer) -> None:
    """The encoder's tokens are as wide as what the transformer reads."""
    width, expected = token_width(encoder.config), transformer.config.cross_attention_dim
    if width != expected:
        raise ValueError(
            f"the transformer reads image tokens of width {expected} (cross_attention_dim), but those of "
            f"{type(encoder).__name__} have {width}; train a transformer with cross_attention_dim={width}, "
            f"or take an image encoder of width {expected}"
        )


def check_tokens(encoder: PreTrainedModel, transformer: TriplaneTransformer, image_size: int) -> None:
    """The transformer's config fits what the encoder makes of pictures of that size, found without computing it."""
    check_width(encoder, transformer)
    if transformer.front_plane is not None:
        batch = torch.empty(1, encoder.config.num_channels, image_size, image_size, device="meta")
        transformer.front_plane.grid_side(image_tokens(_weightless(encoder).eval(), batch).shape[1])


def freeze_unused(encoder: PreTrainedModel, image_size: int) -> list[str]:
    """Takes what the tokens do not depend on (mask tokens, poolers) out of training; returns those parameters' names.

    They would never get a gradient, and processes that train together wait until every parameter has one.
    """
    outline = _weightless(encoder).train()
    batch = torch.empty(2, encoder.config.num_channels, image_size, image_size, device="meta")
    image_tokens(outline, batch).sum().backward()
    used = {name for name, parameter in outline.named_parameters() if parameter.grad is not None}
    unused = {name: parameter for name, parameter in encoder.named_parameters() if name not in used}
    for parameter in unused.values():
        parameter.requires_grad_(False)
    return list(unused)


def _weightless(encoder: PreTrainedModel) -> PreTrainedModel:
    """The same architecture on the meta device: shapes and the paths of gradients, at no cost in memory or numbers."""
    with torch.device("meta"):
        outline = type(encoder)(deepcopy(encoder.config))
    outline.set_attn_implementation("eager")  # fused kernels ask for real devices and types
    return outline
