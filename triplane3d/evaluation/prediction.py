"""Solids that a pipeline generates from images.

Each image has its own noise, determined by a seed. Results therefore do not depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from triplane3d.evaluation.evaluation_shapes import EvaluationShape, batches
from triplane3d.evaluation.protocol import GRID_RESOLUTION
from triplane3d.evaluation.solids import Solid
from triplane3d.geometry.fields import Field
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

Log = Callable[[str], object]
"""Receives one line of text for each step of an evaluation."""

Pose = tuple[float, float | None]
"""Azimuth and elevation of a photo's camera in degrees, the azimuth relative to the first photo; None if unknown."""


def predict_shapes(
    pipe: Triplane3DPipeline,
    shapes: Sequence[EvaluationShape],
    *,
    steps: int | None,
    guidance: float | None,
    seed: int,
    resolution: int,
    batch_size: int = 8,
) -> list[Solid]:
    """One solid per shape, generated from its image. The noise has the seeds `seed`, `seed + 1` and so on."""
    return predict_solids(
        pipe,
        [shape.pil_image for shape in shapes],
        range(seed, seed + len(shapes)),
        steps=steps,
        guidance=guidance,
        resolution=resolution,
        batch_size=batch_size,
    )


def predict_solids(
    pipe: Triplane3DPipeline,
    images: Sequence[Image.Image] | Sequence[Sequence[Image.Image]],
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    resolution: int = GRID_RESOLUTION,
    poses: Sequence[Sequence[Pose]] | None = None,
    batch_size: int = 8,
) -> list[Solid]:
    """One solid per entry of `images`, generated with the noise of the corresponding entry of `seeds`.

    With `poses`, each entry of `images` is a list of photos of one object, and `poses` holds their cameras. `steps` and
    `guidance` default to those of the pipeline.
    """
    level = pipe.config.level
    return [
        Solid.from_field(field, resolution=resolution, level=level)
        for field in _fields(pipe, images, seeds, steps, guidance, poses, batch_size)
    ]


@torch.no_grad()
def _fields(
    pipe: Triplane3DPipeline,
    images: Sequence[Any],
    seeds: Sequence[int],
    steps: int | None,
    guidance: float | None,
    poses: Sequence[Sequence[Pose]] | None,
    batch_size: int,
) -> Iterator[Field]:
    for batch in batches(range(len(images)), batch_size):
        cameras: dict[str, Any] = {} if poses is None else {"cameras": [list(poses[index]) for index in batch]}
        latents = pipe(
            [images[index] for index in batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seeds[index]) for index in batch],
            output_type="latent",
            return_dict=False,
            **cameras,
        )[0]
        yield from pipe.decode_latents(latents)
