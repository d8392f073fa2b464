"""Shaded pictures of a mesh, with depth and normals.

The rasteriser finds the face of each pixel; only visible points are shaded. No graphics driver is needed, and every
device gives the same picture.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional

from triplane3d.geometry.cameras import Camera, CameraBatch, fit_distance
from triplane3d.geometry.color import linear_from_srgb, srgb_from_linear
from triplane3d.geometry.mesh.mesh import Mesh
from triplane3d.geometry.render.rasterization import rasterize

CLAY = (0.52, 0.50, 0.47)
"""Linear albedo of a mesh without colours."""

# Lights in the camera's frame (right, up, back): the direction they come from, and their linear colour.
KEY, KEY_COLOR = (-0.7, 0.8, 0.65), (0.92, 0.89, 0.84)
FILL, FILL_COLOR = (0.9, 0.0, 0.5), (0.17, 0.18, 0.20)
SKY, GROUND = (0.20, 0.21, 0.23), (0.10, 0.09, 0.08)
"""Ambient light from above and from below, in the world's frame."""


@dataclass(frozen=True)
class RenderOutput:
    """One picture of a mesh."""

    color: Float[Tensor, "height width 4"]
    """sRGB and coverage in 0..1, antialiased, not premultiplied."""
    depth: Float[Tensor, "height width"]
    """Distance along the camera's axis at each pixel's centre; infinite in the background."""
    normal: Float[Tensor, "height width 3"]
    """Unit normal in the world at each pixel's centre, towards the camera; zero in the background."""

    def image(self) -> Image.Image:
        """The colour picture, RGBA."""
        return to_image(self.color)

    def depth_image(self) -> Image.Image:
        """Depth as brightness (the nearest point is white), RGBA with a transparent background."""
        seen = self.depth.isfinite()
        if not seen.any():
            return to_image(torch.zeros_like(self.color))
        near, far = self.depth[seen].aminmax()
        bright = 1 - 0.9 * (self.depth - near) / (far - near).clamp(min=1e-6)
        return to_image(torch.where(seen, torch.stack([bright] * 3 + [torch.ones_like(bright)]), 0).permute(1, 2, 0))

    def normal_image(self) -> Image.Image:
        """Normals as colours (x red, y green, z blue; -1..1 becomes 0..1), RGBA with a transparent background."""
        seen = self.depth.isfinite()[..., None]
        return to_image(torch.cat([torch.where(seen, self.normal / 2 + 0.5, 0), seen.float()], dim=-1))


def render(
    mesh: Mesh,
    camera: Camera | None = None,
    size: int | None = None,
    *,
    supersample: int = 2,
    background: tuple[float, float, float] | None = None,
    smooth: bool = True,
    device: torch.device | str = "cpu",
) -> RenderOutput:
    """A shaded picture of the mesh with its colours (clay where it has none), with depth and normals.

    Args:
        camera: None looks from the photo's side, at the distance at which the whole mesh is visible.
        size: pixels along the longer side of the picture; None takes the camera's own picture.
        supersample: each pixel is the mean of `supersample`² rays.
        background: an sRGB colour; None leaves the background transparent.
        smooth: shade with normals interpolated between vertices; otherwise every face is flat.
        device: where the picture is computed.

    Faces are visible from both sides. Raises ValueError where `size` or `supersample` is below 1.
    """
    if (size is not None and size < 1) or supersample < 1:
        raise ValueError(f"size and supersample count pixels, from 1 up; got {size} and {supersample}")
    camera = camera or Camera.orbit(distance=framing_distance(mesh))
    if size is not None:
        camera = camera.resized(size)
    with torch.no_grad():
        scene = MeshScene.of(mesh, camera, device, smooth=smooth)
        points = scene.visible_points()
        depth = torch.full((scene.height, scene.width), torch.inf, device=scene.vertices.device)
        normal = torch.zeros(scene.height, scene.width, 3, device=scene.vertices.device)
        depth[points.row, points.column] = points.depth
        normal[points.row, points.column] = points.normal
        return RenderOutput(scene.color(supersample, background), depth, normal)


def framing_distance(mesh: Mesh, field_of_view: float = 40.0) -> float:
    """Distance from which the whole mesh is visible from every direction; `field_of_view` in degrees."""
    radius = float(np.linalg.norm(mesh.vertices, axis=1).max(initial=0))
    return fit_distance(field_of_view, 1.05 * radius or 1.0)


@dataclass(frozen=True)
class VisiblePoints:
    """The first surface point on each ray that meets the mesh."""

    row: Int[Tensor, " points"]
    column: Int[Tensor, " points"]
    corners: Int[Tensor, "points 3"]
    """Vertices of the point's face."""
    weights: Float[Tensor, "points 3"]
    """Barycentric coordinates of the point in its face."""
    depth: Float[Tensor, " points"]
    normal: Float[Tensor, "points 3"]
    """Shading normal in the world, unit length, towards the camera."""


