"""Pictures of a mesh: a z-buffer rasteriser in plain torch, the same on every device.

Triangles are cut into the rows of pixels they cover and rows into pixels, all of them at once; the nearest triangle of
every pixel wins, and only winners are shaded. Nothing waits for a graphics driver.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional

from triplane3d.geometry.cameras import Camera, camera_axes, camera_rays, fit_distance, orbit
from triplane3d.geometry.color import linear_from_srgb, srgb_from_linear
from triplane3d.geometry.mesh.mesh import Mesh
from triplane3d.storage.durable import write_file

NEAR = 0.01
CLAY = (0.52, 0.50, 0.47)
"""Linear albedo of a mesh without colours."""

# Lights in the camera's frame (right, up, back): direction they come from, and linear brightness.
KEY, KEY_COLOR = (-0.7, 0.8, 0.65), (0.92, 0.89, 0.84)
FILL, FILL_COLOR = (0.9, 0.0, 0.5), (0.17, 0.18, 0.20)
SKY, GROUND = (0.20, 0.21, 0.23), (0.10, 0.09, 0.08)
"""Ambient light from the world's above and below."""


@dataclass(frozen=True)
class RenderOutput:
    """One picture of a mesh."""

    color: Float[Tensor, "size size 4"]
    """sRGB and coverage in 0..1, antialiased, not premultiplied."""
    depth: Float[Tensor, "size size"]
    """Distance along the camera's axis at each pixel's centre; infinite where nothing is."""
    normal: Float[Tensor, "size size 3"]
    """Unit normal in the world at each pixel's centre, turned to the camera; zero where nothing is."""

    def image(self) -> Image.Image:
        """The colour picture, RGBA."""
        return _picture(self.color)

    def depth_image(self) -> Image.Image:
        """Depth as brightness, near is white, RGBA with the background clear."""
        seen = self.depth.isfinite()
        if not seen.any():
            return _picture(torch.zeros_like(self.color))
        near, far = self.depth[seen].aminmax()
        bright = 1 - 0.9 * (self.depth - near) / (far - near).clamp(min=1e-6)
        return _picture(torch.where(seen, torch.stack([bright] * 3 + [torch.ones_like(bright)]), 0).permute(1, 2, 0))

    def normal_image(self) -> Image.Image:
        """Normals as colours (x red, y green, z blue; -1..1 becomes 0..1), RGBA with the background clear."""
        seen = self.depth.isfinite()[..., None]
        return _picture(torch.cat([torch.where(seen, self.normal / 2 + 0.5, 0), seen.float()], dim=-1))


def render(
    mesh: Mesh,
    camera: Camera | None = None,
    size: int = 512,
    *,
    supersample: int = 2,
    background: tuple[float, float, float] | None = None,
    smooth: bool = True,
    device: torch.device | str = "cpu",
) -> RenderOutput:
    """A lit picture of the mesh with its colours (clay where it has none), with depth and normals.

    `camera` by default looks from the photo's side and frames the mesh. `background` is an sRGB colour, None leaves it
    clear. `smooth` shades with the normals between vertices, otherwise every face is flat. Faces are drawn from both
    sides.
    """
    if size < 1 or supersample < 1:
        raise ValueError(f"size and supersample count pixels, from 1 up; got {size} and {supersample}")
    with torch.no_grad():
        scene = _Scene.of(mesh, camera or Camera(distance=framing_distance(mesh)), torch.device(device), smooth)
        hits = scene.look(size)
        depth = torch.full((size, size), torch.inf, device=scene.seen.device)
        normal = torch.zeros(size, size, 3, device=scene.seen.device)
        depth[hits.row, hits.column] = hits.depth
        normal[hits.row, hits.column] = hits.normal
        return RenderOutput(scene.color(size, supersample, background), depth, normal)


