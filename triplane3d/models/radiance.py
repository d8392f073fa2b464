"""A triplane as a radiance field (Mildenhall et al. 2020, NeRF): density and colour at any point."""

from collections.abc import Callable, Iterator
from math import expm1, inf, log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from triplane3d.models.triplane import TriplaneField, TriplaneFieldDecoder


class DensityActivation(NamedTuple):
    """An increasing function from the MLP's raw density to the density, and its inverse for densities above 0."""

    activate: Callable[[Tensor], Tensor]
    invert: Callable[[float], float]


DENSITY_ACTIVATIONS = {
    "exp": DensityActivation(torch.exp, log),
    "softplus": DensityActivation(F.softplus, lambda density: log(expm1(density)) if density < 30 else density),
    "relu": DensityActivation(F.relu, lambda density: density),
}


class TriplaneRadianceField:
    """Density and colour at points in world units of the model. A batch of fields, one for each photo.

    ```python
    field = reconstructor.field(planes)
    density = field.density(points)         # (batch, points), at least 0
    color = field.color(points)             # (batch, points, 3), sRGB in 0..1
    first = field[0]; first.density_and_color(points[0])
    ```
    """

    def __init__(
        self,
        planes: Float[Tensor, "batch 3 channels rows columns"],
        decoder: TriplaneFieldDecoder,
        *,
        radius: float = 1.0,
        density_activation: str = "exp",
        density_bias: float = 0.0,
    ):
        self.unit = TriplaneField(planes, decoder, has_color=True)
        """The field in units of `radius`. Its `occupancy` is the raw density, before bias and activation."""
        self.radius = radius
        self.density_activation = density_activation
        self.density_bias = density_bias

    def density(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch points"]:
        """The differential probability of a ray's end per unit of length. Beyond ±radius the features are zero."""
        return self.activate(self._evaluate(self.unit.occupancy, points))

    def color(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch points 3"]:
        """RGB in 0..1, sRGB."""
        return self._evaluate(self.unit.color, points)

    def density_and_color(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Both with one pass through the MLP, for a single field."""
        density, color = self.unit.occupancy_and_color(self.to_unit(points[None].to(self.device)))
        assert color is not None, "a radiance field has a colour head"
        return self.activate(density[0]), color[0].float()

    def to_unit(self, lengths: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """World units to units of the radius.

        The lengths are converted to 0..1 first, as in TripoSR's training: a shorter formula rounds differently.
        """
        return (lengths + self.radius) / (2 * self.radius) * 2 - 1

    def activate(self, raw_density: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Density from the MLP's raw density, in float32, because half precision overflows at high densities."""
        return DENSITY_ACTIVATIONS[self.density_activation].activate(raw_density.float() + self.density_bias)

    def raw_density_at(self, density: float) -> float:
        """The MLP's raw density where the density is `density`: the inverse of `activate`.

        Raises:
            ValueError: if `density` is not a finite number above 0.
        """
        if not 0 < density < inf:
            raise ValueError(f"density must be a finite number above 0, got {density!r}")
        return DENSITY_ACTIVATIONS[self.density_activation].invert(density) - self.density_bias

    def _evaluate(self, function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        """`function` at world points. A single field also takes points without a batch axis."""
        if points.ndim == 2 and len(self) == 1:
            return function(self.to_unit(points[None]))[0]
        return function(self.to_unit(points))

    def __getitem__(self, index: int) -> "TriplaneRadianceField":
        return TriplaneRadianceField(
            self.unit[index].planes,
            self.unit.decoder,
            radius=self.radius,
            density_activation=self.density_activation,
            density_bias=self.density_bias,
        )

    def __iter__(self) -> Iterator["TriplaneRadianceField"]:
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def planes(self) -> Float[Tensor, "batch 3 channels rows columns"]:
        return self.unit.planes

    @property
    def device(self) -> torch.device:
        return self.unit.device
