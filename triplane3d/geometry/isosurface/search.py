"""The cells that a field's surface passes through, found from coarse to fine.

The coarsest lattice is sampled everywhere. On every finer level only cells that may contain the surface are sampled; at
all other nodes the values are trilinear predictions from the coarser level. This is the hierarchical evaluation of
octree marching cubes (Wilhelms and Van Gelder 1992, Octrees for Faster Isosurface Generation) and of MISE (Mescheder et
al. 2019, Occupancy Networks, section 3.3), with two additions.

1. *A measured error bound* (`_error_bound`). Wherever the field was sampled, the error of the prediction is measured.
   A cell is refined if an error of `margin` times the measured one, or of the one that is typical near the surface,
   could bring the surface into it. The trilinear error of a smooth field decreases by a factor of four from level to
   level, so smooth regions are refined only close to the surface. The bound scales with the field's values.
2. *Surface following* (`_follow_surface`), as in continuation methods (Wyvill et al. 1986; Bloomenthal 1988). Crossed
   cells that were not sampled are sampled, and a brick is added wherever the surface leaves the stored bricks through a
   face. This repeats until neither occurs.

Invariants at the end of each level:

- All eight corners of every crossed cell have the field's own values. On the finest level marching cubes therefore
  makes the same triangles as on the whole grid.
- No crossed face leads out of the stored bricks. Every component of the surface that the search meets is therefore
  complete and closed.

What the search can miss is a whole component that lies between the samples of a coarse level and is sharper than the
measured errors suggest.

Where nearly all cells of a level would be refined, bricks save nothing: the next lattice is then sampled everywhere.
"""

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from triplane3d.geometry.isosurface.bricks import (
    Bricks,
    Lattice,
    all_bricks,
    batches,
    blocks,
    brick_indices,
    bricks_at,
    cell_starts,
    corners,
    crossed,
    interpolate_nodes,
    outer_and,
    repeat_twice,
)
from triplane3d.geometry.isosurface.node_sampling import LatticeSampler, sample_nodes

TYPICAL_QUANTILE = 0.9
"""This quantile of the errors in cells on the surface is assumed as the error everywhere else."""

DENSE_SHARE = 0.9
"""Share of the box's cells from which the next lattice is sampled everywhere: bricks would then cost as much, since the
nodes of neighbours and those around the box add a few per cent."""

BYTES_PER_BRICK = 8 * 1024
"""Memory per brick, the pieces of its surface included."""


def find_surface(lattice: Lattice, sampler: LatticeSampler, margin: float) -> Bricks | Float[Tensor, "x y z"]:
    """The bricks of the finest lattice that the surface may pass through, beginning with all of the coarse `lattice`.

    Where the surface may pass through nearly all of the box, the values at all samples of the finest lattice are
    returned instead.
    """
    bricks = all_bricks(lattice, sampler.sample_lattice(lattice, None))
    while bricks.lattice.step > 1 and len(bricks):
        selection = _select(bricks, margin)
        if selection.share < DENSE_SHARE:
            bricks = _refine(bricks, selection, sampler)
            _follow_surface(bricks, sampler)
            continue
        finer = bricks.lattice.finer
        values = sampler.sample_lattice(finer, bricks)
        if finer.step == 1:
            return values
        bricks = all_bricks(finer, values)
    return bricks


@dataclass
class Selection:
    """The cells of some bricks that are to be refined."""

    cells: Bool[Tensor, "bricks 8 8 8"]
    error_bound: Float[Tensor, "bricks 8 8 8"]
    """By how much values within each cell may deviate from their prediction."""
    share: float
    """The selected cells' share of all cells of the box."""


def _select(bricks: Bricks, margin: float) -> Selection:
    """The sampled cells that may contain the surface."""
    bound = _error_bound(bricks, margin)
    cells = bricks.cells & _may_contain_surface(bricks, bound)
    return Selection(cells, bound, int(cells.count_nonzero()) / bricks.lattice.cells)


