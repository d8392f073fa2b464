"""`triplane3d generate`: photos in, meshes out."""

import inspect
import logging
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from triplane3d.cli.errors import fail, mistakes_are_sentences
from triplane3d.cli.models import Device, Dtype, load, takes_views

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl")
PREVIEW_SUFFIXES = (".webp", ".gif", ".png")

OPTIONS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "resolution": "--resolution",
    "level": "--level",
}
"""What a pipeline's call names, as the command does."""


def generate(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Photos of one object each, or with --views of one object; PNG with transparency is best.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .glb, .obj, .ply or .stl file, or a folder. Default: IMAGE's name with .glb."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A pipeline that came along (mini), a folder, or a name on the Hugging Face Hub.")
    ] = "mini",
    quality: Annotated[
        str, typer.Option(help="A preset of the model, draft, balanced or high: steps, guidance and resolution.")
    ] = "balanced",
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps. Default: the preset's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="How closely to follow the photo; 1 is off. Default: the preset's.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=8, max=2048, help="Cells along an edge of the grid. Default: the preset's.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same mesh; try others for variants.")
    ] = 0,
    device: Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")] = Device.auto,
    dtype: Annotated[
        Dtype, typer.Option(help="Precision of the networks; auto is float32 on the CPU, float16 on a GPU.")
    ] = Dtype.auto,
    background_removal: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="auto (the photo's alpha, else the best way at hand), none (take the photo as it is), alpha, rembg, "
            "matting, grabcut, border, or the folder of a matting model. Nothing is downloaded.",
        ),
    ] = "auto",
    level: Annotated[
        float | None, typer.Option(help="Where the surface lies in the model's field. Default: the model's own.")
    ] = None,
    views: Annotated[
        bool,
        typer.Option(
            "--views",
            help="The photos are 1 to 6 views of one object, each as CAMERA=IMAGE. CAMERA is where the camera stands: "
            "front, right, back or left; azimuth, or azimuth,elevation, in degrees (90 right, 270 left); ? if unknown. "
            "Without CAMERA= the first is the front, others are unknown. For models of several photos (see info).",
        ),
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(help="Also draw it: a turntable (.webp, .gif) or the photo's own view (.png).")
    ] = None,
) -> None:
    """Make a 3D mesh from every photo, or one from several views of an object.

    Examples:

    \b
      triplane3d generate chair.png -o chair.glb
      triplane3d generate chair.png -o chair.glb --preview chair.webp
      triplane3d generate photos/*.jpg -o meshes/ --seed 7
      triplane3d generate mug.png -o mug.stl --quality high --device cuda
      triplane3d generate --views front=a.png left=b.png 180,20=c.png -o chair.glb --model MODEL
    """
    cameras: list[Any] = []
    if views:
        from triplane3d.pipelines.views import Views, split_view

        with mistakes_are_sentences():
            cameras, images = map(list, zip(*map(split_view, images), strict=True))
            Views.of([images], None, [cameras])
    for image in images:
        if not os.path.isfile(image):
            from triplane3d.pipelines.photo import find_photo

            with mistakes_are_sentences():
                find_photo(image)  # says what is there instead
    if preview is not None and preview.suffix.lower() not in PREVIEW_SUFFIXES:
        fail(f"--preview {preview}: end the name in one of {', '.join(PREVIEW_SUFFIXES)}")
    targets = _targets(images[:1] if views else images, output)
    previews = _previews(targets, preview)
    photos = {image.resolve() for image in images}
    for path in [*targets, *filter(None, previews)]:
        if path.resolve() in photos:
            fail(f"{path} is one of the photos and would be overwritten: choose another name or folder")
    for folder in sorted({path.parent for path in [*targets, *filter(None, previews)]}):
        with mistakes_are_sentences():
            folder.mkdir(parents=True, exist_ok=True)

    import torch

    from triplane3d.pipelines.background import check_background_removal

    with mistakes_are_sentences():
        check_background_removal(background_removal)
    logging.getLogger("triplane3d").setLevel(logging.ERROR)  # doubts about masks are printed below, once
    pipe = load(model, device, dtype)
    if quality not in pipe.config.presets:
        fail(f"--quality must be one of {', '.join(sorted(pipe.config.presets))}, got {quality!r}")
    chosen: dict[str, Any] = dict(zip(OPTIONS, (steps, guidance, resolution, level), strict=True))
    chosen = {name: value for name, value in chosen.items() if value is not None}
    takes = inspect.signature(pipe.__call__).parameters
    if refused := [name for name in chosen if name not in takes]:
        fail(f"{model} makes its meshes in a single pass: leave out {' and '.join(OPTIONS[name] for name in refused)}")
    if views:
        if not takes_views(getattr(getattr(pipe, "transformer", None), "config", {})):
            fail(f"{model} was made for one photo of each object: leave out --views, or name another --model")
        chosen["cameras"] = [cameras]
    mistakes = 0
    objects = [images] if views else [[image] for image in images]
    for (image, *others), target, turntable in zip(objects, targets, previews, strict=True):
        started = time.perf_counter()
        pipe.set_progress_bar_config(desc=image.name, leave=False)
        try:
            if "generator" in takes:
                chosen["generator"] = torch.Generator().manual_seed(seed)
            given = [[image, *others]] if views else image
            out = pipe(given, quality=quality, background_removal=background_removal, **chosen)
            mesh = out.meshes[0]
            mesh.save(target)
            if turntable is not None:
                out.save_preview(turntable)
        except (ValueError, OSError) as error:
            # One bad photo does not stop the others.
            told = any(str(photo) in str(error) for photo in (image, *others))
            typer.echo(f"error: {error}" if told else f"error: {image}: {error}", err=True)
            mistakes += 1
            continue
        except KeyboardInterrupt:
            typer.echo(f"stopped at {image}; what was written before is whole", err=True)
            raise typer.Exit(130) from None
        for photo, matte in zip([image, *others], out.mattes or [], strict=False):
            if matte.warning is not None:
                typer.echo(f"warning: {photo}: {matte.warning}", err=True)
        facts = [f"{len(mesh.faces):,} faces", f"{time.perf_counter() - started:.1f} s"]
        facts += [f"background: {matte.method}, confidence {matte.confidence:.2f}" for matte in out.mattes or []]
        typer.echo(f"{target}  ({', '.join(facts)})" + (f"  {turntable}" if turntable else ""))
    if mistakes:
        raise typer.Exit(2)


def _targets(images: list[Path], output: Path | None) -> list[Path]:
    """Where each photo's mesh goes; photos of one name in different folders get numbers."""
    if output is not None and output.suffix.lower() in MESH_SUFFIXES:
        if len(images) > 1:
            fail(f"--output {output} is one file for {len(images)} photos: name a folder")
        return [output]
    if output is not None and output.suffix and not output.is_dir():
        fail(f"--output {output}: end the name in one of {', '.join(MESH_SUFFIXES)}, or name a folder")
    folder = output or Path()
    if folder.exists() and not folder.is_dir():
        fail(f"--output {folder} is a file: name a folder, or a file ending in one of {', '.join(MESH_SUFFIXES)}")
    targets: list[Path] = []
    for image in images:
        target, number = folder / f"{image.stem}.glb", 1
        while target in targets:
            number += 1
            target = folder / f"{image.stem}-{number}.glb"
        targets.append(target)
    return targets


def _previews(targets: list[Path], preview: Path | None) -> list[Path | None]:
    """One preview for each mesh: the named file, or beside every mesh where there are several."""
    if preview is None:
        return [None] * len(targets)
    if len(targets) == 1:
        return [preview]
    return [target.with_name(f"{target.stem}-{preview.name}") for target in targets]
