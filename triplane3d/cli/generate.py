"""`triplane3d generate`: photos in, meshes out."""

import gc
import inspect
import logging
import sys
import time
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from triplane3d.cli.console import say, tell, write_output
from triplane3d.cli.errors import ERRORS, PASSED_ON, STOPPED, errors_are_sentences, fail, sentence
from triplane3d.cli.mesh_options import (
    Faces,
    KeepLargest,
    Size,
    Up,
    check_mesh_options,
    describe_mesh,
    finish_mesh,
)
from triplane3d.cli.models import Device, Dtype, load, memory_advice, takes_views
from triplane3d.cli.outputs import STANDARD_OUTPUT, Format, check_places, mesh_places, preview_places
from triplane3d.cli.photos import as_photo, check_photos, fetch_photos, shown, without_repeats

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
            parser=as_photo,
            help="Photos of one object each, or with --views of one object; PNG with transparency is best. "
            "- reads one from standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A .glb, .obj, .ply or .stl file; a folder, with / at its end if it is not there yet; or - for "
            "standard output. Default: IMAGE's name with .glb.",
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
    format: Annotated[
        Format | None, typer.Option(help="Of the meshes in a folder or on standard output. Default: glb.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="Of the model's weights, such as fp16. Default: the plain ones, or what there is instead."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Of a model on the Hugging Face Hub: a branch, a tag or a commit.")
    ] = None,
    up: Up = None,
    size: Size = None,
    faces: Faces = None,
    keep_largest: KeepLargest = False,
) -> None:
    """Make a 3D mesh from every photo, or one from several views of an object.

    Examples:

    \b
      triplane3d generate chair.png -o chair.glb
      triplane3d generate chair.png -o chair.glb --preview chair.webp
      triplane3d generate photos/*.jpg -o meshes/ --format stl --seed 7
      triplane3d generate mug.png -o mug.stl --quality high --device cuda
      triplane3d generate mug.png -o mug.stl --size 80 --keep-largest --faces 20000
      triplane3d generate --views front=a.png left=b.png 180,20=c.png -o chair.glb --model MODEL
      triplane3d generate - -o - < chair.png > chair.glb
    """
    with ExitStack() as resources:
        scratch = Path(resources.enter_context(TemporaryDirectory(prefix="triplane3d-")))
        cameras: list[Any] = []
        if views:
            from triplane3d.images.viewpoints import relative_angles, split_viewpoint

            with errors_are_sentences():
                cameras, images = map(list, zip(*map(split_viewpoint, images), strict=True))
                relative_angles(cameras, len(images), 0)
        else:
            images = without_repeats(images)
        check_photos(images)
        targets = mesh_places(images[:1] if views else images, output, format, scratch)
        previews = preview_places(targets, preview)
        check_places([*targets, *filter(None, previews)], images)
        files = fetch_photos(images, scratch)
        piped = output == STANDARD_OUTPUT
        report = tell if piped else say
        if piped:  # whatever a library prints must not be part of the mesh
            standard_output = sys.stdout
            resources.enter_context(redirect_stdout(sys.stderr))

        import torch

        from triplane3d.images.background import check_background_removal

        with errors_are_sentences():
            check_mesh_options(up, size, faces)
            check_background_removal(background_removal)
        doubts = logging.getLogger("triplane3d.images.background")  # printed below, once
        resources.callback(doubts.setLevel, doubts.level)
        doubts.setLevel(logging.ERROR)
        pipe = load(model, device, dtype, variant=variant, revision=revision)
        chosen = _options(pipe, model, quality, dict(zip(OPTIONS, (steps, guidance, resolution, level), strict=True)))
        if views:
            if not takes_views(getattr(getattr(pipe, "transformer", None), "config", {})):
                fail(f"{model} was made for one photo of each object: leave out --views, or name another --model")
            chosen["cameras"] = [cameras]
        seeded = "generator" in inspect.signature(pipe.__call__).parameters
        advice = memory_advice(pipe.device, full_precision=pipe.dtype == torch.float32)
        codes: set[int] = set()
        photos = list(zip(map(shown, images), files, strict=True))
        objects = [photos] if views else [[photo] for photo in photos]
        for photos, target, turntable in zip(objects, targets, previews, strict=True):
            names, given = map(list, zip(*photos, strict=True))
            started = time.perf_counter()
            subject = names[0]
            pipe.set_progress_bar_config(desc=subject, leave=False, disable=None)  # no bar where nobody watches
            try:
                if seeded:
                    chosen["generator"] = torch.Generator().manual_seed(seed)
                out = pipe([given] if views else given[0], background_removal=background_removal, **chosen)
                mesh = finish_mesh(out.meshes[0], faces, keep_largest)
                out.meshes[0] = mesh  # so that the preview shows what is saved
                subject = f"{names[0]}: {'standard output' if piped else target} cannot be written"
                mesh.save(target, up=up, size=size)
                if piped:
                    write_output(standard_output, target.read_bytes())
                if turntable is not None:
                    subject = f"{names[0]}: the mesh is written, but {turntable} cannot be"
                    out.save_preview(turntable)
            except PASSED_ON:
                raise
            except ERRORS as error:
                # One photo that fails does not stop the others.
                text, code = sentence(error, advice)
                codes.add(code)
                for name, file in photos:
                    text = text.replace(str(file), name)
                tell(f"error: {text}" if text.startswith(tuple(names)) else f"error: {subject}: {text}")
                out = mesh = None
            except KeyboardInterrupt:
                tell(f"stopped at {names[0]}; what was written before is whole")
                raise typer.Exit(STOPPED) from None
            if out is None or mesh is None:
                _free_memory()
                continue
            for name, mask in zip(names, out.mask_reports or [], strict=False):
                if mask.warning is not None:
                    tell(f"warning: {name}: {mask.warning}")
            facts = [describe_mesh(mesh), f"{time.perf_counter() - started:.1f} s"]
            facts += [f"background: {mask.method}, confidence {mask.confidence:.2f}" for mask in out.mask_reports or []]
            place = "standard output" if piped else target
            report(f"{place}  ({', '.join(facts)})" + (f"  {turntable}" if turntable else ""))
        if codes:
            raise typer.Exit(min(codes))  # a failure outranks a mistake


def _options(pipe: Any, model: str, quality: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a pipeline is called with, of what was given; options that it does not take are refused."""
    if quality not in pipe.config.presets:
        fail(f"--quality must be one of {', '.join(sorted(pipe.config.presets))}, got {quality!r}")
    chosen = {name: value for name, value in given.items() if value is not None}
    takes = inspect.signature(pipe.__call__).parameters
    if refused := [OPTIONS[name] for name in chosen if name not in takes]:
        fail(f"{model} makes its meshes in a single pass: leave out {' and '.join(refused)}")
    return {"quality": quality, **chosen}


def _free_memory() -> None:
    """What a photo that failed still holds, on the processor and on a GPU, is there for the next one."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
