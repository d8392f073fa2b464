"""The suites `autoencoder` and `image`, and the scoring code that all suites use.

Every suite takes a model and shapes, and returns one row of scores per method. The reference methods are measured on
the same shapes and points as the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from triplane3d.evaluation.alignment import aligned_scores
from triplane3d.evaluation.baselines import bounding_ellipsoid, convex_hull, inflated_silhouette, on_grid
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, batches
from triplane3d.evaluation.prediction import Log, predict_shapes
from triplane3d.evaluation.protocol import GRID_RESOLUTION, MEASURED_SURFACES, OCCUPANCY_POINTS
from triplane3d.evaluation.shape_metrics import compare_surfaces, intersection_over_union, surface_iou, uniform_points
from triplane3d.evaluation.solids import Solid
from triplane3d.evaluation.summary import Row
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline

Method = Callable[[], Sequence[Solid]]
"""Computes one solid per evaluated shape."""


def score_solids(
    shapes: Sequence[EvaluationShape],
    predictions: Sequence[Solid],
    *,
    points: int,
    surfaces: int,
    split: bool = False,
    align: bool = False,
) -> list[dict[str, float]]:
    """Scores of each prediction: V-IoU and S-IoU with `points` points each, and `fill`, the true fraction of the cube.

    For the first `surfaces` shapes also the surface metrics; with `split` including the F-scores of the visible and the
    hidden part, with `align` including the scores after alignment.
    """
    scores = []
    where = uniform_points(points)
    for index, (shape, prediction) in enumerate(zip(shapes, predictions)):
        truth = shape.solid.occupancy(where)
        scores.append(
            {
                "volume_iou": intersection_over_union(truth, prediction.occupancy(where)),
                "surface_iou": surface_iou(
                    shape.solid.occupancy, prediction.occupancy, shape.reference_surface, count=points
                ),
                "fill": float(truth.mean()),
            }
        )
        if index < surfaces and shape.solid.surface is not None:
            camera = shape.camera if split else None
            scores[-1] |= compare_surfaces(shape.solid.surface, prediction.surface, camera=camera)
            if align:
                scores[-1] |= aligned_scores(shape.solid.surface, prediction.surface)
    return scores


def score_methods(
    suite: str,
    data: str,
    shapes: Sequence[EvaluationShape],
    methods: dict[str, Method],
    *,
    points: int,
    surfaces: int,
    log: Log,
    split: bool = False,
    align: Sequence[str] = (),
) -> list[Row]:
    """One row per method. The methods named in `align` are also scored after alignment.

    Methods run one after another, so that only one method's predictions are in memory.
    """
    rows, categories, names = [], [shape.category for shape in shapes], [shape.name for shape in shapes]
    for name, predict in methods.items():
        log(f"{suite}: {data}: {name}")
        scores = score_solids(shapes, predict(), points=points, surfaces=surfaces, split=split, align=name in align)
        rows.append(Row(suite, data, name, scores, categories, names))
    return rows


def reference_methods(shapes: Sequence[EvaluationShape]) -> dict[str, Method]:
    """The truth, which must score 1, and two solids that keep none of its detail."""
    return {
        "truth": lambda: [shape.solid for shape in shapes],
        "convex hull": lambda: [convex_hull(shape.reference_surface) for shape in shapes],
        "bounding ellipsoid": lambda: [bounding_ellipsoid(shape.reference_surface) for shape in shapes],
    }


def autoencoder_suite(
    vae: AutoencoderKLTriplane,
    data: str,
    shapes: Sequence[EvaluationShape],
    *,
    points: int = OCCUPANCY_POINTS,
    surfaces: int = MEASURED_SURFACES,
    resolution: int = GRID_RESOLUTION,
    log: Log = print,
) -> list[Row]:
    """Shapes encoded to the posterior's mean and decoded, and the reference methods.

    "exact, on the grid" is the true shape after marching cubes at `resolution`: an upper bound for the autoencoder.
    """
    methods: dict[str, Method] = {
        "autoencoder": lambda: reconstruct(vae, shapes, resolution),
        "exact, on the grid": lambda: [on_grid(shape.solid, resolution) for shape in shapes],
        **reference_methods(shapes),
    }
    return score_methods("autoencoder", data, shapes, methods, points=points, surfaces=surfaces, log=log)


@torch.no_grad()
def reconstruct(
    vae: AutoencoderKLTriplane, shapes: Sequence[EvaluationShape], resolution: int, batch_size: int = 8
) -> list[Solid]:
    """Each shape encoded to the posterior's mean and decoded."""
    solids = []
    for batch in batches(shapes, batch_size):
        points, normals, colors = (
            torch.stack([getattr(shape, name) for shape in batch]).to(vae.device, vae.dtype)
            for name in ("surface_points", "surface_normals", "surface_colors")
        )
        latents = vae.encode(points, normals, colors).latent_dist.mode()
        fields = vae.field(vae.decode(latents, return_dict=False)[0])
        solids += [Solid.from_field(field, resolution=resolution) for field in fields]
    return solids


def image_suite(
    pipe: Triplane3DPipeline,
    data: str,
    shapes: Sequence[EvaluationShape],
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = OCCUPANCY_POINTS,
    surfaces: int = MEASURED_SURFACES,
    resolution: int = GRID_RESOLUTION,
    retrievals: Mapping[str, Sequence[Solid]] | None = None,
    align: bool = False,
    log: Log = print,
) -> list[Row]:
    """Shapes generated from one image each, with one seed, in the camera's frame without alignment.

    - "model, another's picture": the model's prediction from the image of a shape of another category. The difference
      to "model" measures how much the prediction depends on the image.
    - "another shape": the true shape of another category, the score of chance.
    - `retrievals`: solids found among the training shapes (`RetrievalIndex.retrieve`).

    With `align` the model and "another shape" are also scored after alignment.
    """
    log(f"image: {data}: generating {len(shapes)} shapes")
    predictions = predict_shapes(pipe, shapes, steps=steps, guidance=guidance, seed=seed, resolution=resolution)
    partners = partner_indices([shape.category for shape in shapes])
    methods: dict[str, Method] = {
        "model": lambda: predictions,
        "model, another's picture": lambda: [predictions[partner] for partner in partners],
        "another shape": lambda: [shapes[partner].solid for partner in partners],
        "inflated silhouette": lambda: [inflated_silhouette(shape.mask) for shape in shapes],
        **reference_methods(shapes),
    }
    for name, found in (retrievals or {}).items():
        methods[name] = partial(list, found)
    return score_methods(
        "image",
        data,
        shapes,
        methods,
        points=points,
        surfaces=surfaces,
        log=log,
        split=True,
        align=("model", "another shape") if align else (),
    )


def partner_indices(categories: Sequence[str]) -> list[int]:
    """For each entry the index of the next entry, cyclically, of another category.

    If all entries have the same category it is the index of the next entry.
    """
    count = len(categories)

    def partner(index: int) -> int:
        following = [(index + offset) % count for offset in range(1, count)]
        different = (other for other in following if categories[other] != categories[index])
        return next(different, (index + 1) % count)

    return [partner(index) for index in range(count)]
