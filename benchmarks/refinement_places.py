"""Where a mask should correct a generated shape: compares four places on the same shapes, photos, noise and cameras.

    python benchmarks/refinement_places.py pipelines/mini
    python benchmarks/refinement_places.py pipelines/mini --shapes 48 --true-camera

The places are

- the logits: what covers too much is cut off, what is missing is added (`refinement/silhouette_correction.py`);
- the decoded planes, by gradient descent on the mask's likelihood along random rays;
- the latents, by the same descent through the decoder;
- the velocity: after each of the last half of the denoising steps the predicted clean latents are corrected by that
  descent, and the step is made again with them.

Each of them is measured alone, then with the photo plane after it, and the photo plane alone and with the logits after
it, which is what a call with `refine=2` does. All use the camera that the refiner predicts, unless `--true-camera`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from triplane3d import Triplane3DPipeline
from triplane3d.evaluation.agreement import PHOTO_SIZE
from triplane3d.evaluation.evaluation_shapes import TRAINED, EvaluationShape, family_groups, held_out_shapes
from triplane3d.evaluation.shape_metrics import intersection_over_union, uniform_points
from triplane3d.evaluation.true_cameras import true_camera
from triplane3d.geometry.cameras import CameraBatch
from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.images.reading import decode_photo
from triplane3d.models.triplane import TriplaneField
from triplane3d.pipelines.noise_levels import set_noise_levels
from triplane3d.refinement.refine import PhotoEvidence, field_grid, pixel_split
from triplane3d.refinement.silhouette_correction import correct_silhouettes
from triplane3d.refinement.silhouettes import mask_agreement, silhouettes

RAYS = 512
"""Random pixels of each step of a descent."""
SAMPLES = 40
"""Points along each ray."""
SHARPNESS = 4.0
"""Of the log-sum-exp that replaces the maximum along a ray."""
PRIOR = 0.1
"""Weight of the mean squared change, which keeps the result near what was generated."""
STEPS = {"planes": 60, "latents": 40, "velocity": 20}
RATES = {"planes": 0.05, "latents": 0.03, "velocity": 0.03}


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline with a refiner.")],
    shapes: Annotated[int, typer.Option(min=1, help="Held-out shapes of trained families.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Which shapes, and their noise.")] = 0,
    true_camera: Annotated[bool, typer.Option("--true-camera", help="Use the photo's true camera.")] = False,
) -> None:
    """V-IoU, mask IoU and seconds of each place."""
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)
    if pipe.refiner is None:
        raise ValueError(f"{pipeline} has no refiner, which predicts the cameras")
    scores: dict[str, list[tuple[float, float, float]]] = {}
    for number, shape in enumerate(held_out_shapes(shapes, family_groups()[TRAINED], seed=seed, image_size=PHOTO_SIZE)):
        for name, score in measure(pipe, shape, seed + number, true_camera).items():
            scores.setdefault(name, []).append(score)
        print(f"{number + 1} of {shapes}", flush=True)
    print(f"{'place':<28}{'V-IoU':>8}{'gain':>8}{'better':>8}{'mask IoU':>10}{'seconds':>9}")
    before = np.array(scores["generated"])[:, 0]
    for name, values in scores.items():
        table = np.array(values)
        gain = table[:, 0] - before
        print(
            f"{name:<28}{table[:, 0].mean():8.4f}{gain.mean():+8.4f}{(gain > 0).sum():5d}/{len(gain):<2d}"
            f"{table[:, 1].mean():10.3f}{table[:, 2].mean():9.2f}"
        )


def measure(
    pipe: Triplane3DPipeline, shape: EvaluationShape, seed: int, use_true_camera: bool
) -> dict[str, tuple[float, float, float]]:
    """V-IoU, mask IoU and seconds by place, for one shape."""
    refiner, vae, level = pipe.refiner, pipe.vae, pipe.config.level
    framed = pipe.refiner_processor.preprocess(shape.pil_image).images[0]
    rgba = decode_photo(framed)
    with torch.no_grad():
        photo = PhotoEvidence.of(rgba, refiner)
    if use_true_camera:
        cameras = true_camera(shape, pipe.refiner_processor.foreground_ratio)
    else:
        cameras = FramedCameras.from_parameters(photo.camera[None])
    mask = photo.mask

    def generate(callback: Callable | None = None) -> Tensor:
        return pipe(
            shape.pil_image,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
            refine=0,
            callback_on_step_end=callback,
        ).meshes

    def decode(latents: Tensor) -> TriplaneField:
        return vae.field(vae.decode(vae.denormalize_latents(latents.to(vae.dtype)), return_dict=False)[0])

    def on_planes() -> TriplaneField:
        planes = decode(latents).planes
        return vae.field(descend(vae.field, planes, cameras.cameras, mask, "planes", seed))

    def on_velocity() -> TriplaneField:
        state: dict[str, Tensor | None] = {"latents": None}
        noise_levels = levels_of(pipe)

        def correct(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            after, before = tensors["latents"], state["latents"]
            state["latents"] = after
            steps = pipeline.num_timesteps
            if before is None or step < steps // 2:
                return {}
            now, then = (float(noise_levels[index]) for index in (step, step + 1))
            velocity = (after - before) / (then - now)
            clean = before - now * velocity
            better = descend(decode, clean, cameras.cameras, mask, "velocity", seed + step)
            state["latents"] = after + (1 - then) * (better - clean)
            return {"latents": state["latents"]}

        return decode(generate(correct))

    with torch.no_grad():
        latents = generate()
    where = uniform_points(20_000)
    inside = shape.solid.occupancy(where)
    points = torch.from_numpy(where).float()

    def photo_plane(field: TriplaneField) -> Any:
        return refiner.refine(field, photo.features, cameras)

    def on_logits(field: Any) -> Any:
        used, _ = pixel_split(len(mask), mask.device)
        return correct_silhouettes(field, field_grid(field, level), cameras, mask[None], used[None], level)

    makers: dict[str, Callable[[], Any]] = {
        "generated": lambda: decode(latents),
        "logits": lambda: on_logits(decode(latents)),
        "planes": on_planes,
        "latents": lambda: decode(descend(decode, latents, cameras.cameras, mask, "latents", seed)),
        "velocity": on_velocity,
        "photo plane": lambda: photo_plane(decode(latents)),
        "photo plane, then logits": lambda: on_logits(photo_plane(decode(latents))),
    }
    found: dict[str, tuple[float, float, float]] = {}

    def add(name: str, make: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        field = make()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            values = field(points).numpy() > level
            covered = silhouettes(field_grid(field, level), cameras.cameras, len(mask)).logits
            agreement = float(mask_agreement(covered, mask[None]))
        found[name] = (intersection_over_union(inside, values), agreement, seconds)
        return field

    for name, make in makers.items():
        with torch.no_grad():
            field = add(name, make)
            if name in STEPS:
                add(f"{name}, then photo plane", lambda field=field: photo_plane(field))
    return found


def levels_of(pipe: Triplane3DPipeline) -> Tensor:
    """The noise levels of the pipeline's default number of steps, from 1 to 0."""
    scheduler = deepcopy(pipe.scheduler)
    steps = pipe.config.presets["balanced"]["num_inference_steps"]
    set_noise_levels(scheduler, steps, torch.device("cpu"), pipe.config.timestep_spacing)
    return scheduler.sigmas


