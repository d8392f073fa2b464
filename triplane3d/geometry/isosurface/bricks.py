"""Where a field's surface runs, found coarse to fine.

A lattice is cut into bricks of 8 × 8 × 8 cells. The coarsest lattice is asked everywhere; each finer one only inside
cells that may hold the surface, and what is not asked keeps the trilinear prediction from the coarser nodes. Those
predictions also tell where to look: where the field was asked, it has *surprised* them by so much, and a cell is
refined if a surprise of `margin` times that size, within the cell or as is usual near the surface, could bring the
surface into it. So smooth parts are followed closely and rough ones widely, whatever the scale of the values.
On every level the surface is then followed through each face by which it leaves, so that what was found has no holes.
Where nearly all cells of a level would be refined, bricks save nothing, and the next lattice is asked everywhere too.

Bricks keep the nodes they share with their neighbours; a shared node is asked once, and belongs to the brick in which
its place is 0 to 7 along every axis, if that brick is here. Nodes of the lattice are numbered from one cell below the
box to beyond its far side, and whatever lies outside the box counts as empty: that closes the surface at the walls.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

COARSE = 48
"""Cells along an edge of the box at which the search begins, at least."""

USUAL = 0.9
"""The quantile of the surprises in cells on the surface that is expected everywhere."""

SATURATED = 0.9
"""Share of the box's cells from which on bricks would cost as much as the whole lattice: neighbours' nodes, and those
around the box, add a few per cent."""

CPU_BATCH = 1024
ACCELERATOR_BATCH = 1 << 16
"""Bricks handled at once."""

BYTES = 8 * 1024
"""Memory that a brick may take, the pieces of its surface included."""

DIRECTIONS = [direction for direction in product((0, 1), repeat=3) if any(direction)]


@runtime_checkable
class Ask(Protocol):
    """The field, asked for samples of the finest grid."""

    def __call__(
        self,
        x: Int[Tensor, "bricks 9"],
        y: Int[Tensor, "bricks 9"],
        z: Int[Tensor, "bricks 9"],
        nodes: Int[Tensor, " nodes"],
    ) -> Float[Tensor, " nodes"]:
        """Values, positive inside, at some `nodes`, flat places in (bricks, 9, 9, 9), of bricks whose samples are
        numbered x, y and z on the finest grid."""
        ...

    def expect(self, more: int) -> None:
        """`more` samples will be asked now."""
        ...

    def reserve(self, size: int) -> None:
        """The search will take `size` bytes; raises where that is not allowed."""
        ...

    def everywhere(self, lattice: "Lattice", coarser: "Bricks | None") -> Float[Tensor, "x y z"]:
        """Values at all samples that a lattice's nodes stand for (`Lattice.samples`).

        What the bricks of the next coarser lattice know is not asked again.
        """
        ...


@dataclass(frozen=True)
class Lattice:
    """Numbers of the nodes: 1 to `resolution` + 1 lie in the box; `step` leaf cells make one cell of this level."""

    resolution: int
    step: int

    @classmethod
    def coarsest(cls, resolution: int) -> "Lattice":
        step = 1
        while resolution // (2 * step) >= COARSE:
            step *= 2
        return cls(resolution, step)

    @property
    def finer(self) -> "Lattice":
        return Lattice(self.resolution, self.step // 2)

    @property
    def side(self) -> int:
        """Bricks along an edge."""
        return -(-(self.resolution + 2) // (8 * self.step))

    @property
    def cells(self) -> int:
        """Cells that lie in the box, at least in part."""
        return -((-(self.resolution + 2) // self.step) ** 3)

    def nodes(self, numbers: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Numbers on this level → samples 0 … resolution of the finest grid; those outside the box, to its wall."""
        return (numbers * self.step - 1).clamp_(0, self.resolution)

    def samples(self, device: torch.device) -> tuple[Int[Tensor, " samples"], Int[Tensor, " nodes"]]:
        """The samples that all nodes along an axis stand for, ascending, and each node's place among them."""
        samples, place = self.nodes(torch.arange(8 * self.side + 1, device=device)).unique(return_inverse=True)
        return samples, place


