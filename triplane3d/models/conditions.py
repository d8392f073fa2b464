"""What cameras have to do with image tokens: from where they were seen, and over which parts of the planes they lie."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.embeddings import PLANE_AXES

UNKNOWN = math.nan
"""An azimuth or elevation that nobody knows."""

CAMERA_CHANNELS = 256
"""Width of the layer that reads an azimuth and an elevation, whatever that of the tokens."""


def single_front_view(photos: int, device: torch.device) -> Float[Tensor, "photos 1 2"]:
    """The cameras of one photo each, taken from azimuth 0 and an unknown elevation."""
    return torch.tensor([0.0, UNKNOWN], device=device).expand(photos, 1, 2)


class CameraCondition(nn.Module):
    """Adds to every token what is known of the camera that saw it. A token of zeros is no token and stays zero."""

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
        known = cameras.isfinite()
        azimuth, elevation = torch.deg2rad(cameras.float().nan_to_num()).unbind(dim=-1)
        around = torch.stack([azimuth.sin(), azimuth.cos(), (2 * azimuth).sin(), (2 * azimuth).cos()], dim=-1)
        above = torch.stack([elevation.sin(), elevation.cos()], dim=-1)
        told = torch.cat([known[..., :1] * around, known[..., 1:] * above, known], dim=-1)
        features = told.to(tokens.dtype)
        shift = self.linear_2(F.silu(self.linear_1(features)))
        shift = repeat(shift, "photo view dim -> photo (view token) dim", token=tokens.shape[1] // cameras.shape[1])
        return tokens + shift.to(tokens.dtype) * tokens.ne(0).any(dim=-1, keepdim=True)


class FrontPlaneCondition(nn.Module):
    """Adds image tokens where the cameras see them.

    The photo of azimuth 0 looks along -z, so its pixels lie over the XY plane: an image column is an x, and informs the
    XZ plane's column of that x; an image row is a y (top is +y), and informs the YZ plane's row of that y. In general a
    plane's cell reads the mean over what a camera sees of the line of points that the cell stands for (the camera
    taken to be far away, an unknown elevation to be 0), and the mean over all views whose azimuth is known. No bias
    anywhere: zeroed tokens, guidance's "no photo", add nothing.
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
        if cameras is None:
            cameras = single_front_view(len(encoder_hidden_states), encoder_hidden_states.device)
        views = cameras.shape[1]
        tokens = rearrange(encoder_hidden_states, "photo (view token) dim -> (photo view) token dim", view=views)
        side = self.grid_side(tokens.shape[1])
        seen = rearrange(
            self.to_planes(tokens[:, self.num_prefix_tokens :]),
            "view (row column) channel -> view channel row column",
            row=side,
        ).flip(2)  # row 0 of a plane is y = -1
        if (side, side) != (height, width):
            seen = F.interpolate(seen.float(), (height, width), mode="bilinear", antialias=True).to(seen.dtype)
        with torch.autocast(cameras.device.type, enabled=False):  # where things are wants more than eight bits
            shares = sight_lines(rearrange(cameras, "photo view angle -> (photo view) angle"), height, width)
        planes = einsum(
            shares.to(seen.dtype),
            rearrange(seen, "view (plane dim) row column -> view plane (row column) dim", plane=3),
            "view plane cell pixel, view plane pixel dim -> view plane cell dim",
        )
        placed = cameras[..., 0].isfinite().sum(dim=1).clamp(min=1).view(-1, 1, 1, 1).to(planes.dtype)
        planes = rearrange(planes, "(photo view) ... -> photo view ...", view=views).sum(dim=1) / placed
        return rearrange(
            planes, "photo plane (row column) dim -> photo (row plane column) dim", row=height, column=width
        )

    def grid_side(self, num_tokens: int) -> int:
        """Rows, and columns, of the square that the tokens after the prefix form."""
        patches = num_tokens - self.num_prefix_tokens
        side, rest = math.isqrt(max(patches, 0)), num_tokens - math.isqrt(num_tokens) ** 2
        if side * side != patches or side == 0:
            raise ValueError(
                f"front_plane_condition lays image tokens out as a square, but {num_tokens} tokens without the "
                f"{self.num_prefix_tokens} of num_prefix_tokens leave {patches}; set num_prefix_tokens to the "
                f"encoder's number of class and register tokens, here probably {rest}"
            )
        return side


def sight_lines(cameras: Float[Tensor, "views 2"], height: int, width: int) -> Float[Tensor, "views 3 cells pixels"]:
    """How much of each pixel of a height × width picture every cell of the three planes reads.

    A cell stands for a line of points across its plane; each of them is seen somewhere in the picture, between up to
    four pixels, and beyond the border at the border. Rows of pixels, as of planes, count upwards. A camera of unknown
    azimuth gives zeros.
    """
    azimuth, elevation = torch.deg2rad(cameras.float().nan_to_num()).unbind(dim=-1)
    right = torch.stack([azimuth.cos(), torch.zeros_like(azimuth), -azimuth.sin()], dim=-1)
    up = torch.stack(
        [-azimuth.sin() * elevation.sin(), elevation.cos(), -azimuth.cos() * elevation.sin()], dim=-1
    )  # as `orbit_axes` of the geometry has them, which models do not import

    rows, columns = ((torch.arange(count, device=cameras.device) + 0.5) * (2 / count) - 1 for count in (height, width))
    points = rows.new_empty(3, height, width, height, 3)
    for plane, (width_axis, height_axis) in enumerate(PLANE_AXES):
        points[plane, ..., width_axis] = columns[None, :, None]
        points[plane, ..., height_axis] = rows[:, None, None]
        points[plane, ..., 3 - width_axis - height_axis] = rows

    def shares(axis: Tensor, count: int) -> Float[Tensor, "views 3 height width depth pixels"]:
        """Of each of `count` pixels along one side of the picture: linear between their centres."""
        along = einsum(points, axis, "plane row column depth xyz, view xyz -> view plane row column depth")
        place = ((along + 1) * (count / 2) - 0.5).clamp(0, count - 1)
        return (1 - (place[..., None] - torch.arange(count, device=place.device)).abs()).clamp(min=0)

    read = einsum(
        shares(up, height),
        shares(right, width),
        "view plane row column depth i, view plane row column depth j -> view plane row column i j",
    )
    read = rearrange(read, "view plane row column i j -> view plane (row column) (i j)") / height
    return read * cameras[:, 0].isfinite().view(-1, 1, 1, 1)
