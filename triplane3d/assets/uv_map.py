"""Texture coordinates of a mesh, and the tangent frames that follow from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.files import nonzero_normals


@dataclass(frozen=True, eq=False)
class UVMap:
    """Texture coordinates of a mesh: its faces again, with corners of their own along the seams.

    Coordinates are as in glTF: (0, 0) is the upper left corner of the picture, (1, 1) the lower right one. The texel in
    row i and column j of a picture of n × n texels has its centre at ((j + ½) / n, (i + ½) / n).

    Raises ValueError for wrong shapes, coordinates that are not finite or outside 0..1, and indices out of range.
    """

    uv: Float[np.ndarray, "corners 2"]
    vertices: Integer[np.ndarray, " corners"]
    """The vertex of the mesh at each corner. A vertex on a seam has several corners."""
    faces: Integer[np.ndarray, "faces 3"]
    """Corners of each face, in the order of the mesh's faces."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "uv", np.ascontiguousarray(self.uv, dtype=np.float32))
        object.__setattr__(self, "vertices", np.ascontiguousarray(self.vertices, dtype=np.int64))
        object.__setattr__(self, "faces", np.ascontiguousarray(self.faces, dtype=np.int64))
        if self.uv.ndim != 2 or self.uv.shape[1] != 2 or self.vertices.shape != (len(self.uv),):
            raise ValueError(
                f"uv must have shape (n, 2) and vertices (n,), got {self.uv.shape} and {self.vertices.shape}"
            )
        if not np.isfinite(self.uv).all():
            raise ValueError("texture coordinates must be finite, got NaN or infinite values")
        if self.uv.min(initial=0) < 0 or self.uv.max(initial=1) > 1:
            raise ValueError(f"texture coordinates must lie in 0..1, got {self.uv.min():.3g} to {self.uv.max():.3g}")
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < len(self.uv):
            raise ValueError(f"faces must index {len(self.uv)} corners, got up to {self.faces.max()}")

    def check(self, mesh: Mesh) -> None:
        """Raise ValueError where the map does not belong to `mesh`."""
        if len(self.vertices) and not 0 <= self.vertices.min() <= self.vertices.max() < len(mesh.vertices):
            raise ValueError(f"the texture coordinates belong to another mesh: {mesh!r} has fewer vertices")
        if not np.array_equal(self.vertices[self.faces], np.asarray(mesh.faces)):
            raise ValueError(f"the texture coordinates belong to another mesh than {mesh!r}: its faces differ")


def unit_normals(mesh: Mesh) -> Float[np.ndarray, "vertices 3"]:
    """`mesh.vertex_normals`, upwards where they are zero: glTF requires unit normals."""
    return nonzero_normals(mesh.vertex_normals)


def tangent_frames(mesh: Mesh, uv_map: UVMap) -> Float[np.ndarray, "corners 4"]:
    """Tangents as in glTF: a unit vector across the normal, towards growing u, and the sign of the bitangent.

    The bitangent, cross(normal, tangent) · sign, points to the upper edge of the picture, towards falling v (glTF 2.0,
    section 3.9.3, and three.js, which negates the sign of MikkTSpace for glTF). The tangent of a corner is the mean of
    ∂position/∂u over its faces, each projected onto the plane across the normal and weighted with the angle of the face
    at the corner (Mikkelsen 2008, Simulation of Wrinkled Surfaces Revisited, section 3.3). A corner whose faces have no
    area in the texture gets any tangent across its normal.
    """
    normals = unit_normals(mesh)[uv_map.vertices].astype(np.float64)
    faces = uv_map.faces
    points = mesh.vertices.astype(np.float64)[np.asarray(mesh.faces)]
    uv = uv_map.uv.astype(np.float64)[faces]

    (u1, v1), (u2, v2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    edge1, edge2 = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    # Twice the area in the texture. v points down, so the area of a face is negative unless it is mirrored.
    area = u1 * v2 - u2 * v1
    along_u = (v2[:, None] * edge1 - v1[:, None] * edge2) * np.sign(area)[:, None]

    sums = np.zeros((len(uv_map.uv), 3))
    mirrored = np.zeros(len(uv_map.uv))
    for corner in range(3):
        a = points[:, (corner + 1) % 3] - points[:, corner]
        b = points[:, (corner + 2) % 3] - points[:, corner]
        angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1))
        normal = normals[faces[:, corner]]
        flat = along_u - (along_u * normal).sum(1, keepdims=True) * normal
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        flat = np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-20) * angle[:, None]
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, corner], flat[:, axis], minlength=len(sums))
        mirrored += np.bincount(faces[:, corner], np.sign(area) * angle, minlength=len(sums))

    length = np.linalg.norm(sums, axis=1, keepdims=True)
    # Across the normal, whichever axis is farthest from it.
    axis = np.eye(3)[np.abs(normals).argmin(axis=1)]
    across = np.cross(normals, axis)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    tangents = np.where(length > 1e-9, sums / np.where(length > 1e-9, length, 1), across)
    # The mean of vectors across the normal is across the normal, but for rounding.
    tangents -= (tangents * normals).sum(1, keepdims=True) * normals
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    return np.hstack([tangents, np.where(mirrored > 0, -1.0, 1.0)[:, None]]).astype(np.float32)


def check_uv_area(mesh: Mesh, uv_map: UVMap) -> None:
    """Raise ValueError where the texture coordinates have no area: no texel would belong to the surface."""
    uv_map.check(mesh)
    a, b, c = uv_map.uv.astype(np.float64)[uv_map.faces].transpose(1, 0, 2)
    (u1, v1), (u2, v2) = (b - a).T, (c - a).T
    if not np.abs(u1 * v2 - u2 * v1).sum() > 1e-12:
        raise ValueError("the texture coordinates have no area: unwrap the mesh again, with `unwrap`")