@dataclass
class Bricks:
    """Some bricks of a lattice, with what is known and what was asked of each."""

    lattice: Lattice
    origins: Int[Tensor, "bricks 3"]
    """Where each brick lies, counted in bricks."""
    values: Float[Tensor, "bricks 9 9 9"]
    """At all nodes, asked or predicted; positive inside."""
    cells: Bool[Tensor, "bricks 8 8 8"]
    """Cells whose corners were all asked."""
    predicted: Float[Tensor, "bricks 9 9 9"] | None
    """What `values` were before they were asked; not kept on the finest level."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: Int[Tensor, " some"]) -> "Bricks":
        predicted = None if self.predicted is None else self.predicted[index]
        return Bricks(self.lattice, self.origins[index], self.values[index], self.cells[index], predicted)

    def append(self, origins: Int[Tensor, "more 3"]) -> Int[Tensor, " more"]:
        """Bricks of which nothing is known yet; returns their numbers."""
        count = len(self)
        if len(origins) == 0:
            return origins.new_empty(0, dtype=torch.long)
        self.origins = torch.cat([self.origins, origins])
        self.values = torch.cat([self.values, self.values.new_zeros(len(origins), 9, 9, 9)])
        self.cells = torch.cat([self.cells, self.cells.new_zeros(len(origins), 8, 8, 8)])
        if self.predicted is not None:
            self.predicted = torch.cat([self.predicted, self.predicted.new_zeros(len(origins), 9, 9, 9)])
        return torch.arange(count, len(self), device=origins.device)


def find_surface(lattice: Lattice, ask: Ask, margin: float) -> Bricks | Float[Tensor, "x y z"]:
    """The bricks of the finest lattice that the surface may pass, beginning with all of the coarse `lattice`.

    Where it may pass nearly all of the box, every sample of the finest grid is asked and their values are returned.
    """
    bricks = _all_bricks(lattice, ask.everywhere(lattice, None))
    while bricks.lattice.step > 1 and len(bricks):
        choice = _choose(bricks, margin)
        if choice.share < SATURATED:
            bricks = _refine(bricks, choice, ask)
            _follow(bricks, ask)
            continue
        finer = bricks.lattice.finer
        values = ask.everywhere(finer, bricks)
        if finer.step == 1:
            return values
        bricks = _all_bricks(finer, values)
    return bricks


def known_samples(bricks: Bricks) -> tuple[Float[Tensor, "x y z"], Bool[Tensor, "x y z"]]:
    """Values at the samples that the nodes of the bricks' lattice stand for, and which of them were asked."""
    samples, place = bricks.lattice.samples(bricks.origins.device)
    count = len(samples)
    values = torch.zeros(count**3, device=place.device)
    known = torch.zeros(count**3, device=place.device, dtype=torch.bool)
    for some in _batches(len(bricks), place.device):
        numbers = bricks.origins[some, :, None] * 8 + torch.arange(9, device=place.device)
        x, y, z = place[numbers].unbind(1)
        sample = (x[:, :, None, None] * count + y[:, None, :, None]) * count + z[:, None, None]
        asked = _corners(bricks.cells[some])
        values[sample[asked]] = bricks.values[some][asked]
        known[sample[asked]] = True
    return values.view(count, count, count), known.view(count, count, count)


def crossed(values: Float[Tensor, "bricks x y z"]) -> Bool[Tensor, "bricks _ _ _"]:
    """Cells, or where one side has a single node squares, whose corners lie on both sides of the surface."""
    inside = values > 0
    some, all_ = inside, inside
    for dim in (1, 2, 3):
        if values.shape[dim] > 1:
            size = values.shape[dim] - 1
            some = some.narrow(dim, 0, size) | some.narrow(dim, 1, size)
            all_ = all_.narrow(dim, 0, size) & all_.narrow(dim, 1, size)
    return some & ~all_


def _all_bricks(lattice: Lattice, samples: Float[Tensor, "x y z"]) -> Bricks:
    """The whole lattice as bricks, from the values at its samples; every other node could predict the rest."""
    _, place = lattice.samples(samples.device)
    nodes = samples[place][:, place][:, :, place]
    values = nodes.unfold(0, 9, 8).unfold(1, 9, 8).unfold(2, 9, 8).reshape(-1, 9, 9, 9)
    side = torch.arange(lattice.side, dtype=torch.int32, device=samples.device)
    cells = torch.ones(len(values), 8, 8, 8, dtype=torch.bool, device=samples.device)
    return Bricks(lattice, torch.cartesian_prod(side, side, side), values, cells, _predict(values[:, ::2, ::2, ::2]))


def _predict(values: Float[Tensor, "bricks 5 5 5"]) -> Float[Tensor, "bricks 9 9 9"]:
    """Trilinear values at the nodes of cells half as large."""
    for dim in (1, 2, 3):
        finer = values.new_empty(*values.shape[:dim], 9, *values.shape[dim + 1 :])
        even, odd = (finer[(slice(None),) * dim + (slice(start, None, 2),)] for start in (0, 1))
        even.copy_(values)
        torch.lerp(values.narrow(dim, 0, 4), values.narrow(dim, 1, 4), 0.5, out=odd)
        values = finer
    return values


