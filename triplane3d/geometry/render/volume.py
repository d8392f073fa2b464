"""Pictures of a radiance field by ray marching; differentiable, and the same on every device.

The emission-absorption model (Max 1995, Optical Models for Direct Volume Rendering) with the quadrature of NeRF
(Mildenhall et al. 2020, eq. 3). With densities σᵢ, colours cᵢ and intervals of length δᵢ along a ray,

    C = Σᵢ Tᵢ (1 - exp(-σᵢ δᵢ)) cᵢ,    Tᵢ = exp(-Σ σⱼ δⱼ over j < i).

A field is evaluated only where rays cross its cube.
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
"""Points at which a field is evaluated at once, where the caller sets no limit."""

FAINT = 1e-6
"""Opacity up to which a ray counts as background. The mean depth and colour of a fainter ray would be noise, with an
unbounded gradient."""

CUBE_SHRINKAGE, SHORTEST_CROSSING = 1 - 1e-3, 0.01
"""Two details of the normalized step in TripoSR's published renderer: the cube is scaled by this factor, and rays that
cross less of it than this length miss it. Otherwise a short crossing would count as much as one from face to face."""

Step = Literal["metric", "normalized"]


@runtime_checkable
class RadianceField(Protocol):
    """Density and colour at points. It may also have an attribute `device`, on which `render_volume` then computes."""

    def density_and_color(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density (n,) from 0 up and colour (n, 3) in 0..1 at points (n, 3).

        Density is the absorption per unit of length, as `step` measures it. Colours are blended without conversion, so
        the picture is in the field's colour space.
        """
        ...


@dataclass(frozen=True)
class VolumeRendering:
    """The result for each ray, or for each pixel of a picture."""

    color: Float[Tensor, "*rays 3"]
    """In the field's colour space, over the background. Without a background: not premultiplied, and zero where a ray
    meets nothing."""
    depth: Float[Tensor, "*rays"]
    """Mean distance at which the ray is absorbed in the field; infinite where a ray meets nothing, so select
    `depth.isfinite()` before a loss."""
    opacity: Float[Tensor, "*rays"]
    """Share of the background that the field hides, 0..1."""


def box_interval(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], radius: float
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """Where rays enter and leave the cube [-radius, radius]³, in lengths of their directions; far <= near if they miss.

    The slab method (Kay and Kajiya 1986). Only the part in front of the origin counts: from inside the cube, near is 0.
    """
    tiny = 1e-6 * directions.norm(dim=-1, keepdim=True)
    directions = torch.where(directions.abs() < tiny, tiny, directions)  # avoids 0 / 0 for rays along a face
    # The ray is between the two planes of an axis within one interval; the cube is the intersection of three.
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
    """Colour, depth and opacity of rays through the field in the cube [-radius, radius]³.

    Args:
        field: density and colour at points.
        origins: of the rays, in the world.
        directions: of any length above 0; distances are in the world's units all the same.
        radius: half the edge of the cube.
        num_samples: number of equal intervals into which the crossing of the cube is divided.
        stratified: sample each interval at a random point instead of its middle.
        generator: of the random points. A CPU generator gives the same points on every device.
        background: a grey or a colour in the field's colour space; None leaves the background transparent.
        step: unit of the density. "metric" is absorption per world unit; "normalized" counts every crossing of the cube
            as one unit, whatever its length, as TripoSR's field does.
        chunk_size: largest number of points, approximately, at which the field is evaluated at once.
        recompute: evaluate the field again in the backward pass instead of storing its activations. This needs memory
            for one chunk only and a third more time.

    Depth is the distance along the ray. Raises ValueError for invalid arguments.
    """
    _check_arguments(origins, directions, radius, num_samples, step, chunk_size)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    if step == "metric":
        near, far = box_interval(origins, directions, radius)
        hit = far > near
    else:
        near, far = box_interval(origins, directions, CUBE_SHRINKAGE * radius)
        hit = far - near > SHORTEST_CROSSING

    within = origins.new_full((len(origins), 1), 0.5)
    if stratified:
        # Sampled for every ray, also for those that miss: a ray's points must not depend on the other rays.
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
        raise ValueError("directions must have a length above 0: some of `directions` are zero")
    if not radius > 0:
        raise ValueError(f"radius is half the edge of the field's cube, above 0; got {radius}")
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
    """Colour and distance, both weighted by visibility, and opacity of each ray; eq. 3 of NeRF."""
    length = (far - near)[:, None] / num_samples
    distance = near[:, None] + length * (torch.arange(num_samples, device=near.device) + within)
    points = origins[:, None] + distance[..., None] * directions[:, None]
    density, color = field.density_and_color(rearrange(points, "rays samples xyz -> (rays samples) xyz"))
    if density.shape != (points[..., 0].numel(),) or color.shape != (*density.shape, 3):
        raise ValueError(
            f"a radiance field must return, for {points[..., 0].numel()} points, densities (n,) and colours (n, 3); "
            f"got {tuple(density.shape)} and {tuple(color.shape)}"
        )
    density = rearrange(density.to(near.dtype), "(rays samples) -> rays samples", samples=num_samples)
    color = rearrange(color.to(near.dtype), "(rays samples) rgb -> rays samples rgb", samples=num_samples)

    # σᵢ δᵢ, and its sum over the intervals before: the exponent of Tᵢ. expm1 keeps small opacities exact.
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
    """The results of all rays over the background, from those of the rays that cross the cube."""
    seen = opacity > FAINT
    share = torch.where(seen, opacity, 1)  # avoids division by values near 0, also in the backward pass
    if background is None:
        behind = light.new_zeros(3)
        light = torch.where(seen[:, None], light / share[:, None], 0)
    else:
        behind = light.new_tensor(background).expand(3)
        light = light + (1 - opacity)[:, None] * behind

    color, depth, hidden = behind.repeat(len(hit), 1), light.new_full(hit.shape, torch.inf), light.new_zeros(hit.shape)
    color[hit], depth[hit], hidden[hit] = light, torch.where(seen, distance / share, torch.inf), opacity
    return VolumeRendering(color, depth, hidden)
