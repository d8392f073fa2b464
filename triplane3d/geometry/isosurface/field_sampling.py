"""Values and colours of a field: on grids, at the nodes of bricks, and at points, in chunks of bounded size."""

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, Integer
from torch import Tensor

from triplane3d.geometry.fields import ColorField, Field, GridField, LatticeField
from triplane3d.geometry.isosurface.bricks import Bricks, Lattice, crossed, sampled_values
from triplane3d.geometry.isosurface.marching import check_range, check_values, surface_of_bricks, surface_of_grid
from triplane3d.geometry.isosurface.search import find_surface

logger = logging.getLogger(__name__)

POINT_CHUNK = 1 << 18
SLAB_CHUNK = 1 << 22
"""Samples computed at once, at points and on grids, where the caller sets no limit."""

ACTIVATED_RANGE = 1e6
"""Activated values are clamped to this distance from the level, in multiples of the level. Larger values would exceed
the precision of the interpolation."""

Progress = Callable[[int, int], object]
"""progress(done, total), in samples."""

Activation = Callable[[Tensor], Tensor]


class SampledSurface(NamedTuple):
    """A field's values around its surface, minus the level."""

    values: Float[np.ndarray, "*bricks x y z"]
    """(bricks, 9, 9, 9), or (samples, samples, samples) where the whole grid was sampled."""
    origins: Integer[np.ndarray, "bricks 3"] | None
    """Positions of the bricks; None for the whole grid."""

    def triangulate(self, resolution: int, bounds: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Vertices and faces of the surface, by marching cubes."""
        if self.origins is None:
            return surface_of_grid(self.values, 0.0, bounds)
        return surface_of_bricks(self.values, self.origins, resolution, bounds)


class FieldSampler:
    """A field at the samples of a grid. Counts the samples, and records the range of their values.

    It implements `LatticeSampler`. The level is subtracted from all values that its methods return.
    """

    def __init__(
        self,
        field: Field,
        axis: Float[Tensor, " samples"],
        level: float = 0.0,
        chunk_size: int | None = None,
        max_memory: int | None = None,
        progress: Progress | None = None,
    ):
        self.field, self.axis, self.level = field, axis, float(np.float32(level))
        self.chunk_size, self.max_memory, self.progress = chunk_size, max_memory, progress
        self.count = self.expected_count = 0
        self.low, self.high = float("inf"), -float("inf")
        self._brick_values = field.lattice(axis) if isinstance(field, LatticeField) else self._values_at_nodes

    def search(self, margin: float, activation: Activation | None = None) -> SampledSurface:
        """The surface, found from coarse to fine; see `extract_surface`."""
        found = find_surface(Lattice.coarsest(len(self.axis) - 1), self, margin)
        ends = torch.tensor([self.low, self.high, self.level])
        check_range(*activated(activation, ends).tolist())
        if self.progress is not None:
            self.progress(self.count, self.count)
        if isinstance(found, Tensor):
            logger.info("the surface may pass nearly everywhere: every sample of the grid was computed")
            return SampledSurface(self._activated_difference(found, activation).cpu().numpy(), None)
        # Only bricks with a crossed cell have triangles.
        keep = torch.cat([crossed(some).flatten(1).any(1) for some in found.values.split(1024)])
        values = self._activated_difference(found.values[keep], activation)
        return SampledSurface(values.cpu().numpy(), found.origins[keep].cpu().numpy())

    def _activated_difference(self, values: Float[Tensor, "*samples"], activation: Activation | None) -> Tensor:
        """Activated values minus the activated level. The level is already subtracted from `values`."""
        if activation is None:
            return values
        # The signs of the search are kept. The activation of a value that was only predicted may not be finite.
        level = values.new_tensor(self.level)
        crossing = activation(level)
        difference = torch.nan_to_num(activation(values + level) - crossing).abs()
        difference = difference.clamp(1e-30, ACTIVATED_RANGE * float(crossing.abs()))
        return difference.copysign(values)

    def sample_lattice(self, lattice: Lattice, coarser: Bricks | None) -> Float[Tensor, "x y z"]:
        """Values at all samples of a lattice, each computed once.

        Samples that the next coarser lattice's bricks already have are not computed again.
        """
        samples, _ = lattice.samples(self.axis.device)
        if coarser is None:
            return self._record(values_on_grid(self.field, (self.axis[samples],) * 3, self.chunk_size, None))

        count = len(samples)
        self.check_memory(2 * 4 * count**3)
        before, _ = coarser.lattice.samples(samples.device)
        old, new = (torch.isin(samples, before, invert=invert).nonzero()[:, 0] for invert in (False, True))
        coarse, sampled = sampled_values(coarser)
        missing = (~sampled).nonzero()
        self.announce(count**3 - coarse.numel() + len(missing))
        if len(missing):
            points = self.axis[before[missing]]
            coarse[tuple(missing.T)] = self._record(values_at_points(self.field, self.chunk_size, points))
        # The remaining samples are three grids: all those with a new x, then those with a new y, then a new z.
        values = coarse.new_empty(count, count, count)
        values[new] = self._on_axes(samples[new], samples, samples)
        values[old[:, None], new] = self._on_axes(samples[old], samples[new], samples)
        values[old[:, None, None], old[:, None], new] = self._on_axes(samples[old], samples[old], samples[new])
        values[old[:, None, None], old[:, None], old] = coarse
        return values

    def _on_axes(self, *indices: Int[Tensor, " _"]) -> Float[Tensor, "x y z"]:
        """Values at all samples with these indices along x, y and z."""
        before = self.count

        def report(done: int, _: int) -> None:
            if self.progress is not None:
                self.progress(before + done, max(before + done, self.expected_count))

        x, y, z = (self.axis[some] for some in indices)
        return self._record(values_on_grid(self.field, (x, y, z), self.chunk_size, report))

    def sample_nodes(
        self,
        x: Int[Tensor, "bricks 9"],
        y: Int[Tensor, "bricks 9"],
        z: Int[Tensor, "bricks 9"],
        nodes: Int[Tensor, " nodes"],
    ) -> Float[Tensor, " nodes"]:
        """Values at some nodes of bricks, see `LatticeSampler`."""
        values = self._record(self._brick_values(x, y, z, nodes).float())
        if self.progress is not None:
            self.progress(self.count, max(self.count, self.expected_count))
        return values

    def _values_at_nodes(self, x: Tensor, y: Tensor, z: Tensor, nodes: Tensor) -> Tensor:
        """`BrickValues` of a field that has no `lattice`."""
        # A brick has 9³ = 729 nodes; the local index along an axis selects one of its nine samples there.
        brick, place = nodes // 729 * 9, nodes % 729
        points = [
            self.axis[indices.flatten()[brick + place // stride % 9]] for indices, stride in ((x, 81), (y, 9), (z, 1))
        ]
        return values_at_points(self.field, self.chunk_size, torch.stack(points, dim=-1))

    def _record(self, values: Float[Tensor, "*samples"]) -> Float[Tensor, "*samples"]:
        """Count the values and their range, refuse NaN and infinity, and subtract the level."""
        self.count += values.numel()
        low, high = (float(end) for end in values.aminmax())
        if not np.isfinite(high - low):
            check_values(int((~values.isfinite()).sum()), values.numel())
        self.low, self.high = min(self.low, low), max(self.high, high)
        return values - self.level

    def announce(self, count: int) -> None:
        """Sets the expected number of samples: those computed so far, and `count` more."""
        self.expected_count = self.count + count

    def check_memory(self, size: int) -> None:
        """Raise MemoryError where `size` bytes exceed `max_memory`."""
        if self.max_memory is not None and size > self.max_memory:
            raise MemoryError(
                f"the search for the surface at resolution {len(self.axis) - 1} needs about {size / 2**20:,.0f} MiB, "
                f"but max_memory allows {self.max_memory / 2**20:,.0f}: lower the resolution or raise max_memory"
            )


@torch.no_grad()
def evaluate_grid(
    field: Field,
    resolution: int,
    bounds: tuple[float, float] = (-1.0, 1.0),
    chunk_size: int | None = None,
    *,
    progress: Progress | None = None,
) -> Float[Tensor, "x y z"]:
    """The field's values, float32 on its own device, on the grid of `resolution` cells over the cube `bounds`.

    `chunk_size` limits the samples computed at once; `progress(done, total)` is called after every chunk.
    """
    axis = grid_axis(field, resolution, bounds, chunk_size)
    return values_on_grid(field, (axis, axis, axis), chunk_size, progress)


def evaluate_grids(
    fields: Iterable[Field],
    resolution: int,
    bounds: tuple[float, float] = (-1.0, 1.0),
    *,
    progress: Progress | None = None,
) -> list[Float[Tensor, "x y z"]]:
    """`evaluate_grid` of several fields. `progress(done, total)` covers all fields: each counts as a thousand parts."""
    fields = list(fields)
    return [
        evaluate_grid(field, resolution, bounds, progress=progress_of(number, len(fields), progress))
        for number, field in enumerate(fields)
    ]


def progress_of(number: int, count: int, progress: Progress | None) -> Progress | None:
    """`progress` for field `number` of `count`, each of which counts as a thousand parts."""
    if progress is None:
        return None
    reported = [1000 * number]

    def report(done: int, total: int) -> None:
        # The total may grow between two calls; the reported number never decreases.
        reported.append(max(reported.pop(), 1000 * number + 1000 * done // total))
        progress(reported[0], 1000 * count)

    return report


def activated(activation: Activation | None, values: Tensor) -> Tensor:
    """`activation` of the values, or the values where it is None."""
    return values if activation is None else activation(values)


def grid_axis(
    field: Field, resolution: int, bounds: tuple[float, float], chunk_size: int | None
) -> Float[Tensor, " samples"]:
    """Coordinates of the samples along every axis, on the field's device. Raises ValueError for invalid arguments."""
    low, high = bounds
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"resolution counts the cells along an edge: a whole number from 2 up, got {resolution!r}")
    if not low < high:
        raise ValueError(f"bounds are the lowest and highest coordinate of the cube, got {bounds}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size counts samples, from 1 up; got {chunk_size}")
    axis = torch.linspace(low, high, resolution + 1, dtype=torch.float64).to(torch.float32)
    return axis.to(device_of(field))


