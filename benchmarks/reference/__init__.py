"""Both public triplane checkpoints' own computations, restated plainly: models to measure against and to test with.

Written from formulas and names alone, and equal to outputs of the published codes (`tests/convert/test_reference.py`).
"""

import torch
from torch import Tensor

from reference.direct3d import Direct3DTransformer, Direct3DVAE, direct3d_preprocess
from reference.triposr import TripoSR, foreground, resize_foreground

__all__ = [
    "Direct3DTransformer",
    "Direct3DVAE",
    "TripoSR",
    "direct3d_preprocess",
    "foreground",
    "random_checkpoint",
    "resize_foreground",
]


def random_checkpoint(
    module: Direct3DVAE | Direct3DTransformer | TripoSR, seed: int, *, amount: float = 0.05
) -> dict[str, Tensor]:
    """The module's state dict after every parameter moved by noise: no gain is one, no bias zero, no field constant."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(amount * noise.to(parameter))
        for name, gain in module.gains.items():
            module.get_parameter(name).mul_(gain)
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
