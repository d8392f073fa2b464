"""The fields that surface extraction accepts: functions of points, with optional faster methods for regular grids."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from einops import rearrange
from torch import Tensor

GRID_CHUNK = 1 << 16
"""Points of a grid that are evaluated at once, where a field has no faster method for grids."""

BrickValues = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A function (x, y, z, nodes) → values of shape (n,), at nodes of bricks of 9 × 9 × 9 nodes.

`x`, `y` and `z` are int32 of shape (bricks, 9): the indices of each brick's samples along an axis. `nodes` is int32 of
shape (n,), ascending: flat indices into (bricks, 9, 9, 9). All bricks belong to one lattice: two bricks with the same
first index along an axis have the same nine indices along it."""


@runtime_checkable
class Field(Protocol):
    """Values at points, positive inside. A plain function is a field.

    A field may also have an attribute `device`, the device of its points, and the methods of the protocols below.
    """

    def __call__(self, points: Tensor) -> Tensor:
        """Values (n,) at float32 points (n, 3)."""
        ...


@runtime_checkable
class GridField(Protocol):
    """A field that is faster on a regular grid than at single points. It splits large grids itself."""

    def grid(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Values (1, len(x), len(y), len(z))."""
        ...


@runtime_checkable
class LatticeField(Protocol):
    """A field that is faster at the nodes of a lattice's bricks than at single points. It splits long lists itself."""

    def lattice(self, axis: Tensor) -> BrickValues:
        """The function that computes values at nodes of the lattice axis × axis × axis."""
        ...


@runtime_checkable
class FieldBatch(Protocol):
    """Several fields, which may have colours. `batch[i]` is one of them, a batch of length 1.

    A class that inherits from this protocol gets the call, the grid and the iteration from its other methods.
    """

    has_color: bool

    def occupancy(self, points: Tensor) -> Tensor:
        """Values (batch, n), positive inside, at points (batch, n, 3)."""
        ...

    def color(self, points: Tensor) -> Tensor:
        """Linear albedo (batch, n, 3) in 0..1 at points (batch, n, 3)."""
        ...

    def logits_and_colors(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """`occupancy` and `color` at the same points, for fields that have both."""
        return self.occupancy(points), self.color(points)

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> "FieldBatch":
        """One of the fields, as a batch of one."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the fields are evaluated."""
        ...

    def __call__(self, points: Tensor) -> Tensor:
        """Values (n,) of a single field at points (n, 3), without a batch axis."""
        if len(self) != 1:
            raise ValueError(f"only a single field can be called, this is a batch of {len(self)}; pick one: field[i]")
        return self.occupancy(points[None])[0]

    def grid(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Values (batch, len(x), len(y), len(z)) on a regular grid."""
        points = torch.stack(torch.meshgrid(x, y, z, indexing="ij"), dim=-1).to(self.device)
        rows = rearrange(points, "x y z axes -> (x y z) axes")
        parts = [self.occupancy(part.expand(len(self), -1, -1)) for part in rows.split(GRID_CHUNK)]
        return torch.cat(parts, dim=1).unflatten(1, points.shape[:3])

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


@runtime_checkable
class ColorField(Protocol):
    """A field that may have a colour at its surface."""

    has_color: bool

    def color(self, points: Tensor) -> Tensor:
        """Linear albedo (1, n, 3) in 0..1 at points (1, n, 3)."""
        ...
