"""The suite `views`: what further photos of the same object add. The first photo is that of the suite `image`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from triplane3d.data.procedural import OrbitCameras, generate_shapes, render_views, sample_surface
from triplane3d.evaluation.evaluation_shapes import BATCH, EvaluationShape, held_out_seeds, render_image, to_pil
from triplane3d.evaluation.prediction import Log, Pose, predict_solids
from triplane3d.evaluation.protocol import ENCODED_POINTS, IMAGE_SIZE, MESH_IMAGE_SIZE, OCCUPANCY_POINTS
from triplane3d.evaluation.shape_metrics import intersection_over_union, uniform_points
from triplane3d.evaluation.summary import Estimate, Row, Summary
from triplane3d.geometry.cameras import Camera
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

AZIMUTHS = (0.0, 90.0, 180.0, 270.0, 45.0, 225.0)
"""Azimuths of the photos in degrees from the first photo, in the order in which photos are added."""
COUNTS = (1, 2, 3, 4, 6)


def views_suite(
    pipe: Triplane3DPipeline,
    data: str,
    shapes: Sequence[EvaluationShape],
    photos: Sequence[Sequence[Image.Image]],
    *,
    counts: Sequence[int] = COUNTS,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = OCCUPANCY_POINTS,
    pass_cameras: bool = True,
    log: Log = print,
) -> tuple[list[Row], list[Estimate]]:
    """V-IoU from the first 1, 2, ... of each shape's `photos`, with equal noise, and the gain over the fewest photos.

    The photos are taken at `AZIMUTHS`. The pipeline receives their azimuths but no elevations, because users rarely
    measure those. With `pass_cameras=False` it receives the first photo only, as pipelines without camera conditions
    require. Raises ValueError if a count exceeds the number of photos, or if it exceeds 1 without cameras.
    """
    where = uniform_points(points)
    truths = [shape.solid.occupancy(where) for shape in shapes]
    rows: dict[int, Row] = {}
    for count in sorted(set(counts)):
        available = min(len(of_shape) for of_shape in photos)
        if count > 1 and not pass_cameras:
            raise ValueError(f"several photos need cameras: use counts=(1,) with pass_cameras=False, got {count}")
        if not 1 <= count <= available:
            raise ValueError(f"counts must lie between 1 and the {available} photos of each shape, got {count}")
        log(f"views: {data}: {count} of {len(photos[0])}")
        poses: list[Pose] = [(azimuth, None) for azimuth in AZIMUTHS[:count]]
        several, first = [list(of_shape[:count]) for of_shape in photos], [of_shape[0] for of_shape in photos]
        predictions = predict_solids(
            pipe,
            several if pass_cameras else first,
            range(seed, seed + len(shapes)),
            steps=steps,
            guidance=guidance,
            poses=[poses] * len(shapes) if pass_cameras else None,
        )
        scores = [
            {"volume_iou": intersection_over_union(truth, prediction.occupancy(where))}
            for truth, prediction in zip(truths, predictions)
        ]
        method = "1 view" if count == 1 else f"{count} views"
        categories, names = [shape.category for shape in shapes], [shape.name for shape in shapes]
        rows[count] = Row("views", data, method, scores, categories, names)

    fewest = rows[min(rows)]
    estimates = []
    for row in rows.values():
        if row is not fewest:
            gain = Summary.of(
                [more["volume_iou"] - less["volume_iou"] for more, less in zip(row.scores, fewest.scores)], row.shapes
            )
            name = f"{row.method} - {fewest.method}"
            estimates.append(Estimate("views", data, name, gain.mean, gain.low, gain.high))
    return list(rows.values()), estimates


def photos_around_shapes(
    shapes: Sequence[EvaluationShape],
    families: Sequence[str],
    *,
    count: int = max(COUNTS),
    seed: int = 0,
    size: int = IMAGE_SIZE,
) -> list[list[Image.Image]]:
    """`count` photos of each shape of `held_out_shapes(len(shapes), families, seed=seed)`.

    The first is the shape's own image. The others are taken at the following `AZIMUTHS`, each with a random elevation,
    field of view and light.
    """
    seeds = held_out_seeds(len(shapes), seed)
    photos = [[shape.pil_image] for shape in shapes]
    for start in range(0, len(shapes), BATCH):
        batch_seeds = seeds[start : start + BATCH]
        batch = generate_shapes(batch_seeds, families=families, azimuths="random")
        generator = torch.Generator().manual_seed(batch_seeds[0] % 2**31 + 1)
        surface, _ = sample_surface(batch, ENCODED_POINTS, generator)
        for azimuth in AZIMUTHS[1:count]:
            random_cameras = OrbitCameras.sample(len(batch), generator)
            cameras = OrbitCameras(
                elevation=random_cameras.elevation,
                field_of_view=random_cameras.field_of_view,
                azimuth=torch.full_like(random_cameras.elevation, azimuth),
            )
            images, _ = render_views(batch, cameras, surface, size, generator=generator)
            for of_shape, image in zip(photos[start : start + BATCH], images):
                of_shape.append(to_pil(image))
    return photos


def photos_around_meshes(
    shapes: Sequence[EvaluationShape], *, count: int = max(COUNTS), size: int = MESH_IMAGE_SIZE
) -> list[list[Image.Image]]:
    """`count` photos of each shape of `mesh_shapes`, all from the elevation of the shape's own image.

    Raises ValueError if a shape has no mesh.
    """
    photos = []
    for shape in shapes:
        if shape.mesh is None or shape.camera is None:
            raise ValueError(f"{shape.name} has no mesh to render: create it with mesh_shapes")
        elevation, field_of_view = shape.camera.elevation, shape.camera.field_of_view
        cameras = [Camera.orbit(azimuth, elevation, field_of_view=field_of_view) for azimuth in AZIMUTHS[1:count]]
        further = [to_pil(render_image(shape.mesh, camera, size)) for camera in cameras]
        photos.append([shape.pil_image, *further])
    return photos
