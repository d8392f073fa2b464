"""Texels: which point of the surface each pixel of a texture belongs to, and colours for pixels between charts."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer, Shaped
from scipy.ndimage import distance_transform_edt

from triplane3d.arguments import check_whole
from triplane3d.assets.uv_map import UVMap
from triplane3d.geometry.render.rasterization import rasterize

LEAST_SIZE, MOST_SIZE = 16, 8192
"""Smallest and largest width of a texture in texels. 8192 is the limit of many graphics cards."""


def check_texture_size(size: int) -> None:
    """Raise ValueError for a width that no texture can have."""
    check_whole("the size of a texture in texels", size, LEAST_SIZE, MOST_SIZE)


@dataclass(frozen=True, eq=False)
class Texels:
    """The texels of a square texture whose centres lie in a face, in the order of rows."""

    size: int
    """Width and height of the texture."""
    row: Integer[np.ndarray, " texels"]
    column: Integer[np.ndarray, " texels"]
    face: Integer[np.ndarray, " texels"]
    """Where charts overlap, the face with the largest index."""
    weights: Float[np.ndarray, "texels 3"]
    """Barycentric coordinates of the texel's centre in its face; they lie in 0..1 and add up to 1."""

    def interpolate(
        self, faces: Integer[np.ndarray, "faces 3"], values: Float[np.ndarray, "vertices channels"]
    ) -> Float[np.ndarray, "texels channels"]:
        """Values at the texels, from values at the vertices that `faces` indexes."""
        corners = faces[self.face]
        return sum(values[corners[:, corner]] * self.weights[:, corner, None] for corner in range(3))

    def picture(self, values: Shaped[np.ndarray, "texels *channels"]) -> Shaped[np.ndarray, "size size *channels"]:
        """A picture of values at the texels. Every other pixel takes the value of the nearest texel.

        The pixels between charts matter: texture filters and smaller copies of the texture mix them with their
        neighbours. Without texels the picture is zero.
        """
        picture = np.zeros((self.size, self.size, *values.shape[1:]), values.dtype)
        if len(values) == 0:
            return picture
        picture[self.row, self.column] = values
        empty = np.ones((self.size, self.size), bool)
        empty[self.row, self.column] = False
        if not empty.any():
            return picture
        rows, columns = distance_transform_edt(empty, return_distances=False, return_indices=True)
        picture[empty] = picture[rows[empty], columns[empty]]
        return picture


def rasterize_texture(uv_map: UVMap, size: int) -> Texels:
    """The texels of a texture of `size` × `size`. Raises ValueError for a size outside of 16..8192.

    The camera's rasteriser is used with a constant depth, where its perspective becomes a parallel projection. Faces
    without area in the texture have no texels.
    """
    check_texture_size(size)
    corners = torch.from_numpy(uv_map.uv)
    flat = torch.stack([corners[:, 0], 1 - corners[:, 1], -torch.ones(len(corners))], dim=1)
    half = torch.full((2,), 0.5)
    found, _ = rasterize(flat, torch.from_numpy(uv_map.faces), half, 1 / half, size, size)
    row, column = (found >= 0).nonzero(as_tuple=True)
    face = found[row, column]

    # Barycentric coordinates by areas, relative to the first corner: P = A + s (B - A) + t (C - A).
    a, b, c = corners.double()[torch.from_numpy(uv_map.faces)[face]].unbind(1)
    center = torch.stack([column + 0.5, row + 0.5], dim=1).double() / size
    along, across, offset = b - a, c - a, center - a
    area = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
    s = (offset[:, 0] * across[:, 1] - offset[:, 1] * across[:, 0]) / area
    t = (along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]) / area
    weights = torch.nan_to_num(torch.stack([1 - s - t, s, t], dim=1), nan=1 / 3, posinf=0, neginf=0).clamp(0, 1)
    total = weights.sum(dim=1, keepdim=True)
    weights = torch.where(total > 0, weights / total, 1 / 3).float()
    return Texels(size=size, row=row.numpy(), column=column.numpy(), face=face.numpy(), weights=weights.numpy())
