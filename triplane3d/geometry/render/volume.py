"""Pictures of a radiance field: light gathered along each ray, differentiable, the same on every device.

The emission-absorption model of Max (1995) with the quadrature of NeRF (Mildenhall et al. 2020, eq. 3). A field is
asked only where rays cross its cube; nothing here knows a network.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from triplane3d.geometry.cameras import Camera

POINT_CHUNK = 1 << 18
"""Points that a field is asked at once, unless the caller says otherwise."""

FAINT = 1e-6
"""Opacity up to which a ray is taken to have met nothing: a mean over less is noise, its gradient without bound."""

TIGHTENED, SHORTEST = 1 - 1e-3, 0.01
"""What belongs to the normalized step as TripoSR was trained with it: its cube is this much smaller than said, and rays
that cross less of it than this length miss. (A short crossing would else count as much as one from face to face.)"""

Step = Literal["metric", "normalized"]


@runtime_checkable
class RadianceField(Protocol):
    """What a volume is rendered from. It may also have `device`, where `render_volume` then casts its rays."""

    def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density (n,) from 0 up and colour (n, 3) in 0..1 at points (n, 3).

        Density is the opacity per unit of length, as `step` measures it; colours are blended as they come, so the
        picture is in the field's colour space.
        """
        ...


@dataclass(frozen=True)
class VolumeRendering:
    """What rays gathered: one entry per ray, or a picture of them."""

    color: Float[Tensor, "*rays 3"]
    """In the field's colour space, over the background; without one not premultiplied, and zero where nothing is."""
    depth: Float[Tensor, "*rays"]
    """Expected distance at which the ray's light left the field, whatever lies behind; infinite where nothing is, so
    pick `depth.isfinite()` before a loss."""
    opacity: Float[Tensor, "*rays"]
    """Share of the background that is hidden, 0..1."""


def box_interval(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], radius: float
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """Where rays enter and leave the cube [-radius, radius]³, in lengths of their directions; far <= near if they miss.

    Only what lies ahead counts: from inside the cube, near is 0.
    """
    tiny = 1e-6 * directions.norm(dim=-1, keepdim=True)
    directions = torch.where(directions.abs() < tiny, tiny, directions)  # along a face, not 0 / 0
    one, other = (-radius - origins) / directions, (radius - origins) / directions
    return torch.minimum(one, other).amax(-1).clamp(min=0), torch.maximum(one, other).amin(-1)


