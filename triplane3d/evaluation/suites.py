"""The suites that `scripts/evaluate.py` runs: each takes a model and cases and answers with the rows of its table.

Beside the model's row stand those of the trivial answers, on the same shapes and points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from triplane3d.data.procedural import generate_shapes
from triplane3d.evaluation.alignment import aligned_scores
from triplane3d.evaluation.baselines import (
    bounding_ellipsoid,
    convex_hull,
    inflated_silhouette,
    nearest_neighbor,
    on_grid,
    thumbnail_features,
)
from triplane3d.evaluation.generation import Progress, generate
from triplane3d.evaluation.shape_metrics import (
    Solid,
    compare_surfaces,
    intersection_over_union,
    surface_iou,
    uniform_points,
)
from triplane3d.evaluation.shapes import EvaluationShape, batches, procedural_shapes, shape_solid
from triplane3d.evaluation.summary import Row
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

Predict = Callable[[], Sequence[Solid]]
BANK_BATCH = 64


def score(
    cases: Sequence[EvaluationShape],
    predictions: Sequence[Solid],
    *,
    points: int,
    surfaces: int,
    split: bool = False,
    align: bool = False,
) -> list[dict[str, float]]:
    """V-IoU and S-IoU of every case by `points` each, what is measured on surfaces for the first `surfaces` cases.

    `split` also measures apart what the picture's camera sees and what it does not, `align` also by the protocol of
    published tables. `fill` is the share of the cube that the true shape takes up.
    """
    scores = []
    where = uniform_points(points)
    for index, (case, prediction) in enumerate(zip(cases, predictions)):
        truth = case.solid.occupancy(where)
        scores.append(
            {
                "volume_iou": intersection_over_union(truth, prediction.occupancy(where)),
                "surface_iou": surface_iou(case.solid.occupancy, prediction.occupancy, case.near, count=points),
                "fill": float(truth.mean()),
            }
        )
        if index < surfaces and case.solid.surface is not None:
            camera = case.camera if split else None
            scores[-1] |= compare_surfaces(case.solid.surface, prediction.surface, camera=camera)
            if align:
                scores[-1] |= aligned_scores(case.solid.surface, prediction.surface)
    return scores


def judge(
    suite: str,
    data: str,
    cases: Sequence[EvaluationShape],
    methods: dict[str, Predict],
    *,
    points: int,
    surfaces: int,
    progress: Progress,
    split: bool = False,
    align: Sequence[str] = (),
) -> list[Row]:
    """One row per method; the methods are run one after another, so that only one's answers are in memory.

    The methods named in `align` are also scored by the protocol of published tables.
    """
    rows, categories, shapes = [], [case.category for case in cases], [case.name for case in cases]
    for name, predict in methods.items():
        progress(f"{suite}: {data}: {name}")
        scores = score(cases, predict(), points=points, surfaces=surfaces, split=split, align=name in align)
        rows.append(Row(suite, data, name, scores, categories, shapes))
    return rows


def known_answers(cases: Sequence[EvaluationShape]) -> dict[str, Predict]:
    """The truth itself (the self-test: 1.000), and what is left of it without detail."""
    return {
        "truth": lambda: [case.solid for case in cases],
        "convex hull": lambda: [convex_hull(case.near) for case in cases],
        "bounding ellipsoid": lambda: [bounding_ellipsoid(case.near) for case in cases],
    }


def autoencoder_suite(
    vae: AutoencoderKLTriplane,
    data: str,
    cases: Sequence[EvaluationShape],
    *,
    points: int = 40_000,
    surfaces: int = 16,
    resolution: int = 128,
    progress: Progress = print,
) -> list[Row]:
    """Shapes through the posterior's mean and back, beside the answers that know the truth.

    "exact, on the grid" is what marching cubes makes of the truth at this resolution: no autoencoder can do better.
    """
    methods: dict[str, Predict] = {
        "autoencoder": lambda: reconstruct(vae, cases, resolution),
        "exact, on the grid": lambda: [on_grid(case.solid, resolution) for case in cases],
        **known_answers(cases),
    }
    return judge("autoencoder", data, cases, methods, points=points, surfaces=surfaces, progress=progress)


@torch.no_grad()
def reconstruct(
    vae: AutoencoderKLTriplane, cases: Sequence[EvaluationShape], resolution: int, batch_size: int = 8
) -> list[Solid]:
    solids = []
    for batch in batches(cases, batch_size):
        points, normals, colors = (
            torch.stack([getattr(case, name) for case in batch]).to(vae.device, vae.dtype)
            for name in ("surface_points", "surface_normals", "surface_colors")
        )
        latents = vae.encode(points, normals, colors).latent_dist.mode()
        field = vae.field(vae.decode(latents, return_dict=False)[0])
        solids += [Solid.from_field(one, resolution=resolution) for one in field]
    return solids


def image_suite(
    pipe: Triplane3DPipeline,
    data: str,
    cases: Sequence[EvaluationShape],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = 40_000,
    surfaces: int = 16,
    resolution: int = 128,
    retrievals: dict[str, Sequence[Solid]] | None = None,
    align: bool = False,
    progress: Progress = print,
) -> list[Row]:
    """One picture each, one seed, camera frame, no alignment; beside it the trivial answers.

    "model, another's picture" scores what the model makes of a picture of some other category: how much it costs says
    how much the model listens. `retrievals` are answers found among the training shapes (`Bank.retrieve`). With `align`
    the model is also scored by the protocol of published tables, and so is its chance row: "another shape" is the true
    shape of some other category.
    """
    progress(f"image: {data}: generating {len(cases)} shapes")
    made = generate(pipe, cases, steps=steps, guidance=guidance, seed=seed, resolution=resolution)
    another = others([case.category for case in cases])
    methods: dict[str, Predict] = {
        "model": lambda: made,
        "model, another's picture": lambda: [made[other] for other in another],
        "another shape": lambda: [cases[other].solid for other in another],
        "inflated silhouette": lambda: [inflated_silhouette(case.mask) for case in cases],
        **known_answers(cases),
    }
    for name, found in (retrievals or {}).items():
        methods[name] = partial(list, found)
    return judge(
        "image",
        data,
        cases,
        methods,
        points=points,
        surfaces=surfaces,
        progress=progress,
        split=True,
        align=("model", "another shape") if align else (),
    )


def others(categories: Sequence[str]) -> list[int]:
    """For each entry the next one (in a circle) of another category, or simply the next where all are alike."""
    count = len(categories)
    return [
        next(
            (
                other % count
                for other in range(index + 1, index + count)
                if categories[other % count] != categories[index]
            ),
            (index + 1) % count,
        )
        for index in range(count)
    ]


@dataclass(frozen=True)
class Bank:
    """Training shapes to retrieve from: the features of one view of each training seed 0, 1, 2 …"""

    features: dict[str, Float[Tensor, "seeds features"]]

    @classmethod
    def of_training_shapes(
        cls, pipe: Triplane3DPipeline, size: int, *, image_size: int = 128, progress: Progress = print
    ) -> Bank:
        """The shapes of the first `size` training seeds, each seen from one random camera."""
        found: dict[str, list[Tensor]] = {}
        for start in range(0, size, BANK_BATCH):
            progress(f"image: training shapes to retrieve from: {start} of {size}")
            shapes = procedural_shapes(
                range(start, min(start + BANK_BATCH, size)), None, surface_points=1024, image_size=image_size
            )
            for name, values in image_features(pipe, shapes).items():
                found.setdefault(name, []).append(values)
        return cls({name: torch.cat(values) for name, values in found.items()})

    def retrieve(
        self, pipe: Triplane3DPipeline, cases: Sequence[EvaluationShape], resolution: int = 128
    ) -> dict[str, list[Solid]]:
        """The training shape whose picture is most like each case's, in the frame of the camera that saw it."""
        queries = [image_features(pipe, batch) for batch in batches(cases, BANK_BATCH)]
        answers = {}
        for name, stored in self.features.items():
            nearest = nearest_neighbor(torch.cat([query[name] for query in queries]), stored)
            shapes = generate_shapes(nearest.tolist(), azimuths="random")
            answers[f"retrieval by {name}"] = [shape_solid(shape, resolution) for shape in shapes]
        return answers


@torch.no_grad()
def image_features(
    pipe: Triplane3DPipeline, cases: Sequence[EvaluationShape]
) -> dict[str, Float[Tensor, "cases features"]]:
    if pipe.image_processor is None:
        raise ValueError("retrieval by image features needs a pipeline with an image_encoder")
    photos = pipe.image_processor.preprocess([case.picture for case in cases])
    framed = np.stack([np.asarray(image, dtype=np.float32) / 255 for image in photos.images])
    return {
        "own features": pipe.encode_image(photos.pixel_values).float().mean(1).cpu(),
        "thumbnail": thumbnail_features(torch.from_numpy(framed).permute(0, 3, 1, 2)),
    }
