"""The base colour of a texture: the colours of a field, or of vertices, at its texels."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial import cKDTree
from torch import Tensor

from triplane3d.assets.pictures import to_bytes
from triplane3d.assets.texels import Texels
from triplane3d.geometry.fields import ColorField
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render.meshes import CLAY

POINTS = 8192
"""Points of a field that are evaluated at once: the hidden states of a small network then fit a processor's cache."""


class VertexColorField(ColorField):
    """The vertex colours of a mesh as a field: between its vertices, the mean of the nearest ones.

    The colours of a dense mesh are baked with it into the texture of the same surface with fewer faces. Three vertices
    are weighted with the inverse of their squared distances (Shepard 1968, A Two-Dimensional Interpolation Function for
    Irregularly-Spaced Data).
    """

    has_color = True

    def __init__(self, mesh: Mesh):
        """Raises ValueError for a mesh without colours."""
        used = np.unique(np.asarray(mesh.faces))
        if mesh.vertex_colors is None or len(used) == 0:
            raise ValueError(f"{mesh!r} has no colours to interpolate")
        self.colors = mesh.vertex_colors[used]
        self.tree = cKDTree(mesh.vertices[used])

    def color(self, points: Float[Tensor, "1 points 3"]) -> Float[Tensor, "1 points 3"]:
        """Linear albedo in 0..1."""
        count = min(3, len(self.colors))
        distance, near = self.tree.query(points[0].cpu().numpy(), k=[*range(1, count + 1)])
        weights = 1 / np.maximum(distance**2, 1e-12)
        weights /= weights.sum(axis=1, keepdims=True)
        mixed = (self.colors[near] * weights[..., None]).sum(axis=1)
        return torch.from_numpy(mixed.astype(np.float32))[None]


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
