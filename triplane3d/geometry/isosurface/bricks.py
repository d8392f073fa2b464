"""A regular lattice in bricks of 8 × 8 × 8 cells, of which only some are stored.

The finest lattice has `resolution` cells along an edge of the box. Level by level the cells are twice as wide.
Node 0 lies one fine cell outside the box and node 1 on its wall, so the lattice also covers a layer outside. Nodes
outside the box count as empty. This closes the surface at the walls.

A brick stores 9 × 9 × 9 nodes, so neighbouring bricks both store the nodes of their common side.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

COARSEST_CELLS = 48
"""The search begins at a lattice with at least this many cells along an edge of the box."""

CPU_BATCH = 1024
ACCELERATOR_BATCH = 1 << 16
"""Number of bricks that are processed at once."""


@dataclass(frozen=True)
class Lattice:
    """One level. Nodes are numbered on this level; `step` fine cells make one cell of it."""

    resolution: int
    """Fine cells along an edge of the box."""
    step: int

    @classmethod
    def coarsest(cls, resolution: int) -> "Lattice":
        # Doubling the cell as often as possible makes the first, complete level cheap: its cost grows with 1 / step³.
        step = 1
        while resolution // (2 * step) >= COARSEST_CELLS:
            step *= 2
        return cls(resolution, step)

    @property
    def finer(self) -> "Lattice":
        return Lattice(self.resolution, self.step // 2)

    @property
    def side(self) -> int:
        """Bricks along an edge."""
        # The box and one fine cell on both sides, divided by the width of a brick, rounded up.
        return -(-(self.resolution + 2) // (8 * self.step))

    @property
    def cells(self) -> int:
        """Number of cells that lie in the box, at least in part."""
        return -((-(self.resolution + 2) // self.step) ** 3)

    def nodes(self, numbers: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Node numbers of this level → sample indices 0 … resolution; nodes outside the box → the nearest wall."""
        return (numbers * self.step - 1).clamp_(0, self.resolution)

    def samples(self, device: torch.device) -> tuple[Int[Tensor, " samples"], Int[Tensor, " nodes"]]:
        """The sample indices of all nodes along an axis, ascending and without repetition; each node's place in it."""
        samples, place = self.nodes(torch.arange(8 * self.side + 1, device=device)).unique(return_inverse=True)
        return samples, place


@dataclass
class Bricks:
    """Some bricks of a lattice and the values at their nodes."""

    lattice: Lattice
    origins: Int[Tensor, "bricks 3"]
    """Position of each brick, counted in bricks."""
    values: Float[Tensor, "bricks 9 9 9"]
    """At all nodes, positive inside: sampled from the field, or predicted by trilinear interpolation."""
    cells: Bool[Tensor, "bricks 8 8 8"]
    """Sampled cells: the values at all eight corners are the field's own."""
    predicted: Float[Tensor, "bricks 9 9 9"] | None
    """The predictions at all nodes, also where `values` is sampled; None on the finest level."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: Int[Tensor, " some"]) -> "Bricks":
        predicted = None if self.predicted is None else self.predicted[index]
        return Bricks(self.lattice, self.origins[index], self.values[index], self.cells[index], predicted)

    def append(self, origins: Int[Tensor, "more 3"]) -> Int[Tensor, " more"]:
        """Add bricks without sampled cells and return their indices; their values are 0."""
        count = len(self)
        if len(origins) == 0:
            return origins.new_empty(0, dtype=torch.long)
        self.origins = torch.cat([self.origins, origins])
        self.values = torch.cat([self.values, self.values.new_zeros(len(origins), 9, 9, 9)])
        self.cells = torch.cat([self.cells, self.cells.new_zeros(len(origins), 8, 8, 8)])
        if self.predicted is not None:
            self.predicted = torch.cat([self.predicted, self.predicted.new_zeros(len(origins), 9, 9, 9)])
        return torch.arange(count, len(self), device=origins.device)


def all_bricks(lattice: Lattice, samples: Float[Tensor, "x y z"]) -> Bricks:
    """The whole lattice as bricks, from the values at its samples. Predictions come from every second node."""
    _, place = lattice.samples(samples.device)
    nodes = samples[place][:, place][:, :, place]
    # Windows of 9 nodes in steps of 8: neighbouring bricks share one layer of nodes.
    values = nodes.unfold(0, 9, 8).unfold(1, 9, 8).unfold(2, 9, 8).reshape(-1, 9, 9, 9)
    side = torch.arange(lattice.side, dtype=torch.int32, device=samples.device)
    cells = torch.ones(len(values), 8, 8, 8, dtype=torch.bool, device=samples.device)
    predicted = interpolate_nodes(values[:, ::2, ::2, ::2])
    return Bricks(lattice, torch.cartesian_prod(side, side, side), values, cells, predicted)


def sampled_values(bricks: Bricks) -> tuple[Float[Tensor, "x y z"], Bool[Tensor, "x y z"]]:
    """Values at the samples of the bricks' whole lattice, and at which of these the field was sampled."""
    samples, place = bricks.lattice.samples(bricks.origins.device)
    count = len(samples)
    values = torch.zeros(count**3, device=place.device)
    sampled = torch.zeros(count**3, device=place.device, dtype=torch.bool)
    for some in batches(len(bricks), place.device):
        # Nodes on a common side are written by several bricks, always with the same value.
        numbers = bricks.origins[some, :, None] * 8 + torch.arange(9, device=place.device)
        x, y, z = place[numbers].unbind(1)
        index = (x[:, :, None, None] * count + y[:, None, :, None]) * count + z[:, None, None]
        nodes = corners(bricks.cells[some])
        values[index[nodes]] = bricks.values[some][nodes]
        sampled[index[nodes]] = True
    return values.view(count, count, count), sampled.view(count, count, count)


