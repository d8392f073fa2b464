"""Stage 0, procedural shapes: the keys of the YAML file of `scripts/prepare_shapes.py`."""

from dataclasses import dataclass

from triplane3d.config.values import (
    BatchSize,
    FirstSeed,
    LabelPoints,
    Limit,
    Name,
    Pixels,
    Points,
    Section,
    Shapes,
    ShapesOrNone,
    ViewsOrNone,
    Workers,
)

MOST_SHARDS = 100_000
"""Files of one folder; their names have five digits."""


@dataclass(frozen=True, kw_only=True)
class ShapesConfig(Section):
    """How many procedural shapes are written, with how many points and views each."""

    output: Name  # folder of train/ and validation/
    shapes: Shapes
    validation_shapes: ShapesOrNone = 256
    first_seed: FirstSeed = 0
    families: tuple[Name, ...] | None = None  # by default all training families
    shard_size: Limit = 512  # shapes per file
    surface_points: Points = 4096
    label_points: LabelPoints = 8192
    views: ViewsOrNone = 2  # from azimuth 0: the shape stands in the frame of these cameras
    random_views: ViewsOrNone = 0  # further views from random directions, for models of several photos; needs `views`
    image_size: Pixels = 128  # pixels along an edge of the views
    random_view_size: Pixels | None = None  # render `random_views` with fewer pixels; by default `image_size`
    batch_size: BatchSize = 16  # shapes generated at once
    workers: Workers = 1
    device: Name = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.shapes, self.validation_shapes) / self.shard_size > MOST_SHARDS:
            raise ValueError(
                f"shapes={self.shapes} in shards of shard_size={self.shard_size} are more than {MOST_SHARDS:,} files: "
                "raise shard_size"
            )
