"""The suite `agreement`: what refinement by the photo changes, on the same shapes and with the same noise.

Each row is one way to a field. Their scores are paired: the same shape, the same photo, the same noise. One row uses
the photo's true camera, and its name states it. All others use cameras that are estimated from the photo.

Fields are compared at points, and on the grid of values that refinement computes anyway. Meshes are extracted only for
the shapes whose surfaces are measured, and only for the first noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from triplane3d.evaluation.agreement_rows import (
    AVERAGE_CAMERA,
    CARVING,
    FITTED_CAMERA,
    INFLATED,
    PREDICTED_CAMERA,
    REFINED,
    TRUE_CAMERA,
    TRUTH,
    UNREFINED,
    ScoreTable,
    gain_estimates,
)
from triplane3d.evaluation.baselines import inflated_silhouette
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, batches
from triplane3d.evaluation.photos import MASK_SIZE, largest_component
from triplane3d.evaluation.prediction import Log
from triplane3d.evaluation.protocol import GRID_RESOLUTION, MEASURED_SURFACES, OCCUPANCY_POINTS, SEED_STRIDE
from triplane3d.evaluation.shape_metrics import compare_surfaces, intersection_over_union, uniform_points
from triplane3d.evaluation.solids import Solid, Surface
from triplane3d.evaluation.summary import Estimate, Row
from triplane3d.evaluation.timing import TimeLeft
from triplane3d.evaluation.true_cameras import camera_errors, true_camera
from triplane3d.geometry.fields import FieldBatch
from triplane3d.geometry.framed_cameras import NUM_PARAMETERS, PERSPECTIVE, FramedCameras
from triplane3d.geometry.isosurface import extract_surface, surface_of_grid
from triplane3d.geometry.mesh import Mesh
from triplane3d.pipelines.pipeline_output import Triplane3DPipelineOutput
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.refinement.refine import (
    GRID_SAMPLES,
    FieldRefiner,
    PhotoEvidence,
    Refinement,
    assess,
    field_grid,
    grid_points,
    run_passes,
)
from triplane3d.refinement.silhouettes import silhouettes

SHAPES = 128
"""Held-out shapes per data set. With 24 the mean of one set of shapes differs from that of another by more than the
gains that are measured."""
PHOTO_SIZE = 256
"""Pixels along an edge of the photos. It is that of all pipelines, so that their scores can be compared."""
NOISE_SEEDS = (0, 1, 2)
PASSES = 2
RAY_SAMPLES = 128
"""Samples along each ray of a silhouette. Their distance is less than a cell of the grid."""
EXACT_CAMERA = 1e-3
"""Uncertainty of the true camera, in the units of the camera's parameters. The fit does not move such a camera."""


@dataclass(frozen=True)
class Prediction:
    """A predicted field, and the camera that it is compared with its photo from."""

    field: FieldBatch
    grid: Float[Tensor, "1 x y z"]
    """Logits less the level, positive inside."""
    cameras: FramedCameras
    """A batch of one."""
    seconds: float
    """Wall-clock time from the photo to the field."""
    refine_seconds: float
    """The part of it that refinement takes."""


@dataclass(frozen=True)
class Target:
    """What the predictions for one photo are compared with."""

    shape: EvaluationShape
    photo: PhotoEvidence
    """The photo as the pipeline reads it."""
    camera: FramedCameras
    """The true camera of the framed photo; a batch of one."""
    inside: Bool[np.ndarray, " points"]
    """Whether the points of V-IoU are inside the true solid."""
    mask: Bool[np.ndarray, "size size"]
    """Pixels of the object in the framed photo."""


