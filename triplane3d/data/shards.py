"""Shards: samples of many shapes in one safetensors file, written once and memory-mapped while training.

A shard of N shapes holds the fields of `triplane3d.data.sample`, packed and with a leading axis of N, and `seeds` (N,),
int64, which identify the shapes. Its metadata hold `families`: a JSON list of N names, one for each shape. Shards that
were written before `cameras` existed have views from azimuth 0 only; their elevations read as NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch.utils.data import Dataset

from triplane3d.data.sample import LABEL_FIELDS, SURFACE_FIELDS, ShapeSample, check_batch, check_layout, unpack
from triplane3d.storage.durable import writing_file
from triplane3d.storage.tensor_files import open_tensors

SCRIPT = "scripts/prepare_shapes.py"

# The fields of a shard that each key of `ShardDataset` reads.
FIELDS_OF_KEY = {
    "surface": SURFACE_FIELDS,
    "labels": LABEL_FIELDS,
    "view": ("views",),
    "views": ("views",),
    "framed_view": ("views", "cameras", "windows"),
}


def write_shard(path: Path, batch: Mapping[str, Tensor], *, seeds: Sequence[int], families: Sequence[str]) -> None:
    """Write the packed fields `batch` of some shapes as one shard.

    `seeds` identify the shapes, `families` name what they are. The file appears whole or not at all. A `ValueError` is
    raised if the fields are not those of `triplane3d.data.sample` or the lengths differ.
    """
    count = check_batch(batch)
    if len(seeds) != count or len(families) != count:
        raise ValueError(f"{count} shapes come with {len(seeds)} seeds and {len(families)} names of families")
    tensors = {name: tensor.cpu().contiguous() for name, tensor in batch.items()}
    tensors["seeds"] = torch.tensor([int(seed) for seed in seeds])
    with writing_file(path) as partial:
        save_file(tensors, partial, metadata={"families": json.dumps(list(families))})


DTYPES = {"F16": torch.float16, "F32": torch.float32, "I8": torch.int8, "U8": torch.uint8}
"""Types by their names in safetensors files."""


def _check_shard(path: Path, shard: Any) -> int:
    """The number of shapes in a shard. Raises ValueError if a field does not fit `FIELDS`. No data is read."""
    parts = {name: shard.get_slice(name) for name in shard.keys()}
    count = parts.pop("seeds").get_shape()[0]
    layout = {
        name: (DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape())) for name, part in parts.items()
    }
    try:
        shapes = check_layout(layout)
        if shapes != count:
            raise ValueError(f"{count} seeds for {shapes} shapes")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it and write it again with {SCRIPT}") from error
    return count


def _family_names(path: Path, shard: Any) -> list[str]:
    """The names of a shard's metadata. Raises ValueError if they are not one text for each shape."""
    try:
        names = json.loads((shard.metadata() or {})["families"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no list of families; delete it and write it again with {SCRIPT}") from error
    count = shard.get_slice("seeds").get_shape()[0]
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{path} does not name the families of its {count} shapes; delete it and write it again with {SCRIPT}"
        )
    return names


class ShardDataset(Dataset):
    """The shapes in a folder of shards, as samples of float32 tensors.

    `keys` selects what is read:

    - "surface": `surface_points` points with their normals and colours;
    - "labels": `label_points` labels, the first half uniform, the second half near the surface;
    - "view": `view` (4, height, width), one of the views from azimuth 0;
    - "framed_view": the same with its `camera` (2,) and `window` (4,);
    - "views": `views` and `cameras`, first one from azimuth 0, then all the others in random order.

    Points and views are chosen anew with `generator` at every access. `limit` keeps the first shapes only.
    Raises `FileNotFoundError` for a folder without shards, `ValueError` for a damaged shard or one without a field.
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
            raise FileNotFoundError(f"no shards (*.safetensors) in {folder}; write them with {SCRIPT}")
        self.keys, self.surface_points, self.label_points = tuple(keys), surface_points, label_points
        self.generator = generator
        needed = ["seeds", *(field for key in self.keys for field in FIELDS_OF_KEY[key])]
        self._paths = paths
        self._files: list[Any] = []
        self._rows: list[tuple[int, int]] = []  # file and row in it, for each shape
        for path in paths:
            shard = open_tensors(path, needed, noun="shard", script=SCRIPT)
            self._rows += [(len(self._files), row) for row in range(_check_shard(path, shard))]
            self._files.append(shard)
        self._rows = self._rows[:limit]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def seeds(self) -> list[int]:
        """The seed of each shape, in order."""
        return [int(seed) for shard in self._files for seed in shard.get_tensor("seeds")][: len(self)]

    @property
    def families(self) -> list[str]:
        """The family of each shape, in order. Raises `ValueError` if a shard's list of names is missing or damaged."""
        names: list[str] = []
        for path, shard in zip(self._paths, self._files, strict=True):
            names += _family_names(path, shard)
        return names[: len(self)]

    def __getitem__(self, index: int) -> ShapeSample:
        file, row = self._rows[index]
        shard = self._files[file]

        def read(name: str) -> Tensor:
            return shard.get_slice(name)[row : row + 1][0]

        # The order of the random choices below is part of the result: the same generator gives the same samples.
        sample: ShapeSample = {}
        if "surface" in self.keys:
            points = read("surface_points")
            chosen = self._random_order(len(points))[: self.surface_points]
            sample["surface_points"] = points[chosen]
            sample["surface_normals"] = read("surface_normals")[chosen]
            sample["surface_colors"] = read("surface_colors")[chosen]
        if "labels" in self.keys:
            points, half = read("label_points"), self.label_points // 2
            middle = len(points) // 2
            uniform = self._random_order(middle)[:half]
            near = middle + self._random_order(len(points) - middle)[:half]
            chosen = torch.cat([uniform, near])
            sample["label_points"], sample["label_distance"] = points[chosen], read("label_distance")[chosen]
        if {"view", "framed_view", "views"} & set(self.keys):
            views = read("views")
            cameras = torch.tensor([0.0, torch.nan]).repeat(len(views), 1)
            if "cameras" in shard.keys():
                cameras = read("cameras")
            from_the_front = int((cameras[:, 0] == 0).sum())
            first = int(torch.randint(from_the_front, (1,), generator=self.generator))
            if {"view", "framed_view"} & set(self.keys):
                sample["view"] = views[first].float() / 255
            if "framed_view" in self.keys:
                sample["camera"], sample["window"] = cameras[first], read("windows")[first]
            if "views" in self.keys:
                order = self._random_order(len(views))
                order = torch.cat([torch.tensor([first]), order[order != first]])
                sample["views"], sample["cameras"] = views[order], cameras[order]
        return unpack(sample)

    def _random_order(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator)
