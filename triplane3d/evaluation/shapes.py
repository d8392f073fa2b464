"""Shapes to be judged on: the true solid, the surface points an autoencoder reads and the picture a pipeline reads.

Held-out shapes have seeds from `FIRST_EVALUATION_SEED` on, which training never draws.
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
from jaxtyping import Float
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
from triplane3d.evaluation.shape_metrics import Solid, Surface
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import normalize_mesh
from triplane3d.geometry.render import render

MESH_SUFFIXES = (".glb", ".obj", ".off", ".ply", ".stl")
TWO_SIDES = (30, 210)
"""Azimuths from which meshes are looked at, where two pictures of each are wanted."""
BATCH = 16
T = TypeVar("T")


@dataclass(frozen=True)
class EvaluationShape:
    """One shape. `surface_*` are what an autoencoder encodes, `near` is what S-IoU's points are drawn around.

    `camera` is where the picture `image` is taken from; `mesh` is the mesh that the shape was read from, if any.
    """

    name: str
    category: str
    solid: Solid
    near: Surface
    surface_points: Float[Tensor, "points 3"]
    surface_normals: Float[Tensor, "points 3"]
    surface_colors: Float[Tensor, "points 3"]
    image: Float[Tensor, "4 size size"] | None = None
    camera: Camera | None = None
    mesh: Mesh | None = None

    @property
    def picture(self) -> Image.Image:
        """The view as a file would hold it."""
        if self.image is None:
            raise ValueError(f"{self.name} was made without a view")
        return as_picture(self.image)

    @property
    def mask(self) -> np.ndarray:
        if self.image is None:
            raise ValueError(f"{self.name} was made without a view")
        return self.image[3].numpy() > 0.5


def as_picture(image: Float[Tensor, "4 size size"]) -> Image.Image:
    """As a file would hold it, RGBA."""
    pixels = rearrange((image * 255).round().byte(), "rgba row column -> row column rgba")
    return Image.fromarray(pixels.numpy(), "RGBA")


def family_groups() -> dict[str, list[str]]:
    """What is compared with what: families trained on, families never seen, and free compositions of primitives."""
    free = [name for name, family in FAMILIES.items() if family.__module__.endswith(".free")]
    return {
        "trained families": sorted(set(FAMILIES) - set(free)),
        "unseen families": sorted(HOLDOUT_FAMILIES),
        "free compositions": sorted(free),
    }


def procedural_shapes(
    seeds: Sequence[int],
    families: Sequence[str] | None,
    *,
    surface_points: int = 4096,
    image_size: int | None = 128,
    resolution: int = 128,
) -> list[EvaluationShape]:
    """One case per seed, in a random azimuth, seen from one random camera as in training (if `image_size` is given).

    The family of each is drawn from `families`; from all that are trained on where that is None.
    `resolution` is that of the mesh that stands in for the true surface; inside and outside are exact without it.
    """
    cases = []
    for start in range(0, len(seeds), BATCH):
        batch = generate_shapes(seeds[start : start + BATCH], families=families, azimuths="random")
        generator = torch.Generator().manual_seed(int(seeds[start]) % 2**31)
        points, normals = sample_surface(batch, surface_points, generator)
        colors = batch.color(points)
        images: Tensor | list[None] = [None] * len(batch)
        cameras: list[Camera | None] = [None] * len(batch)
        if image_size is not None:
            views = OrbitCameras.sample(len(batch), generator)
            images, _ = render_views(batch, views, points, image_size, generator=generator)
            cameras = [
                Camera.orbit(elevation=elevation, field_of_view=angle)
                for elevation, angle in zip(views.elevation.tolist(), views.field_of_view.tolist())
            ]
        cases += [
            EvaluationShape(
                f"seed {seed}",
                name,
                shape_solid(shape, resolution),
                Surface(where.numpy(), normal.numpy()),
                where,
                normal,
                color,
                image,
                camera,
            )
            for seed, name, shape, where, normal, color, image, camera in zip(
                seeds[start : start + BATCH], batch.names, batch, points, normals, colors, images, cameras
            )
        ]
    return cases


def held_out_shapes(
    count: int, families: Sequence[str], *, seed: int = 0, resolution: int = 128
) -> list[EvaluationShape]:
    """`count` shapes with seeds that training never draws."""
    first = FIRST_EVALUATION_SEED + 1_000_000 * seed
    return procedural_shapes(range(first, first + count), families, resolution=resolution)


def shape_solid(shape: ShapeBatch, resolution: int = 128) -> Solid:
    """The exact solid of a batch of one."""
    return Solid.from_field(lambda points: -shape.distance(points[None])[0], resolution=resolution)


def mesh_shapes(
    folder: Path,
    *,
    azimuths: Sequence[float] = (0.0,),
    surface_points: int = 4096,
    image_size: int | None = None,
    seed: int = 0,
) -> list[EvaluationShape]:
    """Every mesh file of a folder, as it stands before a camera at each of the `azimuths` (degrees).

    With `image_size` each has the picture of that camera, 20 degrees up, with a field of view of 40 degrees.
    """
    cases = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in MESH_SUFFIXES):
        color_space = "linear" if path.suffix.lower() == ".glb" else "srgb"
        loaded = Mesh.from_trimesh(trimesh.load_scene(path), color_space=color_space)  # axes as the file has them
        for azimuth in azimuths:
            mesh = normalize_mesh(loaded, -azimuth)  # that side comes to +z
            solid = Solid.from_mesh(mesh)
            if solid.surface is None:
                raise ValueError(f"{path.name} encloses nothing")
            pick = np.random.default_rng(seed).choice(len(solid.surface.points), surface_points, replace=False)
            points, normals = (
                torch.from_numpy(array[pick]).float() for array in (solid.surface.points, solid.surface.normals)
            )
            image, camera = None, Camera.orbit(elevation=20, field_of_view=40)
            if image_size is not None:
                image = rearrange(render(mesh, camera, image_size).color, "row column rgba -> rgba row column")
            cases.append(
                EvaluationShape(
                    path.stem,
                    path.stem,
                    solid,
                    solid.surface,
                    points,
                    normals,
                    torch.full_like(points, 0.5),
                    image,
                    camera,
                    mesh,
                )
            )
    if not cases:
        raise FileNotFoundError(f"no meshes ({', '.join(MESH_SUFFIXES)}) in {folder}")
    return cases


def batches(cases: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (cases[start : start + size] for start in range(0, len(cases), size))