def _reach(bricks: Bricks, margin: float) -> Float[Tensor, "bricks 8 8 8"]:
    """By how much the values within each cell may yet leave their prediction: what they did so far, and usually do."""
    surprise = F.max_pool3d((bricks.values - bricks.predicted).abs_()[:, None], 3, stride=2)[:, 0]
    near = surprise[_blocks(crossed(bricks.values), 4).any(6).any(4).any(2)]
    usual = near.kthvalue(max(1, round(USUAL * len(near)))).values if len(near) else surprise.max()
    return _double(surprise.clamp_min(usual).mul_(margin))


def _within_reach(bricks: Bricks, reach: Float[Tensor, "bricks 8 8 8"]) -> Bool[Tensor, "bricks 8 8 8"]:
    """Cells that the surface passes, or would if their values changed by up to `reach`."""
    low, high = bricks.values, bricks.values
    for dim in (1, 2, 3):
        low = torch.minimum(low.narrow(dim, 0, 8), low.narrow(dim, 1, 8))
        high = torch.maximum(high.narrow(dim, 0, 8), high.narrow(dim, 1, 8))

    # Beyond the walls all is empty: a cell that reaches there is passed if it is anywhere inside the solid.
    starts = [_cell_starts(bricks, axis) for axis in range(3)]
    outside = bricks.lattice.resolution + 2
    deep = _outer(*((start > 0) & (start + bricks.lattice.step < outside) for start in starts))
    within = _outer(*(start < outside for start in starts))
    return within & (high > -reach) & ((low <= reach) | ~deep)


def _cell_starts(bricks: Bricks, axis: int) -> Int[Tensor, "bricks 8"]:
    """The first node of every cell along an axis, numbered on the finest lattice."""
    return (bricks.origins[:, axis, None] * 8 + torch.arange(8, device=bricks.origins.device)) * bricks.lattice.step


def _outer(
    x: Bool[Tensor, "bricks n"], y: Bool[Tensor, "bricks n"], z: Bool[Tensor, "bricks n"]
) -> Bool[Tensor, "bricks n n n"]:
    return x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]


def _blocks(cells: Shaped[Tensor, "bricks 8 8 8"], side: int) -> Shaped[Tensor, "bricks s b s b s b"]:
    """Each brick cut into side × side × side blocks; axes 2, 4 and 6 run within a block."""
    size = 8 // side
    return cells.unflatten(1, (side, size)).unflatten(3, (side, size)).unflatten(5, (side, size))


def _double(cells: Tensor) -> Tensor:
    """Every cell as 2 × 2 × 2 cells."""
    count, side = cells.shape[:2]
    return cells[:, :, None, :, None, :, None].expand(-1, -1, 2, -1, 2, -1, 2).reshape(count, *[2 * side] * 3)


@dataclass
class Choice:
    """What of some bricks to refine."""

    cells: Bool[Tensor, "bricks 8 8 8"]
    reach: Float[Tensor, "bricks 8 8 8"]
    """By how much values within each cell may yet leave their prediction."""
    share: float
    """The chosen cells' share of all cells of the box."""


def _choose(bricks: Bricks, margin: float) -> Choice:
    """The cells that were asked and that the surface may pass."""
    reach = _reach(bricks, margin)
    cells = bricks.cells & _within_reach(bricks, reach)
    return Choice(cells, reach, int(cells.count_nonzero()) / bricks.lattice.cells)


def _refine(coarse: Bricks, choice: Choice, ask: Ask) -> Bricks:
    """The octants of bricks that may hold the surface become bricks, and the cells in them that may are asked."""
    chosen, reach = _blocks(choice.cells, 2), _blocks(choice.reach, 2)
    brick, *octant = chosen.any(6).any(4).any(2).nonzero(as_tuple=True)
    origins = (2 * coarse.origins[brick] + torch.stack(octant, dim=1)).int()
    corners = coarse.values.unfold(1, 5, 4).unfold(2, 5, 4).unfold(3, 5, 4)

    ask.reserve(BYTES * len(origins))
    lattice = coarse.lattice.finer
    values = torch.empty(len(origins), 9, 9, 9, device=origins.device, dtype=torch.float32)
    cells = torch.empty(len(origins), 8, 8, 8, device=origins.device, dtype=torch.bool)
    wanted = torch.empty(values.shape, device=origins.device, dtype=torch.bool)
    for some in _batches(len(origins), origins.device):
        here = [part[some] for part in (brick, *octant)]
        part = Bricks(lattice, origins[some], _predict(corners[*here]), cells[some], None)
        may, room = (_double(parts.permute(0, 1, 3, 5, 2, 4, 6)[*here]) for parts in (chosen, reach))
        values[some] = part.values
        cells[some] = may & _within_reach(part, room)
        wanted[some] = _corners(cells[some])
    wanted[:, ::2, ::2, ::2] = False  # known from the coarser level
    bricks = Bricks(lattice, origins, values, cells, values.clone() if lattice.step > 1 else None)
    _ask_nodes(bricks, wanted, ask)
    return bricks