def agreement_suite(
    pipe: Triplane3DPipeline,
    data: str,
    shapes: Sequence[EvaluationShape],
    *,
    passes: int = PASSES,
    noise_seeds: Sequence[int] = NOISE_SEEDS,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    points: int = OCCUPANCY_POINTS,
    surfaces: int = MEASURED_SURFACES,
    resolution: int = GRID_RESOLUTION,
    batch_size: int = 8,
    time_left: TimeLeft | None = None,
    log: Log = print,
) -> tuple[list[Row], list[Estimate]]:
    """The rows of docs/evaluation.md, the errors of the cameras, and the paired gains of each row over "unrefined".

    A shape's score is the mean over `noise_seeds`. The surfaces of the first `surfaces` shapes and the row
    "refined, true camera" are measured with the first of them only.

    Args:
        pipe: with an image encoder. Without a refiner its refinement is that of silhouettes alone.
        data: name of the data set.
        shapes: with images whose framing is recorded (`EvaluationShape.window`).
        passes: of refinement.
        noise_seeds: noise k of the shape at index i has the seed `seed + 1,000,000 k + i`.
        steps: of denoising; None: those of the pipeline.
        guidance: scale of guidance; None: that of the pipeline.
        seed: see `noise_seeds`.
        points: of V-IoU.
        surfaces: number of shapes whose surfaces are measured.
        resolution: cells along an edge of the grid that these surfaces are extracted from.
        batch_size: shapes generated at once. Scores do not depend on it.
        time_left: of all data sets, with the kinds "shapes" and "surfaces"; None: of this data set only.
        log: receives a line for each batch.
    """
    check_pipeline(pipe)
    where = uniform_points(points)
    names, categories = [shape.name for shape in shapes], [shape.category for shape in shapes]
    table = ScoreTable("agreement", data, names, categories)
    cameras = ScoreTable("agreement of cameras", data, names, categories)
    time_left = TimeLeft(work_of(len(shapes), surfaces)) if time_left is None else time_left
    for indices in batches(range(len(shapes)), batch_size):
        batch = [shapes[index] for index in indices]
        targets: list[Target] = []
        start, surface_seconds = perf_counter(), 0.0
        for number, noise in enumerate(noise_seeds):
            seeds = [seed + SEED_STRIDE * noise + index for index in indices]
            images = [shape.pil_image for shape in batch]
            generated, seconds = generate(pipe, images, seeds, steps=steps, guidance=guidance)
            refined, refined_seconds = refine(pipe, images, seeds, passes, steps=steps, guidance=guidance)
            if not targets:
                targets = [target_of(pipe, *pair, where) for pair in zip(batch, refined)]
                for index, target in zip(indices, targets):
                    _add_constant_rows(
                        table, cameras, index, target, where, surfaces, pipe.refiner_processor.foreground_ratio
                    )
            for index, target, field, refinement in zip(indices, targets, generated, refined):
                predictions = _predictions(pipe, target, field, passes, seconds, true_camera_too=number == 0)
                predictions[REFINED] = Prediction(
                    refinement.field,
                    refinement.grid,
                    refinement.cameras,
                    refined_seconds,
                    refined_seconds - seconds,
                )
                level, is_measured = pipe.config.level, number == 0 and index < surfaces
                for method, prediction in predictions.items():
                    solid, start_of_score = solid_of(prediction.field, resolution, level), perf_counter()
                    scores = _score(target, solid, prediction.grid, prediction.cameras, where, surface=is_measured)
                    scores |= {"seconds": prediction.seconds, "refine_seconds": prediction.refine_seconds}
                    table.add(method, index, number, scores)
                    surface_seconds += perf_counter() - start_of_score if is_measured else 0.0
                if pipe.refiner is not None:
                    cameras.add(FITTED_CAMERA, index, number, camera_errors(refinement.cameras, target.camera))
        time_left.add("shapes", len(indices), perf_counter() - start - surface_seconds)
        time_left.add("surfaces", sum(index < surfaces for index in indices), surface_seconds)
        log(f"agreement: {data}: {indices[-1] + 1} of {len(shapes)} shapes, {time_left}")
    rows = table.rows()
    return [*rows, *cameras.rows()], gain_estimates(rows)


def work_of(shapes: int, surfaces: int) -> dict[str, int]:
    """The parts of the work for one data set, for `TimeLeft`."""
    return {"shapes": shapes, "surfaces": min(shapes, surfaces)}


def check_pipeline(pipe: Triplane3DPipeline) -> None:
    """Raises ValueError if the pipeline reads no photos."""
    if pipe.image_processor is None:
        raise ValueError("the suite `agreement` needs a pipeline with an image_encoder")


@torch.no_grad()
def generate(
    pipe: Triplane3DPipeline,
    images: Sequence[Image.Image | str],
    seeds: Sequence[int],
    *,
    steps: int | None,
    guidance: float | None,
) -> tuple[FieldBatch, float]:
    """The unrefined fields of photos, and the seconds for each."""
    start = perf_counter()
    latents = _call(pipe, images, seeds, steps, guidance, output_type="latent", refine=0).meshes
    fields = pipe.decode_latents(cast(Tensor, latents))
    return fields, (perf_counter() - start) / len(seeds)


