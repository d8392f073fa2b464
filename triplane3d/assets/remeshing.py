"""A surface triangulated anew: nearly equilateral triangles, or screened Poisson reconstruction from samples."""

import numpy as np
from jaxtyping import Float

from triplane3d.arguments import check_number, check_whole
from triplane3d.assets.cleaning import separate
from triplane3d.assets.decimation import decimate
from triplane3d.assets.orientation import wind_outwards
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.sampling import sample_mesh
from triplane3d.geometry.mesh.vertex_values import nearest_colors

try:
    import gpytoolbox
except ImportError:  # in the `remesh` extra
    gpytoolbox = None

MOST_REMESHED_FACES = 100_000
"""A larger mesh is reduced to this number first, and no remeshing makes more."""
ITERATIONS = 10
"""Passes of splitting, collapsing, flipping and smoothing of edges."""
MOST_SAMPLES = 2_000_000


def check_remesh() -> None:
    """Raise ImportError where gpytoolbox is not installed."""
    if gpytoolbox is None:
        raise ImportError("a new triangulation needs gpytoolbox: pip install 'triplane3d[remesh]'")


def remesh_isotropic(mesh: Mesh, faces: int) -> Mesh:
    """About `faces` nearly equilateral triangles on the surface of a closed, consistently wound mesh.

    Edges are split, collapsed and flipped towards one length, and vertices are moved within the surface (Botsch and
    Kobbelt 2004, A Remeshing Approach to Multiresolution Modeling; implemented by gpytoolbox). The number of faces
    deviates by up to some 20 %; `decimate` reaches a budget. A vertex takes the colour of the nearest vertex of `mesh`.

    Raises ValueError for other meshes or numbers of faces; ImportError without gpytoolbox.
    """
    check_whole("faces", faces, 20, MOST_REMESHED_FACES)
    check_remesh()
    _check_closed(mesh)
    if len(mesh.faces) > MOST_REMESHED_FACES:
        mesh = decimate(mesh, MOST_REMESHED_FACES)
    # An equilateral triangle with edges of length h has the area √3/4 · h².
    length = float(np.sqrt(mesh.area / faces * 4 / np.sqrt(3)))
    vertices, corners = gpytoolbox.remesh_botsch(
        mesh.vertices.astype(np.float64), np.array(mesh.faces, dtype=np.int32), ITERATIONS, length, True
    )
    result = separate(Mesh(vertices, np.asarray(corners, dtype=np.int64)))
    return Mesh(result.vertices, result.faces, nearest_colors(mesh, result.vertices))


def reconstruct_poisson(mesh: Mesh, *, depth: int = 8, samples: int = 100_000) -> Mesh:
    """A closed surface through oriented samples of the surface of `mesh`: see `poisson_surface`."""
    check_whole("samples", samples, 1000, MOST_SAMPLES)
    check_remesh()
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces has no samples")
    points, normals = sample_mesh(mesh, samples, np.random.default_rng(0))
    result = poisson_surface(points, normals, depth=depth)
    return Mesh(result.vertices, result.faces, nearest_colors(mesh, result.vertices))


def poisson_surface(
    points: Float[np.ndarray, "samples 3"],
    normals: Float[np.ndarray, "samples 3"],
    *,
    depth: int = 8,
    screening: float = 10.0,
) -> Mesh:
    """The surface through samples with outward normals (Kazhdan and Hoppe 2013, Screened Poisson Surface
    Reconstruction; implemented by gpytoolbox). Holes between the samples are closed.

    Args:
        points: positions on the surface, at least 10.
        normals: outwards; their length does not matter.
        depth: of the octree, from 4 to 10: 2^depth cells along the longest side.
        screening: weight with which the surface passes through the samples; 0 is Poisson reconstruction of 2006.

    Raises ValueError for other values or where no surface is found; ImportError without gpytoolbox.
    """
    check_whole("depth", depth, 4, 10)
    check_number("screening", screening, 0, 1000)
    check_remesh()
    if not 10 <= len(points) <= MOST_SAMPLES or len(points) != len(normals):
        raise ValueError(
            f"Poisson reconstruction needs 10 to {MOST_SAMPLES:,} samples with a normal each, got {len(points):,} "
            f"points and {len(normals):,} normals"
        )
    if not (np.isfinite(points).all() and np.isfinite(normals).all()):
        raise ValueError("samples must be finite, got NaN or infinite values")
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError(f"{int((lengths == 0).sum()):,} samples have a normal of length 0")
    # Scaled to the unit cube, since the octree's root is a cube around the samples.
    low, size = points.min(axis=0).astype(np.float64), float(np.ptp(points, axis=0).max())
    if not size > 0:
        raise ValueError("samples that all coincide have no surface")
    vertices, faces = gpytoolbox.point_cloud_to_mesh(
        (points - low) / size, (normals / lengths).astype(np.float64), psr_screening_weight=screening, psr_depth=depth
    )
    if len(faces) == 0:
        raise ValueError("Poisson reconstruction found no surface: are the normals outwards and consistent?")
    used = Mesh(vertices * size + low, np.asarray(faces, dtype=np.int64)).select_faces(np.arange(len(faces)))
    return wind_outwards(separate(used))


def _check_closed(mesh: Mesh) -> None:
    if not (mesh.is_watertight and mesh.winding_is_consistent):
        raise ValueError(
            "only a closed, consistently wound surface can be triangulated anew; this mesh has "
            f"{mesh.check(sampled_faces=0)}: clean(mesh) or make_solid(mesh) first"
        )
