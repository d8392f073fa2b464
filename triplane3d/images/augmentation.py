"""Augmentation of rendered views in training: variations of colour, sharpness, noise, size and place of real photos."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from triplane3d.config import AugmentConfig

# Weights of red, green and blue in the luma (ITU-R BT.601).
GREY = (0.299, 0.587, 0.114)


def premultiply(views: Float[Tensor, "batch 4 height width"]) -> Float[Tensor, "batch 4 height width"]:
    """Straight RGBA as premultiplied RGBA: colours are multiplied by alpha."""
    return torch.cat([views[:, :3] * views[:, 3:], views[:, 3:]], dim=1)


def augment_views(
    views: Float[Tensor, "batch 4 height width"], config: AugmentConfig
) -> Float[Tensor, "batch 4 height width"]:
    """Straight RGBA in 0..1 as premultiplied RGBA, with random changes that differ from photo to photo.

    In this order: saturation, contrast about the object's mean, brightness, noise, blur, and an affine map that scales
    and shifts the object. `config` has the range of each change.
    """
    batch, device = len(views), views.device

    def uniform(reach: float, *shape: int) -> Tensor:
        return reach * (2 * torch.rand(batch, *(shape or (1, 1, 1)), device=device) - 1)

    rgb, alpha = views[:, :3], views[:, 3:]
    grey = (rgb * rgb.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)
    rgb = grey + (rgb - grey) * (1 + uniform(config.color))
    middle = (grey * alpha).sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp(min=1)
    rgb = middle + (rgb - middle) * (1 + uniform(config.contrast))
    rgb = rgb * (1 + uniform(config.brightness))
    amount = config.noise * torch.rand(batch, 1, 1, 1, device=device)
    rgb = (rgb + amount * torch.randn_like(rgb)).clamp(0, 1)
    views = premultiply(torch.cat([rgb, alpha], dim=1))

    blurred = torch.rand(batch, 1, 1, 1, device=device) < config.blur
    views = torch.where(blurred, functional.avg_pool2d(views, 3, stride=1, padding=1, count_include_pad=False), views)

    grow = 1 / (1 + uniform(config.scale, 1))
    shift = uniform(2 * config.shift, 2)
    zero = torch.zeros_like(grow)
    affine = rearrange(torch.cat([grow, zero, shift[:, :1], zero, grow, shift[:, 1:]], dim=1), "b (r c) -> b r c", r=2)
    places = functional.affine_grid(affine, list(views.shape), align_corners=False)
    return functional.grid_sample(views, places, align_corners=False)