def refine(
    pipe: Triplane3DPipeline,
    images: Sequence[Image.Image | str],
    seeds: Sequence[int],
    passes: int,
    *,
    steps: int | None,
    guidance: float | None,
) -> tuple[list[Refinement], float]:
    """What a call of the pipeline with `refine=passes` makes of photos, and the seconds for each."""
    start = perf_counter()
    # The smallest grid: only the fields are needed.
    output = _call(pipe, images, seeds, steps, guidance, output_type="pt", resolution=2, refine=passes)
    seconds = (perf_counter() - start) / len(seeds)
    return output.refinements or [], seconds


def _call(
    pipe: Triplane3DPipeline,
    images: Sequence[Image.Image | str],
    seeds: Sequence[int],
    steps: int | None,
    guidance: float | None,
    **options: Any,
) -> Triplane3DPipelineOutput:
    """A call of the pipeline with the noise of one seed for each photo."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    output = pipe(list(images), num_inference_steps=steps, guidance_scale=guidance, generator=generators, **options)
    return cast(Triplane3DPipelineOutput, output)


def target_of(
    pipe: Triplane3DPipeline, shape: EvaluationShape, refinement: Refinement, where: Float[np.ndarray, "points 3"]
) -> Target:
    """The shape's truth, with the photo that the pipeline has read for `refinement`."""
    with torch.no_grad():
        photo = PhotoEvidence.of(refinement.photo, pipe.refiner)
    camera = true_camera(shape, pipe.refiner_processor.foreground_ratio)
    return Target(shape, photo, camera, shape.solid.occupancy(where), mask_of(refinement.photo))


def mask_of(photo: Float[Tensor, "4 side side"]) -> Bool[np.ndarray, "size size"]:
    """Pixels of the object in a framed photo, at `MASK_SIZE`."""
    alpha = F.interpolate(photo[None, 3:].float(), (MASK_SIZE, MASK_SIZE), mode="area")[0, 0]
    return alpha.cpu().numpy() > 0.5


@torch.no_grad()
def _predictions(
    pipe: Triplane3DPipeline,
    target: Target,
    field: FieldBatch,
    passes: int,
    seconds: float,
    *,
    true_camera_too: bool,
) -> dict[str, Prediction]:
    """The predictions that are computed from the unrefined field, which took `seconds`."""
    level, refiner = pipe.config.level, pipe.refiner
    start = perf_counter()
    grid = field_grid(field, level)
    grid_seconds = perf_counter() - start
    unrefined = assess(field, target.photo, level, grid=grid)
    predictions = {UNREFINED: Prediction(field, unrefined.grid, unrefined.cameras, seconds, 0.0)}

    def refined(method: str, photo: PhotoEvidence, refiner: FieldRefiner | None) -> None:
        start = perf_counter()
        # As `refine_field`, with values of the field that are known.
        found = run_passes(assess(field, photo, level, grid=grid), photo, passes, refiner=refiner, level=level)
        own = perf_counter() - start + grid_seconds
        predictions[method] = Prediction(found.field, found.grid, found.cameras, seconds + own, own)

    if refiner is not None:  # without one, the refined field is the same
        refined(CARVING, PhotoEvidence.from_photo(target.photo.photo), None)
    if true_camera_too:
        certain = torch.full((NUM_PARAMETERS,), EXACT_CAMERA)
        known = replace(target.photo, camera=target.camera.parameters[0], camera_scale=certain)
        refined(TRUE_CAMERA, known, refiner)
    return predictions


