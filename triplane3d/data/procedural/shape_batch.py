"""`ShapeBatch`: many different shapes as padded tensors, evaluated together on any device.

Shapes have different numbers and kinds of parts. To evaluate a batch, all parts of one kind, of all shapes, form a
group: the formula of each primitive runs once for its group. The distances of the parts are then combined part by part,
in the order of the program, for all shapes at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from triplane3d.data.procedural.parts import PARAMETERS, PATTERNS, Part
from triplane3d.data.procedural.primitives import PRIMITIVES

KIND_INDEX = {kind: index for index, kind in enumerate(PRIMITIVES)}

FAR = 10.0
"""Distance of absent parts."""
CHUNK = 65536
"""Points of the whole batch that are evaluated at once on a CPU: their buffers fit the cache of a core."""
WIDE_CHUNK = 2**21
"""The same on accelerators, where starting many small kernels would take most of the time."""

# Four corners of a cube that form a tetrahedron: function values there give the gradient at the centre with four
# evaluations, where central differences need six (Quilez, "Normals for an SDF").
TETRAHEDRON = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])


@dataclass(frozen=True)
class _Group:
    """All parts of one kind in a batch.

    `row` is the place of each part among shapes × parts. `source` is the row of the (mirrored) points at which it is
    evaluated. A point in the part's own axes is turn @ point + offset.
    """

    kind: str
    source: Int[Tensor, " n"]
    row: Int[Tensor, " n"]
    turn: Float[Tensor, "n 3 3"]
    offset: Float[Tensor, "n 3 1"]
    parameters: Float[Tensor, "n parameters"]


@dataclass(frozen=True)
class ShapeBatch:
    """Shapes in the library's frame: turned by their azimuth, centred by their bounding box, longest side 2.

    Shapes with fewer parts than others are padded with parts of `kind` -1. `turn`, `center` and `scale` describe the
    pose: a point of the object's own frame is at scale · (turn @ point - center) in the world.
    """

    kind: Int[Tensor, "batch parts"]
    parameters: Float[Tensor, "batch parts parameters"]
    part_center: Float[Tensor, "batch parts 3"]
    part_rotation: Float[Tensor, "batch parts 3 3"]
    mirror: Bool[Tensor, "batch parts 3"]
    """Axes across whose plane the part is repeated."""
    sign: Float[Tensor, "batch parts"]
    """1 for a union, -1 for a subtraction or an intersection."""
    cut: Bool[Tensor, "batch parts"]
    """Whether the part is subtracted."""
    blend: Float[Tensor, "batch parts"]
    material: Float[Tensor, "batch parts 10"]
    """First colour (3), second colour (3), index of the pattern, its axis, its period, gloss."""
    turn: Float[Tensor, "batch 3 3"]
    center: Float[Tensor, "batch 3"]
    scale: Float[Tensor, " batch"]
    names: tuple[str, ...] = ()

    @classmethod
    def from_parts(
        cls,
        shapes: Sequence[Sequence[Part]],
        *,
        azimuths: Sequence[float] | None = None,
        names: Sequence[str] = (),
        device: str | torch.device = "cpu",
    ) -> ShapeBatch:
        """The shapes that lists of parts describe. `azimuths`, in radians, turn the objects about y before they are
        centred and scaled. `names` are the families."""
        return cls.unnormalized(shapes, azimuths=azimuths, names=names).to(device).normalized()

    @classmethod
    def unnormalized(
        cls, shapes: Sequence[Sequence[Part]], *, azimuths: Sequence[float] | None = None, names: Sequence[str] = ()
    ) -> ShapeBatch:
        """Lists of parts as tensors on the CPU, turned by `azimuths` but not yet centred and scaled."""
        batch = _collate(shapes, names)
        azimuths = torch.zeros(len(shapes)) if azimuths is None else torch.as_tensor(azimuths, dtype=torch.float32)
        sin, cos, zero, one = azimuths.sin(), azimuths.cos(), torch.zeros(len(shapes)), torch.ones(len(shapes))
        turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], 1).unflatten(1, (3, 3))
        return replace(batch, turn=turn)

    def normalized(self) -> ShapeBatch:
        """An `unnormalized` batch, centred by its bounding box and scaled so that the longest side is 2."""
        low, high = _bounding_box(self)
        return replace(self, center=(low + high) / 2, scale=2 / (high - low).amax(1))

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: slice) -> ShapeBatch:
        """A slice of the batch."""
        parts = {f.name: getattr(self, f.name)[index] for f in fields(self)}
        return ShapeBatch(**parts)

    def __iter__(self) -> Iterator[ShapeBatch]:
        return (self[i : i + 1] for i in range(len(self)))

    def to(self, device: str | torch.device) -> ShapeBatch:
        return ShapeBatch(
            **{f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "names"}, names=self.names
        )

    @property
    def device(self) -> torch.device:
        return self.kind.device

    @cached_property
    def _folds(self) -> list[tuple[bool, ...]]:
        """The combinations of mirrored axes that occur in the batch, "none" first."""
        none = (False, False, False)
        return [none, *sorted({tuple(mirror) for mirror in self.mirror.flatten(0, 1).tolist()} - {none})]

    @cached_property
    def _groups(self) -> list[_Group]:
        """One group for every kind of part that occurs in the batch."""
        # Parts of one kind share one formula. They are gathered from all shapes and computed in one call.
        groups = []
        for kind, index in KIND_INDEX.items():
            shape, part = (self.kind == index).nonzero(as_tuple=True)
            if len(shape):
                turn = self.part_rotation[shape, part].mT
                fold = torch.tensor(
                    [self._folds.index(tuple(m)) for m in self.mirror[shape, part].tolist()], device=self.device
                )
                groups.append(
                    _Group(
                        kind,
                        fold * len(self) + shape,
                        shape * self.kind.shape[1] + part,
                        turn,
                        -turn @ self.part_center[shape, part][:, :, None],
                        self.parameters[shape, part],
                    )
                )
        return groups

    @cached_property
    def _joins(self) -> list[tuple[Tensor, Tensor]]:
        """For every part after the first, two lists of shapes: those where it is joined by a union without blend, and
        those where it is joined in another way. The first kind is by far the most frequent and the fastest."""
        crisp = (self.sign > 0) & (self.blend <= 0)
        present = self.kind >= 0
        return [
            ((crisp & present)[:, i].nonzero()[:, 0], (~crisp & present)[:, i].nonzero()[:, 0])
            for i in range(1, self.kind.shape[1])
        ]

    def to_object(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch 3 points"]:
        """World points in the frame of each object, as rows x, y, z: operations then run over contiguous memory."""
        placed = points / self.scale[:, None, None] + self.center[:, None]
        return self.turn.mT @ rearrange(placed, "batch points xyz -> batch xyz points")

    def part_distances(self, points: Float[Tensor, "batch 3 points"]) -> Float[Tensor, "batch parts points"]:
        """Distances of every part at points in the object's frame. Absent parts have the distance `FAR`."""
        mirrored = self._mirrored(points)
        distances = points.new_full((*self.kind.shape, points.shape[2]), FAR)
        rows = distances.flatten(0, 1)
        for group in self._groups:
            local = torch.baddbmm(group.offset, group.turn, mirrored[group.source])
            rows.index_copy_(0, group.row, PRIMITIVES[group.kind](local, group.parameters))
        return distances

    def _mirrored(self, points: Float[Tensor, "batch 3 points"]) -> Float[Tensor, "sources 3 points"]:
        """The points, then the points reflected to the positive side for every combination of mirrored axes.

        Evaluating a part at |x| instead of x is the same as repeating it across the plane x = 0.
        """
        signs = torch.tensor(self._folds, device=points.device)[:, None, :, None]
        return torch.where(signs, points.abs(), points).flatten(0, 1) if len(self._folds) > 1 else points

    def _fold(self, parts: Float[Tensor, "batch parts points"]) -> Float[Tensor, "batch points"]:
        """Join the distances of the parts, in the order of the program.

        A union is a minimum, blended over the radius k as

            smin(a, b) = min(a, b) - k/4 · max(1 - |a - b| / k, 0)²        (Quilez, "Smooth minimum", quadratic).

        An intersection is -smin(-a, -b), a subtraction -smin(-a, b).
        """
        total = parts[:, 0].clone()
        for i, (plain, other) in enumerate(self._joins, start=1):
            if len(plain):
                total[plain] = torch.minimum(total[plain], parts[plain, i])
            if len(other):
                # With sign -1 the minimum of the negated distances is a maximum.
                sign, blend = self.sign[other, i, None], self.blend[other, i, None].clamp(min=1e-6)
                a, b = sign * total[other], torch.where(self.cut[other, i, None], 1.0, sign) * parts[other, i]
                overlap = (1 - (a - b).abs() / blend).clamp(min=0)
                total[other] = sign * (torch.minimum(a, b) - blend / 4 * overlap.square())
        return total

    def distance(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Signed distance in world units, negative inside. The sign is exact. The size is exact or nearly so close to
        the surface, and may be smaller than the true distance elsewhere."""
        chunk = CHUNK if self.device.type == "cpu" else WIDE_CHUNK
        chunks = points.split(max(1, chunk // len(self)), dim=1)
        distances = [self._fold(self.part_distances(self.to_object(chunk))) for chunk in chunks]
        return torch.cat(distances, 1) * self.scale[:, None]

    def gradient(
        self, points: Float[Tensor, "batch points 3"], step: float = 2e-3
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        """Distance and its gradient, from four evaluations at distance √3 · `step` around each point."""
        # The corners tₖ of a tetrahedron sum to zero, and Σ tₖ tₖᵀ = 4 I. Hence ∇f ≈ Σ f(p + h tₖ) tₖ / 4h
        # (Quilez, "Normals for an SDF"): four evaluations instead of six.
        taps = TETRAHEDRON.to(points)
        neighbours = rearrange(points[:, :, None] + step * taps, "batch points tap xyz -> batch (points tap) xyz")
        values = self.distance(neighbours).unflatten(1, (-1, 4))
        return values.mean(2), values @ taps / (4 * step)

    def normal(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """Outward unit normals of the level set through each point."""
        return torch.nn.functional.normalize(self.gradient(points)[1], dim=-1)

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """Linear albedo in 0..1: that of the part nearest to each point, with its pattern."""
        object_points = self.to_object(points)
        # Subtracted parts have no surface of their own.
        distances = self.part_distances(object_points).masked_fill((self.sign < 0)[:, :, None], FAR)
        part = distances.argmin(1)
        rows = torch.arange(len(self), device=self.device)[:, None]
        local = rearrange(object_points, "batch xyz points -> batch points xyz") - self.part_center[rows, part]
        local = (self.part_rotation[rows, part].mT @ local[..., None])[..., 0]
        # Patterns repeat in the part's own axes, so that they turn with it.
        first, second, pattern, axis, scale, _ = self.material[rows, part].split([3, 3, 1, 1, 1, 1], dim=-1)
        cells = local / scale
        along = cells.gather(-1, axis.long())
        mixes = {
            "plain": torch.zeros_like(along),
            "stripes": (along % 1 > 0.5).float(),
            "checker": (cells.floor().sum(-1, keepdim=True) % 2 > 0.5).float(),
            "spots": ((cells % 1 - 0.5).norm(dim=-1, keepdim=True) < 0.35).float(),
            "gradient": (along + 0.5).clamp(0, 1),
        }
        mix = torch.stack([mixes[name] for name in PATTERNS]).gather(0, pattern.long()[None])[0]
        return (first + (second - first) * mix).clamp(0, 1)

    def gloss(self) -> Float[Tensor, " batch"]:
        """Mean gloss of each shape's parts, 0 (matt) to 1."""
        present = (self.kind >= 0).float()
        return (self.material[..., 9] * present).sum(1) / present.sum(1)


def _collate(shapes: Sequence[Sequence[Part]], names: Sequence[str]) -> ShapeBatch:
    """Lists of parts as padded tensors, in the frames of the objects."""
    batch, parts = len(shapes), max(len(shape) for shape in shapes)
    kind = np.full((batch, parts), -1, dtype=np.int64)
    parameters = np.zeros((batch, parts, PARAMETERS), dtype=np.float32)
    center = np.zeros((batch, parts, 3), dtype=np.float32)
    rotation = np.tile(np.eye(3, dtype=np.float32), (batch, parts, 1, 1))
    mirror = np.zeros((batch, parts, 3), dtype=bool)
    sign = np.ones((batch, parts), dtype=np.float32)
    cut = np.zeros((batch, parts), dtype=bool)
    blend = np.zeros((batch, parts), dtype=np.float32)
    material = np.ones((batch, parts, 10), dtype=np.float32)
    for i, shape in enumerate(shapes):
        for j, part in enumerate(shape):
            # Exact ellipsoids have a cheaper formula than superellipsoids.
            curved = part.kind == "ellipsoid" and tuple(part.parameters[3:5]) != (1.0, 1.0)
            kind[i, j] = KIND_INDEX["superellipsoid" if curved else part.kind]
            parameters[i, j, : len(part.parameters)] = part.parameters
            center[i, j], rotation[i, j] = part.center, part.rotation
            mirror[i, j] = [axis in part.mirror for axis in "xyz"]
            sign[i, j] = 1 if part.op == "union" else -1
            cut[i, j] = part.op == "subtract"
            blend[i, j] = part.blend
            look = part.material
            second = look.color if look.second is None else look.second
            material[i, j] = (*look.color, *second, PATTERNS.index(look.pattern), look.axis, look.scale, look.gloss)
    arrays = {
        "kind": kind,
        "parameters": parameters,
        "part_center": center,
        "part_rotation": rotation,
        "mirror": mirror,
        "sign": sign,
        "cut": cut,
        "blend": blend,
        "material": material,
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return ShapeBatch(
        **tensors,
        turn=torch.eye(3).repeat(batch, 1, 1),
        center=torch.zeros(batch, 3),
        scale=torch.ones(batch),
        names=tuple(names),
    )


def _reach(batch: ShapeBatch) -> Float[Tensor, " batch"]:
    """Radius of a ball around the object's origin that contains every part: the largest distance of a part's centre
    plus the extent that follows from its parameters."""
    size = torch.zeros_like(batch.sign)
    for group in batch._groups:
        values = group.parameters.abs()
        reach = {
            "box": values[:, :3].norm(dim=1) * (1 + values[:, 4]),
            "ellipsoid": values[:, :3].norm(dim=1),
            "superellipsoid": values[:, :3].norm(dim=1),
            "cylinder": torch.maximum(values[:, 0], values[:, 1]) + values[:, 2],
            "capsule": torch.maximum(values[:, :3].norm(dim=1), values[:, 3:6].norm(dim=1)) + values[:, 6:8].amax(1),
            "torus": values[:, 0] + values[:, 1],
            "tube": values[:, :24].unflatten(1, (8, 3)).norm(dim=2).amax(1) + values[:, 24:26].amax(1),
            "revolve": values[:, :32].unflatten(1, (16, 2)).norm(dim=2).amax(1),
            "prism": values[:, :32].unflatten(1, (16, 2)).norm(dim=2).amax(1) + values[:, 32],
        }[group.kind]
        size.view(-1)[group.row] = reach
    present = (batch.kind >= 0) & (batch.sign > 0)
    return ((batch.part_center.norm(dim=2) + size + batch.blend) * present).amax(1)


def _bounding_box(batch: ShapeBatch, cells: int = 20) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
    """Lower and upper corner of the bounding box in the turned frame, before scaling.

    There is no closed form for blended and cut parts. Points near the surface are projected onto it. Then the outermost
    points in each of the six directions are varied and projected again, with smaller variations in each round. The
    random numbers have a fixed seed, so that a shape always gets the same pose.
    """
    reach = _reach(batch)
    axis = (torch.arange(cells, device=batch.device) + 0.5) / cells * 2 - 1
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
    points = repeat(grid, "1 points xyz -> batch points xyz", batch=len(batch)) * reach[:, None, None]
    spacing = 2 * reach / cells
    away = batch.distance(points).abs()
    # Most of the points nearest to the surface are near large parts. Thin parts far out, such as a spire or an antenna,
    # are found among the outermost points that are near the surface.
    outermost = torch.where((away < 0.9 * spacing[:, None])[..., None], points, torch.zeros_like(points))
    seeds = torch.cat([away.topk(768, dim=1, largest=False).indices, _extremes(outermost, 24)], 1)
    points = _project(batch, points.gather(1, seeds[..., None].expand(-1, -1, 3)), 2)
    generator = torch.Generator().manual_seed(0)
    for shrink in (1.0, 0.4, 0.15, 0.05):
        seeds = points.gather(1, _extremes(points, 8)[..., None].expand(-1, -1, 3))
        noise = torch.randn((len(batch), seeds.shape[1], 6, 3), generator=generator).to(points)
        tries = rearrange(
            seeds[:, :, None] + noise * (shrink * spacing)[:, None, None, None],
            "batch seed attempt xyz -> batch (seed attempt) xyz",
        )
        points = torch.cat([points, _project(batch, tries, 2)], 1)
    return points.amin(1), points.amax(1)


def _extremes(points: Float[Tensor, "batch points 3"], count: int) -> Int[Tensor, "batch seeds"]:
    """Indices of the `count` outermost points in each of the six directions."""
    outer = [points.topk(count, dim=1, largest=largest).indices for largest in (True, False)]
    return rearrange(torch.cat(outer, 2), "batch count side -> batch (count side)")


def _project(batch: ShapeBatch, points: Float[Tensor, "batch points 3"], steps: int) -> Float[Tensor, "batch points 3"]:
    """The points after `steps` Newton steps to the surface. Points that are still off the surface are replaced by the
    first point of the same shape that is on it."""
    # Newton's step along the gradient: p - f ∇f / |∇f|². The lower bound on |∇f|² limits steps near creases.
    for _ in range(steps):
        distance, gradient = batch.gradient(points)
        points = points - (distance / gradient.square().sum(-1).clamp(min=0.1))[..., None] * gradient
    arrived = batch.distance(points).abs() < 5e-3
    first = arrived.float().argmax(1)
    fallback = points[torch.arange(len(points), device=points.device), first][:, None]
    return torch.where(arrived[..., None], points, fallback)
