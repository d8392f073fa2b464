"""From a field to a mesh: find its surface coarse to fine, or ask it on the whole grid, then marching cubes.

`resolution` counts cells along an edge, so the grid has `resolution + 1` samples per axis and sample i lies at
`low + i / resolution * (high - low)`.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, Integer
from torch import Tensor

from triplane3d.geometry.fields import ColorField, Field, GridField, LatticeField
from triplane3d.geometry.isosurface.bricks import COARSE, Bricks, Lattice, crossed, find_surface, known_samples
from triplane3d.geometry.isosurface.marching import check_range, check_values, surface_of_bricks, surface_of_grid
from triplane3d.geometry.isosurface.vertex_refinement import polish_vertices
from triplane3d.geometry.mesh.mesh import Mesh

__all__ = ["Field", "GridField", "evaluate_grid", "extract_surface", "extract_surfaces", "surface_of_grid"]

logger = logging.getLogger(__name__)

POINT_CHUNK = 1 << 18
SLAB_CHUNK = 1 << 22

SMALLEST = 2 * COARSE
"""Below this resolution the coarsest grid would be the finest."""

STEEPEST = 1e6
"""How far from the level, in multiples of it, an activated sample counts: further ones would drown the others."""

Progress = Callable[[int, int], object]


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

    `chunk_size` limits the samples asked for at once; `progress(done, total)` hears of every chunk.
    """
    axis = _axis(field, resolution, bounds, chunk_size)
    return _on_grid(field, (axis, axis, axis), chunk_size, progress)


@torch.no_grad()
def extract_surface(
    field: Field,
    resolution: int = 256,
    *,
    level: float = 0.0,
    bounds: tuple[float, float] = (-1.0, 1.0),
    dense: bool = False,
    margin: float = 0.75,
    refine: bool = False,
    activation: Callable[[Tensor], Tensor] | None = None,
    chunk_size: int | None = None,
    max_memory: int | None = None,
    progress: Progress | None = None,
) -> Mesh:
    """The surface where the field crosses `level`, as a closed mesh wound outwards, coloured if the field knows how.

    `field` answers points (n, 3) with values (n,), higher inside; a `TriplaneField` is asked through its faster `grid`
    and `lattice` and gives its colours. What lies inside is taken to end at the walls of the cube `bounds`, where it is
    closed.

    The surface is found coarse to fine (`bricks.py`), which evaluates a few per cent of the grid's samples.
    The mesh is that of the whole grid, unless a piece hides between coarse samples more deeply than the field's other
    details suggest: a larger `margin` looks further, `dense=True` asks every sample. Every sample is also asked, once,
    of a field whose surface may pass nearly everywhere, such as noise; that is logged (level INFO).

    Args:
        refine: put every vertex on the surface itself, at 13 samples each; what that gained is logged (level INFO).
        activation: a function that rises, applied to the samples before vertices are placed between them. A density
            that grows exponentially is searched by its logarithm, which is smooth, but interpolated as it is. `level`
            is still one of the field's own values.
        chunk_size: limits the samples asked for at once, where the field does not split its lattice itself.
        max_memory: bytes that the search and its pieces of surface may take, beside the field's own needs and the mesh;
            a surface that needs more is an error. `dense=True` does not look at it.
        progress: `progress(done, total)` hears of samples asked by the search; the total grows while it finds more to
            ask. What it raises ends the extraction.

    Raises:
        ValueError: where the field has no surface (with the range of its values), is NaN or infinite, or an argument
            is out of range.
        MemoryError: where `max_memory` does not suffice.
    """
    if not 0 < margin < float("inf"):
        raise ValueError(
            f"margin is how much of the field's surprises the search allows for, a number above 0 such "
            f"as 0.75; got {margin!r}"
        )
    if not np.isfinite(level):
        raise ValueError(f"level is a value of the field, a finite number; got {level!r}")
    axis = _axis(field, resolution, bounds, chunk_size)
    if dense or resolution < SMALLEST:
        values = _on_grid(field, (axis, axis, axis), chunk_size, progress)
        crossing = float(_activated(activation, torch.tensor(float(level))))
        if activation is not None:
            values = activation(values).clamp(crossing - STEEPEST * abs(crossing), crossing + STEEPEST * abs(crossing))
        vertices, faces = surface_of_grid(values.cpu().numpy(), crossing, bounds)
    else:
        samples = Samples(field, axis, level, chunk_size, max_memory, progress)
        vertices, faces = samples.search(margin, activation).surface(resolution, bounds)
    if refine:
        cell = (bounds[1] - bounds[0]) / resolution
        vertices, gain = polish_vertices(partial(_at_points, field, chunk_size), vertices, level, cell, bounds)
        logger.info("%s", gain)
    mesh = Mesh(vertices, faces)
    if isinstance(field, ColorField) and field.has_color:
        mesh = Mesh(mesh.vertices, faces, color_at(field, mesh.vertices, chunk_size))
    return mesh


