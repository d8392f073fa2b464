"""Put every photo of a folder beside the mesh that a pipeline makes of it, seen from four sides.

    python scripts/contact_sheet.py pipelines/mini PHOTOS docs/images/public_photos.png

One row a photo: the photo as the encoder sees it, then the mesh from the photo's own side, its right, behind and its
left. Nothing is chosen: one seed, every photo.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from triplane3d import Triplane3DPipeline
from triplane3d.evaluation.photos import PHOTO_SUFFIXES
from triplane3d.geometry.cameras import orbit
from triplane3d.geometry.render import contact_sheet, framing_distance, render


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    photos: Annotated[Path, typer.Argument(help="Folder of photos of single objects.")],
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    size: Annotated[int, typer.Option(help="Pixels along the edge of each picture.")] = 160,
    photos_a_row: Annotated[int, typer.Option(help="Photos side by side on the sheet.")] = 2,
    resolution: Annotated[int | None, typer.Option(help="Cells along the grid's edge; default: the model's.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise, the same for every photo.")] = 0,
) -> None:
    """Put every photo of a folder beside the mesh that a pipeline makes of it, seen from four sides."""
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    pictures = []
    paths = sorted(path for path in photos.glob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise typer.BadParameter(f"{photos} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))})")
    for path in paths:
        made = pipe(path, generator=torch.Generator().manual_seed(seed), resolution=resolution)
        mesh = made.meshes[0]
        cameras = orbit(4, elevation=15.0, distance=framing_distance(mesh))
        pictures.append(made.images[0].resize((size, size)))
        pictures += [render(mesh, camera, size).image() for camera in cameras]
        typer.echo(f"{path.name}: {len(mesh.faces):,} faces")
    output.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pictures, columns=5 * photos_a_row).save(output, optimize=True)


if __name__ == "__main__":
    typer.run(main)