def interpolate_nodes(values: Float[Tensor, "bricks 5 5 5"]) -> Float[Tensor, "bricks 9 9 9"]:
    """Trilinear values at the nodes of cells that are half as wide."""
    # One axis after the other: the trilinear interpolation is separable. Even nodes are copied, odd ones are means.
    for dim in (1, 2, 3):
        finer = values.new_empty(*values.shape[:dim], 9, *values.shape[dim + 1 :])
        even, odd = (finer[(slice(None),) * dim + (slice(start, None, 2),)] for start in (0, 1))
        even.copy_(values)
        torch.lerp(values.narrow(dim, 0, 4), values.narrow(dim, 1, 4), 0.5, out=odd)
        values = finer
    return values


def crossed(values: Float[Tensor, "bricks x y z"]) -> Bool[Tensor, "bricks _ _ _"]:
    """Cells whose corners lie on both sides of the surface; along a side with one node, squares instead of cells."""
    inside = values > 0
    # For each cell: whether some corner is inside, and whether all are. Corners are combined one axis after the other.
    some, all_ = inside, inside
    for dim in (1, 2, 3):
        if values.shape[dim] > 1:
            size = values.shape[dim] - 1
            some = some.narrow(dim, 0, size) | some.narrow(dim, 1, size)
            all_ = all_.narrow(dim, 0, size) & all_.narrow(dim, 1, size)
    return some & ~all_


def corners(cells: Bool[Tensor, "bricks 8 8 8"]) -> Bool[Tensor, "bricks 9 9 9"]:
    """The nodes that are corners of the cells."""
    # A node is a corner if the cell before or after it, along every axis, is marked.
    nodes = cells
    for dim in (1, 2, 3):
        wider = nodes.new_zeros(*nodes.shape[:dim], 9, *nodes.shape[dim + 1 :])
        wider.narrow(dim, 0, 8).copy_(nodes)
        wider.narrow(dim, 1, 8).logical_or_(nodes)
        nodes = wider
    return nodes


def cell_starts(bricks: Bricks, axis: int) -> Int[Tensor, "bricks 8"]:
    """The first node of every cell along an axis, numbered on the finest lattice."""
    return (bricks.origins[:, axis, None] * 8 + torch.arange(8, device=bricks.origins.device)) * bricks.lattice.step


def blocks(cells: Shaped[Tensor, "bricks 8 8 8"], side: int) -> Shaped[Tensor, "bricks s b s b s b"]:
    """Each brick divided into side × side × side blocks; axes 2, 4 and 6 run within a block."""
    size = 8 // side
    return cells.unflatten(1, (side, size)).unflatten(3, (side, size)).unflatten(5, (side, size))


def repeat_twice(cells: Tensor) -> Tensor:
    """Every cell as 2 × 2 × 2 equal cells."""
    count, side = cells.shape[:2]
    return cells[:, :, None, :, None, :, None].expand(-1, -1, 2, -1, 2, -1, 2).reshape(count, *[2 * side] * 3)


def outer_and(
    x: Bool[Tensor, "bricks n"], y: Bool[Tensor, "bricks n"], z: Bool[Tensor, "bricks n"]
) -> Bool[Tensor, "bricks n n n"]:
    """True where the entries along all three axes are true."""
    return x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]


def brick_indices(bricks: Bricks) -> Int[Tensor, "x y z"]:
    """The index of the brick at every position, with a margin of one position on all sides; -1 without a brick."""
    indices = torch.full([bricks.lattice.side + 2] * 3, -1, dtype=torch.int32, device=bricks.origins.device)
    # The margin makes a neighbour outside the lattice an ordinary look-up of -1.
    x, y, z = (bricks.origins + 1).long().unbind(1)
    indices[x, y, z] = torch.arange(len(bricks), dtype=torch.int32, device=indices.device)
    return indices


def bricks_at(indices: Int[Tensor, "x y z"], origins: Int[Tensor, "bricks 3"]) -> Int[Tensor, " bricks"]:
    """The entries of `brick_indices` at these positions."""
    x, y, z = (origins + 1).long().unbind(1)
    return indices[x, y, z]


def batches(count: int, device: torch.device) -> Iterator[slice]:
    """Slices of at most as many bricks as are processed at once."""
    size = CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
