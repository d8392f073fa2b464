"""Shards: training samples of many shapes in safetensors files, written once and memory-mapped while training.

A shard holds, for `N` shapes, `surface_points`, `surface_normals`, `surface_colors` (N, P, 3), `label_points` (N, Q, 3)
with `label_distance` (N, Q) (signed, negative inside; the first half uniform in [-1, 1]³, the rest near the surface),
`views` (N, V, 4, H, W) RGBA bytes framed as the pipeline frames a photo, `cameras` (N, V, 2) with the azimuth and the
elevation of each in degrees, and `seeds` (N,). The shape stands in the frame of the views of azimuth 0, which come
first; shards without `cameras` hold no others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch.utils.data import Dataset

from triplane3d.data.procedural import (
    OrbitCameras,
    ShapeBatch,
    generate_shapes,
    render_views,
    sample_labels,
    sample_surface,
)
from triplane3d.models.pixels import resize_square
from triplane3d.storage.durable import writing_file
from triplane3d.storage.tensor_files import open_tensors

Sample = dict[str, Tensor]

# What a dataset's keys read of a shard.
FIELDS = {
    "surface": ("surface_points", "surface_normals", "surface_colors"),
    "labels": ("label_points", "label_distance"),
    "view": ("views",),
    "views": ("views",),
}


def sample_shapes(
    batch: ShapeBatch,
    *,
    surface_points: int,
    label_points: int,
    views: int,
    image_size: int,
    generator: Generator,
    around: int = 0,
    around_size: int | None = None,
) -> Sample:
    """Everything the training stages want to know about these shapes, in the shards' storage types.

    `views` are seen from azimuth 0, then `around` from anywhere; those are traced at `around_size` pixels, if given,
    and stored as large as the others: their outlines matter, and a quarter of the pixels takes a quarter of the time.
    """
    points, normals = sample_surface(batch, surface_points, generator)
    queries, distance = sample_labels(batch, label_points, points, generator)
    pictures, cameras = [], []
    for index in range(views + around):
        from_anywhere = index >= views
        size = around_size if from_anywhere and around_size else image_size
        camera = OrbitCameras.sample(len(batch), generator, batch.device, around=from_anywhere)
        rgba, _ = render_views(batch, camera, points, size, generator=generator)
        pictures.append(_bytes(resize_square(rgba, (image_size, image_size))))
        azimuth = torch.zeros_like(camera.elevation) if camera.azimuth is None else camera.azimuth
        cameras.append(torch.stack([azimuth, camera.elevation], 1))
    return {
        "surface_points": points.half(),
        "surface_normals": (normals * 127).round().to(torch.int8),
        "surface_colors": _bytes(batch.color(points)),
        "label_points": queries.half(),
        "label_distance": distance.half(),
        **({"views": torch.stack(pictures, 1), "cameras": torch.stack(cameras, 1)} if pictures else {}),
    }


def write_shard(
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
    around: int = 0,
    around_size: int | None = None,
) -> None:
    """Write one shard of the shapes of `seeds`. The same arguments give the same file on the same device."""
    generator = torch.Generator(device=device).manual_seed(int(seeds[0]))
    samples: list[Sample] = []
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
            around=around,
            around_size=around_size,
        )
        samples.append({key: value.cpu() for key, value in sample.items()})
    tensors = {key: torch.cat([sample[key] for sample in samples]) for key in samples[0]}
    tensors["seeds"] = torch.tensor([int(seed) for seed in seeds])
    with writing_file(path) as partial:
        save_file(tensors, partial, metadata={"families": json.dumps(names)})


class ShardDataset(Dataset):
    """Shapes from a folder of shards, as float tensors; points are drawn anew from `generator` at every visit.

    `keys` picks what is read: any of "surface", "labels", "view", "views". A sample holds the fields named in the
    module's docstring, of `surface_points` and `label_points` points; for "view" one from azimuth 0, (4, H, W) in 0..1;
    for "views" one from azimuth 0 and then all the others in any order, `views` (V, 4, H, W) with their `cameras`.
    """

    def __init__(
        self,
        folder: str | Path,
        keys: Sequence[str] = ("surface", "labels", "view"),
        *,
        surface_points: int = 2048,
        label_points: int = 2048,
        limit: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        paths = sorted(Path(folder).glob("*.safetensors"))
        if not paths:
            raise FileNotFoundError(f"no shards (*.safetensors) in {folder}; write them with scripts/prepare_shapes.py")
        self.keys, self.surface_points, self.label_points = tuple(keys), surface_points, label_points
        self.generator = generator
        needed = ["seeds", *(field for key in self.keys for field in FIELDS[key])]
        self._files: list[Any] = []
        self._where: list[tuple[int, int]] = []
        for path in paths:
            shard = open_tensors(path, needed, noun="shard", script="scripts/prepare_shapes.py")
            self._where += [(len(self._files), row) for row in range(shard.get_slice("seeds").get_shape()[0])]
            self._files.append(shard)
        self._where = self._where[:limit]

    def __len__(self) -> int:
        return len(self._where)

    @property
    def seeds(self) -> list[int]:
        """The seed of each shape, in order."""
        return [int(seed) for shard in self._files for seed in shard.get_tensor("seeds")][: len(self)]

    @property
    def families(self) -> list[str]:
        """The family of each shape, in order."""
        return [name for shard in self._files for name in json.loads(shard.metadata()["families"])][: len(self)]

    def __getitem__(self, index: int) -> Sample:
        file, row = self._where[index]
        shard, sample = self._files[file], {}

        def read(key: str) -> Tensor:
            return shard.get_slice(key)[row : row + 1][0]

        if "surface" in self.keys:
            points = read("surface_points")
            pick = torch.randperm(len(points), generator=self.generator)[: self.surface_points]
            sample["surface_points"] = points[pick].float()
            sample["surface_normals"] = read("surface_normals")[pick].float() / 127
            sample["surface_colors"] = read("surface_colors")[pick].float() / 255
        if "labels" in self.keys:
            points, half = read("label_points"), self.label_points // 2
            middle = len(points) // 2
            pick = torch.cat(
                [
                    torch.randperm(middle, generator=self.generator)[:half],
                    middle + torch.randperm(len(points) - middle, generator=self.generator)[:half],
                ]
            )
            sample["label_points"] = points[pick].float()
            sample["label_distance"] = read("label_distance")[pick].float()
        if "view" in self.keys or "views" in self.keys:
            views = read("views")
            cameras = torch.tensor([0.0, torch.nan]).repeat(len(views), 1)
            if "cameras" in shard.keys():
                cameras = read("cameras")
            fronts = int((cameras[:, 0] == 0).sum())
            first = int(torch.randint(fronts, (1,), generator=self.generator))
            if "view" in self.keys:
                sample["view"] = views[first].float() / 255
            if "views" in self.keys:
                order = torch.randperm(len(views), generator=self.generator)
                order = torch.cat([torch.tensor([first]), order[order != first]])
                sample["views"], sample["cameras"] = views[order].float() / 255, cameras[order]
        return sample


def _bytes(values: Float[Tensor, "..."]) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
