"""The data of the training stages, as their configurations name them: stored in folders, or streamed."""

from typing import Any

from accelerate import Accelerator
from torch import Tensor

from triplane3d.config import LatentDataConfig, ShapeDataConfig
from triplane3d.data.latents import LatentDataset, LatentPhotoDataset
from triplane3d.data.procedural import FAMILIES, HOLDOUT_FAMILIES
from triplane3d.data.shards import ShardDataset
from triplane3d.data.streamed_shapes import stream_latents_and_photos
from triplane3d.data.streams import ShapeStream
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.latent_statistics import LatentStatistics
from triplane3d.training.inputs import check_files
from triplane3d.training.latents import encode_surface


def check_source(data: ShapeDataConfig | LatentDataConfig, *folders: str) -> None:
    """Checks that the data are either streamed, or stored in `folders` (keys of `data`) that exist and hold files.

    Raises `ValueError` otherwise, and for unknown families.
    """
    named = [name for name in folders if getattr(data, name)]
    missing = [name for name in folders if name not in named]
    if data.stream and named:
        raise ValueError(
            f"data.stream=true makes shapes while training, but data.{named[0]}={getattr(data, named[0])!r} is given "
            f"too: remove data.{named[0]}, or set data.stream to false"
        )
    if missing and not data.stream:
        raise ValueError(
            f"nothing to train on: data.{missing[0]} is missing; name its folder, or set data.stream to true"
        )
    for name in (*named, *(["validation"] if data.validation else [])):
        pattern, writer = ("latents-*.safetensors", "latents") if name == "latents" else ("*.safetensors", "shards")
        check_files(f"data.{name}", getattr(data, name), pattern, writer)
    if data.families is not None and (unknown := sorted(set(data.families) - set(FAMILIES | HOLDOUT_FAMILIES))):
        raise ValueError(f"data.families: there is no family {', '.join(unknown)} of shapes")


def latents_and_photos(
    data: LatentDataConfig, vae: AutoencoderKLTriplane, accelerator: Accelerator, *, label_points: int = 0
) -> ShapeStream | LatentPhotoDataset:
    """Normalized latents and photos of each shape, streamed or from folders, with `label_points` labelled points.

    `vae` encodes streamed shapes; for stored latents it supplies their statistics.
    """
    if data.stream:
        statistics = LatentStatistics.from_config(vae.config)

        def encode(points: Tensor, normals: Tensor, colors: Tensor, **options: Any) -> Tensor:
            return statistics.normalize(encode_surface(accelerator, vae, points, normals, colors, **options))

        return stream_latents_and_photos(data, encode, accelerator.device, label_points=label_points)
    assert data.folder is not None and data.latents is not None, "see check_source"
    keys = ("views", "labels") if label_points else ("views",)
    photos = ShardDataset(data.folder, keys, label_points=label_points)
    return LatentPhotoDataset(LatentDataset(data.latents, vae.config), photos)


def validation_photos(data: LatentDataConfig) -> ShardDataset | None:
    """Photos and labels for validation; None if the configuration names no folder."""
    if not data.validation:
        return None
    return ShardDataset(data.validation, keys=("labels", "view"), label_points=data.validation_labels)
