"""Sampling a field at nodes of bricks, each node once although neighbouring bricks share nodes.

A node on a common side of several bricks is stored in all of them. Its owner is the brick in which its local index is
0 to 7 along every axis. All requests for the node are moved to the owner, and its value is copied back. Where the owner
is not among the bricks, one of the bricks that need the node samples it for all.
"""

from itertools import product
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from triplane3d.geometry.isosurface.bricks import Bricks, Lattice, batches, brick_indices, bricks_at

# From a brick to the seven others that it shares its upper sides, edges and corner with.
UPPER_NEIGHBORS = [direction for direction in product((0, 1), repeat=3) if any(direction)]


@runtime_checkable
class LatticeSampler(Protocol):
    """A field that is sampled at the samples of the finest lattice. `FieldSampler` implements it."""

    def sample_nodes(
        self,
        x: Int[Tensor, "bricks 9"],
        y: Int[Tensor, "bricks 9"],
        z: Int[Tensor, "bricks 9"],
        nodes: Int[Tensor, " nodes"],
    ) -> Float[Tensor, " nodes"]:
        """Values, positive inside, at some nodes of bricks.

        `x`, `y` and `z` are the sample indices of each brick along an axis; `nodes` are flat indices into
        (bricks, 9, 9, 9).
        """
        ...

    def announce(self, count: int) -> None:
        """`count` samples follow. For progress reports."""
        ...

    def check_memory(self, size: int) -> None:
        """Raise MemoryError where the search may not take `size` bytes."""
        ...

    def sample_lattice(self, lattice: Lattice, coarser: Bricks | None) -> Float[Tensor, "x y z"]:
        """Values at all samples of a lattice (`Lattice.samples`).

        Samples that the next coarser lattice's bricks already have are not computed again.
        """
        ...


def sample_nodes(bricks: Bricks, needed: Bool[Tensor, "bricks 9 9 9"], sampler: LatticeSampler) -> None:
    """Replace the values at the needed nodes by the field's, in all bricks that store them.

    `needed` is changed: afterwards it marks the nodes that were sampled, each in one brick.
    """
    # Requests for nodes on upper sides move to the neighbour that owns them. Each direction concerns other nodes: a
    # side without its edges, an edge without its ends, or a corner.
    indices = brick_indices(bricks)
    neighbors = []
    for direction in UPPER_NEIGHBORS:
        there = bricks_at(indices, bricks.origins + torch.tensor(direction, device=indices.device, dtype=torch.int32))
        here = (there >= 0).nonzero()[:, 0]
        there = there[here].long()
        far = tuple(8 if step else slice(0, 8) for step in direction)
        near = tuple(0 if step else slice(0, 8) for step in direction)
        needed[there, *near] |= needed[here, *far]
        needed[here, *far] = False
        neighbors.append((here, there, far, near))
    unowned, samplers = _unowned_nodes(bricks, needed)

    sampler.announce(int(needed.count_nonzero()))
    for some in batches(len(bricks), indices.device):
        nodes = needed[some].flatten().nonzero()[:, 0]
        if len(nodes):
            x, y, z = (_sample_indices(bricks.lattice, bricks.origins[some, axis]) for axis in range(3))
            bricks.values[some].view(-1)[nodes] = sampler.sample_nodes(x, y, z, nodes.int())

    # Copy the values back from the owners, then those of nodes without an owner to all bricks that store them.
    for here, there, far, near in neighbors:
        bricks.values[here, *far] = bricks.values[there, *near]
    sampled = bricks.values.view(-1)[samplers]
    for direction in [(0, 0, 0), *UPPER_NEIGHBORS]:
        step = torch.tensor(direction, device=indices.device)
        brick = unowned // 8 - step
        there = bricks_at(indices, brick)
        has = (there >= 0) & ((step == 0) | (unowned % 8 == 0)).all(1)
        x, y, z = (unowned - 8 * brick)[has].unbind(1)
        bricks.values[there[has].long(), x, y, z] = sampled[has]


def _unowned_nodes(
    bricks: Bricks, needed: Bool[Tensor, "bricks 9 9 9"]
) -> tuple[Int[Tensor, "nodes 3"], Int[Tensor, " nodes"]]:
    """The needed nodes on upper sides whose owner is not among the bricks.

    Returns their numbers on the lattice and the flat index at which each is sampled: of several bricks that need a
    node, one keeps it in `needed`.
    """
    unowned = needed.clone()
    unowned[:, :8, :8, :8] = False
    # Requests that are still on an upper side found no owner. Several bricks may request the same node.
    places = unowned.flatten().nonzero()[:, 0]
    brick, local = places // 729, places % 729
    node = [bricks.origins[brick, axis].long() * 8 + local // 9 ** (2 - axis) % 9 for axis in range(3)]
    side = 8 * bricks.lattice.side + 1
    keys, group = ((node[0] * side + node[1]) * side + node[2]).unique(return_inverse=True)
    samplers = places.new_zeros(len(keys)).scatter_(0, group, places)
    needed.view(-1)[places] = False
    needed.view(-1)[samplers] = True
    return torch.stack([keys // side**2, keys // side % side, keys % side], dim=1), samplers


def _sample_indices(lattice: Lattice, origins: Int[Tensor, " bricks"]) -> Int[Tensor, "bricks 9"]:
    """The indices of the bricks' samples along an axis of the finest lattice."""
    return lattice.nodes(origins[:, None] * 8 + torch.arange(9, dtype=torch.int32, device=origins.device))