def _corners(cells: Bool[Tensor, "bricks 8 8 8"]) -> Bool[Tensor, "bricks 9 9 9"]:
    """The nodes that are corners of the cells."""
    nodes = cells
    for dim in (1, 2, 3):
        wider = nodes.new_zeros(*nodes.shape[:dim], 9, *nodes.shape[dim + 1 :])
        wider.narrow(dim, 0, 8).copy_(nodes)
        wider.narrow(dim, 1, 8).logical_or_(nodes)
        nodes = wider
    return nodes


def _ask_nodes(bricks: Bricks, wanted: Bool[Tensor, "bricks 9 9 9"], ask: Ask) -> None:
    """Replace the wanted nodes' values, in all bricks that have them; each is asked once."""
    slots = _slots(bricks)
    neighbours = []
    for direction in DIRECTIONS:
        there = _at(slots, bricks.origins + torch.tensor(direction, device=slots.device, dtype=torch.int32))
        here = (there >= 0).nonzero()[:, 0]
        there = there[here].long()
        far = tuple(8 if step else slice(0, 8) for step in direction)
        near = tuple(0 if step else slice(0, 8) for step in direction)
        wanted[there, *near] |= wanted[here, *far]
        wanted[here, *far] = False
        neighbours.append((here, there, far, near))
    orphans, askers = _orphans(bricks, wanted)

    ask.expect(int(wanted.count_nonzero()))
    for some in _batches(len(bricks), slots.device):
        nodes = wanted[some].flatten().nonzero()[:, 0]
        if len(nodes):
            x, y, z = (_samples(bricks.lattice, bricks.origins[some, axis]) for axis in range(3))
            bricks.values[some].view(-1)[nodes] = ask(x, y, z, nodes.int())
    for here, there, far, near in neighbours:
        bricks.values[here, *far] = bricks.values[there, *near]
    answers = bricks.values.view(-1)[askers]
    for direction in [(0, 0, 0), *DIRECTIONS]:
        step = torch.tensor(direction, device=slots.device)
        brick = orphans // 8 - step
        there = _at(slots, brick)
        has = (there >= 0) & ((step == 0) | (orphans % 8 == 0)).all(1)
        x, y, z = (orphans - 8 * brick)[has].unbind(1)
        bricks.values[there[has].long(), x, y, z] = answers[has]


