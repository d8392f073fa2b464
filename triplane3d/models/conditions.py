"""Camera conditions: an embedding of each view's camera, and the placement of image tokens on the planes."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.embeddings import PLANE_AXES

UNKNOWN = math.nan
"""An azimuth or elevation that is not known."""

CAMERA_CHANNELS = 256
"""Hidden width of the MLP of cameras."""


def single_front_view(photos: int, device: torch.device) -> Float[Tensor, "photos 1 2"]:
    """Cameras for objects of one photo each: azimuth 0, unknown elevation."""
    return torch.tensor([0.0, UNKNOWN], device=device).expand(photos, 1, 2)


class CameraCondition(nn.Module):
    """Adds an embedding of its view's camera to each image token.

    The inputs of the MLP are sin and cos of the azimuth a and of 2a, sin and cos of the elevation, and two flags that
    indicate whether each is known; the features of an unknown angle are zero. A token of zeros is padding or "no
    photo", and stays zero. The last layer is initialised with zeros.
    """

    def __init__(self, context_dim: int):
        super().__init__()
        self.linear_1 = nn.Linear(8, CAMERA_CHANNELS)
        self.linear_2 = nn.Linear(CAMERA_CHANNELS, context_dim)
        nn.init.zeros_(self.linear_2.weight)
        nn.init.zeros_(self.linear_2.bias)

    def forward(
        self,
        tokens: Float[Tensor, "photos context context_dim"],
        cameras: Float[Tensor, "photos views 2"] | None = None,
    ) -> Float[Tensor, "photos context context_dim"]:
        if cameras is None:
            cameras = single_front_view(len(tokens), tokens.device)
        is_known = cameras.isfinite()
        azimuth, elevation = torch.deg2rad(cameras.float().nan_to_num()).unbind(dim=-1)
        of_azimuth = torch.stack([azimuth.sin(), azimuth.cos(), (2 * azimuth).sin(), (2 * azimuth).cos()], dim=-1)
        of_elevation = torch.stack([elevation.sin(), elevation.cos()], dim=-1)
        features = torch.cat([is_known[..., :1] * of_azimuth, is_known[..., 1:] * of_elevation, is_known], dim=-1)
        features = features.to(tokens.dtype)
        shift = self.linear_2(F.silu(self.linear_1(features)))
        # All tokens of a view get the same embedding.
        shift = repeat(shift, "photo view dim -> photo (view token) dim", token=tokens.shape[1] // cameras.shape[1])
        return tokens + shift.to(tokens.dtype) * tokens.ne(0).any(dim=-1, keepdim=True)


class FrontPlaneCondition(nn.Module):
    """Adds projected image tokens to the latent tokens over which the cameras see them.

    The camera of azimuth 0 looks along -z, so an image column has one x and an image row one y (the top is +y). Its
    pixel (x, y) therefore lies over cell (x, y) of the XY plane, over all cells of column x of the XZ plane, and over
    all cells of row y of the YZ plane.

    For any camera: a cell of a plane stands for a line of points perpendicular to the plane. The cell receives the mean
    of the image features at the projections of these points (orthographic; an unknown elevation counts as 0), and then
    the mean over all views whose azimuth is known.

    There is no bias, so that tokens of zeros, guidance's "no photo", add nothing.
    """

    def __init__(self, context_dim: int, dim: int, num_prefix_tokens: int):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.to_planes = nn.Linear(context_dim, 3 * dim, bias=False)

    def forward(
        self,
        encoder_hidden_states: Float[Tensor, "photos context context_dim"],
        height: int,
        width: int,
        cameras: Float[Tensor, "photos views 2"] | None = None,
    ) -> Float[Tensor, "photos tokens dim"]:
        """What to add to the latent tokens of planes of `height` × `width` cells, laid side by side.

        Args:
            encoder_hidden_states: the tokens of all views of each object, concatenated; the first `num_prefix_tokens`
                of each view are ignored.
            height: rows of a plane.
            width: columns of a plane.
            cameras: azimuth and elevation of each view in degrees, NaN where unknown; None: one view from azimuth 0.

        Raises:
            ValueError: if a view's tokens after the prefix do not form a square.
        """
        if cameras is None:
            cameras = single_front_view(len(encoder_hidden_states), encoder_hidden_states.device)
        # 1. Each view's tokens as an image, projected to three planes of features, with the rows counted upwards.
        views = cameras.shape[1]
        tokens = rearrange(encoder_hidden_states, "photo (view token) dim -> (photo view) token dim", view=views)
        side = self.grid_side(tokens.shape[1])
        features = rearrange(
            self.to_planes(tokens[:, self.num_prefix_tokens :]),
            "view (row column) channel -> view channel row column",
            row=side,
        ).flip(2)  # row 0 of a plane is y = -1
        if (side, side) != (height, width):
            resized = F.interpolate(features.float(), (height, width), mode="bilinear", antialias=True)
            features = resized.to(features.dtype)
        # 2. Each cell's weighted mean over the pixels of the view.
        with torch.autocast(cameras.device.type, enabled=False):  # positions need more than the 8 bits of bfloat16
            weights = projection_weights(rearrange(cameras, "photo view angle -> (photo view) angle"), height, width)
        planes = einsum(
            weights.to(features.dtype),
            rearrange(features, "view (plane dim) row column -> view plane (row column) dim", plane=3),
            "view plane cell pixel, view plane pixel dim -> view plane cell dim",
        )
        # 3. The mean over the views whose azimuth is known. The weights of the others are zero.
        num_views = cameras[..., 0].isfinite().sum(dim=1).clamp(min=1).view(-1, 1, 1, 1).to(planes.dtype)
        planes = rearrange(planes, "(photo view) ... -> photo view ...", view=views).sum(dim=1) / num_views
        return rearrange(
            planes, "photo plane (row column) dim -> photo (row plane column) dim", row=height, column=width
        )

    def grid_side(self, num_tokens: int) -> int:
        """The side of the square that the tokens after the prefix form.

        Raises:
            ValueError: if their number is not a square.
        """
        patches = num_tokens - self.num_prefix_tokens
        side, rest = math.isqrt(max(patches, 0)), num_tokens - math.isqrt(num_tokens) ** 2
        if side * side != patches or side == 0:
            raise ValueError(
                "front_plane_condition needs a square number of image tokens after num_prefix_tokens="
                f"{self.num_prefix_tokens}, got {patches} of {num_tokens} tokens: set num_prefix_tokens to the "
                f"encoder's number of class and register tokens, here probably {rest}"
            )
        return side


def projection_weights(
    cameras: Float[Tensor, "views 2"], height: int, width: int
) -> Float[Tensor, "views 3 cells pixels"]:
    """The weight of each pixel of a height × width image in each cell of the three planes.

    A cell is the line of points perpendicular to its plane at the cell's centre. Each of `height` points on the line is
    projected to the image and interpolated bilinearly between pixels; points outside the image count at its border.
    A cell's weights are the mean over the line and sum to one. Rows count upwards, of images and of planes. The weights
    of a camera of unknown azimuth are zero.
    """
    azimuth, elevation = torch.deg2rad(cameras.float().nan_to_num()).unbind(dim=-1)
    right = torch.stack([azimuth.cos(), torch.zeros_like(azimuth), -azimuth.sin()], dim=-1)
    up = torch.stack(
        [-azimuth.sin() * elevation.sin(), elevation.cos(), -azimuth.cos() * elevation.sin()], dim=-1
    )  # the axes of `orbit_axes` in the geometry package, which models do not import

    # The points of each cell: its centre on the plane, and the centres of rows along the perpendicular axis.
    rows, columns = ((torch.arange(count, device=cameras.device) + 0.5) * (2 / count) - 1 for count in (height, width))
    points = rows.new_empty(3, height, width, height, 3)
    for plane, (width_axis, height_axis) in enumerate(PLANE_AXES):
        points[plane, ..., width_axis] = columns[None, :, None]
        points[plane, ..., height_axis] = rows[:, None, None]
        points[plane, ..., 3 - width_axis - height_axis] = rows

    def linear_weights(axis: Tensor, count: int) -> Float[Tensor, "views 3 height width depth pixels"]:
        """The weight of each of `count` pixels along one side of the image: linear between their centres."""
        # Orthographic projection: the coordinate along the camera's axis, then in pixels, clamped to the image.
        along = einsum(points, axis, "plane row column depth xyz, view xyz -> view plane row column depth")
        position = ((along + 1) * (count / 2) - 0.5).clamp(0, count - 1)
        return (1 - (position[..., None] - torch.arange(count, device=position.device)).abs()).clamp(min=0)

    # Bilinear weights are products of linear ones; the sum over `depth` is the mean over the line.
    weights = einsum(
        linear_weights(up, height),
        linear_weights(right, width),
        "view plane row column depth i, view plane row column depth j -> view plane row column i j",
    )
    weights = rearrange(weights, "view plane row column i j -> view plane (row column) (i j)") / height
    return weights * cameras[:, 0].isfinite().view(-1, 1, 1, 1)