def _error_bound(bricks: Bricks, margin: float) -> Float[Tensor, "bricks 8 8 8"]:
    """The assumed error of the next finer level's predictions in each cell: `margin` times the measured error.

    The measured error of a cell is the largest error in its block of 2 × 2 × 2 cells, which is one cell of the coarser
    level, and at least the typical error of the blocks that the surface passes through.
    """
    # A window of 3 nodes in steps of 2 covers one cell of the coarser level.
    error = F.max_pool3d((bricks.values - bricks.predicted).abs_()[:, None], 3, stride=2)[:, 0]
    on_surface = error[blocks(crossed(bricks.values), 4).any(6).any(4).any(2)]
    rank = max(1, round(TYPICAL_QUANTILE * len(on_surface)))
    typical = on_surface.kthvalue(rank).values if len(on_surface) else error.max()
    return repeat_twice(error.clamp_min(typical).mul_(margin))


def _may_contain_surface(bricks: Bricks, bound: Float[Tensor, "bricks 8 8 8"]) -> Bool[Tensor, "bricks 8 8 8"]:
    """Cells that the surface passes through, or would if their values changed by up to `bound`."""
    # Smallest and largest corner of every cell, one axis after the other.
    low, high = bricks.values, bricks.values
    for dim in (1, 2, 3):
        low = torch.minimum(low.narrow(dim, 0, 8), low.narrow(dim, 1, 8))
        high = torch.maximum(high.narrow(dim, 0, 8), high.narrow(dim, 1, 8))

    # The values outside the box are empty. A cell that reaches over a wall contains the surface if any part of it may
    # be inside the solid; a cell wholly outside never does.
    starts = [cell_starts(bricks, axis) for axis in range(3)]
    outside = bricks.lattice.resolution + 2
    off_walls = outer_and(*((start > 0) & (start + bricks.lattice.step < outside) for start in starts))
    in_box = outer_and(*(start < outside for start in starts))
    return in_box & (high > -bound) & ((low <= bound) | ~off_walls)


def _refine(coarse: Bricks, selection: Selection, sampler: LatticeSampler) -> Bricks:
    """The next finer level: octants with selected cells become bricks; their cells near the surface are sampled."""
    chosen, bound = blocks(selection.cells, 2), blocks(selection.error_bound, 2)
    brick, *octant = chosen.any(6).any(4).any(2).nonzero(as_tuple=True)
    origins = (2 * coarse.origins[brick] + torch.stack(octant, dim=1)).int()
    # Five coarse nodes along an edge of an octant become the nine nodes of a brick.
    octants = coarse.values.unfold(1, 5, 4).unfold(2, 5, 4).unfold(3, 5, 4)

    sampler.check_memory(BYTES_PER_BRICK * len(origins))
    lattice = coarse.lattice.finer
    values = torch.empty(len(origins), 9, 9, 9, device=origins.device, dtype=torch.float32)
    cells = torch.empty(len(origins), 8, 8, 8, device=origins.device, dtype=torch.bool)
    needed = torch.empty(values.shape, device=origins.device, dtype=torch.bool)
    for some in batches(len(origins), origins.device):
        here = [part[some] for part in (brick, *octant)]
        part = Bricks(lattice, origins[some], interpolate_nodes(octants[*here]), cells[some], None)
        parents, bounds = (repeat_twice(parts.permute(0, 1, 3, 5, 2, 4, 6)[*here]) for parts in (chosen, bound))
        values[some] = part.values
        # A child of a selected cell is sampled only if its own predicted corners come close enough to the surface.
        cells[some] = parents & _may_contain_surface(part, bounds)
        needed[some] = corners(cells[some])
    needed[:, ::2, ::2, ::2] = False  # sampled on the coarser level
    bricks = Bricks(lattice, origins, values, cells, values.clone() if lattice.step > 1 else None)
    sample_nodes(bricks, needed, sampler)
    return bricks


