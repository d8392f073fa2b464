"""Normal maps: the normals of a dense mesh, stored in the texture of a mesh with fewer faces."""

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial import cKDTree

from triplane3d.assets.baking import texel_positions
from triplane3d.assets.texels import Texels
from triplane3d.assets.uv_map import UVMap, tangent_frames, unit_normals
from triplane3d.geometry.mesh import Mesh

CANDIDATES = 4
"""Faces of the dense mesh, nearest by their centres, among which the nearest face of a texel is sought."""

POINTS = 1 << 16
"""Texels that are compared with the dense mesh at once."""


def bake_normal_map(mesh: Mesh, uv_map: UVMap, texels: Texels, dense: Mesh) -> UInt8[np.ndarray, "size size 3"]:
    """The normals of `dense` at the texels of `mesh`, in the tangent frames of `tangent_frames`.

    A renderer interpolates normal, tangent and bitangent from the corners of a face, and adds them with the weights
    that the map stores. The weights are solved from this equation, so the rendered normal is that of the dense mesh up
    to 8 bits. Texels at which the dense mesh has no near face on the same side keep the normal of `mesh`.
    """
    normals = unit_normals(mesh)[uv_map.vertices]
    frames = tangent_frames(mesh, uv_map)
    bitangents = np.cross(normals, frames[:, :3]) * frames[:, 3:]
    normal = texels.interpolate(uv_map.faces, normals)
    tangent = texels.interpolate(uv_map.faces, frames[:, :3])
    bitangent = texels.interpolate(uv_map.faces, bitangents)
    target = dense_normals(dense, texel_positions(mesh, texels), normal)

    # Cramer's rule for x · tangent + y · bitangent + z · normal = target.
    plane = np.cross(tangent, bitangent)
    volume = (plane * normal).sum(axis=1)
    weights = np.stack(
        [
            (np.cross(bitangent, normal) * target).sum(axis=1),
            (np.cross(normal, tangent) * target).sum(axis=1),
            (plane * target).sum(axis=1),
        ],
        axis=1,
    )
    weights *= np.where(np.abs(volume) > 1e-6, 1 / np.where(np.abs(volume) > 1e-6, volume, 1), 0)[:, None]
    length = np.linalg.norm(weights, axis=1, keepdims=True)
    weights = np.where((length > 1e-9) & (weights[:, 2:] > 0), weights / np.where(length > 0, length, 1), [0, 0, 1])
    return texels.picture(np.rint((weights + 1) * 127.5).astype(np.uint8))


def dense_normals(
    dense: Mesh, points: Float[np.ndarray, "points 3"], facing: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Unit normals of `dense` at its points nearest to `points`, on faces within 90° of `facing`.

    The nearest face is sought among those with the nearest centres, and its normal is interpolated between its
    vertices. Where none of these faces is within 90° of `facing`, as on thin parts, `facing` is returned.
    """
    areas = dense.face_areas
    kept = np.flatnonzero(areas > 0)
    if len(kept) == 0:
        return facing
    faces = np.asarray(dense.faces)[kept]
    corners = dense.vertices[faces]
    across = (dense.face_crosses[kept] / (2 * areas[kept, None])).astype(np.float32)
    smooth = unit_normals(dense)
    tree = cKDTree(corners.mean(axis=1))
    candidates = min(CANDIDATES, len(kept))
    found = np.empty_like(facing)
    for start in range(0, len(points), POINTS):
        part = slice(start, start + POINTS)
        near = tree.query(points[part], k=[*range(1, candidates + 1)])[1]
        weights, distance = _nearest_in_faces(corners[near], points[part, None])
        distance[(across[near] * facing[part, None]).sum(axis=-1) <= 0] = np.inf
        best = distance.argmin(axis=1)
        rows = np.arange(len(near))
        normals = (smooth[faces[near[rows, best]]] * weights[rows, best][..., None]).sum(axis=1)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        usable = np.isfinite(distance[rows, best]) & ((normals * facing[part]).sum(axis=1) > 0)
        found[part] = np.where(usable[:, None], normals / np.maximum(length, 1e-9), facing[part])
    return found


def _nearest_in_faces(
    corners: Float[np.ndarray, "points faces 3 3"], points: Float[np.ndarray, "points 1 3"]
) -> tuple[Float[np.ndarray, "points faces 3"], Float[np.ndarray, "points faces"]]:
    """Barycentric coordinates of a near point of each face, and the squared distance to it.

    The point is projected onto the face's plane, and negative coordinates become zero. In the face this is the nearest
    point; outside of it, it is a point of the border.
    """
    a = corners[:, :, 0]
    along, over, offset = corners[:, :, 1] - a, corners[:, :, 2] - a, points - a
    aa, ab, bb = (along * along).sum(-1), (along * over).sum(-1), (over * over).sum(-1)
    pa, pb = (offset * along).sum(-1), (offset * over).sum(-1)
    scale = np.maximum(aa * bb - ab * ab, 1e-30)
    s, t = (bb * pa - ab * pb) / scale, (aa * pb - ab * pa) / scale
    weights = np.stack([1 - s - t, s, t], axis=-1).clip(0, 1)
    weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-30)
    gap = offset - weights[..., 1:2] * along - weights[..., 2:] * over
    return weights, (gap * gap).sum(axis=-1)
