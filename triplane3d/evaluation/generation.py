"""Ask a pipeline for solids: one noise per answer, named by its seed, so that nothing depends on the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from triplane3d.evaluation.shape_metrics import Solid
from triplane3d.evaluation.shapes import EvaluationShape, batches
from triplane3d.geometry.fields import Field
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

Progress = Callable[[str], object]
Pose = tuple[float, float | None]
"""Azimuth and elevation of a photo's camera in degrees, the azimuth from the first photo's; None if not known."""


def generate(
    pipe: Triplane3DPipeline,
    cases: Sequence[EvaluationShape],
    *,
    steps: int | None,
    guidance: float | None,
    seed: int,
    resolution: int,
    batch_size: int = 8,
) -> list[Solid]:
    """The pipeline's answer to each case's picture, with noise of the seeds `seed`, `seed + 1` …"""
    seeds = range(seed, seed + len(cases))
    return solids(
        pipe,
        [case.picture for case in cases],
        seeds,
        steps=steps,
        guidance=guidance,
        resolution=resolution,
        batch_size=batch_size,
    )


def solids(
    pipe: Triplane3DPipeline,
    pictures: Sequence[Image.Image] | Sequence[Sequence[Image.Image]],
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    resolution: int = 128,
    poses: Sequence[Sequence[Pose]] | None = None,
    batch_size: int = 8,
) -> list[Solid]:
    """The answer to each picture with the noise of its seed.

    With `poses`, each entry of `pictures` is a list of photos of one object, and their cameras.
    """
    level = pipe.config.level
    return [
        Solid.from_field(field, resolution=resolution, level=level)
        for field in _fields(pipe, pictures, seeds, steps, guidance, poses, batch_size)
    ]


@torch.no_grad()
def _fields(
    pipe: Triplane3DPipeline,
    pictures: Sequence[Any],
    seeds: Sequence[int],
    steps: int | None,
    guidance: float | None,
    poses: Sequence[Sequence[Pose]] | None,
    batch_size: int,
) -> Iterator[Field]:
    for batch in batches(range(len(pictures)), batch_size):
        cameras: dict[str, Any] = {} if poses is None else {"cameras": [list(poses[index]) for index in batch]}
        latents = pipe(
            [pictures[index] for index in batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seeds[index]) for index in batch],
            output_type="latent",
            return_dict=False,
            **cameras,
        )[0]
        yield from pipe.decode_latents(latents)
