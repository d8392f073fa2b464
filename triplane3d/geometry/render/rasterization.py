"""The triangle that is visible at each pixel: a z-buffer rasteriser in plain torch, the same on every device.

The idea is scan conversion (Foley et al., Computer Graphics: Principles and Practice, 1990, sections 3.6 and 15.4), for
all triangles at once. Triangles are cut at the near plane, then into the rows of pixels that they cover, then into
pixels. The nearest triangle of each pixel is kept.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triplane3d.geometry.cameras import pixel_coordinates

NEAR = 0.01
"""Depth of the near plane. Surfaces that are closer to the camera are not shown."""

PIXEL_BATCH = 1 << 22
"""Number of (triangle, pixel) pairs that are compared at once."""


def rasterize(
    vertices: Float[Tensor, "vertices 3"],
    faces: Int[Tensor, "faces 3"],
    center: Float[Tensor, " 2"],
    focal: Float[Tensor, " 2"],
    width: int,
    height: int,
) -> tuple[Int[Tensor, "height width"], Float[Tensor, "height width"]]:
    """The nearest face at every pixel centre (-1 for none), and its depth (infinite for none).

    `vertices` are in the camera's frame (right, up, back); the camera looks along minus back. `center` and `focal`
    describe its window, see `pixel_coordinates`. Faces are visible from both sides.
    """
    corners, owner = _clip_near(vertices[faces])
    depth = -corners[..., 2]
    x, y = pixel_coordinates(corners, center, focal, width, height).unbind(-1)
    # One over the depth is linear across the picture of a plane; the depth is not (Blinn 1992, "hyperbolic
    # interpolation").
    nearness = 1 / depth

    # The gradient of the nearness over each triangle, per pixel to the right and down. A triangle that is seen edge-on
    # has no area in the picture; its gradient is set to 0.
    x1, y1, x2, y2 = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
    n1, n2 = nearness[:, 1] - nearness[:, 0], nearness[:, 2] - nearness[:, 0]
    area = x1 * y2 - x2 * y1
    area = torch.where(area.abs() < 1e-12, torch.inf, area)
    right, down = (n1 * y2 - n2 * y1) / area, (x1 * n2 - x2 * n1) / area

    # Rows whose centres, at half integers, lie within each triangle.
    first = (y.amin(1) - 0.5).ceil().clamp(0, height).long()
    last = (y.amax(1) - 0.5).floor().clamp(-1, height - 1).long()
    triangle, step = expand_counts((last - first + 1).clamp(min=0))
    row = first[triangle] + step
    left, rightmost = row_span(x[triangle], y[triangle], row + 0.5)
    start = (left - 0.5).ceil().clamp(0, width).long()
    stop = (rightmost - 0.5).floor().clamp(-1, width - 1).long() + 1

    at_start = (
        nearness[triangle, 0]
        + right[triangle] * (start + 0.5 - x[triangle, 0])
        + down[triangle] * (row + 0.5 - y[triangle, 0])
    )
    # These limits bound the rounding errors in triangles that are seen nearly edge-on.
    nearest, farthest = nearness.amax(1)[triangle], nearness.amin(1)[triangle]

    # The bits of positive floats, read as integers, have the same order as the floats. The key holds the nearness in
    # the upper 32 bits and the face's index in the lower 32, so one maximum per pixel finds both.
    best = torch.full((height * width,), -1, dtype=torch.int64, device=x.device)
    for rows in split_counts(stop - start, limit=PIXEL_BATCH):
        span, step = expand_counts((stop[rows] - start[rows]).clamp(min=0))
        near = at_start[rows][span] + right[triangle[rows]][span] * step
        near = near.clamp(farthest[rows][span], nearest[rows][span])
        key = (near.view(torch.int32).long() << 32) | owner[triangle[rows]][span]
        pixel = (row[rows] * width + start[rows])[span] + step
        best.scatter_reduce_(0, pixel, key, "amax")

    face = torch.where(best >= 0, best & 0xFFFFFFFF, -1)
    depth = torch.where(best >= 0, 1 / (best >> 32).int().view(torch.float32), torch.inf)
    return face.view(height, width), depth.view(height, width)


def _clip_near(
    corners: Float[Tensor, "faces 3 3"],
) -> tuple[Float[Tensor, "triangles 3 3"], Int[Tensor, " triangles"]]:
    """Triangles cut at the near plane, and the face each piece comes from."""
    ahead = -corners[..., 2] > NEAR
    count = ahead.sum(1)
    whole = (count == 3).nonzero()[:, 0]
    if len(whole) == len(corners):
        return corners, whole

    def cut(inside: Tensor, outside: Tensor) -> Tensor:
        share = (-NEAR - inside[:, 2:]) / (outside[:, 2:] - inside[:, 2:])
        return inside + share * (outside - inside)

    pieces, owners = [corners[whole]], [whole]
    for kept in (1, 2):
        owner = (count == kept).nonzero()[:, 0]
        # Rotate the corners so that the single one, ahead of the plane or behind it, comes first.
        odd = (ahead[owner] == (kept == 1)).int().argmax(1)
        turned = (odd[:, None] + torch.arange(3, device=odd.device)) % 3
        a, b, c = corners[owner].gather(1, turned[..., None].expand(-1, -1, 3)).unbind(1)
        if kept == 1:
            pieces.append(torch.stack([a, cut(a, b), cut(a, c)], dim=1))
            owners.append(owner)
        else:
            on_b, on_c = cut(b, a), cut(c, a)
            pieces += [torch.stack([on_b, b, c], dim=1), torch.stack([on_b, c, on_c], dim=1)]
            owners += [owner, owner]
    return torch.cat(pieces), torch.cat(owners)


def row_span(
    x: Float[Tensor, "rows 3"], y: Float[Tensor, "rows 3"], height: Float[Tensor, " rows"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Where a horizontal line at `height` enters and leaves each triangle.

    Both triangles of a common edge compute it from its upper end, with equal results, so there is no gap between them.
    """
    left = torch.full_like(height, torch.inf)
    right = torch.full_like(height, -torch.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        swap = (y[:, a] > y[:, b]) | ((y[:, a] == y[:, b]) & (x[:, a] > x[:, b]))
        top_x, top_y = torch.where(swap, x[:, b], x[:, a]), torch.where(swap, y[:, b], y[:, a])
        end_x, end_y = torch.where(swap, x[:, a], x[:, b]), torch.where(swap, y[:, a], y[:, b])
        meets = (top_y <= height) & (height <= end_y) & (top_y < end_y)
        crossing = top_x + (height - top_y) * ((end_x - top_x) / (end_y - top_y))
        left = torch.where(meets, torch.minimum(left, crossing), left)
        right = torch.where(meets, torch.maximum(right, crossing), right)
    return left, right


def expand_counts(counts: Int[Tensor, " items"]) -> tuple[Int[Tensor, " copies"], Int[Tensor, " copies"]]:
    """Each item's index repeated `counts` times, and the copies' numbers 0, 1, 2 … within each item."""
    item = torch.repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return item, torch.arange(len(item), device=counts.device) - before[item]


def split_counts(counts: Int[Tensor, " items"], limit: int) -> list[slice]:
    """Runs of items whose counts add up to about `limit`, so that memory stays bounded."""
    number = counts.clamp(min=0).cumsum(0) // limit
    ends = (number.diff() > 0).nonzero()[:, 0] + 1
    edges = [0, *ends.tolist(), len(counts)]
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True) if stop > start]
