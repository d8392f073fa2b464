"""Series of pictures of a mesh: turntables, and several pictures on one page."""

import io
from pathlib import Path

import torch
from PIL import Image

from triplane3d.geometry.cameras import orbit_cameras
from triplane3d.geometry.mesh.mesh import Mesh
from triplane3d.geometry.render.meshes import MeshScene, framing_distance, to_image
from triplane3d.storage.durable import write_file


def turntable(
    mesh: Mesh,
    frames: int = 24,
    size: int = 320,
    elevation: float = 15.0,
    *,
    supersample: int = 2,
    background: tuple[float, float, float] | None = None,
    device: torch.device | str = "cpu",
) -> list[Image.Image]:
    """Pictures from evenly spaced azimuths, the first from the photo's side.

    All cameras have the same distance, so the mesh keeps its size and is never cut off. `size` is the width and height
    in pixels, `elevation` is in degrees; the other arguments are those of `render`.
    """
    images = []
    with torch.no_grad():
        for camera in orbit_cameras(frames, elevation=elevation, distance=framing_distance(mesh)):
            scene = MeshScene.of(mesh, camera.resized(size), device)
            images.append(to_image(scene.color(supersample, background)))
    return images


def save_turntable(images: list[Image.Image], path: str | Path, *, seconds: float = 3.0) -> Path:
    """Write pictures as a looping .webp or .gif that lasts `seconds`, or the first of them as a .png."""
    path = Path(path)
    if not images:
        raise ValueError("a turntable needs at least one picture")
    suffix, pause, content = path.suffix.lower(), round(1000 * seconds / len(images)), io.BytesIO()
    if suffix == ".webp":
        images[0].save(
            content, "WEBP", save_all=True, append_images=images[1:], duration=pause, loop=0, quality=85, method=2
        )
    elif suffix == ".gif":
        flat = [_over_white(image) for image in images]  # a GIF's pixel is either transparent or opaque
        flat[0].save(content, "GIF", save_all=True, append_images=flat[1:], duration=pause, loop=0)
    elif suffix == ".png":
        images[0].save(content, "PNG")
    else:
        raise ValueError(f"cannot save a turntable as {path.name!r}: the name must end in .webp, .gif or .png")
    write_file(path, content.getvalue())
    return path


def image_grid(images: list[Image.Image], columns: int, *, gap: int = 8) -> Image.Image:
    """All pictures on one white page, row by row; each is scaled into a cell of the first picture's size.

    `gap` is the width of the white borders in pixels.
    """
    width, height = images[0].size
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for place, image in enumerate(images):
        scale = min(width / image.width, height / image.height)
        fitted = _over_white(image)
        if image.size != (width, height):
            cell = (round(image.width * scale), round(image.height * scale))
            fitted = fitted.resize(cell, Image.Resampling.LANCZOS)
        left = gap + place % columns * (width + gap) + (width - fitted.width) // 2
        top = gap + place // columns * (height + gap) + (height - fitted.height) // 2
        page.paste(fitted, (left, top))
    return page


def _over_white(image: Image.Image) -> Image.Image:
    """The picture without transparency."""
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    return page.convert("RGB")
