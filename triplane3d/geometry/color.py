"""Linear light and display values.

Albedo, light and `Mesh.vertex_colors` are linear; photos, textures and pictures hold sRGB display values. These two
curves (IEC 61966-2-1) are the only way from one to the other.
"""

from jaxtyping import Float
from torch import Tensor, where


def srgb_from_linear(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Display values in 0..1 of linear light in 0..1."""
    return where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light in 0..1 of display values in 0..1."""
    return where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
