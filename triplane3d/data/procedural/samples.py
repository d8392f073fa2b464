"""Samples of procedural shapes (`triplane3d.data.sample`), and shards of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator

from triplane3d.data.procedural.generation import generate_shapes
from triplane3d.data.procedural.rendering import OrbitCameras, render_views
from triplane3d.data.procedural.sampling import sample_labels, sample_surface
from triplane3d.data.procedural.shape_batch import ShapeBatch
from triplane3d.data.sample import ShapeSample, pack
from triplane3d.data.shards import write_shard
from triplane3d.models.pixels import resize_square


def sample_shapes(
    batch: ShapeBatch,
    *,
    surface_points: int,
    label_points: int,
    views: int,
    image_size: int,
    generator: Generator,
    random_views: int = 0,
    random_view_size: int | None = None,
) -> ShapeSample:
    """A packed batch of samples of the shapes in `batch`.

    The first `views` views are from azimuth 0, the next `random_views` from random azimuths. The latter are rendered at
    `random_view_size` pixels, if given, and resized to `image_size`: their outlines matter more than their details, and
    half the size takes a quarter of the time. Without views the sample has no `views`, `cameras` and `windows`.
    """
    points, normals = sample_surface(batch, surface_points, generator)
    labels, distance = sample_labels(batch, label_points, points, generator)
    sample = {
        "surface_points": points,
        "surface_normals": normals,
        "surface_colors": batch.color(points),
        "label_points": labels,
        "label_distance": distance,
    }
    pictures, angles, windows = [], [], []
    for index in range(views + random_views):
        any_azimuth = index >= views
        size = random_view_size if any_azimuth and random_view_size else image_size
        cameras = OrbitCameras.sample(len(batch), generator, batch.device, any_azimuth=any_azimuth)
        rgba, _ = render_views(batch, cameras, points, size, generator=generator)
        pictures.append(resize_square(rgba, (image_size, image_size)))
        azimuth = torch.zeros_like(cameras.elevation) if cameras.azimuth is None else cameras.azimuth
        angles.append(torch.stack([azimuth, cameras.elevation], 1))
        framed = cameras.framed(points)
        windows.append(torch.cat([cameras.distance[:, None], framed.center, framed.half_extent[:, :1]], 1))
    if pictures:
        sample |= {
            "views": torch.stack(pictures, 1),
            "cameras": torch.stack(angles, 1),
            "windows": torch.stack(windows, 1),
        }
    return pack(sample)


def write_shape_shard(
    path: Path,
    seeds: Sequence[int],
    *,
    surface_points: int = 4096,
    label_points: int = 8192,
    views: int = 2,
    image_size: int = 128,
    families: Sequence[str] | None = None,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    random_views: int = 0,
    random_view_size: int | None = None,
) -> None:
    """Write one shard of the shapes of `seeds`, `batch_size` of them at a time.

    `families` are the names to choose from, by default all of `FAMILIES`. The other arguments are those of
    `sample_shapes`. The same arguments give the same file on the same device.
    """
    generator = torch.Generator(device=device).manual_seed(int(seeds[0]))
    samples: list[ShapeSample] = []
    names: list[str] = []
    for start in range(0, len(seeds), batch_size):
        batch = generate_shapes(seeds[start : start + batch_size], families=families, azimuths="random", device=device)
        names += batch.names
        sample = sample_shapes(
            batch,
            surface_points=surface_points,
            label_points=label_points,
            views=views,
            image_size=image_size,
            generator=generator,
            random_views=random_views,
            random_view_size=random_view_size,
        )
        samples.append({name: tensor.cpu() for name, tensor in sample.items()})
    whole = {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}
    write_shard(path, whole, seeds=seeds, families=names)
