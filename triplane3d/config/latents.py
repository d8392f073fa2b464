"""Stage 2, the latents: the keys of the YAML file of `scripts/encode_latents.py`."""

from dataclasses import dataclass
from typing import Literal

from triplane3d.config.values import (
    BatchSize,
    Limit,
    Name,
    Points,
    Section,
    Shapes,
)


@dataclass(frozen=True, kw_only=True)
class LatentsConfig(Section):
    """Which shards are encoded, by which autoencoder, and what is written."""

    vae: Name  # folder of the trained autoencoder
    data: Name | None = None  # shards; without `data` and `output` only the mean and deviation are measured
    output: Name | None = None
    fresh_shapes: Shapes = 4096  # shapes that are generated for this measurement where `data` is not given
    surface_points: Points = 4096
    measure: bool = True  # write mean and deviation of the latents to the autoencoder's config; false keeps its values
    mirror: bool = False  # encode each shape mirrored in x as well; its photo is then flipped
    batch_size: BatchSize = 64
    shard_size: Limit = 8192  # shapes per file
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