def march_rays(
    field: RadianceField,
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    *,
    radius: float = 1.0,
    num_samples: int = 128,
    stratified: bool = False,
    generator: torch.Generator | None = None,
    background: float | tuple[float, float, float] | None = 1.0,
    step: Step = "metric",
    chunk_size: int | None = None,
    recompute: bool = False,
) -> VolumeRendering:
    """What rays gather within the cube [-radius, radius]³; depth is the distance along the ray.

    Directions may have any length, distances are in the world's units. A ray is asked at the middles of `num_samples`
    equal intervals, or (`stratified`) at a random point of each, which a CPU generator draws alike for every device.
    `background` is a grey or a colour in the field's colour space, None leaves it clear.

    `step` says what density is measured in: "metric" is opacity per world unit; "normalized" counts every crossing of
    the cube as one unit however long it is (TripoSR's field is of this kind).

    The field is asked at most about `chunk_size` points at once. `recompute` asks again in the backward pass instead of
    keeping what the field computed: memory for one chunk, a third more time.
    """
    _check_arguments(origins, directions, radius, num_samples, step, chunk_size)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    if step == "metric":
        near, far = box_interval(origins, directions, radius)
        hit = far > near
    else:
        near, far = box_interval(origins, directions, TIGHTENED * radius)
        hit = far - near > SHORTEST

    within = origins.new_full((len(origins), 1), 0.5)
    if stratified:
        # For every ray, hit or not: whether another one grazes the cube must not change what a ray is given.
        within = torch.rand(
            len(origins),
            num_samples,
            generator=generator,
            dtype=origins.dtype,
            device=origins.device if generator is None else generator.device,
        ).to(origins.device)

    parts = []
    for rays in hit.nonzero()[:, 0].split(max(1, (chunk_size or POINT_CHUNK) // num_samples)):
        chunk = (field, origins[rays], directions[rays], near[rays], far[rays], within[rays], num_samples, step)
        parts.append(checkpoint(_gather, *chunk, use_reentrant=False) if recompute else _gather(*chunk))
    light, distance, opacity = (torch.cat(values) for values in zip(*parts))
    return _composite(hit, light, distance, opacity, background)


def render_volume(field: RadianceField, camera: Camera, size: int | None = None, **options: Any) -> VolumeRendering:
    """A picture of a radiance field; `options` are those of `march_rays`. Depth is measured along the camera's axis.

    `size` is the number of pixels along the longer side; None takes the camera's own picture.
    """
    camera = camera if size is None else camera.resized(size)
    batch = camera.batch(getattr(field, "device", "cpu"))
    origins, directions = camera.rays(device=batch.axes.device)
    rays = march_rays(field, origins, directions, **options)
    ahead = -directions @ batch.axes[0, 2]
    return VolumeRendering(
        color=rearrange(rays.color, "(row column) rgb -> row column rgb", row=camera.height),
        depth=rearrange(rays.depth * ahead, "(row column) -> row column", row=camera.height),
        opacity=rearrange(rays.opacity, "(row column) -> row column", row=camera.height),
    )


def _check_arguments(
    origins: Tensor, directions: Tensor, radius: float, num_samples: int, step: str, chunk_size: int | None
) -> None:
    if origins.ndim != 2 or origins.shape[-1] != 3 or origins.shape != directions.shape:
        raise ValueError(
            f"origins and directions are (rays, 3) each, got {tuple(origins.shape)} and {tuple(directions.shape)}"
        )
    if not (directions.norm(dim=-1) > 0).all():
        raise ValueError("a ray needs a direction of some length: some of `directions` are zero")
    if not radius > 0:
        raise ValueError(f"radius is half the edge of the cube that holds the field, above 0; got {radius}")
    if num_samples < 1:
        raise ValueError(f"num_samples counts the points along each ray, from 1 up; got {num_samples}")
    if step not in ("metric", "normalized"):
        raise ValueError(f"step is 'metric' or 'normalized', got {step!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size counts points, from 1 up; got {chunk_size}")


def _gather(
    field: RadianceField,
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, " rays"],
    far: Float[Tensor, " rays"],
    within: Float[Tensor, "rays #samples"],
    num_samples: int,
    step: Step,
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """Light and distance, both weighed by what can be seen of them, and opacity; NeRF's eq. 3."""
    length = (far - near)[:, None] / num_samples
    distance = near[:, None] + length * (torch.arange(num_samples, device=near.device) + within)
    points = origins[:, None] + distance[..., None] * directions[:, None]
    density, color = field.density_and_color(rearrange(points, "rays samples xyz -> (rays samples) xyz"))
    if density.shape != (points[..., 0].numel(),) or color.shape != (*density.shape, 3):
        raise ValueError(
            f"a radiance field gives {points[..., 0].numel()} points densities (n,) and colours (n, 3); "
            f"got {tuple(density.shape)} and {tuple(color.shape)}"
        )
    density = rearrange(density.to(near.dtype), "(rays samples) -> rays samples", samples=num_samples)
    color = rearrange(color.to(near.dtype), "(rays samples) rgb -> rays samples rgb", samples=num_samples)

    thickness = density * (length if step == "metric" else 1 / num_samples)
    before = functional.pad(thickness.cumsum(-1)[:, :-1], (1, 0))
    weights = torch.exp(-before) * -torch.expm1(-thickness)
    light = einsum(weights, color, "rays samples, rays samples rgb -> rays rgb")
    return light, (weights * distance).sum(-1), -torch.expm1(-thickness.sum(-1))


def _composite(
    hit: Bool[Tensor, " rays"],
    light: Float[Tensor, "hits 3"],
    distance: Float[Tensor, " hits"],
    opacity: Float[Tensor, " hits"],
    background: float | tuple[float, float, float] | None,
) -> VolumeRendering:
    """Results of the rays that cross the cube, among those that miss it, before the background."""
    seen = opacity > FAINT
    share = torch.where(seen, opacity, 1)  # never a division by next to nothing, in the backward pass neither
    if background is None:
        behind = light.new_zeros(3)
        light = torch.where(seen[:, None], light / share[:, None], 0)
    else:
        behind = light.new_tensor(background).expand(3)
        light = light + (1 - opacity)[:, None] * behind

    color, depth, hidden = behind.repeat(len(hit), 1), light.new_full(hit.shape, torch.inf), light.new_zeros(hit.shape)
    color[hit], depth[hit], hidden[hit] = light, torch.where(seen, distance / share, torch.inf), opacity
    return VolumeRendering(color, depth, hidden)
