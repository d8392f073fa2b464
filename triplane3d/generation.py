"""One generation job: a request with photos and settings in, a mesh with its files, timings and warnings out.

    request = GenerateRequest(photos=["chair.png"], mesh_path="chair.glb", seed=7)
    result = generate(request, load_model(ModelRequest("mini")))

The command line calls this module; a server can do the same. Nothing is printed. `model_loading` loads pipelines.
"""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from triplane3d.arguments import check_number, check_whole
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.files import check_placement, format_of
from triplane3d.geometry.mesh.simplification import check_simplify, simplify
from triplane3d.images.background import MaskReport, check_background_removal
from triplane3d.images.viewpoints import Viewpoint, relative_angles
from triplane3d.limits import LIMITS
from triplane3d.model_loading import OPTIONS, takes_views

PREVIEW_SUFFIXES = (".webp", ".gif", ".png")
"""Formats of a preview: turntables (.webp, .gif) or one picture from the photo's camera (.png)."""

STAGES = ("generate", "finish", "write", "preview")
"""Stages of a job: the pipeline's call; floaters and simplification; the mesh file; the preview file."""


@dataclass(frozen=True, kw_only=True)
class MeshOptions:
    """Changes to the mesh after it is generated, and its placement in the file.

    Raises:
        ValueError: a value is out of its range, or `faces` needs a package that is not installed.
    """

    up: str | None = None
    """Axis that points up in the file, "y" or "z". None: z in .ply and .stl, else y."""
    size: float | None = None
    """Longest side in millimetres. None: 100 in .ply and .stl; .glb and .obj keep the model's units."""
    faces: int | None = None
    """Simplify the mesh to this many faces, 4 or more. Needs libigl."""
    keep_largest: bool = False
    """Remove all connected pieces but the largest."""

    def __post_init__(self) -> None:
        check_placement(self.up, self.size)
        if self.faces is not None:
            try:
                check_simplify(self.faces)
            except ImportError as error:
                raise ValueError(f"faces {self.faces}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Photos of one object, and everything that determines its mesh except the pipeline.

    Values that are None are taken from the preset `quality`, or from the pipeline.

    Raises:
        ValueError: a value is out of its range.
    """

    photos: Sequence[Any]
    """One photo, or several where `cameras` is given: paths, PIL images, arrays or tensors, as the pipeline takes."""
    cameras: Sequence[Viewpoint] | None = None
    """The viewpoint of each photo, None where it is unknown. Needs a pipeline for several photos."""
    seed: int = 0
    """The same seed gives the same mesh, 0 to 2⁶³ - 1."""
    quality: str | None = None
    """Name of a preset of the pipeline."""
    steps: int | None = None
    """Denoising steps."""
    guidance: float | None = None
    """Guidance scale; 1 switches guidance off."""
    resolution: int | None = None
    """Cells along an edge of the grid on which the surface is extracted, 8 to 2048."""
    level: float | None = None
    """Logit of the surface; a higher one gives a thinner object."""
    background_removal: str = "auto"
    """Method of background removal."""
    mesh: MeshOptions = field(default_factory=MeshOptions)
    mesh_path: str | Path | None = None
    """The mesh file (.glb, .obj, .ply, .stl); it appears whole or not at all. None: no file."""
    preview_path: str | Path | None = None
    """The preview file (.webp, .gif, .png). None: no file."""

    def __post_init__(self) -> None:
        if isinstance(self.photos, str | bytes | Path) or len(self.photos) == 0:
            raise ValueError(f"photos must be a list of one or more photos, got {self.photos!r}")
        if self.cameras is not None:
            relative_angles(self.cameras, len(self.photos), 0)
        elif len(self.photos) > 1:
            raise ValueError(f"{len(self.photos)} photos need cameras: pass one for each, None where it is unknown")
        check_whole("seed", self.seed, 0, 2**63 - 1)
        if self.steps is not None:
            check_whole("steps", self.steps, 1, LIMITS["timesteps"].most)
        if self.guidance is not None:
            check_number("guidance", self.guidance, 0)
        if self.resolution is not None:
            check_whole("resolution", self.resolution, 8, 2048)
        if self.level is not None:
            check_number("level", self.level)
        check_background_removal(self.background_removal)
        if self.mesh_path is not None:
            format_of(Path(self.mesh_path))
        if self.preview_path is not None and Path(self.preview_path).suffix.lower() not in PREVIEW_SUFFIXES:
            raise ValueError(f"preview_path {self.preview_path}: end the name in one of {', '.join(PREVIEW_SUFFIXES)}")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is: one of `STAGES`, and in the first of them the finished steps of all `steps`."""

    stage: str
    step: int = 0
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """The mesh of a request, and how it was made."""

    mesh: Mesh
    mesh_path: Path | None
    preview_path: Path | None
    mask_reports: tuple[MaskReport, ...]
    """Background removal of each photo: method, coverage, confidence, warning."""
    warnings: tuple[str, ...]
    """Warnings for the user, with the name of the photo where a request has several."""
    seconds: Mapping[str, float]
    """Duration of each of `STAGES` that ran, and of all of them as "total"."""
    device: str
    dtype: str


class GenerationCancelled(Exception):
    """`cancelled` returned True. Files that were written before are whole; the others do not exist."""


def generate(
    request: GenerateRequest,
    pipeline: Any,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> GenerateResult:
    """Run a request: photos to mesh, then the mesh options, then the files.

    Args:
        request: photos and settings of one object.
        pipeline: a `Triplane3DPipeline` or `TriplaneReconstructionPipeline`, as `load_model` returns.
        progress: called at the start of each stage and after each denoising step.
        cancelled: called at the same moments; where it returns True, the job ends with `GenerationCancelled`.

    Raises:
        ValueError: a photo cannot be read or shows no object, or the pipeline does not support the request.
        OSError: a file cannot be read or written.
        GenerationCancelled: see `cancelled`.
    """
    call_options = pipeline_options(request, pipeline)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def enter(stage: str, step: int = 0, steps: int = 0) -> None:
        if cancelled is not None and cancelled():
            raise GenerationCancelled(f"cancelled in the stage {stage!r}")
        if progress is not None:
            progress(Progress(stage=stage, step=step, steps=steps))

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        enter("generate", step + 1, pipe.num_timesteps)
        return {}

    takes = inspect.signature(pipeline.__call__).parameters
    if (progress or cancelled) and "callback_on_step_end" in takes:
        call_options["callback_on_step_end"] = after_step

    enter("generate")
    stage_started = time.perf_counter()
    photos = list(request.photos)
    output = pipeline([photos] if request.cameras is not None else photos[0], **call_options)
    seconds["generate"] = time.perf_counter() - stage_started

    enter("finish")
    stage_started = time.perf_counter()
    mesh = finish_mesh(output.meshes[0], request.mesh)
    output.meshes[0] = mesh  # the preview shows the mesh that is saved
    seconds["finish"] = time.perf_counter() - stage_started

    if request.mesh_path is not None:
        enter("write")
        stage_started = time.perf_counter()
        mesh.save(request.mesh_path, up=request.mesh.up, size=request.mesh.size)
        seconds["write"] = time.perf_counter() - stage_started
    if request.preview_path is not None:
        enter("preview")
        stage_started = time.perf_counter()
        output.save_preview(request.preview_path)
        seconds["preview"] = time.perf_counter() - stage_started

    reports = tuple(output.mask_reports or ())
    return GenerateResult(
        mesh=mesh,
        mesh_path=None if request.mesh_path is None else Path(request.mesh_path),
        preview_path=None if request.preview_path is None else Path(request.preview_path),
        mask_reports=reports,
        warnings=tuple(
            report.warning if len(photos) == 1 else f"{photo}: {report.warning}"
            for photo, report in zip(photos, reports, strict=False)
            if report.warning is not None
        ),
        seconds={**seconds, "total": time.perf_counter() - started},
        device=str(pipeline.device),
        dtype=str(pipeline.dtype).removeprefix("torch."),
    )


def pipeline_options(request: GenerateRequest, pipeline: Any) -> dict[str, Any]:
    """Keyword arguments of the pipeline's call, apart from the photos. Call it to check a request before any work.

    Raises:
        ValueError: the pipeline has no such preset, or does not support an option or several photos.
    """
    takes = inspect.signature(pipeline.__call__).parameters
    options: dict[str, Any] = {"background_removal": request.background_removal}
    if request.quality is not None:
        if request.quality not in pipeline.config.presets:
            presets = ", ".join(sorted(pipeline.config.presets))
            raise ValueError(f"quality must be one of {presets}, got {request.quality!r}")
        options["quality"] = request.quality
    given = {name: getattr(request, name) for name in OPTIONS if getattr(request, name) is not None}
    if refused := [name for name in given if OPTIONS[name] not in takes]:
        raise ValueError(f"this model computes a mesh in a single pass: leave out {' and '.join(refused)}")
    options |= {OPTIONS[name]: value for name, value in given.items()}
    if request.cameras is not None:
        if not takes_views(getattr(getattr(pipeline, "transformer", None), "config", {})):
            raise ValueError("this model is for one photo of each object: pass one photo, without cameras")
        options["cameras"] = [list(request.cameras)]
    if "generator" in takes:
        options["generator"] = torch.Generator().manual_seed(request.seed)
    return options


def finish_mesh(mesh: Mesh, options: MeshOptions) -> Mesh:
    """The mesh with the pieces and the number of faces of `options`."""
    mesh = mesh.remove_floaters(1.0) if options.keep_largest else mesh
    return mesh if options.faces is None else simplify(mesh, options.faces)
