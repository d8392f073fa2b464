"""The base colour of a texture: the colours of a field, or of vertices, at its texels."""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from triplane3d.assets.pictures import to_bytes
from triplane3d.assets.texels import Texels
from triplane3d.assets.uv_map import UVMap
from triplane3d.geometry.fields import ColorField
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render.meshes import CLAY

POINTS = 8192
"""Points of a field that are evaluated at once: the hidden states of a small network then fit a processor's cache."""


def texel_positions(mesh: Mesh, texels: Texels) -> Float[np.ndarray, "texels 3"]:
    """Positions of the texels on the surface of `mesh`."""
    return texels.interpolate(np.asarray(mesh.faces), mesh.vertices)


def bake_color(mesh: Mesh, texels: Texels, field: ColorField | None = None) -> UInt8[np.ndarray, "size size 3"]:
    """The base colour of a texture, as an sRGB picture.

    The colour of a texel is that of `field` at its position. Without a field, or with one that has no colours, it is
    interpolated between the vertex colours of `mesh`; a mesh without colours becomes clay. Interpolation is in linear
    light. Pixels between charts are filled, see `Texels.picture`.
    """
    return texels.picture(to_bytes(linear_colors(mesh, texels, field)))


def linear_colors(mesh: Mesh, texels: Texels, field: ColorField | None = None) -> Float[np.ndarray, "texels 3"]:
    """Linear colours in 0..1 at the texels, as `bake_color` describes."""
    if field is not None and field.has_color:
        points = torch.from_numpy(texel_positions(mesh, texels))
        device = getattr(field, "device", torch.device("cpu"))
        colors = torch.empty(len(points), 3)
        with torch.no_grad():
            for start in range(0, len(points), POINTS):
                part = points[None, start : start + POINTS].to(device)
                colors[start : start + POINTS] = field.color(part)[0].float().cpu()
        if not colors.isfinite().all():
            raise ValueError("the field's colours are not finite at the surface: the model's output is broken")
        return colors.clamp(0, 1).numpy()
    if mesh.vertex_colors is not None:
        return texels.interpolate(np.asarray(mesh.faces), mesh.vertex_colors).clip(0, 1)
    return np.broadcast_to(np.array(CLAY, np.float32), (len(texels.face), 3))


def check_uv_area(mesh: Mesh, uv_map: UVMap) -> None:
    """Raise ValueError where the texture coordinates have no area: no texel would belong to the surface."""
    uv_map.check(mesh)
    a, b, c = uv_map.uv.astype(np.float64)[uv_map.faces].transpose(1, 0, 2)
    (u1, v1), (u2, v2) = (b - a).T, (c - a).T
    if not np.abs(u1 * v2 - u2 * v1).sum() > 1e-12:
        raise ValueError("the texture coordinates have no area: unwrap the mesh again, with `unwrap`")
