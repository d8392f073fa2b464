"""Contact sheets: every photo or mesh of a folder beside the meshes that a pipeline generates, on one page.

All files of the folder are shown, with one seed; nothing is selected.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import torch
import typer
from PIL import Image

from triplane3d.evaluation.evaluation_shapes import mesh_shapes
from triplane3d.evaluation.photos import photo_paths
from triplane3d.evaluation.protocol import MESH_IMAGE_SIZE, TWO_SIDES
from triplane3d.geometry.cameras import Camera, orbit_cameras
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render import framing_distance, image_grid, render
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.pipelines.saved import find_saved
from triplane3d.printing import print_line
from triplane3d.storage.durable import writing_file
from triplane3d.storage.writability import check_file

CELLS_PER_PHOTO = 5
"""Images per photo or mesh view."""


def main(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a saved pipeline.")],
    folder: Annotated[Path, typer.Argument(help="Folder of photos of single objects, or of meshes.")],
    output: Annotated[Path, typer.Argument(help="PNG file to write.")],
    meshes: Annotated[bool, typer.Option("--meshes", help="The folder holds closed meshes.")] = False,
    size: Annotated[int, typer.Option(min=1, help="Pixels along an edge of each image.")] = 160,
    photos_per_row: Annotated[
        int, typer.Option("--photos-per-row", "--photos-a-row", min=1, help="Photos side by side on the page.")
    ] = 2,
    resolution: Annotated[
        int | None, typer.Option(min=4, help="Cells along the grid's edge; default: the pipeline's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise, the same for every photo.")] = 0,
) -> None:
    """Show every photo of a folder beside the mesh that a pipeline generates from it, from four sides.

    With --meshes: every mesh of a folder from two sides, beside the mesh generated from that image.
    """
    find_saved(pipeline)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of {'meshes' if meshes else 'photos'}")
    check_file(output, "the page")
    pipe = Triplane3DPipeline.from_pretrained(pipeline)
    cells = mesh_cells if meshes else photo_cells
    images = list(cells(pipe, folder, size, resolution, seed))
    with writing_file(output) as partial:
        image_grid(images, columns=CELLS_PER_PHOTO * photos_per_row).save(partial, format="PNG", optimize=True)


def photo_cells(
    pipe: Triplane3DPipeline, folder: Path, size: int, resolution: int | None, seed: int
) -> Iterator[Image.Image]:
    """Five images per photo: the framed photo, then its mesh from the photo's side, the right, behind and the left.

    The photo's side is seen from its fitted camera where the pipeline refines.
    """
    for path in photo_paths(folder):
        framed, mesh, fitted = _generate(pipe, path, resolution, seed)
        yield framed.resize((size, size))
        front, *others = orbit_cameras(4, elevation=15.0, distance=framing_distance(mesh))
        for camera in (front if fitted is None else fitted, *others):
            yield render(mesh, camera, size).image()
        print_line(f"{path.name}: {len(mesh.faces):,} faces")


def mesh_cells(
    pipe: Triplane3DPipeline, folder: Path, size: int, resolution: int | None, seed: int
) -> Iterator[Image.Image]:
    """Five images per view of a mesh: the image, then the generated and the true mesh from its side and from behind."""
    for shape in mesh_shapes(folder, azimuths=TWO_SIDES, image_size=MESH_IMAGE_SIZE):
        assert shape.mesh is not None and shape.camera is not None, "mesh_shapes sets both"
        framed, generated, _ = _generate(pipe, shape.pil_image, resolution, seed)
        yield framed.resize((size, size))
        for azimuth in (0, 180):
            # The same camera for both meshes, so that a difference in size is visible.
            camera = Camera.orbit(azimuth, shape.camera.elevation, distance=framing_distance(shape.mesh))
            for mesh in (generated, shape.mesh):
                yield render(mesh, camera, size).image()
        print_line(f"{shape.name}: {len(generated.faces):,} faces")


def _generate(
    pipe: Triplane3DPipeline, photo: Path | Image.Image, resolution: int | None, seed: int
) -> tuple[Image.Image, Mesh, Camera | None]:
    """The photo as the image encoder receives it, the generated mesh, and the photo's fitted camera if there is one."""
    output = pipe(photo, generator=torch.Generator().manual_seed(seed), resolution=resolution)
    camera = None if output.cameras is None else output.cameras[0]
    return cast(list[Image.Image], output.images)[0], cast(list[Mesh], output.meshes)[0], camera
