"""Put every photo of a folder beside the mesh that a pipeline makes of it, seen from four sides.

    python scripts/contact_sheet.py pipelines/mini PHOTOS docs/images/public_photos.png
    python scripts/contact_sheet.py pipelines/mini MESHES docs/images/public_meshes.png --meshes

One row a photo: the photo as the encoder sees it, then the mesh from the photo's own side, its right, behind and its
left. With `--meshes` the folder holds closed meshes, which are rendered from two sides and stand beside what is made of
these pictures: the picture, what was made and the truth from the picture's side, and both again from behind. Nothing is
chosen: one seed, every file.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image

from triplane3d import Triplane3DPipeline
from triplane3d.errors import errors_as_sentences
from triplane3d.evaluation.photos import PHOTO_SUFFIXES
from triplane3d.evaluation.shapes import TWO_SIDES, mesh_shapes
from triplane3d.geometry.cameras import Camera, orbit_cameras
from triplane3d.geometry.render import framing_distance, image_grid, render
from triplane3d.pipelines.saved import find_saved
from triplane3d.storage.durable import writing_file


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    folder: Annotated[Path, typer.Argument(help="Folder of photos of single objects.")],
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    meshes: Annotated[bool, typer.Option("--meshes", help="The folder holds closed meshes.")] = False,
    size: Annotated[int, typer.Option(min=1, help="Pixels along the edge of each picture.")] = 160,
    photos_a_row: Annotated[int, typer.Option(min=1, help="Photos side by side on the sheet.")] = 2,
    resolution: Annotated[
        int | None, typer.Option(min=4, help="Cells along the grid's edge; default: the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise, the same for every photo.")] = 0,
) -> None:
    """Put every photo of a folder beside the mesh that a pipeline makes of it, seen from four sides."""
    find_saved(pipeline)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of {'meshes' if meshes else 'photos'}")
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    rows = mesh_rows if meshes else photo_rows
    pictures = rows(pipe, folder, size, resolution, seed)
    with writing_file(output) as partial:
        image_grid(pictures, columns=5 * photos_a_row).save(partial, format="PNG", optimize=True)


def photo_rows(
    pipe: Triplane3DPipeline, folder: Path, size: int, resolution: int | None, seed: int
) -> list[Image.Image]:
    """Five pictures a photo: itself, and its mesh from four sides."""
    pictures = []
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))})")
    for path in paths:
        made = pipe(path, generator=torch.Generator().manual_seed(seed), resolution=resolution)
        mesh = made.meshes[0]
        cameras = orbit_cameras(4, elevation=15.0, distance=framing_distance(mesh))
        pictures.append(made.images[0].resize((size, size)))
        pictures += [render(mesh, camera, size).image() for camera in cameras]
        typer.echo(f"{path.name}: {len(mesh.faces):,} faces")
    return pictures


def mesh_rows(
    pipe: Triplane3DPipeline, folder: Path, size: int, resolution: int | None, seed: int
) -> list[Image.Image]:
    """Five pictures a view of a mesh: itself, then what was made of it and the truth, from its side and from behind."""
    pictures = []
    for case in mesh_shapes(folder, azimuths=TWO_SIDES, image_size=256):
        made = pipe(case.picture, generator=torch.Generator().manual_seed(seed), resolution=resolution)
        pictures.append(made.images[0].resize((size, size)))
        for azimuth in (0, 180):
            # One camera for both, or a wrong size would not be seen.
            camera = Camera.orbit(azimuth, case.camera.elevation, distance=framing_distance(case.mesh))
            pictures += [render(mesh, camera, size).image() for mesh in (made.meshes[0], case.mesh)]
        typer.echo(f"{case.name}: {len(made.meshes[0].faces):,} faces")
    return pictures


if __name__ == "__main__":
    with errors_as_sentences():
        typer.run(main)
