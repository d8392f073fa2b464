"""Data sets of stored latents: the files that stage 2 writes, alone and together with the photos of the same shapes.

A file `latents-NNNNN.safetensors` holds, for `N` shapes in the order of the shards, `latents` (N, C, H, 3·W) in half
precision, `seeds` (N,), and optionally `mirrored`: the latents of the shapes mirrored in x. Stored latents are those of
the encoder; they are normalized to zero mean and unit variance per channel when they are read.
"""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from triplane3d.data.sample import Sample
from triplane3d.data.shards import ShardDataset
from triplane3d.models.latent_statistics import LatentStatistics
from triplane3d.storage.tensor_files import open_tensors

SCRIPT = "scripts/encode_latents.py"


class LatentDataset:
    """The latents in a folder, memory-mapped, one shape at a time, with zero mean and unit variance per channel.

    `vae_config` is the config of the autoencoder that encoded them. Raises `FileNotFoundError` for a folder without
    files of latents, `ValueError` for a damaged file.
    """

    def __init__(self, folder: str | Path, vae_config: Mapping[str, Any]) -> None:
        paths = sorted(Path(folder).glob("latents-*.safetensors"))
        if not paths:
            raise FileNotFoundError(f"no latents-*.safetensors in {folder}; write them with {SCRIPT}")
        self._files = [
            open_tensors(path, ("seeds", "latents"), noun="file of latents", script=SCRIPT) for path in paths
        ]
        self._ends = list(accumulate(len(file.get_tensor("seeds")) for file in self._files))
        self.statistics = LatentStatistics.from_config(vae_config)

    @property
    def seeds(self) -> list[int]:
        """The seed of each shape, in order."""
        return [int(seed) for file in self._files for seed in file.get_tensor("seeds")]

    @property
    def has_mirrored(self) -> bool:
        """Whether the files also hold the latents of every shape's mirror image."""
        return all("mirrored" in file.keys() for file in self._files)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Float[Tensor, "channels height width"]:
        return self.read(index)

    def read(self, index: int, mirrored: bool = False) -> Float[Tensor, "channels height width"]:
        """The latents of shape `index`, or those of its mirror image in x."""
        file = next(number for number, end in enumerate(self._ends) if index < end)
        row = index - (self._ends[file - 1] if file else 0)
        stored = self._files[file].get_slice("mirrored" if mirrored else "latents")[row : row + 1][0]
        return self.statistics.normalize(stored.float())


class LatentPhotoDataset:
    """Latents of shapes together with photos of the same shapes.

    Every access chooses the photos anew. If the mirrored latents are stored, every second access on average returns
    the mirror image of the shape. `photos` reads "views" of the shards, and "labels" if they are needed. Raises
    `ValueError` if latents and photos are of different shapes.
    """

    def __init__(self, latents: LatentDataset, photos: ShardDataset) -> None:
        if latents.seeds != photos.seeds:
            raise ValueError(
                f"the latents are of other shapes than the photos ({len(latents)} and {len(photos)} shapes): "
                "write the latents of data.folder again"
            )
        self.latents, self.photos = latents, photos
        self.has_mirrored = latents.has_mirrored

    @property
    def generator(self) -> Generator | None:
        return self.photos.generator

    @generator.setter
    def generator(self, generator: Generator | None) -> None:
        self.photos.generator = generator

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> Sample:
        mirrored = self.has_mirrored and bool(torch.rand((), generator=self.generator) < 0.5)
        sample = self.photos[index]
        if mirrored:
            sample = mirror(sample, torch.tensor(True))
        return {"latents": self.latents.read(index, mirrored), **sample}


def mirror(sample: Sample, mirrored: Bool[Tensor, "*batch"]) -> Sample:
    """Photos, cameras and label points, mirrored in x where `mirrored` is true.

    Photos are flipped from left to right; azimuths of cameras and x coordinates of points change their sign.
    """
    sign = torch.where(mirrored, -1.0, 1.0)[..., None]
    flipped = mirrored[..., None, None, None, None]
    changed = {
        "views": torch.where(flipped, sample["views"].flip(-1), sample["views"]),
        "cameras": _scale_first(sample["cameras"], sign),
    }
    if "label_points" in sample:
        changed["label_points"] = _scale_first(sample["label_points"], sign)
    return sample | changed


def _scale_first(
    values: Float[Tensor, "*batch entries axes"], scale: Float[Tensor, "*batch 1"]
) -> Float[Tensor, "*batch entries axes"]:
    """Multiplies the first number of each entry (an azimuth or an x coordinate) by `scale`."""
    return torch.cat([scale[..., None] * values[..., :1], values[..., 1:]], dim=-1)
