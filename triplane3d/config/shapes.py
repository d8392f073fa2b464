"""Stage 0, procedural shapes: the keys of the YAML file of `scripts/prepare_shapes.py`."""

from dataclasses import dataclass

from triplane3d.config.values import AtLeastTwo, Count, Name, Natural, Section


@dataclass(frozen=True, kw_only=True)
class ShapesConfig(Section):
    """How many procedural shapes are written, with how many points and views each."""

    output: Name  # folder of train/ and validation/
    shapes: Count
    validation_shapes: Natural = 256
    first_seed: Natural = 0
    families: tuple[Name, ...] | None = None  # by default all training families
    shard_size: Count = 512  # shapes per file
    surface_points: Count = 4096
    label_points: AtLeastTwo = 8192
    views: Natural = 2  # from azimuth 0: the shape stands in the frame of these cameras
    random_views: Natural = 0  # further views from random directions, for models of several photos; needs `views`
    image_size: Count = 128  # pixels along an edge of the views
    random_view_size: Count | None = None  # render `random_views` with fewer pixels; by default `image_size`
    batch_size: Count = 16  # shapes generated at once
    workers: Count = 1
    device: Name = "cpu"