def _orphans(
    bricks: Bricks, wanted: Bool[Tensor, "bricks 9 9 9"]
) -> tuple[Int[Tensor, "orphans 3"], Int[Tensor, " orphans"]]:
    """The wanted nodes on far sides with no brick beyond to own them, and for each the flat place where it is asked:
    of several bricks that want it, one still does afterwards."""
    orphaned = wanted.clone()
    orphaned[:, :8, :8, :8] = False
    places = orphaned.flatten().nonzero()[:, 0]
    brick, local = places // 729, places % 729
    node = [bricks.origins[brick, axis].long() * 8 + local // 9 ** (2 - axis) % 9 for axis in range(3)]
    side = 8 * bricks.lattice.side + 1
    keys, group = ((node[0] * side + node[1]) * side + node[2]).unique(return_inverse=True)
    askers = places.new_zeros(len(keys)).scatter_(0, group, places)
    wanted.view(-1)[places] = False
    wanted.view(-1)[askers] = True
    return torch.stack([keys // side**2, keys // side % side, keys % side], dim=1), askers


def _samples(lattice: Lattice, origins: Int[Tensor, " bricks"]) -> Int[Tensor, "bricks 9"]:
    """The numbers of the bricks' samples along an axis of the finest grid."""
    return lattice.nodes(origins[:, None] * 8 + torch.arange(9, dtype=torch.int32, device=origins.device))


def _slots(bricks: Bricks) -> Int[Tensor, "x y z"]:
    """Which brick lies where, with a margin of one on all sides; -1 where none does."""
    slots = torch.full([bricks.lattice.side + 2] * 3, -1, dtype=torch.int32, device=bricks.origins.device)
    x, y, z = (bricks.origins + 1).long().unbind(1)
    slots[x, y, z] = torch.arange(len(bricks), dtype=torch.int32, device=slots.device)
    return slots


def _at(slots: Int[Tensor, "x y z"], origins: Int[Tensor, "bricks 3"]) -> Int[Tensor, " bricks"]:
    x, y, z = (origins + 1).long().unbind(1)
    return slots[x, y, z]


def _batches(count: int, device: torch.device) -> Iterator[slice]:
    size = CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _follow(bricks: Bricks, ask: Ask) -> None:
    """Ask wherever the surface runs on into cells or bricks that the search had not chosen, until it nowhere does."""
    look = torch.arange(len(bricks), device=bricks.origins.device)
    while len(look):
        if bricks.lattice.step == 1:
            _empty_outside(bricks, look)
        found, stray = _stray_cells(bricks, look)
        places = _bricks_beyond(bricks, look)
        ask.reserve(BYTES * (len(bricks) + len(places)))
        beyond = bricks.append(places)
        if len(found) + len(beyond) == 0:
            return

        wanted = torch.zeros(bricks.values.shape, dtype=torch.bool, device=look.device)
        wanted[found] = _corners(stray) & ~_corners(bricks.cells[found])
        wanted[beyond] = True
        bricks.cells[found] |= stray
        bricks.cells[beyond] = True
        look = _around(bricks, torch.cat([found, beyond]))
        part = bricks[look]
        _ask_nodes(part, wanted[look], ask)
        bricks.values[look] = part.values
        if bricks.predicted is not None:
            bricks.predicted[beyond] = bricks.values[beyond]


def _stray_cells(
    bricks: Bricks, look: Int[Tensor, " look"]
) -> tuple[Int[Tensor, " found"], Bool[Tensor, "found 8 8 8"]]:
    """Those of the bricks in which the surface crosses cells that were not asked, and these cells."""
    found, stray = [], []
    for some in _batches(len(look), look.device):
        cells = crossed(bricks.values[look[some]]) & ~bricks.cells[look[some]]
        strayed = cells.flatten(1).any(1)
        found.append(look[some][strayed])
        stray.append(cells[strayed])
    return torch.cat(found), torch.cat(stray)


def _around(bricks: Bricks, some: Int[Tensor, " some"]) -> Int[Tensor, " around"]:
    """The numbers of bricks and of all that touch them."""
    slots = _slots(bricks)
    steps = torch.tensor(list(product((-1, 0, 1), repeat=3)), dtype=torch.int32, device=slots.device)
    touching = torch.cat([_at(slots, bricks.origins[some] + step) for step in steps])
    return touching[touching >= 0].unique().long()


def _bricks_beyond(bricks: Bricks, fresh: Int[Tensor, " fresh"]) -> Int[Tensor, "beyond 3"]:
    """Places without a brick into which the surface leaves through a face of the fresh ones."""
    slots = _slots(bricks)
    places = []
    for axis, far in product(range(3), (False, True)):
        step = torch.zeros(3, dtype=torch.int32, device=slots.device)
        step[axis] = 1 if far else -1
        places_beyond = bricks.origins[fresh] + step
        within = ((places_beyond >= 0) & (places_beyond < bricks.lattice.side)).all(1)
        open_ = fresh[within & (_at(slots, places_beyond) < 0)]
        faces = bricks.values.narrow(axis + 1, 8 if far else 0, 1)[open_]
        places.append(bricks.origins[open_[crossed(faces).flatten(1).any(1)]] + step)
    return torch.cat(places).unique(dim=0)


def _empty_outside(bricks: Bricks, fresh: Int[Tensor, " fresh"]) -> None:
    """Nodes outside the box are outside the solid."""
    last = bricks.lattice.resolution + 1
    border = ((bricks.origins[fresh] == 0) | (bricks.origins[fresh] * 8 + 8 > last)).any(1)
    border = fresh[border]
    numbers = bricks.origins[border, :, None] * 8 + torch.arange(9, device=border.device)
    inside = (numbers >= 1) & (numbers <= last)
    values = bricks.values[border]
    empty = -values.abs().amax().clamp_min(1e-6) if len(border) else 0.0
    bricks.values[border] = torch.where(_outer(*inside.unbind(1)), values, empty)