def extract_surfaces(
    fields: Iterable[Field], resolution: int = 256, *, progress: Progress | None = None, **options: Any
) -> list[Mesh]:
    """`extract_surface` of several fields, such as a batched `TriplaneField`, one after the other.

    `progress` hears of them as of one: each field is worth a thousand parts.
    """
    fields = list(fields)

    def part_of(number: int) -> Progress | None:
        if progress is None:
            return None
        heard = [1000 * number]

        def hear(done: int, total: int) -> None:
            heard.append(max(heard.pop(), 1000 * number + 1000 * done // total))  # the total grows
            progress(heard[0], 1000 * len(fields))

        return hear

    return [
        extract_surface(field, resolution, progress=part_of(number), **options) for number, field in enumerate(fields)
    ]


class Found(NamedTuple):
    """Values less the level, in the bricks that the surface passes or on the whole grid."""

    values: Float[np.ndarray, "*bricks x y z"]
    """(bricks, 9, 9, 9), or (samples, samples, samples) where the whole grid was asked."""
    origins: Integer[np.ndarray, "bricks 3"] | None
    """Where the bricks lie; None for the whole grid."""

    def surface(self, resolution: int, bounds: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Its vertices and faces."""
        if self.origins is None:
            return surface_of_grid(self.values, 0.0, bounds)
        return surface_of_bricks(self.values, self.origins, resolution, bounds)


class Samples:
    """A field asked at samples of a grid: what came back, how many there were, and how far that is."""

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
        self.asked = self.total = 0
        self.low, self.high = float("inf"), -float("inf")
        self.nodes = field.lattice(axis) if isinstance(field, LatticeField) else self._at_nodes

    def search(self, margin: float, activation: Callable[[Tensor], Tensor] | None = None) -> Found:
        """The surface, coarse to fine; see `extract_surface`."""
        found = find_surface(Lattice.coarsest(len(self.axis) - 1), self, margin)
        ends = torch.tensor([self.low, self.high, self.level])
        check_range(*_activated(activation, ends).tolist())
        if self.progress is not None:
            self.progress(self.asked, self.asked)
        if isinstance(found, Tensor):
            logger.info("the surface may pass nearly everywhere: every sample of the grid was asked")
            return Found(self._placed(found, activation).cpu().numpy(), None)
        hold = torch.cat([crossed(some).flatten(1).any(1) for some in found.values.split(1024)])
        values = self._placed(found.values[hold], activation)
        return Found(values.cpu().numpy(), found.origins[hold].cpu().numpy())

    def _placed(self, values: Float[Tensor, "*samples"], activation: Callable[[Tensor], Tensor] | None) -> Tensor:
        """Values less the level, as vertices are placed between them: by their activation, where there is one."""
        if activation is None:
            return values
        # Sides stay as the search saw them; and nodes that were not asked may hold what cannot be activated.
        level = values.new_tensor(self.level)
        crossing = activation(level)
        away = torch.nan_to_num(activation(values + level) - crossing).abs()
        away = away.clamp(1e-30, STEEPEST * float(crossing.abs()))
        return away.copysign(values)

    def everywhere(self, lattice: Lattice, coarser: Bricks | None) -> Float[Tensor, "x y z"]:
        """Values less the level at all samples that a lattice's nodes stand for, each asked once.

        What the bricks of the next coarser lattice know is not asked again.
        """
        samples, _ = lattice.samples(self.axis.device)
        if coarser is None:
            return self._note(_on_grid(self.field, (self.axis[samples],) * 3, self.chunk_size, None))

        count = len(samples)
        self.reserve(2 * 4 * count**3)
        before, _ = coarser.lattice.samples(samples.device)
        old, new = (torch.isin(samples, before, invert=invert).nonzero()[:, 0] for invert in (False, True))
        known, asked = known_samples(coarser)
        missing = (~asked).nonzero()
        self.expect(count**3 - known.numel() + len(missing))
        if len(missing):
            points = self.axis[before[missing]]
            known[tuple(missing.T)] = self._note(_at_points(self.field, self.chunk_size, points))
        values = known.new_empty(count, count, count)
        values[new] = self._on_axes(samples[new], samples, samples)
        values[old[:, None], new] = self._on_axes(samples[old], samples[new], samples)
        values[old[:, None, None], old[:, None], new] = self._on_axes(samples[old], samples[old], samples[new])
        values[old[:, None, None], old[:, None], old] = known
        return values

    def _on_axes(self, *numbers: Int[Tensor, " _"]) -> Float[Tensor, "x y z"]:
        """Values less the level at all samples whose numbers along x, y and z are these."""
        asked = self.asked

        def report(done: int, _: int) -> None:
            if self.progress is not None:
                self.progress(asked + done, max(asked + done, self.total))

        x, y, z = (self.axis[some] for some in numbers)
        return self._note(_on_grid(self.field, (x, y, z), self.chunk_size, report))

    def __call__(
        self,
        x: Int[Tensor, "bricks 9"],
        y: Int[Tensor, "bricks 9"],
        z: Int[Tensor, "bricks 9"],
        nodes: Int[Tensor, " nodes"],
    ) -> Float[Tensor, " nodes"]:
        """Values less the level at some nodes of bricks whose samples are numbered x, y, z."""
        values = self._note(self.nodes(x, y, z, nodes).float())
        if self.progress is not None:
            self.progress(self.asked, max(self.asked, self.total))
        return values

    def _at_nodes(self, x: Tensor, y: Tensor, z: Tensor, nodes: Tensor) -> Tensor:
        brick, place = nodes // 729 * 9, nodes % 729
        points = [
            self.axis[numbers.flatten()[brick + place // stride % 9]] for numbers, stride in ((x, 81), (y, 9), (z, 1))
        ]
        return _at_points(self.field, self.chunk_size, torch.stack(points, dim=-1))

    def _note(self, values: Float[Tensor, "*samples"]) -> Float[Tensor, "*samples"]:
        self.asked += values.numel()
        low, high = (float(end) for end in values.aminmax())
        if not np.isfinite(high - low):
            check_values(int((~values.isfinite()).sum()), values.numel())
        self.low, self.high = min(self.low, low), max(self.high, high)
        return values - self.level

    def expect(self, more: int) -> None:
        """`more` samples are about to be asked."""
        self.total = self.asked + more

    def reserve(self, size: int) -> None:
        """The search is about to take `size` bytes."""
        if self.max_memory is not None and size > self.max_memory:
            raise MemoryError(
                f"the surface at resolution {len(self.axis) - 1} needs about {size / 2**20:,.0f} MiB to "
                f"be found, max_memory allows {self.max_memory / 2**20:,.0f}: lower the resolution or "
                f"allow more"
            )


def _activated(activation: Callable[[Tensor], Tensor] | None, values: Tensor) -> Tensor:
    return values if activation is None else activation(values)


def _axis(
    field: Field, resolution: int, bounds: tuple[float, float], chunk_size: int | None
) -> Float[Tensor, " samples"]:
    """Where the samples lie along every axis, on the field's device."""
    low, high = bounds
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"resolution counts the cells along an edge: a whole number from 2 up, got {resolution!r}")
    if not low < high:
        raise ValueError(f"bounds are the lowest and highest coordinate of the cube, got {bounds}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size counts samples, from 1 up; got {chunk_size}")
    axis = torch.linspace(low, high, resolution + 1, dtype=torch.float64).to(torch.float32)
    return axis.to(_device_of(field))


def _device_of(field: object) -> torch.device:
    return torch.device(getattr(field, "device", "cpu"))


def _on_grid(
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
            answer = field.grid(some, y, z)
            if answer.shape != (1, len(some), len(y), len(z)):
                raise ValueError(
                    f"field.grid must answer one field with shape {(1, len(some), len(y), len(z))}, got "
                    f"{tuple(answer.shape)}; pick one of a batch with field[i]"
                )
            values[start : start + slab] = answer[0]
            if progress is not None:
                progress(min(start + slab, len(x)) * layer, values.numel())
        return values

    flat = values.view(-1)
    for start in range(0, len(flat), chunk_size or POINT_CHUNK):
        index = torch.arange(start, min(start + (chunk_size or POINT_CHUNK), len(flat)), device=x.device)
        points = torch.stack([x[index // layer], y[index // len(z) % len(y)], z[index % len(z)]], dim=-1)
        flat[start : start + len(index)] = _at_points(field, chunk_size, points)
        if progress is not None:
            progress(start + len(index), len(flat))
    return values


def _at_points(field: Field, chunk_size: int | None, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """The field's values at points, which may lie on another device."""
    device = _device_of(field)
    answers = []
    for chunk in points.split(chunk_size or POINT_CHUNK):
        answer = field(chunk.to(device))
        if answer.shape != chunk.shape[:1]:
            raise ValueError(
                f"a field answers points of shape {tuple(chunk.shape)} with values of shape "
                f"{tuple(chunk.shape[:1])}, got {tuple(answer.shape)}"
            )
        answers.append(answer.float().to(points.device))
    return torch.cat(answers)


def color_at(
    field: ColorField, vertices: Float[np.ndarray, "vertices 3"], chunk_size: int | None = None
) -> Float[np.ndarray, "vertices 3"]:
    """The field's colour at every vertex."""
    device = _device_of(field)
    chunks = torch.from_numpy(vertices).split(chunk_size or POINT_CHUNK)
    colors = [field.color(rearrange(chunk.to(device), "points xyz -> 1 points xyz"))[0] for chunk in chunks]
    return torch.cat(colors).float().clamp(0, 1).cpu().numpy()