def _follow_surface(bricks: Bricks, sampler: LatticeSampler) -> None:
    """Sample all crossed cells that are not yet sampled, and add the bricks into which the surface continues.

    Each pass may change signs at nodes that were predicted so far, so the bricks around a change are examined again.
    """
    examined = torch.arange(len(bricks), device=bricks.origins.device)
    while len(examined):
        if bricks.lattice.step == 1:
            _set_outside_empty(bricks, examined)
        found, unsampled = _unsampled_crossed_cells(bricks, examined)
        origins = _missing_neighbors(bricks, examined)
        sampler.check_memory(BYTES_PER_BRICK * (len(bricks) + len(origins)))
        added = bricks.append(origins)
        if len(found) + len(added) == 0:
            return

        # An added brick is sampled whole: nothing was predicted there.
        needed = torch.zeros(bricks.values.shape, dtype=torch.bool, device=examined.device)
        needed[found] = corners(unsampled) & ~corners(bricks.cells[found])
        needed[added] = True
        bricks.cells[found] |= unsampled
        bricks.cells[added] = True
        examined = _with_neighbors(bricks, torch.cat([found, added]))
        part = bricks[examined]
        sample_nodes(part, needed[examined], sampler)
        bricks.values[examined] = part.values
        # Added bricks have no predictions, so no error is measured there.
        if bricks.predicted is not None:
            bricks.predicted[added] = bricks.values[added]


def _unsampled_crossed_cells(
    bricks: Bricks, examined: Int[Tensor, " examined"]
) -> tuple[Int[Tensor, " found"], Bool[Tensor, "found 8 8 8"]]:
    """Those of the examined bricks with crossed cells that are not sampled, and these cells."""
    found, unsampled = [], []
    for some in batches(len(examined), examined.device):
        cells = crossed(bricks.values[examined[some]]) & ~bricks.cells[examined[some]]
        concerned = cells.flatten(1).any(1)
        found.append(examined[some][concerned])
        unsampled.append(cells[concerned])
    return torch.cat(found), torch.cat(unsampled)


def _with_neighbors(bricks: Bricks, some: Int[Tensor, " some"]) -> Int[Tensor, " around"]:
    """The indices of some bricks and of all bricks that touch them."""
    indices = brick_indices(bricks)
    steps = torch.tensor(list(product((-1, 0, 1), repeat=3)), dtype=torch.int32, device=indices.device)
    touching = torch.cat([bricks_at(indices, bricks.origins[some] + step) for step in steps])
    return touching[touching >= 0].unique().long()


def _missing_neighbors(bricks: Bricks, examined: Int[Tensor, " examined"]) -> Int[Tensor, "missing 3"]:
    """Positions without a brick into which the surface continues through a face of an examined brick."""
    indices = brick_indices(bricks)
    origins = []
    for axis, far in product(range(3), (False, True)):
        step = torch.zeros(3, dtype=torch.int32, device=indices.device)
        step[axis] = 1 if far else -1
        beyond = bricks.origins[examined] + step
        within = ((beyond >= 0) & (beyond < bricks.lattice.side)).all(1)
        without = examined[within & (bricks_at(indices, beyond) < 0)]
        faces = bricks.values.narrow(axis + 1, 8 if far else 0, 1)[without]
        origins.append(bricks.origins[without[crossed(faces).flatten(1).any(1)]] + step)
    return torch.cat(origins).unique(dim=0)


def _set_outside_empty(bricks: Bricks, examined: Int[Tensor, " examined"]) -> None:
    """Give the nodes outside the box a negative value, so that the surface closes at the walls."""
    last = bricks.lattice.resolution + 1
    border = ((bricks.origins[examined] == 0) | (bricks.origins[examined] * 8 + 8 > last)).any(1)
    border = examined[border]
    numbers = bricks.origins[border, :, None] * 8 + torch.arange(9, device=border.device)
    inside = (numbers >= 1) & (numbers <= last)
    values = bricks.values[border]
    empty = -values.abs().amax().clamp_min(1e-6) if len(border) else 0.0
    bricks.values[border] = torch.where(outer_and(*inside.unbind(1)), values, empty)
