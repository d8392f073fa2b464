"""From a field to a mesh: ask it on a dense grid, then marching cubes (PyMCubes), closed at the walls of the box.

`resolution` counts cells along an edge, so the grid has `resolution + 1` samples per axis and sample i lies at
`low + i / resolution * (high - low)`.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import mcubes
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.mesh import Mesh

POINT_CHUNK = 1 << 18
SLAB_CHUNK = 1 << 22

NEAREST = 1e-3
"""Share of a cell that vertices keep from the grid's samples, so that no face collapses onto one."""


@runtime_checkable
class Field(Protocol):
    """Values at points, positive inside. All that `extract_surface` needs; a plain function will do.

    It may also have `device`, on which it wants its points, and what the two protocols below say.
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
class ColorField(Protocol):
    """A field that may know the colour of its surface."""

    has_color: bool

    def color(self, points: Tensor) -> Tensor:
        """Linear albedo (1, n, 3) in 0..1 at points (1, n, 3)."""
        ...


@torch.no_grad()
def evaluate_grid(field: Field, resolution: int, bounds: tuple[float, float] = (-1.0, 1.0),
                  chunk_size: int | None = None, *,
                  progress: Callable[[int, int], object] | None = None) -> Float[Tensor, "x y z"]:
    """The field's values, float32 on its own device, on the grid of `resolution` cells over the cube `bounds`.

    `chunk_size` limits the samples asked for at once; `progress(done, total)` hears of every chunk.
    """
    low, high = bounds
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"resolution counts the cells along an edge: a whole number from 2 up, got {resolution!r}")
    if not low < high:
        raise ValueError(f"bounds are the lowest and highest coordinate of the cube, got {bounds}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size counts samples, from 1 up; got {chunk_size}")

    device = torch.device(getattr(field, "device", "cpu"))
    axis = torch.linspace(low, high, resolution + 1, dtype=torch.float64).to(torch.float32).to(device)
    side = len(axis)
    values = torch.zeros(side, side, side, device=device)

    if isinstance(field, GridField):
        slab = max(1, (chunk_size or SLAB_CHUNK) // side**2)
        for start in range(0, side, slab):
            x = axis[start:start + slab]
            answer = field.grid(x, axis, axis)
            if answer.shape != (1, len(x), side, side):
                raise ValueError(f"field.grid must answer one field with shape {(1, len(x), side, side)}, got "
                                 f"{tuple(answer.shape)}; pick one of a batch with field[i]")
            values[start:start + slab] = answer[0]
            if progress is not None:
                progress(min(start + slab, side) * side**2, side**3)
        return values

    flat = values.view(-1)
    for start in range(0, side**3, chunk_size or POINT_CHUNK):
        index = torch.arange(start, min(start + (chunk_size or POINT_CHUNK), side**3), device=device)
        points = torch.stack([axis[index // side**2], axis[index // side % side], axis[index % side]], dim=-1)
        answer = field(points)
        if answer.shape != index.shape:
            raise ValueError(f"a field answers points of shape {tuple(points.shape)} with values of shape "
                             f"{tuple(index.shape)}, got {tuple(answer.shape)}")
        flat[start:start + len(index)] = answer
        if progress is not None:
            progress(start + len(index), side**3)
    return values


@torch.no_grad()
def extract_surface(field: Field, resolution: int = 256, *, level: float = 0.0,
                    bounds: tuple[float, float] = (-1.0, 1.0), chunk_size: int | None = None,
                    progress: Callable[[int, int], object] | None = None) -> Mesh:
    """The surface where the field crosses `level`, as a closed mesh wound outwards, coloured if the field knows how.

    `field` answers points (n, 3) with values (n,), higher inside; a `TriplaneField` is asked through its faster `grid`
    and gives its colours. What lies inside is taken to end at the walls of the cube `bounds`, where it is closed.
    A field without a surface is an error that tells the range of its values.
    """
    values = evaluate_grid(field, resolution, bounds, chunk_size, progress=progress)
    vertices, faces = surface_of_grid(values.cpu().numpy(), level, bounds)
    mesh = Mesh(vertices, faces)
    if isinstance(field, ColorField) and field.has_color:
        mesh = Mesh(mesh.vertices, faces, color_at(field, mesh.vertices, chunk_size))
    return mesh


def color_at(field: ColorField, vertices: Float[np.ndarray, "vertices 3"],
             chunk_size: int | None = None) -> Float[np.ndarray, "vertices 3"]:
    """The field's colour at every vertex."""
    device = torch.device(getattr(field, "device", "cpu"))
    chunks = torch.from_numpy(vertices).split(chunk_size or POINT_CHUNK)
    colors = [field.color(rearrange(chunk.to(device), "points xyz -> 1 points xyz"))[0] for chunk in chunks]
    return torch.cat(colors).float().clamp(0, 1).cpu().numpy()


