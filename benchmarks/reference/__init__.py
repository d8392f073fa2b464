"""Reference code for the two public triplane models, for benchmarks and tests.

It computes the same as the published code, without any optimisation. It was written from formulas and names of
tensors alone. `tests/convert/test_reference.py` checks that its outputs equal those of the published code.
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
    """The state dict of `module` after noise was added to every parameter.

    So no gain is one, no bias is zero, and no field is constant.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(amount * noise.to(parameter))
        for name, gain in module.gains.items():
            module.get_parameter(name).mul_(gain)
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