def _add_constant_rows(
    table: ScoreTable,
    cameras: ScoreTable,
    index: int,
    target: Target,
    where: Float[np.ndarray, "points 3"],
    surfaces: int,
    foreground_ratio: float,
) -> None:
    """The scores that do not depend on the noise: those of the reference methods and of the predicted camera."""
    shape = target.shape
    inflated = inflated_silhouette(shape.mask)
    grid, camera = solid_grid(inflated), flat_camera(foreground_ratio)
    scores = _score(target, inflated, grid, camera, where, surface=index < surfaces)
    table.add(INFLATED, index, None, scores)
    scores = _score(target, shape.solid, solid_grid(shape.solid), target.camera, where, surface=False)
    table.add(TRUTH, index, None, scores)
    average = FramedCameras.from_parameters(torch.zeros(1, NUM_PARAMETERS))
    cameras.add(AVERAGE_CAMERA, index, None, camera_errors(average, target.camera))
    if target.photo.features is not None:
        predicted = FramedCameras.from_parameters(target.photo.camera[None])
        cameras.add(PREDICTED_CAMERA, index, None, camera_errors(predicted, target.camera))


def _score(
    target: Target,
    solid: Solid,
    grid: Float[Tensor, "1 x y z"],
    cameras: FramedCameras,
    where: Float[np.ndarray, "points 3"],
    *,
    surface: bool,
) -> dict[str, float]:
    """All scores of a prediction but its times; with `surface` also those of surfaces."""
    scores = {"volume_iou": intersection_over_union(target.inside, solid.occupancy(where))}
    scores |= grid_scores(grid, cameras, target.mask)
    if surface and target.shape.solid.surface is not None:
        scores |= compare_surfaces(target.shape.solid.surface, solid.surface, camera=target.shape.camera)
    return scores


def common_grid(grid: Float[Tensor, "1 x y z"]) -> Float[Tensor, "1 common common common"]:
    """The values at the nodes of the grid that all rows are compared on. Refinement may have computed a finer one.

    Raises ValueError for a grid without these nodes.
    """
    step, rest = divmod(grid.shape[-1] - 1, GRID_SAMPLES - 1)
    if rest or not step:
        raise ValueError(f"a grid of {grid.shape[-1] - 1} cells has no nodes of one of {GRID_SAMPLES - 1} cells")
    return grid[:, ::step, ::step, ::step]


def grid_scores(
    grid: Float[Tensor, "1 x y z"], cameras: FramedCameras, mask: Bool[np.ndarray, "size size"]
) -> dict[str, float]:
    """Mask IoU, number of pieces and the largest component's share of the volume, for values on a regular grid."""
    grid = common_grid(grid)
    values = grid[0].cpu().numpy()
    if not (np.isfinite(values).all() and values.min() <= 0 < values.max()):
        return {"mask_iou": 0.0, "largest_component": 0.0, "pieces": 0.0}
    covered = silhouettes(grid, cameras.cameras, len(mask), num_samples=RAY_SAMPLES).logits[0] > 0
    mesh = Mesh(*surface_of_grid(values, 0.0))
    return {
        "mask_iou": intersection_over_union(mask, covered.cpu().numpy()),
        "largest_component": largest_component(mesh),
        "pieces": float(mesh.face_components.max() + 1),
    }


def solid_of(field: FieldBatch, resolution: int, level: float) -> Solid:
    """The solid of a field. Its surface is found from coarse to fine, which takes fewer values than the whole grid."""

    def make_surface() -> Surface | None:
        mesh = extract_or_none(field, resolution, level)
        return None if mesh is None else Surface.of_mesh(mesh)

    return replace(Solid.from_field(field, level=level), make_surface=make_surface)


def extract_or_none(field: FieldBatch, resolution: int, level: float) -> Mesh | None:
    """The field's surface; None if it has none."""
    try:
        return extract_surface(field, resolution, level=level)
    except ValueError:
        # The field is empty, full or not finite. That is a result of the evaluation, which scores 0.
        return None


def solid_grid(solid: Solid) -> Float[Tensor, "1 x y z"]:
    """Values of a solid on the grid of refinement, positive inside: those of its field, or else plus or minus 1."""
    points = grid_points(torch.device("cpu"))[0]
    if solid.field is not None:
        values = solid.field(points)
    else:
        values = 2 * torch.from_numpy(solid.occupancy(points.double().numpy())).float() - 1
    side = round(len(points) ** (1 / 3))
    return values.view(1, side, side, side)


def flat_camera(foreground_ratio: float) -> FramedCameras:
    """The camera of an inflated silhouette: nearly parallel rays along -z. Its longer side has the framed size."""
    one = torch.ones(1)
    return FramedCameras(0 * one, PERSPECTIVE[0] * one, torch.zeros(1, 2), foreground_ratio * one)