def device_of(field: object) -> torch.device:
    """The device of a field's points; the CPU if the field has no attribute `device`."""
    return torch.device(getattr(field, "device", "cpu"))


def values_on_grid(
    field: Field, axes: tuple[Tensor, Tensor, Tensor], chunk_size: int | None, progress: Progress | None
) -> Float[Tensor, "x y z"]:
    """The field's values on the grid x × y × z of three `axes`."""
    x, y, z = axes
    values = torch.zeros(len(x), len(y), len(z), device=x.device, dtype=torch.float32)
    layer = len(y) * len(z)

    if isinstance(field, GridField):
        slab = max(1, (chunk_size or SLAB_CHUNK) // layer)
        for start in range(0, len(x), slab):
            some = x[start : start + slab]
            part = field.grid(some, y, z)
            if part.shape != (1, len(some), len(y), len(z)):
                raise ValueError(
                    f"field.grid must return one field with shape {(1, len(some), len(y), len(z))}, got "
                    f"{tuple(part.shape)}; select one field of a batch with field[i]"
                )
            values[start : start + slab] = part[0]
            if progress is not None:
                progress(min(start + slab, len(x)) * layer, values.numel())
        return values

    flat = values.view(-1)
    for start in range(0, len(flat), chunk_size or POINT_CHUNK):
        index = torch.arange(start, min(start + (chunk_size or POINT_CHUNK), len(flat)), device=x.device)
        points = torch.stack([x[index // layer], y[index // len(z) % len(y)], z[index % len(z)]], dim=-1)
        flat[start : start + len(index)] = values_at_points(field, chunk_size, points)
        if progress is not None:
            progress(start + len(index), len(flat))
    return values


def values_at_points(
    field: Field, chunk_size: int | None, points: Float[Tensor, "points 3"]
) -> Float[Tensor, " points"]:
    """The field's values at points, on the device of the points."""
    device = device_of(field)
    parts = []
    for chunk in points.split(chunk_size or POINT_CHUNK):
        part = field(chunk.to(device))
        if part.shape != chunk.shape[:1]:
            raise ValueError(
                f"a field must return, for points of shape {tuple(chunk.shape)}, values of shape "
                f"{tuple(chunk.shape[:1])}, got {tuple(part.shape)}"
            )
        parts.append(part.float().to(points.device))
    return torch.cat(parts)


def color_at(
    field: ColorField,
    vertices: Float[np.ndarray, "vertices 3"],
    chunk_size: int | None = None,
    before_chunk: Callable[[], object] | None = None,
) -> Float[np.ndarray, "vertices 3"]:
    """The field's colour, linear albedo in 0..1, at every vertex. `before_chunk` is called before each chunk."""
    device = device_of(field)
    colors = []
    for chunk in torch.from_numpy(vertices).split(chunk_size or POINT_CHUNK):
        if before_chunk is not None:
            before_chunk()
        colors.append(field.color(rearrange(chunk.to(device), "points xyz -> 1 points xyz"))[0])
    return torch.cat(colors).float().clamp(0, 1).cpu().numpy()