@dataclass(frozen=True)
class MeshScene:
    """A mesh in a camera's frame, as tensors. Pictures of any size are made from it."""

    camera: CameraBatch
    """A batch of one."""
    width: int
    height: int
    vertices: Float[Tensor, "vertices 3"]
    """In the camera's frame (right, up, back)."""
    faces: Int[Tensor, "faces 3"]
    edge_planes: Float[Tensor, "faces 3 3"]
    """For each corner of a face the cross product of the other two corners, in the camera's frame: the normal of the
    plane through the camera and the edge opposite the corner."""
    face_normals: Float[Tensor, "faces 3"]
    """In the world, not of unit length."""
    vertex_normals: Float[Tensor, "vertices 3"] | None
    colors: Float[Tensor, "vertices 3"] | None

    @classmethod
    def of(cls, mesh: Mesh, camera: Camera, device: torch.device | str = "cpu", *, smooth: bool = True) -> "MeshScene":
        """`smooth` keeps the vertex normals for shading."""
        batch = camera.batch(device)
        # The same as `CameraBatch.to_camera`, with one product for all vertices.
        vertices = mesh.verts.to(device) @ batch.axes[0].T + batch.translation
        faces = torch.from_numpy(np.asarray(mesh.faces)).to(device)
        a, b, c = vertices[faces].unbind(1)
        return cls(
            camera=batch,
            width=camera.width,
            height=camera.height,
            vertices=vertices,
            faces=faces,
            edge_planes=torch.stack([b.cross(c, dim=-1), c.cross(a, dim=-1), a.cross(b, dim=-1)], dim=1),
            face_normals=torch.from_numpy(mesh.face_crosses.astype(np.float32)).to(device),
            vertex_normals=torch.from_numpy(mesh.vertex_normals).to(device) if smooth else None,
            colors=None if mesh.vertex_colors is None else torch.from_numpy(mesh.vertex_colors).to(device),
        )

    def visible_points(self, supersample: int = 1) -> VisiblePoints:
        """What the rays through the pixel centres meet; every pixel has `supersample`² rays."""
        width, height = self.width * supersample, self.height * supersample
        face, depth = rasterize(self.vertices, self.faces, self.camera.center[0], self.camera.focal[0], width, height)
        row, column = (face >= 0).nonzero(as_tuple=True)
        face, depth = face[row, column], depth[row, column]
        _, directions = self.camera.rays(width, height)
        toward = -directions[0, row, column]

        # Perspective-correct barycentric weights. A point P on the ray is Σᵢ wᵢ · cornerᵢ, so by Cramer's rule wᵢ is
        # proportional to ray · (cornerⱼ × cornerₖ). A triangle that is seen edge-on has no such weights: its mean is
        # taken.
        weights = (self.edge_planes[face] @ (toward @ self.camera.axes[0].T)[..., None])[..., 0]
        weights = torch.nan_to_num(weights / weights.sum(-1, keepdim=True), nan=1 / 3).clamp(0, 1)
        weights = weights / weights.sum(-1, keepdim=True)

        corners = self.faces[face]
        flat = self.face_normals[face]
        normal = flat if self.vertex_normals is None else _interpolate(weights, self.vertex_normals[corners])
        normal = functional.normalize(normal, dim=-1)
        normal = torch.where((flat * toward).sum(-1, keepdim=True) >= 0, normal, -normal)
        # Near the silhouette an interpolated normal may point away from the camera. It is projected onto the plane
        # across the ray.
        facing = (normal * toward).sum(-1, keepdim=True)
        normal = functional.normalize(normal - facing.clamp(max=0) * toward, dim=-1)
        return VisiblePoints(row, column, corners, weights, depth, normal)

    def color(self, supersample: int, background: tuple[float, float, float] | None) -> Float[Tensor, "height width 4"]:
        """The shaded picture. Rays are averaged in linear light, the mean is converted to sRGB."""
        points = self.visible_points(supersample)
        albedo = points.normal.new_tensor(CLAY)
        if self.colors is not None:
            albedo = _interpolate(points.weights, self.colors[points.corners])
        light = torch.zeros(4, self.height * supersample, self.width * supersample, device=points.normal.device)
        light[:3, points.row, points.column] = (albedo * self._reflected_light(points.normal)).T
        light[3, points.row, points.column] = 1
        light = functional.avg_pool2d(light, supersample).permute(1, 2, 0)

        rgb, alpha = light[..., :3], light[..., 3:]
        if background is None:
            rgb = rgb / alpha.clamp(min=1e-6)
        else:
            rgb = rgb + (1 - alpha) * linear_from_srgb(rgb.new_tensor(background))
            alpha = torch.ones_like(alpha)
        return torch.cat([srgb_from_linear(rgb.clamp(0, 1)), alpha], dim=-1)

    def _reflected_light(self, normal: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Light reflected by a white matt surface: a key light and a fill light fixed to the camera, and the sky."""
        key = normal @ (functional.normalize(normal.new_tensor(KEY), dim=0) @ self.camera.axes[0])
        fill = normal @ (functional.normalize(normal.new_tensor(FILL), dim=0) @ self.camera.axes[0])
        above = normal[:, 1:2] / 2 + 0.5
        # Wrapped diffuse shading: a broad light also reaches a little beyond 90 degrees.
        wrapped = ((key + 0.2) / 1.2).clamp(min=0)[:, None]
        return (
            normal.new_tensor(KEY_COLOR) * wrapped
            + normal.new_tensor(FILL_COLOR) * fill.clamp(min=0)[:, None]
            + normal.new_tensor(SKY) * above
            + normal.new_tensor(GROUND) * (1 - above)
        )


def _interpolate(
    weights: Float[Tensor, "points 3"], values: Float[Tensor, "points 3 channels"]
) -> Float[Tensor, "points channels"]:
    """The weighted mean of the values at each face's corners."""
    return einsum(weights, values, "point corner, point corner channel -> point channel")


def to_image(rgba: Float[Tensor, "height width 4"]) -> Image.Image:
    """RGBA values in 0..1 as a picture of 8 bits."""
    return Image.fromarray((rgba.clamp(0, 1) * 255).round().byte().cpu().numpy(), "RGBA")
