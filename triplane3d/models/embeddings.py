"""Fourier features of coordinates, time embeddings and the position tables of the planes."""

import torch
from jaxtyping import Float
from torch import Tensor


def fourier_features(
    coordinates: Float[Tensor, "*batch axes"], num_freqs: int, *, base: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sines and cosines of base·2⁰ … base·2ⁿ⁻¹ times each coordinate, coordinate-major: two (*batch, axes·n)."""
    frequencies = base * 2.0 ** torch.arange(num_freqs, device=coordinates.device, dtype=torch.float32)
    phases = (coordinates.float()[..., None] * frequencies).flatten(-2)
    return phases.sin(), phases.cos()
