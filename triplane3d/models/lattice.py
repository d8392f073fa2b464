"""A triplane asked at scattered nodes of a regular lattice.

The point MLP's first layer is linear, so it is applied to the planes' pixels once instead of to every point's features.
What enters the MLP's first activation at a node is then a weighted sum of rows of one table, four for each plane; and
nodes of many bricks lie on the same patches of a plane, where these sums are made once.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

CPU_CHUNK = 16384
ACCELERATOR_CHUNK = 1 << 19
"""Rows that pass the point MLP at once: what a CPU's caches hold; an accelerator wants its launches large instead."""

ROWS_PER_BRICK = 32
"""Bricks share what the planes say with as many others as give each of them so many rows of a chunk."""

ROUND = 512
"""Nodes pass the MLP in multiples of it: oneDNN builds kernels of its own for every other number."""


class FirstLayer(NamedTuple):
    """The point MLP's first layer, already applied: `rows`, properly weighted, and `bias` add up to its output."""

    rows: Float[Tensor, "rows hidden"]
    """Of the pixels of the three planes, each with a border of one pixel, then of the coordinates of all samples along
    x, along y and along z, if the MLP reads them."""
    bias: Float[Tensor, " hidden"]


class TriplaneLattice:
    """Values at nodes of the lattice axis × axis × axis, brick by brick. `TriplaneField.lattice` makes it."""

    def __init__(
        self,
        decoder: nn.Module,
        planes: Float[Tensor, "1 3 channels size size"],
        axis: Float[Tensor, " samples"],
    ):
        self.decoder = decoder
        self.plane_axes: tuple[tuple[int, int], ...] = decoder.plane_axes  # type: ignore[assignment]
        self.planes = planes
        self.first_layer: FirstLayer = decoder(planes, axes=(axis, axis, axis), wants="first layer")
        self.samples = len(axis)

        # Where the samples lie between pixels, whose centres are half a pixel inside ±1; the border's pixels count too.
        self.size = planes.shape[-1]
        place = ((axis + 1) * self.size - 1) / 2
        place = place.clamp(0, self.size - 1) if decoder.padding_mode == "border" else place.clamp(-1, self.size)
        below = place.floor().clamp(max=self.size - 1)
        self.pixel = (below + 1).int()
        self.weights = torch.stack([1 - (place - below), place - below])

        # Where on a patch of 9 × 9 places of each plane a node of a brick lies.
        side = torch.arange(9, dtype=torch.int32, device=axis.device)
        local = [numbers.flatten() for numbers in torch.meshgrid(side, side, side, indexing="ij")]
        self.place_of_node = [local[first] * 9 + local[second] for first, second in map(sorted, self.plane_axes)]

    def __call__(
        self,
        x: Int[Tensor, "bricks 9"],
        y: Int[Tensor, "bricks 9"],
        z: Int[Tensor, "bricks 9"],
        nodes: Int[Tensor, " nodes"],
    ) -> Float[Tensor, " nodes"]:
        chunk = chunk_rows(self.planes)
        size = max(1, chunk // ROWS_PER_BRICK)
        starts = range(0, len(x), size)
        bounds = 729 * torch.tensor([*starts, len(x)], device=nodes.device, dtype=torch.int32)
        ends = torch.searchsorted(nodes, bounds).tolist()
        answers = []
        for start, first, last in zip(starts, ends[:-1], ends[1:], strict=True):
            if first < last:
                some = slice(start, start + size)
                rows, patches = self._patches(x[some], y[some], z[some])
                for part in (nodes[first:last] - 729 * start).split(chunk):
                    sums = self._sum(rows, patches, F.pad(part, (0, -len(part) % ROUND)))
                    answers.append(self.decoder(self.planes, first_layer=sums)[: len(part)])
        return torch.cat(answers)

    def _patches(
        self, *numbers: Int[Tensor, "bricks 9"]
    ) -> tuple[Float[Tensor, "rows hidden"], list[Int[Tensor, " bricks"]]]:
        """What planes and coordinates say at the places that the bricks' nodes have on the planes, 9 × 9 rows for each
        patch of a plane that any of the bricks lies on; and for each plane, every brick's first row."""
        table, bias = self.first_layer
        width = self.size + 2
        of_axis = 3 * width**2 + self.samples * torch.arange(3, device=table.device)
        rows, firsts, count = [], [], 0
        for plane, (across, down) in enumerate(self.plane_axes):
            first, second = sorted((across, down))
            key, patch = (numbers[first][:, 0] * self.samples + numbers[second][:, 0]).unique(return_inverse=True)
            brick = torch.arange(len(patch), device=key.device)
            one = torch.empty_like(key, dtype=torch.long).scatter_(0, patch, brick)
            axes = [numbers[axis][one] for axis in (first, second)]
            rows.append(self._patch_rows(plane, (across, down), axes))
            # A sum over three planes has each coordinate once, and the bias.
            if plane == 0:
                rows[0] += bias
            if len(table) > 3 * width**2:
                if plane == 0:
                    rows[0] += table[axes[0] + of_axis[0]][:, :, None]
                if plane < 2:
                    rows[plane] += table[axes[1] + of_axis[second]][:, None]
            firsts.append((81 * patch + count).int())
            count += 81 * len(key)
        return torch.cat(rows).flatten(0, 2), firsts

    def _patch_rows(
        self, plane: int, across_down: tuple[int, int], axes: list[Int[Tensor, "patches 9"]]
    ) -> Float[Tensor, "patches 9 9 hidden"]:
        """Between the four pixels around each place."""
        width = self.size + 2
        stride = dict(zip(across_down, (1, width), strict=True))
        pixels = [self.pixel[numbers] * stride[axis] for numbers, axis in zip(axes, sorted(stride), strict=True)]
        weights = [self.weights[:, numbers] for numbers in axes]
        shape = (4, len(axes[0]), 9, 9)
        index = torch.empty(shape, dtype=torch.int32, device=self.pixel.device)
        weight = torch.empty(shape, device=self.pixel.device)
        for tap, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            first, second = (step * stride[axis] for step, axis in zip((i, j), sorted(stride), strict=True))
            corner = pixels[0] + (first + second + plane * width**2)
            torch.add(corner[:, :, None], pixels[1][:, None], out=index[tap])
            torch.mul(weights[0][i][:, :, None], weights[1][j][:, None], out=weight[tap])
        index, weight = (taps.view(4, -1).T.contiguous() for taps in (index, weight))
        return weighted_sum(self.first_layer.rows, index, weight).view(-1, 9, 9, self.first_layer.rows.shape[1])

    def _sum(
        self, rows: Float[Tensor, "rows hidden"], firsts: list[Int[Tensor, " bricks"]], nodes: Int[Tensor, " nodes"]
    ) -> Float[Tensor, "nodes hidden"]:
        """The first layer's output: one row of each plane, added."""
        brick = nodes // 729
        place = nodes - brick * 729
        planes = zip(firsts, self.place_of_node, strict=True)
        index = [first.index_select(0, brick) + inner.index_select(0, place) for first, inner in planes]
        return weighted_sum(rows, torch.stack(index, dim=1), None)


def chunk_rows(tensor: Tensor) -> int:
    """How many rows pass the point MLP at once where the tensor lies."""
    return CPU_CHUNK if tensor.device.type == "cpu" else ACCELERATOR_CHUNK


def weighted_sum(
    table: Float[Tensor, "rows hidden"], index: Int[Tensor, "sums taps"], weight: Float[Tensor, "sums taps"] | None
) -> Float[Tensor, "sums hidden"]:
    """Rows of a table, picked, weighted and added in one call."""
    if table.device.type == "mps":  # whose embedding_bag not every torch has
        picked = table[index]
        return picked.sum(1) if weight is None else torch.einsum("st,sth->sh", weight, picked)
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
