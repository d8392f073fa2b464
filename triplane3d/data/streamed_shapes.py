"""The streams of the training stages: surfaces and labels for the autoencoder, latents and photos for the denoiser.

Both return a `ShapeStream`: procedural shapes are made on the training device and stay in a pool for several batches.
The batches have the keys and types of the stored data sets (`ShardDataset`, `LatentPhotoDataset`).
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from triplane3d.config import LatentDataConfig, ShapeDataConfig, StreamConfig
from triplane3d.data.latents import mirror
from triplane3d.data.procedural import ShapeBatch
from triplane3d.data.procedural.samples import sample_shapes
from triplane3d.data.sample import LABEL_FIELDS, SURFACE_FIELDS, Sample, unpack
from triplane3d.data.streams import MakeBatch, MakeSamples, ShapeStream, random_rows, take_rows

ENCODED_AT_ONCE = 64
"""Shapes per call of the autoencoder: encoding takes more memory per shape than making the shape."""


@runtime_checkable
class EncodeSurface(Protocol):
    """Surface points, normals and colours → latents of zero mean and unit variance per channel."""

    def __call__(
        self,
        points: Float[Tensor, "batch points 3"],
        normals: Float[Tensor, "batch points 3"],
        colors: Float[Tensor, "batch points 3"],
        *,
        mirror: bool,
    ) -> Float[Tensor, "batch channels height width"]: ...


def stream_surfaces(data: ShapeDataConfig, device: torch.device) -> ShapeStream:
    """Stream for the autoencoder: surface points with normals and colours, and labelled points.

    The pool keeps `pool_surface_points` and `pool_label_points` of each shape; every batch takes a random subset.
    Raises `ValueError` if a batch needs more points than the pool keeps.
    """

    def make_samples(shapes: ShapeBatch, generator: Generator) -> Sample:
        return sample_shapes(shapes, surface_points=data.pool_surface_points, label_points=data.pool_label_points,
                             views=0, image_size=0, generator=generator)  # fmt: skip

    def make_batch(pooled: Sample, generator: Generator) -> Sample:
        batch = len(pooled["surface_points"])
        on_surface = random_rows(batch, data.pool_surface_points, data.surface_points, generator)
        # As in a shard, the first half of the labels is uniform, the second half near the surface.
        middle = data.pool_label_points // 2
        uniform, near = (random_rows(batch, middle, data.label_points // 2, generator) for _ in range(2))
        labels = torch.cat([uniform, middle + near], dim=1)
        chosen = {name: take_rows(pooled[name], on_surface) for name in SURFACE_FIELDS}
        sample = unpack(chosen | {name: take_rows(pooled[name], labels) for name in LABEL_FIELDS})
        if data.mirror:
            sides = sample["surface_points"].new_ones(batch, 1, 3)
            sides[..., 0] -= 2 * torch.randint(2, (batch, 1), generator=generator, device=generator.device)
            for name in ("surface_points", "surface_normals", "label_points"):
                sample[name] = sides * sample[name]
        return sample

    for taken, kept in (("surface_points", "pool_surface_points"), ("label_points", "pool_label_points")):
        if getattr(data, taken) > getattr(data, kept):
            raise ValueError(
                f"data.{taken}={getattr(data, taken)} is more than the pool keeps of each shape, data.{kept}="
                f"{getattr(data, kept)}: raise data.{kept}"
            )
    return _stream(data, make_samples, make_batch, device)


def stream_latents_and_photos(
    data: LatentDataConfig,
    encode: EncodeSurface,
    device: torch.device,
    *,
    label_points: int = 0,
) -> ShapeStream:
    """Stream for the denoiser: normalized latents and photos of each shape, as a `LatentPhotoDataset` returns them.

    `encode` calls the frozen encoder and normalizes its latents. With `label_points` > 0 a batch also holds that many
    labelled points, the same ones whenever a shape is used.
    """
    sides = (False, True) if data.mirror else (False,)

    @torch.no_grad()
    def make_samples(shapes: ShapeBatch, generator: Generator) -> Sample:
        sample = sample_shapes(shapes, surface_points=data.surface_points, label_points=label_points, views=data.views,
                               random_views=data.random_views, random_view_size=data.random_view_size,
                               image_size=data.image_size, generator=generator)  # fmt: skip
        surface = unpack({name: sample[name] for name in SURFACE_FIELDS})
        parts = list(zip(*(values.split(ENCODED_AT_ONCE) for values in surface.values())))
        latents = torch.stack([torch.cat([encode(*part, mirror=side) for part in parts]) for side in sides], dim=1)
        kept = ("views", "cameras", *(LABEL_FIELDS if label_points else ()))
        return {"latents": latents.half(), **{name: sample[name] for name in kept}}

    def make_batch(pooled: Sample, generator: Generator) -> Sample:
        batch, views = pooled["views"].shape[:2]
        rows = torch.arange(batch, device=generator.device)
        side = torch.randint(len(sides), (batch,), generator=generator, device=generator.device)
        # The first photo is one of azimuth 0, whose frame the latents have; the others follow in random order.
        place = torch.rand(batch, views, generator=generator, device=generator.device)
        place[:, : data.views].scatter_(1, place[:, : data.views].argmin(dim=1, keepdim=True), -1.0)
        order = place.argsort(dim=1)
        sample = {name: take_rows(pooled[name], order) for name in ("views", "cameras")}
        if label_points:
            sample |= {name: pooled[name] for name in LABEL_FIELDS}
        return {"latents": pooled["latents"][rows, side].float(), **mirror(unpack(sample), side == 1)}

    return _stream(data, make_samples, make_batch, device)


def _stream(data: StreamConfig, make_samples: MakeSamples, make_batch: MakeBatch, device: torch.device) -> ShapeStream:
    return ShapeStream(
        make_samples=make_samples,
        make_batch=make_batch,
        group_size=data.group_size,
        pool=data.pool,
        reuse=data.reuse,
        families=data.families,
        device=device,
    )
