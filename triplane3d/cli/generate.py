"""`triplane3d generate`: photos to meshes."""

import gc
import logging
import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triplane3d.cli.console import print_message, print_result, write_output
from triplane3d.cli.errors import ERRORS, PASSED_ON, STOPPED, errors_are_sentences, sentence
from triplane3d.cli.models import load, memory_advice
from triplane3d.cli.outputs import STANDARD_OUTPUT, Format, check_outputs, mesh_paths, preview_paths
from triplane3d.cli.photos import as_photo, check_photos, fetch_photos, shown, without_repeats
from triplane3d.cli.settings_options import with_settings
from triplane3d.model_loading import Device, Dtype, ModelRequest
from triplane3d.settings import GenerateSettings

if TYPE_CHECKING:
    from triplane3d.generation import GenerateRequest, GenerateResult
    from triplane3d.geometry.mesh import Mesh


@with_settings
def generate(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            parser=as_photo,
            help="Photos of one object each, or with --views of one object. PNG with transparency is best. "
            "- reads a photo from standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A .glb, .obj, .ply or .stl file; a folder (end the name of a new one in /); or - for standard "
            "output. Default: IMAGE's name with .glb.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A pipeline that ships with the library (mini), a folder, or owner/name on the Hugging Face Hub."
        ),
    ] = "mini",
    *,
    settings: GenerateSettings,
    device: Annotated[Device, typer.Option(help="Where to compute; auto is a GPU if there is one.")] = Device.auto,
    dtype: Annotated[
        Dtype, typer.Option(help="Precision of the networks; auto is float32 on the CPU, float16 on a GPU.")
    ] = Dtype.auto,
    views: Annotated[
        bool,
        typer.Option(
            "--views",
            help="The photos are 1 to 6 views of one object, each as CAMERA=IMAGE. CAMERA is its position: "
            "front, right, back or left; azimuth or azimuth,elevation in degrees (90 right, 270 left); ? if unknown. "
            "Without CAMERA= the first photo is the front, others are unknown. For models of several photos: see info.",
        ),
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Also write a picture: a turntable (.webp, .gif) or the view of the photo's camera (.png)."),
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="Format of meshes in a folder or on standard output. Default: glb.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Variant of the weights, such as fp16. Default: plain weights, or the variant that exists instead."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model on the Hugging Face Hub.")
    ] = None,
) -> None:
    """Make a 3D mesh from each photo, or one mesh from several views of an object.

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
        cameras: list[Any] | None = None
        if views:
            cameras, images = _split_views(images)
        else:
            images = without_repeats(images)
        check_photos(images)
        targets = mesh_paths(images[:1] if views else images, output, format, scratch)
        previews = preview_paths(targets, preview)
        check_outputs([*targets, *filter(None, previews)], images)
        files = fetch_photos(images, scratch)
        piped = output == STANDARD_OUTPUT
        report = print_message if piped else print_result
        if piped:  # messages that a library prints must not become part of the mesh
            standard_output = sys.stdout
            resources.enter_context(redirect_stdout(sys.stderr))

        import torch

        from triplane3d.generation import GenerateRequest, generate, pipeline_options

        logger = logging.getLogger("triplane3d.images.background")  # its warnings are printed below, once
        resources.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        with errors_are_sentences():
            groups = [files] if views else [[file] for file in files]
            requests = [
                GenerateRequest(
                    photos=group, cameras=cameras, settings=settings, mesh_path=target, preview_path=turntable
                )
                for group, target, turntable in zip(groups, targets, previews, strict=True)
            ]
        pipe = load(ModelRequest(model, device, dtype, variant, revision))
        with errors_are_sentences(model):
            pipeline_options(requests[0], pipe)
        advice = memory_advice(pipe.device, full_precision=pipe.dtype == torch.float32)
        names = list(map(shown, images))
        codes: set[int] = set()
        for request, photo_names in zip(requests, [names] if views else [[name] for name in names], strict=True):
            # No progress bar where standard error is not a terminal.
            pipe.set_progress_bar_config(desc=photo_names[0], leave=False, disable=None)
            job = _Job(request, photo_names, piped)
            try:
                result = generate(request, pipe, progress=job.enter)
                if piped:
                    job.stage = "write"
                    write_output(standard_output, Path(targets[0]).read_bytes())
            except PASSED_ON:
                raise
            except ERRORS as error:
                # The other photos are still processed.
                text, code = sentence(error, advice)
                codes.add(code)
                print_message(f"error: {job.describe_error(text)}")
            except KeyboardInterrupt:
                print_message(f"stopped at {photo_names[0]}; files that were written before are complete")
                raise typer.Exit(STOPPED) from None
            else:
                job.report(result, report)
                continue
            _free_memory()
        if codes:
            raise typer.Exit(min(codes))  # 1, a failure, comes before 2, a mistake


class _Job:
    """One request, with the names of its photos for messages."""

    def __init__(self, request: "GenerateRequest", names: list[str], piped: bool) -> None:
        self.request, self.names, self.piped = request, names, piped
        self.target = "standard output" if piped else str(request.mesh_path)
        self.stage = "generate"

    def enter(self, progress: Any) -> None:
        """Store the stage that begins."""
        self.stage = progress.stage

    def describe_error(self, text: str) -> str:
        """The error message `text` with the photo, and the file where writing failed."""
        for name, file in zip(self.names, self.request.photos, strict=True):
            text = text.replace(str(file), name)
        if text.startswith(tuple(self.names)):
            return text
        if self.stage == "write":
            return f"{self.names[0]}: {self.target} cannot be written: {text}"
        if self.stage == "preview":
            return f"{self.names[0]}: the mesh is written, but {self.request.preview_path} cannot be: {text}"
        return f"{self.names[0]}: {text}"

    def report(self, result: "GenerateResult", report: Any) -> None:
        """Print the warnings, and one line about the mesh."""
        for name, mask in zip(self.names, result.mask_reports, strict=False):
            if mask.warning is not None:
                print_message(f"warning: {name}: {mask.warning}")
        for warning in result.refinement_warnings:
            print_message(f"warning: {self.names[0]}: {warning}")
        facts = [_describe_mesh(result.mesh), f"{result.seconds['total']:.1f} s"]
        facts += [f"background: {mask.method}, confidence {mask.confidence:.2f}" for mask in result.mask_reports]
        facts += [] if result.agreement is None else [str(result.agreement)]
        report(f"{self.target}  ({', '.join(facts)})" + (f"  {result.preview_path}" if result.preview_path else ""))


def _describe_mesh(mesh: "Mesh") -> str:
    """Number of faces, and of pieces where there are several."""
    pieces = int(mesh.face_components.max()) + 1
    return f"{len(mesh.faces):,} faces" + (f", {pieces} pieces" if pieces > 1 else "")


def _split_views(images: list[Path]) -> tuple[list[Any], list[Path]]:
    """Viewpoints and photos of the arguments CAMERA=IMAGE."""
    from triplane3d.images.viewpoints import relative_angles, split_viewpoint

    with errors_are_sentences():
        cameras, paths = map(list, zip(*map(split_viewpoint, images), strict=True))
        relative_angles(cameras, len(paths), 0)
    return cameras, paths


def _free_memory() -> None:
    """Release the memory of a failed photo, on the processor and on a GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
