"""Values of a triplane field at scattered nodes of a regular lattice.

The value of a field at a point p is MLP([f₁, f₂, f₃]), where fₖ are the features of plane k at the projection of p,
interpolated bilinearly. The first layer of the MLP is linear, and so is the interpolation, and so they commute:

    W · [f₁, f₂, f₃] + b  =  Σₖ Σ_taps weight · (Wₖ · pixel of plane k) + b

1. The first layer is applied to each pixel of the planes once, instead of to each point (`FirstLayerTable`). Its output
   at a node is then a weighted sum of rows of a table: four rows, the bilinear taps, for each plane.
2. A brick has 9 × 9 × 9 nodes. They project to 9 × 9 places on each plane, a patch. Bricks behind one another share the
   patch. The four taps are therefore summed once for each place of a patch, and a node adds three such sums.

Invariant: the values equal those of `TriplaneField.occupancy` at the same points, up to rounding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

SIDE = 9
"""Nodes along an edge of a brick."""

NODES = SIDE**3
"""Nodes of a brick."""

CPU_CHUNK = 16384
ACCELERATOR_CHUNK = 1 << 19
"""Rows that pass the point MLP at a time. On a CPU they fit its caches; on an accelerator large launches are faster."""

ROWS_PER_BRICK = 32
"""The number of bricks whose patches are computed together is such that each brick has this many rows of a chunk."""

ROUND = 512
"""The number of nodes in a pass is a multiple of this: oneDNN builds a new kernel for each other number."""


class FirstLayerTable(NamedTuple):
    """The first layer of the point MLP, applied to all of its possible inputs: the output is a weighted sum of rows."""

    rows: Float[Tensor, "rows hidden"]
    """The pixels of the three planes, each plane with a border of one pixel. If the MLP also takes coordinates, then
    those of all samples along x, along y and along z follow."""

    bias: Float[Tensor, " hidden"]
    """To be added once to the sum."""


class TriplaneLatticeSampler:
    """Occupancy logits at nodes of the lattice axis × axis × axis, brick by brick. See `TriplaneField.lattice`."""

    def __init__(
        self,
        decoder: nn.Module,
        planes: Float[Tensor, "1 3 channels size size"],
        axis: Float[Tensor, " samples"],
    ):
        self.decoder = decoder
        self.plane_axes: tuple[tuple[int, int], ...] = decoder.plane_axes  # type: ignore[assignment]
        self.planes = planes
        self.first_layer: FirstLayerTable = decoder.first_layer_table(planes, (axis, axis, axis))
        self.samples = len(axis)

        # Positions of the samples in pixels. Pixel centres lie half a pixel inside ±1, so ±1 is at -0.5 and size - 0.5.
        # `pixel` counts the border, hence + 1.
        self.size = planes.shape[-1]
        position = ((axis + 1) * self.size - 1) / 2
        position = (
            position.clamp(0, self.size - 1) if decoder.padding_mode == "border" else position.clamp(-1, self.size)
        )
        below = position.floor().clamp(max=self.size - 1)
        self.pixel = (below + 1).int()
        self.weights = torch.stack([1 - (position - below), position - below])

        # For each plane, the place of each of a brick's nodes in the 9 × 9 patch.
        side = torch.arange(SIDE, dtype=torch.int32, device=axis.device)
        local = [numbers.flatten() for numbers in torch.meshgrid(side, side, side, indexing="ij")]
        self.place_of_node = [local[first] * SIDE + local[second] for first, second in map(sorted, self.plane_axes)]

    def __call__(
        self,
        x: Int[Tensor, "bricks 9"],
        y: Int[Tensor, "bricks 9"],
        z: Int[Tensor, "bricks 9"],
        nodes: Int[Tensor, " nodes"],
    ) -> Float[Tensor, " nodes"]:
        """Logits at `nodes`, flat indices into (bricks, 9, 9, 9) in ascending order.

        Args:
            x: the indices of each brick's samples on the axis, along x; likewise `y` and `z`. Bricks with equal first
                indices along an axis have all nine equal.
            nodes: which nodes of which bricks.
        """
        chunk = chunk_rows(self.planes)
        size = max(1, chunk // ROWS_PER_BRICK)
        starts = range(0, len(x), size)
        bounds = NODES * torch.tensor([*starts, len(x)], device=nodes.device, dtype=torch.int32)
        ends = torch.searchsorted(nodes, bounds).tolist()
        logits = []
        for start, first, last in zip(starts, ends[:-1], ends[1:], strict=True):
            if first < last:
                some = slice(start, start + size)
                rows, patches = self._patches(x[some], y[some], z[some])
                for part in (nodes[first:last] - NODES * start).split(chunk):
                    sums = self._sum(rows, patches, F.pad(part, (0, -len(part) % ROUND)))
                    logits.append(self.decoder.occupancy_from_first_layer(self.planes, sums)[: len(part)])
        return torch.cat(logits)

    def _patches(
        self, *numbers: Int[Tensor, "bricks 9"]
    ) -> tuple[Float[Tensor, "rows hidden"], list[Int[Tensor, " bricks"]]]:
        """The sums of the taps at all places of all patches that the bricks project to.

        Returns 81 rows for each distinct patch of each plane, and for each plane the first row of every brick's patch.
        """
        table, bias = self.first_layer
        width = self.size + 2
        of_axis = 3 * width**2 + self.samples * torch.arange(3, device=table.device)
        rows, firsts, count = [], [], 0
        for plane, (across, down) in enumerate(self.plane_axes):
            first, second = sorted((across, down))
            # Bricks with equal first samples along both axes share the patch; one of them represents it.
            key, patch = (numbers[first][:, 0] * self.samples + numbers[second][:, 0]).unique(return_inverse=True)
            brick = torch.arange(len(patch), device=key.device)
            one = torch.empty_like(key, dtype=torch.long).scatter_(0, patch, brick)
            axes = [numbers[axis][one] for axis in (first, second)]
            rows.append(self._patch_rows(plane, (across, down), axes))
            # A node adds one row of each plane, so the bias and each coordinate belong to one plane only: the bias, x
            # and y to XY, z to XZ.
            if plane == 0:
                rows[0] += bias
            if len(table) > 3 * width**2:
                if plane == 0:
                    rows[0] += table[axes[0] + of_axis[0]][:, :, None]
                if plane < 2:
                    rows[plane] += table[axes[1] + of_axis[second]][:, None]
            firsts.append((SIDE**2 * patch + count).int())
            count += SIDE**2 * len(key)
        return torch.cat(rows).flatten(0, 2), firsts

    def _patch_rows(
        self, plane: int, across_down: tuple[int, int], axes: list[Int[Tensor, "patches 9"]]
    ) -> Float[Tensor, "patches 9 9 hidden"]:
        """Bilinear interpolation of the table's rows: four weighted rows for each place of each patch."""
        width = self.size + 2
        stride = dict(zip(across_down, (1, width), strict=True))
        pixels = [self.pixel[numbers] * stride[axis] for numbers, axis in zip(axes, sorted(stride), strict=True)]
        weights = [self.weights[:, numbers] for numbers in axes]
        shape = (4, len(axes[0]), SIDE, SIDE)
        index = torch.empty(shape, dtype=torch.int32, device=self.pixel.device)
        weight = torch.empty(shape, device=self.pixel.device)
        for tap, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            first, second = (step * stride[axis] for step, axis in zip((i, j), sorted(stride), strict=True))
            corner = pixels[0] + (first + second + plane * width**2)
            torch.add(corner[:, :, None], pixels[1][:, None], out=index[tap])
            torch.mul(weights[0][i][:, :, None], weights[1][j][:, None], out=weight[tap])
        index, weight = (taps.view(4, -1).T.contiguous() for taps in (index, weight))
        rows = weighted_sum(self.first_layer.rows, index, weight)
        return rows.view(-1, SIDE, SIDE, self.first_layer.rows.shape[1])

    def _sum(
        self, rows: Float[Tensor, "rows hidden"], firsts: list[Int[Tensor, " bricks"]], nodes: Int[Tensor, " nodes"]
    ) -> Float[Tensor, "nodes hidden"]:
        """The first layer's output at `nodes`: the sum of one row of each plane."""
        brick = nodes // NODES
        place = nodes - brick * NODES
        planes = zip(firsts, self.place_of_node, strict=True)
        index = [first.index_select(0, brick) + inner.index_select(0, place) for first, inner in planes]
        return weighted_sum(rows, torch.stack(index, dim=1), None)


def chunk_rows(tensor: Tensor) -> int:
    """The number of rows that pass the point MLP at a time on the tensor's device."""
    return CPU_CHUNK if tensor.device.type == "cpu" else ACCELERATOR_CHUNK


def weighted_sum(
    table: Float[Tensor, "rows hidden"], index: Int[Tensor, "sums taps"], weight: Float[Tensor, "sums taps"] | None
) -> Float[Tensor, "sums hidden"]:
    """Σ_taps weight · table[index], in one call that does not store the selected rows."""
    if table.device.type == "mps":  # Some versions of torch have no embedding_bag there.
        selected = table[index]
        return selected.sum(1) if weight is None else torch.einsum("st,sth->sh", weight, selected)
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
