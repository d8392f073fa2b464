"""Linear light and display values.

Albedo, light and `Mesh.vertex_colors` are linear. Photos, textures and pictures contain sRGB display values. The whole
library converts between the two by the functions of this file (IEC 61966-2-1).
"""

from jaxtyping import Float
from torch import Tensor, stack, where


def srgb_from_linear(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light in 0..1 → sRGB display values in 0..1."""
    return where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sRGB display values in 0..1 → linear light in 0..1."""
    return where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def lab_from_srgb(srgb: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """sRGB display values in 0..1 → CIE L*a*b* (D65 white), L* in 0..100.

    Euclidean distances approximate perceived differences. Source:
    IEC 61966-2-1 for the primaries, CIE 15:2004 for the conversion.
    """
    to_xyz = srgb.new_tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    white = srgb.new_tensor([0.9505, 1.0, 1.089])
    ratio = linear_from_srgb(srgb) @ to_xyz.mT / white
    root = where(ratio > (6 / 29) ** 3, ratio.clamp(min=(6 / 29) ** 3) ** (1 / 3), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.unbind(-1)
    return stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)