def surface_of_grid(values: Float[np.ndarray, "x y z"], level: float = 0.0,
                    bounds: tuple[float, float] = (-1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the surface where a dense cubic grid over `bounds` crosses `level`."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"the field is NaN or infinite at {bad:,} of {values.size:,} samples; half precision may "
                         f"overflow: try float32")
    if high <= level:
        raise ValueError(f"no surface: the field stays in [{low:.3g}, {high:.3g}] and never crosses level={level}: "
                         f"all of the box is outside. Try a lower level, more steps or another seed, and check that "
                         f"the photo's background was removed")
    if low > level:
        raise ValueError(f"no surface: the field stays in [{low:.3g}, {high:.3g}] and never crosses level={level}: "
                         f"all of the box is inside. Try a higher level, and check that the field is positive inside "
                         f"(a signed distance must be negated)")

    resolution = len(values) - 1
    outside = -max(high - level, level - low)
    padded = np.full([resolution + 3] * 3, outside, dtype=np.float32)    # one layer of outside closes the walls
    np.subtract(values, level, out=padded[1:-1, 1:-1, 1:-1])
    _lift_from_zero(padded)
    vertices, faces = mcubes.marching_cubes(padded, 0.0)
    vertices, faces = _close_at_walls(_keep_from_samples(vertices) - 1, faces.astype(np.int64), resolution)
    return bounds[0] + vertices / resolution * (bounds[1] - bounds[0]), faces


def _lift_from_zero(values: Float[np.ndarray, "x y z"]) -> None:
    """Move samples that are zero to rounding, in place, off it by a thousandth of their largest neighbour.

    Otherwise vertices would land on them from several edges at once and could not be told apart. The outermost layer
    must not be near zero.
    """
    rounding = 1e-6 * max(values.max(), -values.min())
    near = np.unravel_index(np.flatnonzero((values <= rounding) & (values >= -rounding)), values.shape)
    neighbours = [values[tuple(index + step * (axis == moved) for axis, index in enumerate(near))]
                  for moved in range(3) for step in (-1, 1)]
    least = NEAREST * np.abs(neighbours).max(axis=0)
    here = values[near]
    values[near] = np.where(here > 0, np.maximum(here, least), np.minimum(here, -least))


def _keep_from_samples(vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Every vertex lies on an edge of the grid (index units): keep it a little away from the edge's ends."""
    samples = np.rint(vertices)
    close = np.flatnonzero((np.abs(vertices - samples) < NEAREST).all(axis=1))
    offsets = vertices[close] - samples[close]
    along = np.abs(offsets).argmax(axis=1)
    offset = offsets[np.arange(len(close)), along]
    vertices[close, along] = samples[close, along] + np.copysign(NEAREST, offset)
    return vertices


def _close_at_walls(vertices: Float[np.ndarray, "vertices 3"], faces: np.ndarray,
                    resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Pull the caps that marching cubes put beyond the walls (index units) onto them.

    A cap's vertex then coincides with the wall's sample; at edges and corners of the box two or three of them do, which
    become one vertex, and the faces between them go.
    """
    beyond = np.flatnonzero(((vertices < 0) | (vertices > resolution)).any(axis=1))
    vertices = vertices.clip(0, resolution)
    if len(beyond) == 0:
        return vertices, faces
    x, y, z = np.rint(vertices[beyond]).astype(np.int64).T
    _, first, merged = np.unique((x * (resolution + 1) + y) * (resolution + 1) + z, return_index=True,
                                 return_inverse=True)
    target = np.arange(len(vertices))
    target[beyond] = beyond[first[merged]]
    faces = target[faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]
