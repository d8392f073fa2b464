"""A closed solid from any mesh: winding numbers and distances on a grid, then extraction of the surface.

The generalised winding number classifies points also where a mesh has holes, overlapping parts and separate faces
(Jacobson et al. 2013, Robust Inside-Outside Segmentation).
"""

import time

import numpy as np
import torch
from torch import Tensor

from triplane3d.arguments import check_whole
from triplane3d.assets.orientation import wind_outwards
from triplane3d.geometry.isosurface import extract_surface
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import normalize_points
from triplane3d.geometry.mesh.vertex_values import nearest_colors

try:
    import igl
except ImportError:  # in the `mesh` extra
    igl = None

MOST_SOLID_FACES = 1_000_000
"""Most faces for which winding numbers are computed."""
MARGIN = 0.9
"""Half of the mesh's longest side within the grid, whose own half is 1."""
MOST_SECONDS = 60.0
"""Default bound of the time."""
SEARCH_POINTS = 1 << 17
"""Most points whose winding numbers are computed at once."""
FIRST_POINTS = 1 << 9
"""Points of the first batch, from which the duration of larger ones is estimated."""


def make_solid(mesh: Mesh, resolution: int = 128, *, thickness: float = 0.0, seconds: float = MOST_SECONDS) -> Mesh:
    """A watertight, manifold mesh of the solid that `mesh` bounds, up to 1 / `resolution` of its longest side.

    Holes are closed, inner faces and overlaps are removed. Faces need a consistent winding; `clean` the mesh first.
    Surfaces that bound no volume, such as a sheet of cloth, disappear, unless they get a `thickness`: a share of the
    longest side, at least two cells to be complete. Sharp edges are rounded to a cell. A vertex takes the colour of the
    nearest vertex of `mesh`.

    Args:
        resolution: cells along the longest side, from 16 to 512.
        thickness: of sheets, from 0 to 0.2.
        seconds: most time that it may take; faces in no order, which fill the box, need the most.

    Raises ValueError where nothing is enclosed; TimeoutError after `seconds`; ImportError without libigl.
    """
    check_whole("resolution", resolution, 16, 512)
    if not 0 <= thickness <= 0.2:
        raise ValueError(f"thickness is a share of the longest side, from 0 to 0.2; got {thickness}")
    check_make_solid()
    if len(mesh.faces) == 0 or not mesh.area > 0:
        raise ValueError("a mesh without faces of an area encloses nothing")
    if len(mesh.faces) > MOST_SOLID_FACES:
        raise ValueError(
            f"a solid is made of at most {MOST_SOLID_FACES:,} faces, this mesh has {len(mesh.faces):,}: decimate it"
        )
    mesh = wind_outwards(mesh).select_faces(np.arange(len(mesh.faces)))
    vertices = normalize_points(mesh.vertices.astype(np.float64)) * MARGIN
    faces = np.asarray(mesh.faces)
    deadline = time.monotonic() + seconds
    tree = igl.AABB()
    tree.init(vertices, faces)

    def inside(points: Tensor) -> Tensor:
        """Distance to the mesh, positive where the winding number exceeds one half."""
        parts, done, batch = [], 0, FIRST_POINTS
        while done < len(points):
            started = time.monotonic()
            if started > deadline:
                raise TimeoutError(
                    f"the solid is not finished after {seconds:g} s: lower the resolution, or decimate the mesh first"
                )
            parts.append(signed(points[done : done + batch].double().numpy()))
            done += batch
            # libigl reorganises the faces at each call, so few calls with many points are faster.
            batch = min(2 * batch, SEARCH_POINTS) if time.monotonic() - started < 1 else batch
        values = np.concatenate(parts)
        return torch.from_numpy(values.astype(np.float32))

    def signed(points: np.ndarray) -> np.ndarray:
        distances = np.sqrt(np.maximum(np.ravel(tree.squared_distance(vertices, faces, points)[0]), 0))
        winding = np.ravel(igl.fast_winding_number(vertices, faces, points))
        values = np.where(winding > 0.5, distances, -distances)
        return np.maximum(values, MARGIN * thickness - distances) if thickness else values

    cells = int(np.ceil(resolution / MARGIN))
    try:
        solid = extract_surface(inside, cells, chunk_size=SEARCH_POINTS)
    except ValueError as error:
        raise ValueError(
            "the mesh encloses no volume at this resolution: give its sheets a thickness, or raise the resolution"
        ) from error
    low, high = mesh.bounds.astype(np.float64)
    placed = solid.vertices.astype(np.float64) * ((high - low).max() / 2 / MARGIN) + (low + high) / 2
    return Mesh(placed, solid.faces, nearest_colors(mesh, placed))


def check_make_solid() -> None:
    """Raise ImportError where libigl is not installed."""
    if igl is None:
        raise ImportError("a solid from winding numbers needs libigl: pip install 'triplane3d[mesh]'")
