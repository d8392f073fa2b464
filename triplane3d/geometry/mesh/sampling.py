"""Random points on the surface of a mesh."""

import numpy as np
from jaxtyping import Float

from triplane3d.geometry.mesh.mesh import Mesh


def sample_mesh(
    mesh: Mesh,
    count: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "count 3"], Float[np.ndarray, "count 3"]]:
    """Points uniform over the area of the surface, and the unit normals of their faces; in random order.

    Raises ValueError for a surface without area.
    """
    areas = mesh.face_areas
    total = areas.sum()
    if not total > 0:
        raise ValueError(f"cannot sample a surface without area: {mesh!r}")
    # Stratified sampling: one point in each of `count` equal shares of the area.
    shares = (np.arange(count) + rng.random(count)) * (total / count)
    face = np.searchsorted(areas.cumsum(), shares).clip(max=len(areas) - 1)
    corners = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)[face]]

    # Uniform in a triangle (Osada et al. 2002, Shape Distributions, eq. 1):
    # P = (1 - √r₁) A + √r₁ (1 - r₂) B + √r₁ r₂ C.
    from_tip, across = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    points = (1 - from_tip) * corners[:, 0] + from_tip * ((1 - across) * corners[:, 1] + across * corners[:, 2])
    normals = mesh.face_crosses[face] / (2 * areas[face, None])
    # Faces are often sorted in space. After shuffling the first n points are a sample of the whole surface.
    order = rng.permutation(count)
    return points[order].astype(np.float32), normals[order].astype(np.float32)
