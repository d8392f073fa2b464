"""Pictures of shapes by sphere tracing, with random cameras, lights and exposures.

A distance function gives, for each point, the radius of a ball that contains no surface. Sphere tracing (Hart 1996,
"Sphere tracing: a geometric method for the antialiased ray tracing of implicit surfaces") moves along a ray by that
radius until the distance is a small part of a pixel. Before single rays, coarse cones of 16 × 16 and 4 × 4 pixels are
traced in the same way: all rays of a cone start where the cone may first meet a surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Generator, Tensor

from triplane3d.data.procedural.shape_batch import ShapeBatch
from triplane3d.geometry.cameras import CameraBatch, fit_distance
from triplane3d.models.pixels import FOREGROUND_RATIO

ELEVATION = (-10.0, 40.0)
"""Range of random elevations, in degrees."""
FIELD_OF_VIEW = (20.0, 60.0)
"""Range of random fields of view, in degrees."""
BLOCKS = (16, 4)
"""Edges, in pixels, of the square blocks whose rays are first traced together, as a cone."""
BOUNDING_RADIUS = 1.75
"""Radius of a ball that contains the cube [-1.01, 1.01]³."""
STEP = 0.9
"""Share of the distance that one step advances. Below 1 since distances of blended parts are only approximate."""


@dataclass(frozen=True)
class OrbitCameras:
    """One camera for each shape, on an orbit around the origin. Angles are in degrees.

    With `azimuth` None all cameras have azimuth 0, the camera of the frame in which shapes are stored. The distance
    follows from the field of view (`fit_distance`).
    """

    elevation: Float[Tensor, " batch"]
    field_of_view: Float[Tensor, " batch"]
    azimuth: Float[Tensor, " batch"] | None = None

    @classmethod
    def sample(
        cls,
        count: int,
        generator: Generator | None = None,
        device: str | torch.device = "cpu",
        *,
        any_azimuth: bool = False,
    ) -> OrbitCameras:
        """`count` random cameras, with elevations and fields of view uniform over `ELEVATION` and `FIELD_OF_VIEW`.

        Azimuths are 0, or with `any_azimuth` uniform over the circle.
        """
        u = torch.rand((2, count), generator=generator, device=device)
        azimuth = 360 * torch.rand(count, generator=generator, device=device) - 180 if any_azimuth else None
        return cls(
            ELEVATION[0] + (ELEVATION[1] - ELEVATION[0]) * u[0],
            FIELD_OF_VIEW[0] + (FIELD_OF_VIEW[1] - FIELD_OF_VIEW[0]) * u[1],
            azimuth,
        )

    @property
    def cameras(self) -> CameraBatch:
        """The cameras as tensors, with square pictures of the whole field of view."""
        azimuth = torch.zeros_like(self.elevation) if self.azimuth is None else self.azimuth
        half = torch.tan(torch.deg2rad(self.field_of_view) / 2)
        return CameraBatch.orbit(azimuth, self.elevation, self.distance, half[:, None].expand(-1, 2))

    @property
    def distance(self) -> Float[Tensor, " batch"]:
        """Distances of the cameras from the origin."""
        distances = [fit_distance(float(angle)) for angle in self.field_of_view]
        return torch.tensor(distances, device=self.elevation.device)

    def framed(
        self, surface: Float[Tensor, "batch points 3"], foreground_ratio: float = FOREGROUND_RATIO
    ) -> CameraBatch:
        """The cameras with square pictures framed as the pipeline's image processor frames a photo.

        The square around the projections of the `surface` points is centred and fills `foreground_ratio` of the
        picture.
        """
        cameras = self.cameras
        in_camera = cameras.to_camera(surface)
        plane = in_camera[..., :2] / -in_camera[..., 2:]
        low, high = plane.amin(1), plane.amax(1)
        half = (high - low).amax(1) / 2 / foreground_ratio
        return replace(cameras, center=(low + high) / 2, half_extent=half[:, None].expand(-1, 2))


def render_views(
    batch: ShapeBatch,
    views: OrbitCameras,
    surface: Float[Tensor, "batch points 3"],
    size: int,
    *,
    foreground_ratio: float = FOREGROUND_RATIO,
    generator: Generator | None = None,
) -> tuple[Float[Tensor, "batch 4 size size"], Float[Tensor, "batch size size"]]:
    """Pictures of `size` × `size` pixels, one camera for each shape.

    Returns RGBA (sRGB, straight alpha, 0..1) and the depth along the camera's axis, infinite where no surface is hit.

    `surface` points determine the framing (`OrbitCameras.framed`). `generator` chooses lights, tints and exposure.
    """
    cameras = views.framed(surface, foreground_ratio)
    axes, origin, half = cameras.axes, cameras.position, cameras.half_extent[:, 0]

    def rays(count: int) -> tuple[Tensor, Tensor]:
        """Unit directions through the centres of count × count squares of the picture, and for each direction the
        width of a pixel at distance 1."""
        direction = cameras.pixel_directions(count, count).flatten(1, 2)
        length = direction.norm(dim=-1)
        return direction / length[..., None], (2 * half / size)[:, None] / length

    # `clear` is the distance from the camera up to which a ray, or all rays of a block, cannot meet a surface.
    clear = (views.distance - BOUNDING_RADIUS).clamp(min=0)[:, None].expand(-1, 1)
    for block in BLOCKS:
        count = max(1, size // block)
        far = views.distance + BOUNDING_RADIUS
        clear = _march(batch, origin, *rays(count), size / count, _upsample(clear, count), far)
    direction, pixel = rays(size)
    length = (2 * half / size)[:, None] / pixel

    reach, clearance = _trace(batch, origin, direction, pixel, _upsample(clear, size))
    hit = clearance <= 0
    color = torch.zeros_like(direction)
    # Only pixels that hit are shaded. `topk` gathers them, padded to the largest number of any shape.
    count = int(hit.sum(1).max())
    if count:
        pixels = hit.float().topk(count, dim=1).indices
        index = pixels[..., None].expand(-1, -1, 3)
        points = origin[:, None] + direction.gather(1, index) * reach.gather(1, pixels)[..., None]
        shaded = _shade(batch, points.clamp(-1.05, 1.05), direction.gather(1, index), axes, generator)
        color = color.scatter(1, index, torch.where(hit.gather(1, pixels)[..., None], shaded, 0.0))
    # A ray that misses the surface by less than half a pixel covers its pixel in part. Such a pixel gets the mean
    # colour of the neighbours that are hit.
    alpha = torch.where(hit, 1.0, (0.5 - clearance).clamp(0, 1))
    rgb = rearrange(color, "batch (row column) rgb -> batch rgb row column", row=size)
    alpha, solid = (rearrange(a, "batch (row column) -> batch 1 row column", row=size) for a in (alpha, hit.float()))
    neighbours = torch.nn.functional.avg_pool2d(torch.cat([rgb * solid, solid], 1), 3, stride=1, padding=1)
    mean_color = neighbours[:, :3] / neighbours[:, 3:].clamp(min=1e-6)
    rgb = torch.where(solid > 0, rgb, mean_color)
    alpha = torch.where((solid > 0) | (neighbours[:, 3:] > 0), alpha, 0.0)
    depth = torch.where(hit, reach / length, torch.inf)
    return torch.cat([rgb, alpha], 1), rearrange(depth, "batch (row column) -> batch row column", row=size)


def _upsample(values: Float[Tensor, "batch coarse"], count: int) -> Float[Tensor, "batch fine"]:
    """The values of a square picture, resized to count × count by nearest neighbour."""
    side = isqrt(values.shape[1])
    nearest = torch.arange(count, device=values.device) * side // count
    return values.unflatten(1, (side, side))[:, nearest][:, :, nearest].flatten(1)


def _march(
    batch: ShapeBatch,
    origin: Float[Tensor, "batch 3"],
    direction: Float[Tensor, "batch rays 3"],
    pixel: Float[Tensor, "batch rays"],
    block: float,
    clear: Float[Tensor, "batch rays"],
    far: Float[Tensor, " batch"],
    *,
    steps: int = 24,
) -> Float[Tensor, "batch rays"]:
    """Distance along each ray up to which a cone around it, `block` pixels wide, contains no surface.

    The ball around a point of the axis, whose radius is the distance there, contains no surface. The cone may therefore
    advance to where it leaves the ball (cone marching; Hart 1996, section 4): with cone radius w·t at distance t and
    free radius d, the advance a satisfies w·(t + a) + a = d. Cones that reach `far` are empty; they return infinity.
    """
    # Half the diagonal of the block, and one pixel more for surfaces that cover a pixel in part.
    radius = (0.71 * block + 1.0) * pixel
    reach = clear.clone()
    alive = reach < far[:, None]
    for _ in range(steps):
        count = int(alive.sum(1).max())
        if count == 0:
            break
        rays = alive.float().topk(count, dim=1).indices
        t, live = reach.gather(1, rays), alive.gather(1, rays)
        points = origin[:, None] + direction.gather(1, rays[..., None].expand(-1, -1, 3)) * t[..., None]
        width = radius.gather(1, rays)
        advance = (STEP * batch.distance(points) - width * t) / (1 + width)
        moves = live & (advance > 0.1 * width * t)  # shorter advances cost more than they save
        reach.scatter_(1, rays, torch.where(moves, t + advance, t))
        alive.scatter_(1, rays, moves & (t + advance < far[:, None]))
    return torch.where(reach < far[:, None], reach, torch.inf)


def _trace(
    batch: ShapeBatch,
    origin: Float[Tensor, "batch 3"],
    direction: Float[Tensor, "batch rays 3"],
    pixel: Float[Tensor, "batch rays"],
    clear: Float[Tensor, "batch rays"],
    *,
    steps: int = 56,
) -> tuple[Float[Tensor, "batch rays"], Float[Tensor, "batch rays"]]:
    """Sphere tracing: the distance along each ray, and its clearance.

    The clearance is 0 where the ray hits the surface, else about the smallest distance to it, in pixels. Rays start at
    the distance `clear`. They end at the walls of the cube [-1.01, 1.01]³ or after `steps` steps.
    """
    # Slab test: where each ray enters the cube and where it leaves it.
    safe = torch.where(direction.abs() < 1e-6, 1e-6, direction)
    walls = (torch.tensor([-1.01, 1.01], device=origin.device)[:, None, None, None] - origin[:, None]) / safe
    near, far = walls.amin(0).amax(-1), walls.amax(0).amin(-1)
    reach = torch.maximum(near, clear)
    closest = torch.full_like(reach, torch.inf)
    hit = torch.zeros_like(reach, dtype=torch.bool)
    alive = reach < far
    for _ in range(steps):
        count = int(alive.sum(1).max())
        if count == 0:
            break
        rays = alive.float().topk(count, dim=1).indices
        t = reach.gather(1, rays)
        points = origin[:, None] + direction.gather(1, rays[..., None].expand(-1, -1, 3)) * t[..., None]
        distance = batch.distance(points)
        width = pixel.gather(1, rays) * t
        arrived = distance < 0.1 * width  # a tenth of a pixel
        live = alive.gather(1, rays)
        closest.scatter_(
            1, rays, torch.minimum(closest.gather(1, rays), torch.where(live, distance / width, torch.inf))
        )
        hit.scatter_(1, rays, hit.gather(1, rays) | (arrived & live))
        # The least step is a fifth of a pixel, so that a ray along a surface makes progress.
        t = torch.where(live & ~arrived, t + (STEP * distance).clamp(min=0.2 * width), t)
        reach.scatter_(1, rays, t)
        alive.scatter_(1, rays, live & ~arrived & (t < far.gather(1, rays)))
    return reach, torch.where(hit, torch.zeros_like(closest), closest.clamp(min=1e-3))


def _shade(
    batch: ShapeBatch,
    points: Float[Tensor, "batch points 3"],
    direction: Float[Tensor, "batch points 3"],
    axes: Float[Tensor, "batch 3 3"],
    generator: Generator | None,
) -> Float[Tensor, "batch points 3"]:
    """sRGB colours of surface points: a directional light, sky light with ambient occlusion, and a Blinn-Phong
    highlight. Direction and strength of the lights, tint and exposure are random for each shape."""
    count, device = len(batch), points.device

    def uniform(low: float, high: float, width: int = 1) -> Tensor:
        """Random numbers for each shape, (batch, 1, width)."""
        return low + (high - low) * torch.rand((count, 1, width), generator=generator, device=device)

    normal = batch.normal(points)
    albedo = batch.color(points)
    # In camera axes (right, up, back): the light comes from the camera's side of the shape.
    towards = torch.cat([uniform(-1, 1), uniform(0.1, 1.2), uniform(0.1, 1)], -1)
    light = torch.nn.functional.normalize(towards @ axes, dim=-1)
    lambert = (normal * light).sum(-1, keepdim=True)
    wrap = uniform(0, 0.4)  # wrapped diffuse lighting: light that reaches beyond the terminator
    key = ((lambert + wrap) / (1 + wrap)).clamp(min=0)
    sky = 0.6 + 0.4 * normal[..., 1:2]
    # Ambient occlusion from one distance sample along the normal: 1 where nothing is near.
    occlusion = (batch.distance((points + 0.08 * normal).clamp(-1.1, 1.1)) / 0.08).clamp(0, 1)[..., None]
    occlusion = 1 - uniform(0.2, 0.7) * (1 - occlusion)
    halfway = torch.nn.functional.normalize(light - direction, dim=-1)
    gloss = batch.gloss()[:, None, None]
    highlight = gloss * (normal * halfway).sum(-1, keepdim=True).clamp(min=1e-4).pow(8 + 60 * gloss) * (lambert > 0)
    diffuse = key * uniform(0.5, 1.1) * uniform(0.9, 1.0, 3) + sky * occlusion * uniform(0.25, 0.6)
    color = albedo * diffuse + 0.6 * highlight
    return (color * uniform(0.8, 1.3)).clamp(1e-4, 1).pow(1 / 2.2)
