"""A triplane as a radiance field: how dense space is at a point, and of which colour."""

from collections.abc import Callable, Iterator
from math import expm1, inf, log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.triplane import TriplaneField


class DensityActivation(NamedTuple):
    """What makes a density of the MLP's answer, rising with it, and the answer that a density above 0 stands for."""

    activate: Callable[[Tensor], Tensor]
    invert: Callable[[float], float]


DENSITY_ACTIVATIONS = {
    "exp": DensityActivation(torch.exp, log),
    "softplus": DensityActivation(F.softplus, lambda density: log(expm1(density)) if density < 30 else density),
    "relu": DensityActivation(F.relu, lambda density: density),
}


class TriplaneRadianceField:
    """Density and colour at points in the model's own world units; a batch of fields, one for each photo.

    ```python
    field = reconstructor.field(planes)
    density = field.density(points)         # (batch, points), 0 or more
    color = field.color(points)             # (batch, points, 3) in 0..1, as a screen shows it (sRGB)
    first = field[0]; first.density_and_color(points[0])
    ```
    """

    def __init__(
        self,
        planes: Float[Tensor, "batch 3 channels rows columns"],
        decoder: nn.Module,
        *,
        radius: float = 1.0,
        density_activation: str = "exp",
        density_bias: float = 0.0,
    ):
        self.unit = TriplaneField(planes, decoder, has_color=True)
        """The same in units of `radius`, density before bias and activation as its `occupancy`."""
        self.radius = radius
        self.density_activation = density_activation
        self.density_bias = density_bias

    def density(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch points"]:
        """How much light is lost per unit of length; beyond ±radius, what the MLP makes of planes of zeros."""
        return self.activate(self._ask(self.unit.occupancy, points))

    def color(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch points 3"]:
        """RGB in 0..1, sRGB."""
        return self._ask(self.unit.color, points)

    def density_and_color(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Both from one pass, of a single field."""
        density, color = self.unit.occupancy_and_color(self.to_unit(points[None].to(self.device)))
        assert color is not None, "a radiance field has colours"
        return self.activate(density[0]), color[0].float()

    def to_unit(self, lengths: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """World units to units of the radius, by way of 0..1: a shorter way rounds otherwise than in training."""
        return (lengths + self.radius) / (2 * self.radius) * 2 - 1

    def activate(self, answer: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """The density that the MLP's answer stands for, in float32: half precision overflows where it is dense."""
        return DENSITY_ACTIVATIONS[self.density_activation].activate(answer.float() + self.density_bias)

    def answer_at(self, density: float) -> float:
        """The MLP's answer where space is so dense."""
        if not 0 < density < inf:
            raise ValueError(f"density must be a finite number above 0, got {density!r}")
        return DENSITY_ACTIVATIONS[self.density_activation].invert(density) - self.density_bias

    def _ask(self, answer: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        """A single field also takes points without the batch's axis."""
        if points.ndim == 2 and len(self) == 1:
            return answer(self.to_unit(points[None]))[0]
        return answer(self.to_unit(points))

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
