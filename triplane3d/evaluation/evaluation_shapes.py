"""Shapes that models are evaluated on: the true solid, the autoencoder's input and the pipeline's input image.

Held-out procedural shapes have seeds from `FIRST_EVALUATION_SEED` on, which training never uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import trimesh
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from triplane3d.data.procedural import (
    FAMILIES,
    FIRST_EVALUATION_SEED,
    HOLDOUT_FAMILIES,
    OrbitCameras,
    ShapeBatch,
    generate_shapes,
    render_views,
    sample_surface,
)
from triplane3d.data.procedural.families import compositions
from triplane3d.evaluation.protocol import (
    ENCODED_POINTS,
    FREE,
    GRID_RESOLUTION,
    IMAGE_SIZE,
    MESH_ELEVATION,
    MESH_FIELD_OF_VIEW,
    SEED_STRIDE,
    TRAINED,
    UNSEEN,
)
from triplane3d.evaluation.solids import Solid, Surface
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import normalize_mesh
from triplane3d.geometry.render import render

MESH_SUFFIXES = (".glb", ".obj", ".off", ".ply", ".stl")
BATCH = 16
"""Procedural shapes that are evaluated at once. Each batch has its own generator, so results depend on this number."""
UNKNOWN_COLOR = 0.5
"""Colour given to the autoencoder for meshes, whose surface samples have no colour."""

T = TypeVar("T")


@dataclass(frozen=True)
class EvaluationShape:
    """One shape to evaluate a model on. If `image` is None the shape has no image."""

    name: str
    category: str
    solid: Solid
    reference_surface: Surface
    """Surface samples around which the points of S-IoU are placed."""
    surface_points: Float[Tensor, "points 3"]
    """Input of the autoencoder, with the two fields below."""
    surface_normals: Float[Tensor, "points 3"]
    surface_colors: Float[Tensor, "points 3"]
    image: Float[Tensor, "4 size size"] | None = None
    """RGBA in 0..1, sRGB, straight alpha: input of the pipeline."""
    camera: Camera | None = None
    """Camera of `image`, before framing: it looks at the origin."""
    mesh: Mesh | None = None
    """The mesh that the shape was read from, if any."""
    window: Float[Tensor, " 4"] | None = None
    """Framing of `image`: distance of the camera; centre (right, up) and half side of the image (`data.sample`)."""

    @property
    def pil_image(self) -> Image.Image:
        """The image in 8 bits, as a file would hold it. Raises ValueError if the shape has no image."""
        return to_pil(self._required_image())

    @property
    def mask(self) -> Bool[np.ndarray, "size size"]:
        """Pixels of the object. Raises ValueError if the shape has no image."""
        return self._required_image()[3].numpy() > 0.5

    def _required_image(self) -> Float[Tensor, "4 size size"]:
        if self.image is None:
            raise ValueError(f"{self.name} has no image: create the shape with image_size")
        return self.image


def to_pil(image: Float[Tensor, "4 size size"]) -> Image.Image:
    """RGBA in 0..1 → 8-bit RGBA image."""
    pixels = rearrange((image * 255).round().byte(), "rgba row column -> row column rgba")
    return Image.fromarray(pixels.numpy(), "RGBA")


def render_image(mesh: Mesh, camera: Camera, size: int) -> Float[Tensor, "4 size size"]:
    """An image of a mesh: RGBA in 0..1, sRGB, straight alpha."""
    return rearrange(render(mesh, camera, size).color, "row column rgba -> rgba row column")


def family_groups() -> dict[str, list[str]]:
    """Names of the families in each procedural data set: trained families, unseen families, free compositions."""
    free = [name for name, family in FAMILIES.items() if family.__module__ == compositions.__name__]
    return {TRAINED: sorted(set(FAMILIES) - set(free)), UNSEEN: sorted(HOLDOUT_FAMILIES), FREE: sorted(free)}


def procedural_shapes(
    seeds: Sequence[int],
    families: Sequence[str] | None,
    *,
    surface_points: int = ENCODED_POINTS,
    image_size: int | None = IMAGE_SIZE,
    resolution: int = GRID_RESOLUTION,
) -> list[EvaluationShape]:
    """One shape per seed, with a random azimuth. Its family is one of `families` (None: all training families).

    With `image_size` each shape has an image from a random camera, as in training. `resolution` is that of the grid
    from which the true surface is extracted. Occupancy is exact and does not depend on it.
    """
    shapes = []
    for start in range(0, len(seeds), BATCH):
        batch = generate_shapes(seeds[start : start + BATCH], families=families, azimuths="random")
        generator = torch.Generator().manual_seed(int(seeds[start]) % 2**31)
        points, normals = sample_surface(batch, surface_points, generator)
        colors = batch.color(points)
        images: Tensor | list[None] = [None] * len(batch)
        cameras: list[Camera | None] = [None] * len(batch)
        windows: Tensor | list[None] = [None] * len(batch)
        if image_size is not None:
            views = OrbitCameras.sample(len(batch), generator)
            framed = views.framed(points)
            windows = torch.cat([views.distance[:, None], framed.center, framed.half_extent[:, :1]], dim=1)
            images, _ = render_views(batch, views, points, image_size, generator=generator)
            cameras = [
                Camera.orbit(elevation=elevation, field_of_view=angle)
                for elevation, angle in zip(views.elevation.tolist(), views.field_of_view.tolist())
            ]
        shapes += [
            EvaluationShape(
                name=f"seed {seed}",
                category=batch.names[index],
                solid=procedural_solid(shape, resolution),
                reference_surface=Surface(points[index].numpy(), normals[index].numpy()),
                surface_points=points[index],
                surface_normals=normals[index],
                surface_colors=colors[index],
                image=images[index],
                camera=cameras[index],
                window=windows[index],
            )
            for index, (seed, shape) in enumerate(zip(seeds[start : start + BATCH], batch))
        ]
    return shapes


def held_out_seeds(count: int, seed: int) -> range:
    """Seeds of `count` shapes that training never uses; `seed` is the seed of the evaluation."""
    first = FIRST_EVALUATION_SEED + SEED_STRIDE * seed
    return range(first, first + count)


def held_out_shapes(
    count: int,
    families: Sequence[str],
    *,
    seed: int = 0,
    image_size: int = IMAGE_SIZE,
    resolution: int = GRID_RESOLUTION,
) -> list[EvaluationShape]:
    """`count` shapes of these families that training never uses."""
    return procedural_shapes(held_out_seeds(count, seed), families, image_size=image_size, resolution=resolution)


def procedural_solid(shape: ShapeBatch, resolution: int = GRID_RESOLUTION) -> Solid:
    """The exact solid of a batch of one shape."""
    return Solid.from_field(lambda points: -shape.distance(points[None])[0], resolution=resolution)


def mesh_shapes(
    folder: Path,
    *,
    azimuths: Sequence[float] = (0.0,),
    surface_points: int = ENCODED_POINTS,
    image_size: int | None = None,
    seed: int = 0,
) -> list[EvaluationShape]:
    """Every mesh file of a folder, once for each of the camera `azimuths` (degrees).

    The mesh is turned so that the camera looks from +z, centred, and scaled to a longest side of 2. File axes are used
    as they are. With `image_size` each shape has an image from an elevation of 20 degrees with a field of view of 40
    degrees. Raises FileNotFoundError if the folder has no mesh file and ValueError if a mesh encloses no volume.
    """
    shapes = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in MESH_SUFFIXES):
        color_space = "linear" if path.suffix.lower() == ".glb" else "srgb"
        loaded = Mesh.from_trimesh(trimesh.load_scene(path), color_space=color_space)
        for azimuth in azimuths:
            mesh = normalize_mesh(loaded, -azimuth)
            solid = Solid.from_mesh(mesh)
            if solid.surface is None:
                raise ValueError(f"{path.name} encloses no volume, but a closed mesh is needed: repair or remove it")
            subset = np.random.default_rng(seed).choice(len(solid.surface.points), surface_points, replace=False)
            points = torch.from_numpy(solid.surface.points[subset]).float()
            camera = Camera.orbit(elevation=MESH_ELEVATION, field_of_view=MESH_FIELD_OF_VIEW)
            half = float(camera.batch().half_extent[0, 0])
            shapes.append(
                EvaluationShape(
                    name=path.stem,
                    category=path.stem,
                    solid=solid,
                    reference_surface=solid.surface,
                    surface_points=points,
                    surface_normals=torch.from_numpy(solid.surface.normals[subset]).float(),
                    surface_colors=torch.full_like(points, UNKNOWN_COLOR),
                    image=None if image_size is None else render_image(mesh, camera, image_size),
                    camera=camera,
                    mesh=mesh,
                    window=torch.tensor([camera.distance, 0.0, 0.0, half]),
                )
            )
    if not shapes:
        raise FileNotFoundError(f"no mesh files ({', '.join(MESH_SUFFIXES)}) in {folder}")
    return shapes


def batches(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Consecutive slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))