def rasterize(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], focal: float, size: int
) -> tuple[Int[Tensor, "size size"], Float[Tensor, "size size"]]:
    """The nearest face at every pixel centre (-1 for none), and its depth (infinite for none).

    Vertices are in the camera's frame (right, up, back), which looks along minus back; `focal` is one over the tangent
    of half the field of view.
    """
    corners, owner = _clip_near(vertices[faces])
    depth = -corners[..., 2]
    x = (corners[..., 0] / depth * focal + 1) * (size / 2)
    y = (1 - corners[..., 1] / depth * focal) * (size / 2)
    nearness = 1 / depth  # linear across the picture, as depth is not

    # Nearness over each triangle's plane: at its first corner, and per pixel to the right and down.
    x1, y1, x2, y2 = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
    n1, n2 = nearness[:, 1] - nearness[:, 0], nearness[:, 2] - nearness[:, 0]
    area = x1 * y2 - x2 * y1
    area = torch.where(area.abs() < 1e-12, torch.inf, area)
    right, down = (n1 * y2 - n2 * y1) / area, (x1 * n2 - x2 * n1) / area

    first = (y.amin(1) - 0.5).ceil().clamp(0, size).long()
    last = (y.amax(1) - 0.5).floor().clamp(-1, size - 1).long()
    triangle, step = _expand((last - first + 1).clamp(min=0))
    row = first[triangle] + step
    left, rightmost = _span(x[triangle], y[triangle], row + 0.5)
    start = (left - 0.5).ceil().clamp(0, size).long()
    stop = (rightmost - 0.5).floor().clamp(-1, size - 1).long() + 1

    at_start = (
        nearness[triangle, 0]
        + right[triangle] * (start + 0.5 - x[triangle, 0])
        + down[triangle] * (row + 0.5 - y[triangle, 0])
    )
    nearest, farthest = nearness.amax(1)[triangle], nearness.amin(1)[triangle]  # bounds for triangles seen edge-on

    # Float bits of positive numbers sort as integers do: one maximum finds both the nearest and whose it is.
    best = torch.full((size * size,), -1, dtype=torch.int64, device=x.device)
    for rows in _batches(stop - start, limit=1 << 22):
        span, step = _expand((stop[rows] - start[rows]).clamp(min=0))
        near = at_start[rows][span] + right[triangle[rows]][span] * step
        near = near.clamp(farthest[rows][span], nearest[rows][span])
        key = (near.view(torch.int32).long() << 32) | owner[triangle[rows]][span]
        pixel = (row[rows] * size + start[rows])[span] + step
        best.scatter_reduce_(0, pixel, key, "amax")

    face = torch.where(best >= 0, best & 0xFFFFFFFF, -1)
    depth = torch.where(best >= 0, 1 / (best >> 32).int().view(torch.float32), torch.inf)
    return face.view(size, size), depth.view(size, size)


def framing_distance(mesh: Mesh, field_of_view: float = 40.0) -> float:
    """Distance from which the whole mesh is in the picture, however it is turned about the origin."""
    radius = float(np.linalg.norm(mesh.vertices, axis=1).max(initial=0))
    return fit_distance(field_of_view, 1.05 * radius or 1.0)


def turntable(
    mesh: Mesh,
    frames: int = 24,
    size: int = 320,
    elevation: float = 15.0,
    *,
    supersample: int = 2,
    background: tuple[float, float, float] | None = None,
    device: torch.device | str = "cpu",
) -> list[Image.Image]:
    """Pictures from all around, the first from the photo's side; the mesh stays in the picture and keeps its size."""
    images = []
    with torch.no_grad():
        for camera in orbit(frames, elevation=elevation, distance=framing_distance(mesh)):
            scene = _Scene.of(mesh, camera, torch.device(device), smooth=True)
            images.append(_picture(scene.color(size, supersample, background)))
    return images


def save_turntable(images: list[Image.Image], path: str | Path, *, seconds: float = 3.0) -> Path:
    """Write pictures as a looping .webp or .gif that lasts `seconds`, or the first of them as a .png."""
    path = Path(path)
    if not images:
        raise ValueError("a turntable needs at least one picture")
    suffix, pause, content = path.suffix.lower(), round(1000 * seconds / len(images)), io.BytesIO()
    if suffix == ".webp":
        images[0].save(
            content, "WEBP", save_all=True, append_images=images[1:], duration=pause, loop=0, quality=85, method=2
        )
    elif suffix == ".gif":
        flat = [_over_white(image) for image in images]  # a GIF's pixel is clear or not: soft edges would fray
        flat[0].save(content, "GIF", save_all=True, append_images=flat[1:], duration=pause, loop=0)
    elif suffix == ".png":
        images[0].save(content, "PNG")
    else:
        raise ValueError(f"cannot save a turntable as {path.name!r}: the name must end in .webp, .gif or .png")
    write_file(path, content.getvalue())
    return path


