"""What surface extraction asks of a field. Any function of points will do; one that knows more is faster."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

BrickValues = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Values (n,) at nodes of bricks of 9 × 9 × 9 nodes, from the numbers of the bricks' samples along x, y and z, each
(bricks, 9) int32, and the nodes' places (n,) int32, ascending, among all of these bricks' (bricks, 9, 9, 9). All bricks
are of one lattice: those whose first numbers along an axis are equal have all numbers along it equal."""


@runtime_checkable
class Field(Protocol):
    """Values at points, positive inside. All that `extract_surface` needs; a plain function will do.

    It may also have `device`, on which it wants its points, and what the protocols below say.
    """

    def __call__(self, points: Tensor) -> Tensor:
        """Values (n,) at float32 points (n, 3)."""
        ...


@runtime_checkable
class GridField(Protocol):
    """A field that answers a regular grid faster than its points one by one; it splits large grids itself."""

    def grid(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Values (1, len(x), len(y), len(z))."""
        ...


@runtime_checkable
class LatticeField(Protocol):
    """A field that answers nodes of a regular lattice, brick by brick, faster than points; it splits lists itself."""

    def lattice(self, axis: Tensor) -> BrickValues:
        """Answers at nodes of the lattice axis × axis × axis."""
        ...


@runtime_checkable
class ColorField(Protocol):
    """A field that may know the colour of its surface."""

    has_color: bool

    def color(self, points: Tensor) -> Tensor:
        """Linear albedo (1, n, 3) in 0..1 at points (1, n, 3)."""
        ...