def descend(
    field_of: Callable[[Tensor], TriplaneField],
    start: Tensor,
    cameras: CameraBatch,
    mask: Tensor,
    place: str,
    seed: int,
) -> Tensor:
    """`start` after steps of Adam on the mask's likelihood, with a weight on the mean squared change."""
    generator = torch.Generator().manual_seed(seed)
    directions = cameras.pixel_directions(len(mask), len(mask))[0].flatten(0, 1)
    change = torch.zeros_like(start).requires_grad_(True)
    optimizer = torch.optim.Adam([change], RATES[place])
    with torch.enable_grad():
        for _ in range(STEPS[place]):
            chosen = torch.randint(len(directions), (RAYS,), generator=generator)
            depths = cameras.position.norm() + 3**0.5 * torch.linspace(-1, 1, SAMPLES)
            depths = depths + 2 * 3**0.5 / SAMPLES * (torch.rand(RAYS, SAMPLES, generator=generator) - 0.5)
            points = cameras.position[0] + directions[chosen][:, None] * depths[..., None]
            outside = (points.abs() > 1).any(dim=-1)
            logits = field_of(start + change).occupancy(points.reshape(1, -1, 3)).view(RAYS, SAMPLES)
            logits = logits.masked_fill(outside, -20.0)
            ray = torch.logsumexp(SHARPNESS * logits, dim=1) / SHARPNESS
            loss = F.binary_cross_entropy_with_logits(ray, mask.flatten()[chosen]) + PRIOR * change.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return start + change.detach()


if __name__ == "__main__":
    typer.run(main)
