"""Ambient occlusion: how much of the light that comes from everywhere reaches each texel.

The share of visible directions is estimated from depth pictures of the mesh from many directions, weighted with the
cosine between direction and normal (Landis 2002, Production-Ready Global Illumination). A texel is lit from a direction
where no surface lies in front of it in that picture.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional

from triplane3d.assets.baking import texel_positions
from triplane3d.assets.texels import Texels
from triplane3d.assets.uv_map import unit_normals
from triplane3d.geometry.cameras import pixel_coordinates
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render.rasterization import rasterize

DIRECTIONS = 96
"""Directions over the sphere from which light comes."""

RESOLUTION = 256
"""Width and height of the depth pictures in pixels."""

DISTANCE = 30.0
"""Distance of the cameras in radii of the mesh: the rays of a picture are nearly parallel."""


def bake_occlusion(mesh: Mesh, texels: Texels) -> UInt8[np.ndarray, "size size"]:
    """The lit share of the directions at the texels of `mesh`, times 255; 255 where nothing is in front."""
    normals = texels.interpolate(np.asarray(mesh.faces), unit_normals(mesh))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    lit = lit_share(mesh, texel_positions(mesh, texels), normals.astype(np.float32))
    return texels.picture(np.rint(lit * 255).astype(np.uint8))


def lit_share(
    mesh: Mesh, points: Float[np.ndarray, "points 3"], normals: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, " points"]:
    """The share, in 0..1, of the directions above the surface that are free, weighted with their cosines."""
    low, high = mesh.bounds
    radius = float(np.linalg.norm(high - low)) / 2
    if not radius > 0:
        return np.ones(len(points), np.float32)
    center = torch.from_numpy((low + high) / 2)
    vertices, faces = (mesh.verts - center) / radius, torch.from_numpy(np.asarray(mesh.faces))
    at, facing = (torch.from_numpy(points) - center) / radius, torch.from_numpy(normals)
    middle, focal = torch.zeros(2), torch.full((2,), DISTANCE - 1.0)
    free, total = torch.zeros(len(points)), torch.zeros(len(points))
    for axes in _cameras(DIRECTIONS):
        shift = torch.tensor([0, 0, -DISTANCE])
        _, depth = rasterize(vertices @ axes.T + shift, faces, middle, focal, RESOLUTION, RESOLUTION)
        # The farthest surface of the neighbouring pixels: a slanted surface does not shade itself.
        depth = functional.max_pool2d(depth[None], 3, stride=1, padding=1)[0]
        cosine = (facing @ axes[2]).clamp(min=0)
        near = cosine.nonzero()[:, 0]
        seen = at[near] @ axes.T + shift
        column, row = pixel_coordinates(seen, middle, focal, RESOLUTION, RESOLUTION).unbind(-1)
        pixel = row.long().clamp(0, RESOLUTION - 1) * RESOLUTION + column.long().clamp(0, RESOLUTION - 1)
        visible = -seen[:, 2] <= depth.flatten()[pixel] + 2 / RESOLUTION
        free[near] += cosine[near] * visible
        total += cosine
    return (free / total.clamp(min=1e-6)).clamp(0, 1).numpy()


def _cameras(count: int) -> list[Float[torch.Tensor, "3 3"]]:
    """Axes (right, up, back) of cameras on a sphere, evenly spread (Fibonacci lattice)."""
    index = torch.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = index * (torch.pi * (3 - 5**0.5))
    across = (1 - height**2).sqrt()
    back = torch.stack([across * angle.cos(), height, across * angle.sin()], dim=1)
    cameras = []
    for each in back:
        aside = torch.eye(3)[each.abs().argmin()]
        right = functional.normalize(torch.linalg.cross(aside, each), dim=0)
        cameras.append(torch.stack([right, torch.linalg.cross(each, right), each]))
    return cameras
