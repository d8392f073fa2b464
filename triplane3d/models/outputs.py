"""The output classes of the models, returned if `return_dict` is true."""

from dataclasses import dataclass

from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils import BaseOutput
from torch import Tensor


@dataclass
class TriplaneDecoderOutput(BaseOutput):
    """Decoded planes. The other fields are None unless `forward` got `query_points`."""

    planes: Tensor  # (batch, 3, channels, height, width), order XY, XZ, YZ
    occupancy_logits: Tensor | None = None  # (batch, points), positive inside
    colors: Tensor | None = None  # (batch, points, 3) in 0..1
    latent_dist: DiagonalGaussianDistribution | None = None


@dataclass
class TriplaneTransformerOutput(BaseOutput):
    """The denoiser's prediction, in the shape of its input: (batch, channels, height, 3·width)."""

    sample: Tensor


@dataclass
class TriplaneReconstructorOutput(BaseOutput):
    """The planes of each photo: (batch, 3, channels, rows, columns)."""

    planes: Tensor
