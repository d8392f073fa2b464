"""What do more photos of the same object add? The first is that of the image suite, the others come from around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from PIL import Image

from triplane3d.data.procedural import (
    FIRST_EVALUATION_SEED,
    OrbitCameras,
    generate_shapes,
    render_views,
    sample_surface,
)
from triplane3d.evaluation.generation import Pose, Progress, solids
from triplane3d.evaluation.shape_metrics import intersection_over_union, uniform_points
from triplane3d.evaluation.shapes import BATCH, EvaluationShape, as_picture
from triplane3d.evaluation.summary import Estimate, Row, Summary
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.render import render
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

AZIMUTHS = (0.0, 90.0, 180.0, 270.0, 45.0, 225.0)
"""Where the photos are taken from, in the order in which they are added; degrees from the first."""
COUNTS = (1, 2, 3, 4, 6)


def views_suite(
    pipe: Triplane3DPipeline,
    data: str,
    cases: Sequence[EvaluationShape],
    photos: Sequence[Sequence[Image.Image]],
    *,
    counts: Sequence[int] = COUNTS,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = 40_000,
    progress: Progress = print,
) -> tuple[list[Row], list[Estimate]]:
    """V-IoU from the first `counts` of each case's `photos` (taken at `AZIMUTHS`), same noise, and what they gain.

    The pipeline is told the azimuths and no elevation: nobody who walks around a thing with a phone measures it.
    """
    where = uniform_points(points)
    truths = [case.solid.occupancy(where) for case in cases]
    rows: dict[int, Row] = {}
    for count in sorted(set(counts)):
        if not 1 <= count <= min(len(of_case) for of_case in photos):
            raise ValueError(f"each shape has {len(photos[0])} photos; {count} of them were asked for")
        progress(f"views: {data}: {count} of {len(photos[0])}")
        poses: list[Pose] = [(azimuth, None) for azimuth in AZIMUTHS[:count]]
        answers = solids(
            pipe,
            [list(of_case[:count]) for of_case in photos],
            range(seed, seed + len(cases)),
            steps=steps,
            guidance=guidance,
            poses=[poses] * len(cases),
        )
        scores = [
            {"volume_iou": intersection_over_union(truth, answer.occupancy(where))}
            for truth, answer in zip(truths, answers)
        ]
        rows[count] = Row(
            "views",
            data,
            "1 view" if count == 1 else f"{count} views",
            scores,
            [case.category for case in cases],
            [case.name for case in cases],
        )
    fewest = min(rows)
    estimates = []
    for count, row in rows.items():
        if count != fewest:
            gain = Summary.of(
                [more["volume_iou"] - less["volume_iou"] for more, less in zip(row.scores, rows[fewest].scores)],
                row.shapes,
            )
            estimates.append(
                Estimate("views", data, f"{row.method} - {rows[fewest].method}", gain.mean, gain.low, gain.high)
            )
    return list(rows.values()), estimates


def photos_around_shapes(
    cases: Sequence[EvaluationShape],
    families: Sequence[str],
    *,
    count: int = max(COUNTS),
    seed: int = 0,
    size: int = 128,
) -> list[list[Image.Image]]:
    """Photos of the shapes of `held_out_shapes(len(cases), families, seed=seed)`: the case's own, then those at the
    next of `AZIMUTHS`, each from an elevation and with a lens and light of its own."""
    first = FIRST_EVALUATION_SEED + 1_000_000 * seed
    photos = [[case.picture] for case in cases]
    for start in range(0, len(cases), BATCH):
        seeds = range(first + start, first + min(start + BATCH, len(cases)))
        batch = generate_shapes(seeds, families=families, azimuths="random")
        generator = torch.Generator().manual_seed(seeds[0] % 2**31 + 1)
        surface, _ = sample_surface(batch, 4096, generator)
        for azimuth in AZIMUTHS[1:count]:
            drawn = OrbitCameras.sample(len(batch), generator)
            views = OrbitCameras(
                elevation=drawn.elevation,
                field_of_view=drawn.field_of_view,
                azimuth=torch.full_like(drawn.elevation, azimuth),
            )
            images, _ = render_views(batch, views, surface, size, generator=generator)
            for of_case, image in zip(photos[start : start + BATCH], images):
                of_case.append(as_picture(image))
    return photos


def photos_around_meshes(
    cases: Sequence[EvaluationShape],
    *,
    count: int = max(COUNTS),
    size: int = 256,
) -> list[list[Image.Image]]:
    """Photos of the meshes of `mesh_shapes`, all from the elevation of the case's own picture."""
    photos = []
    for case in cases:
        if case.mesh is None or case.camera is None:
            raise ValueError(f"{case.name} has no mesh to take photos of: use `mesh_shapes`")
        around = [
            Camera.orbit(azimuth, case.camera.elevation, field_of_view=case.camera.field_of_view)
            for azimuth in AZIMUTHS[1:count]
        ]
        photos.append(
            [
                case.picture,
                *(
                    as_picture(rearrange(render(case.mesh, camera, size).color, "row column rgba -> rgba row column"))
                    for camera in around
                ),
            ]
        )
    return photos
