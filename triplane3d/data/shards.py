"""Shards: training samples of many shapes in safetensors files, written once and memory-mapped while training.

A shard holds, for `N` shapes, `surface_points`, `surface_normals`, `surface_colors` (N, P, 3), `label_points` (N, Q, 3)
with `label_distance` (N, Q) (signed, negative inside; the first half uniform in [-1, 1]³, the rest near the surface),
`views` (N, V, 4, H, W) RGBA bytes framed as the pipeline frames a photo, and `seeds` (N,).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch.utils.data import Dataset

from triplane3d.data.shapes import ShapeBatch, Views, draw_shapes, render_views, sample_labels, sample_surface
from triplane3d.data.tensor_files import open_tensors

Sample = dict[str, Tensor]

# What a dataset's keys read of a shard.
FIELDS = {
    "surface": ("surface_points", "surface_normals", "surface_colors"),
    "labels": ("label_points", "label_distance"),
    "view": ("views",),
}


def sample_shapes(batch: ShapeBatch, *, surface_points: int, label_points: int, views: int, image_size: int,
                  generator: Generator) -> Sample:
    """Everything the training stages want to know about these shapes, in the shards' storage types."""
    points, normals = sample_surface(batch, surface_points, generator)
    queries, distance = sample_labels(batch, label_points, points, generator)
    pictures = []
    for _ in range(views):
        rgba, _ = render_views(batch, Views.draw(len(batch), generator, batch.device), points, image_size,
                               generator=generator)
        pictures.append(_bytes(rgba))
    return {
        "surface_points": points.half(),
        "surface_normals": (normals * 127).round().to(torch.int8),
        "surface_colors": _bytes(batch.color(points)),
        "label_points": queries.half(),
        "label_distance": distance.half(),
        **({"views": torch.stack(pictures, 1)} if pictures else {}),
    }


def write_shard(path: Path, seeds: Sequence[int], *, surface_points: int = 4096, label_points: int = 8192,
                views: int = 2, image_size: int = 128, families: Sequence[str] | None = None,
                batch_size: int = 16, device: str | torch.device = "cpu") -> None:
    """Write one shard of the shapes of `seeds`. The same arguments give the same file on the same device."""
    generator = torch.Generator(device=device).manual_seed(int(seeds[0]))
    samples: list[Sample] = []
    names: list[str] = []
    for start in range(0, len(seeds), batch_size):
        batch = draw_shapes(seeds[start : start + batch_size], families=families, azimuths="random", device=device)
        names += batch.names
        sample = sample_shapes(batch, surface_points=surface_points, label_points=label_points, views=views,
                               image_size=image_size, generator=generator)
        samples.append({key: value.cpu() for key, value in sample.items()})
    tensors = {key: torch.cat([sample[key] for sample in samples]) for key in samples[0]}
    tensors["seeds"] = torch.tensor([int(seed) for seed in seeds])
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"families": json.dumps(names)})
    os.replace(partial, path)


class ShardDataset(Dataset):
    """Shapes from a folder of shards, as float tensors; points are drawn anew from `generator` at every visit.

    `keys` picks what is read: any of "surface", "labels", "view". A sample holds the fields named in the module's
    docstring, of `surface_points` and `label_points` points, and one `view` (4, H, W) in 0..1.
    """

    def __init__(self, folder: str | Path, keys: Sequence[str] = ("surface", "labels", "view"), *,
                 surface_points: int = 2048, label_points: int = 2048, limit: int | None = None,
                 generator: Generator | None = None) -> None:
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
            pick = torch.cat([torch.randperm(middle, generator=self.generator)[:half],
                              middle + torch.randperm(len(points) - middle, generator=self.generator)[:half]])
            sample["label_points"] = points[pick].float()
            sample["label_distance"] = read("label_distance")[pick].float()
        if "view" in self.keys:
            views = read("views")
            view = int(torch.randint(len(views), (1,), generator=self.generator))
            sample["view"] = views[view].float() / 255
        return sample


def _bytes(values: Float[Tensor, "..."]) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
