"""Colour discontinuities at the borders of the decoder's patches, with and without `color_seam_reach`.

    python benchmarks/seams.py --model mini

A seam is a plane on which two patches of the decoder meet. The *seam contrast* is a ratio of two mean changes of colour
over one pixel of the planes, along an axis: that at surface points within half a pixel of a seam, divided by that at
points in the middle half of the patches. 1 means that no seam is visible. Only points whose normal is at least 60
degrees from the axis count, so the change is measured along the surface.

The *colour error* is the mean absolute error against the true colour at surface points. The *edge error* is the same at
points where the true colour changes by more than 0.1 within a pixel; smoothing must not increase it.
"""

from typing import Annotated

import torch
import typer
from jaxtyping import Float
from torch import Tensor

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes
from triplane3d.models.triplane import TriplaneField


def main(
    model: Annotated[str, typer.Option(help="A pipeline that ships with the library, or a folder.")] = "mini",
    shapes: Annotated[int, typer.Option(help="Number of held-out shapes.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the held-out shapes.")] = 1,
) -> None:
    """Colour discontinuities at the borders of the decoder's patches."""
    pipe = Triplane3DPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    patch, reach = pipe.vae.decoder.plane_patch, pipe.vae.config.color_seam_reach
    cases = held_out_shapes(shapes, list(FAMILIES), seed=seed, resolution=32)
    decoded = [autoencoded(pipe, case) for case in cases]
    generated = [generate(pipe, case, number) for number, case in enumerate(cases)]
    print("reach  contrast, decoded  contrast, generated  color error  edge error")
    for pixels in sorted({0, reach, *range(1, patch // 2 + 1)}):
        seams = (patch, pixels) if pixels else None
        fields = [smoothed(field, seams) for field in decoded]
        contrasts = torch.tensor([contrast(field, case) for field, case in zip(fields, cases)])
        of_photos = torch.tensor([contrast(smoothed(field, seams), case) for field, case in zip(generated, cases)])
        errors = torch.tensor([color_errors(field, case) for field, case in zip(fields, cases)])
        current = " *" if pixels == reach else ""
        print(
            f"{pixels:>5}  {contrasts.nanmean():>17.2f}  {of_photos.nanmean():>19.2f}  {errors[:, 0].mean():>11.4f}  "
            f"{errors[:, 1].nanmean():>10.4f}{current}",
            flush=True,
        )


@torch.no_grad()
def autoencoded(pipe: Triplane3DPipeline, case: EvaluationShape) -> TriplaneField:
    surface = (case.surface_points, case.surface_normals, case.surface_colors)
    latents = pipe.vae.encode(*(values[None] for values in surface)).latent_dist.mode()
    return pipe.vae.field(pipe.vae.decode(latents).planes)


@torch.no_grad()
def generate(pipe: Triplane3DPipeline, case: EvaluationShape, number: int) -> TriplaneField:
    """The field generated from the photo. Its colours are read at the true surface, close to its own surface."""
    generator = torch.Generator().manual_seed(number)
    return pipe.decode_latents(pipe(case.pil_image, generator=generator, output_type="latent").meshes)


def smoothed(field: TriplaneField, seams: tuple[int, int] | None) -> TriplaneField:
    return TriplaneField(field.planes, field.decoder, has_color=True, seams=seams)


@torch.no_grad()
def contrast(field: TriplaneField, case: EvaluationShape) -> float:
    """The seam contrast: the change of colour at the seams divided by that in the middle of the patches."""
    pixel = 2 / field.planes.shape[-1]
    patch = field.seams[0] * pixel if field.seams else 2 / 8
    at_seams, within = [], []
    for axis in range(3):
        points = case.surface_points[case.surface_normals[:, axis].abs() < 0.5]
        step = pixel / 2 * torch.eye(3)[axis]
        ahead, behind = (field.color((points + sign * step)[None])[0] for sign in (1, -1))
        change = (ahead - behind).abs().mean(dim=-1)
        distance = (torch.remainder(points[:, axis] + patch / 2, patch) - patch / 2).abs()
        inside = points[:, axis].abs() < 1 - patch / 2
        at_seams.append(change[inside & (distance < pixel / 2)])
        within.append(change[inside & (distance > patch / 4)])
    return float(torch.cat(at_seams).mean() / torch.cat(within).mean())


@torch.no_grad()
def color_errors(field: TriplaneField, case: EvaluationShape) -> tuple[float, float]:
    """Mean absolute error of colour, at all surface points and at those near an edge of the true colour."""
    error = (field.color(case.surface_points[None])[0] - case.surface_colors).abs().mean(dim=-1)
    return float(error.mean()), float(error[beside_edges(case, 2 / field.planes.shape[-1])].mean())


def beside_edges(case: EvaluationShape, within: float) -> Float[Tensor, " points"]:
    """Surface points with another point within the distance whose true colour differs by more than 0.1."""
    near = torch.cdist(case.surface_points, case.surface_points) < within
    differs = torch.cdist(case.surface_colors, case.surface_colors, p=1) / 3 > 0.1
    return (near & differs).any(dim=1)


if __name__ == "__main__":
    typer.run(main)