def contact_sheet(images: list[Image.Image], columns: int, *, gap: int = 8) -> Image.Image:
    """All pictures on one white page, row by row; each is scaled into a cell of the first one's size."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for place, image in enumerate(images):
        scale = min(width / image.width, height / image.height)
        fitted = _over_white(image)
        if image.size != (width, height):
            cell = (round(image.width * scale), round(image.height * scale))
            fitted = fitted.resize(cell, Image.Resampling.LANCZOS)
        left = gap + place % columns * (width + gap) + (width - fitted.width) // 2
        top = gap + place // columns * (height + gap) + (height - fitted.height) // 2
        page.paste(fitted, (left, top))
    return page


@dataclass(frozen=True)
class _Hits:
    """What the rays through the pixel centres meet first, one entry for each ray that meets anything."""

    row: Int[Tensor, " hits"]
    column: Int[Tensor, " hits"]
    corners: Int[Tensor, "hits 3"]
    """The face's vertices, and their weights where it is met."""
    weights: Float[Tensor, "hits 3"]
    depth: Float[Tensor, " hits"]
    normal: Float[Tensor, "hits 3"]


@dataclass(frozen=True)
class _Scene:
    """A mesh before a camera, as tensors: everything a picture of any size needs."""

    camera: Camera
    axes: Float[Tensor, "3 3"]
    focal: float
    seen: Float[Tensor, "vertices 3"]
    """Vertices in the camera's frame."""
    faces: Int[Tensor, "faces 3"]
    edge_planes: Float[Tensor, "faces 3 3"]
    """Normals of the planes through the camera and the edge opposite each corner, scaled as the weights need them."""
    face_normals: Float[Tensor, "faces 3"]
    vertex_normals: Float[Tensor, "vertices 3"] | None
    colors: Float[Tensor, "vertices 3"] | None

    @classmethod
    def of(cls, mesh: Mesh, camera: Camera, device: torch.device, smooth: bool) -> "_Scene":
        azimuth, elevation, field_of_view, distance = camera.tensors(device)
        axes = camera_axes(azimuth, elevation)[0]
        zero = torch.zeros_like(distance)
        seen = mesh.verts.to(device) @ axes.T - torch.stack([zero, zero, distance], dim=-1)
        faces = torch.from_numpy(np.asarray(mesh.faces)).to(device)
        a, b, c = seen[faces].unbind(1)
        return cls(
            camera=camera,
            axes=axes,
            focal=float(1 / torch.tan(torch.deg2rad(field_of_view) / 2)),
            seen=seen,
            faces=faces,
            edge_planes=torch.stack([b.cross(c, dim=-1), c.cross(a, dim=-1), a.cross(b, dim=-1)], dim=1),
            face_normals=torch.from_numpy(mesh.face_crosses.astype(np.float32)).to(device),
            vertex_normals=torch.from_numpy(mesh.vertex_normals).to(device) if smooth else None,
            colors=None if mesh.vertex_colors is None else torch.from_numpy(mesh.vertex_colors).to(device),
        )

    def look(self, size: int) -> _Hits:
        """Cast the rays through the centres of size × size pixels."""
        face, depth = rasterize(self.seen, self.faces, self.focal, size)
        row, column = (face >= 0).nonzero(as_tuple=True)
        face, depth = face[row, column], depth[row, column]
        _, directions = camera_rays(*self.camera.tensors(face.device), size)
        toward = -directions[0, row, column]

        # With P = sum of weight * corner on the ray, weight i is proportional to ray . (corner j x corner k).
        weights = (self.edge_planes[face] @ (toward @ self.axes.T)[..., None])[..., 0]
        weights = torch.nan_to_num(weights / weights.sum(-1, keepdim=True), nan=1 / 3).clamp(0, 1)
        weights = weights / weights.sum(-1, keepdim=True)

        corners = self.faces[face]
        flat = self.face_normals[face]
        normal = flat if self.vertex_normals is None else _blend(weights, self.vertex_normals[corners])
        normal = functional.normalize(normal, dim=-1)
        normal = torch.where((flat * toward).sum(-1, keepdim=True) >= 0, normal, -normal)
        # Normals between vertices may bend past the silhouette: bring those back to face the camera.
        facing = (normal * toward).sum(-1, keepdim=True)
        normal = functional.normalize(normal - facing.clamp(max=0) * toward, dim=-1)
        return _Hits(row, column, corners, weights, depth, normal)

    def color(
        self, size: int, supersample: int, background: tuple[float, float, float] | None
    ) -> Float[Tensor, "size size 4"]:
        """The lit picture: each pixel the mean of `supersample`² rays, in linear light, then sRGB."""
        hits = self.look(size * supersample)
        albedo = hits.normal.new_tensor(CLAY)
        if self.colors is not None:
            albedo = _blend(hits.weights, self.colors[hits.corners])
        light = torch.zeros(4, size * supersample, size * supersample, device=hits.normal.device)
        light[:3, hits.row, hits.column] = (albedo * self._light(hits.normal)).T
        light[3, hits.row, hits.column] = 1
        light = functional.avg_pool2d(light, supersample).permute(1, 2, 0)

        rgb, alpha = light[..., :3], light[..., 3:]
        if background is None:
            rgb = rgb / alpha.clamp(min=1e-6)
        else:
            rgb = rgb + (1 - alpha) * linear_from_srgb(rgb.new_tensor(background))
            alpha = torch.ones_like(alpha)
        return torch.cat([srgb_from_linear(rgb.clamp(0, 1)), alpha], dim=-1)

    def _light(self, normal: Float[Tensor, "hits 3"]) -> Float[Tensor, "hits 3"]:
        """Light that a white surface sends back: a key and a fill that move with the camera, and the sky."""
        key = normal @ (functional.normalize(normal.new_tensor(KEY), dim=0) @ self.axes)
        fill = normal @ (functional.normalize(normal.new_tensor(FILL), dim=0) @ self.axes)
        above = normal[:, 1:2] / 2 + 0.5
        wrapped = ((key + 0.2) / 1.2).clamp(min=0)[:, None]  # a broad light reaches a little around the edge
        return (
            normal.new_tensor(KEY_COLOR) * wrapped
            + normal.new_tensor(FILL_COLOR) * fill.clamp(min=0)[:, None]
            + normal.new_tensor(SKY) * above
            + normal.new_tensor(GROUND) * (1 - above)
        )


