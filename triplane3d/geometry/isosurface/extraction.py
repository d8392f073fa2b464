"""From a field to a mesh: the surface is found, then triangulated by marching cubes, then coloured.

`resolution` counts cells along an edge, so the grid has `resolution + 1` samples per axis and sample i lies at
`low + i / resolution * (high - low)`.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

from triplane3d.geometry.fields import ColorField, Field
from triplane3d.geometry.isosurface.bricks import COARSEST_CELLS
from triplane3d.geometry.isosurface.field_sampling import (
    ACTIVATED_RANGE,
    Activation,
    FieldSampler,
    Progress,
    activated,
    color_at,
    grid_axis,
    progress_of,
    values_at_points,
    values_on_grid,
)
from triplane3d.geometry.isosurface.marching import surface_of_grid
from triplane3d.geometry.isosurface.vertex_refinement import refine_vertices
from triplane3d.geometry.mesh.mesh import Mesh

logger = logging.getLogger(__name__)

SMALLEST_SEARCH = 2 * COARSEST_CELLS
"""Below this resolution the coarsest lattice would be the finest, so the whole grid is sampled."""


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
    activation: Activation | None = None,
    chunk_size: int | None = None,
    max_memory: int | None = None,
    progress: Progress | None = None,
) -> Mesh:
    """The surface where the field crosses `level`, as a closed mesh wound outwards, with the field's colours if it has
    any.

    `field` is a function of points (n, 3) that returns values (n,), higher inside. A `TriplaneField` also has the
    faster methods `grid` and `lattice`, and colours. The solid is cut off and closed at the walls of the cube `bounds`.

    The surface is found from coarse to fine (`search.py`), from a few per cent of the grid's samples. The mesh is that
    of the whole grid, except for components that lie wholly between the samples of a coarse lattice and are sharper
    than the field's other details: a larger `margin` finds smaller ones, `dense=True` computes every sample. A field
    whose surface may pass nearly everywhere, such as noise, is also computed at every sample, each once; a message
    (level INFO) reports it.

    Args:
        field: the function, positive inside.
        resolution: cells along an edge of the cube, from 2 up.
        level: the value at which the surface lies.
        bounds: lowest and highest coordinate of the cube.
        dense: compute every sample of the grid.
        margin: factor of the measured interpolation errors that the search allows for.
        refine: move every vertex onto the surface itself, by 13 more samples each; a message (level INFO) reports the
            distances before and after.
        activation: an increasing function, applied to the samples before vertices are interpolated between them. A
            density that grows exponentially is searched by its logarithm, which is smooth, but is itself interpolated.
            `level` is still one of the field's own values.
        chunk_size: limits the samples computed at once, where the field does not split its lattice itself.
        max_memory: bytes that the search and its pieces of surface may take, beside the field's own needs and the mesh.
            Does not apply to `dense=True`.
        progress: `progress(done, total)` is called with the number of computed samples; the total grows while the
            search finds more to compute. An exception that it raises ends the extraction. While colours are computed,
            it is called with the last numbers again.

    Raises:
        ValueError: the field has no surface (the message states the range of its values), is NaN or infinite, or an
            argument is out of range.
        MemoryError: the search needs more than `max_memory`.
    """
    if not 0 < margin < float("inf"):
        raise ValueError(
            "margin is the factor of the measured interpolation errors that the search allows for, a number above 0 "
            f"such as 0.75; got {margin!r}"
        )
    if not np.isfinite(level):
        raise ValueError(f"level is a value of the field, a finite number; got {level!r}")
    axis = grid_axis(field, resolution, bounds, chunk_size)
    latest = (0, 0)

    def report(done: int, total: int) -> None:
        nonlocal latest
        latest = done, total
        if progress is not None:
            progress(done, total)

    if dense or resolution < SMALLEST_SEARCH:
        values = values_on_grid(field, (axis, axis, axis), chunk_size, report)
        crossing = float(activated(activation, torch.tensor(float(level))))
        if activation is not None:
            reach = ACTIVATED_RANGE * abs(crossing)
            values = activation(values).clamp(crossing - reach, crossing + reach)
        vertices, faces = surface_of_grid(values.cpu().numpy(), crossing, bounds)
    else:
        sampler = FieldSampler(field, axis, level, chunk_size, max_memory, report)
        vertices, faces = sampler.search(margin, activation).triangulate(resolution, bounds)
    if refine:
        cell = (bounds[1] - bounds[0]) / resolution
        vertices, offsets = refine_vertices(partial(values_at_points, field, chunk_size), vertices, level, cell, bounds)
        logger.info("%s", offsets)
    mesh = Mesh(vertices, faces)
    if isinstance(field, ColorField) and field.has_color:
        mesh = Mesh(mesh.vertices, faces, color_at(field, mesh.vertices, chunk_size, lambda: report(*latest)))
    return mesh


def extract_surfaces(
    fields: Iterable[Field], resolution: int = 256, *, progress: Progress | None = None, **options: Any
) -> list[Mesh]:
    """`extract_surface` of several fields, such as a batched `TriplaneField`, one after the other.

    `progress(done, total)` covers all fields: each counts as a thousand parts.
    """
    fields = list(fields)
    return [
        extract_surface(field, resolution, progress=progress_of(number, len(fields), progress), **options)
        for number, field in enumerate(fields)
    ]