def _blend(
    weights: Float[Tensor, "hits 3"], values: Float[Tensor, "hits 3 channels"]
) -> Float[Tensor, "hits channels"]:
    """Values at a face's corners, weighed."""
    return einsum(weights, values, "hit corner, hit corner channel -> hit channel")


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
        # Turn the corners so that the odd one out, ahead or behind, comes first.
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


def _span(
    x: Float[Tensor, "rows 3"], y: Float[Tensor, "rows 3"], height: Float[Tensor, " rows"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Where a horizontal line at `height` enters and leaves each triangle.

    Neighbours compute their common edge alike, from its upper end, so no crack opens between them.
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


def _expand(counts: Int[Tensor, " items"]) -> tuple[Int[Tensor, " copies"], Int[Tensor, " copies"]]:
    """Each item's number as often as `counts` says, and 0, 1, 2 … within each item."""
    item = torch.repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return item, torch.arange(len(item), device=counts.device) - before[item]


def _batches(counts: Int[Tensor, " items"], limit: int) -> list[slice]:
    """Runs of items whose counts add up to about `limit`, so that memory stays bounded."""
    number = counts.clamp(min=0).cumsum(0) // limit
    ends = (number.diff() > 0).nonzero()[:, 0] + 1
    edges = [0, *ends.tolist(), len(counts)]
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True) if stop > start]


def _picture(rgba: Float[Tensor, "height width 4"]) -> Image.Image:
    return Image.fromarray((rgba.clamp(0, 1) * 255).round().byte().cpu().numpy(), "RGBA")


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    return page.convert("RGB")
