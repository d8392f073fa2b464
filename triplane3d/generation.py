"""One generation job: a request with photos and settings in, a mesh with its files, timings and warnings out.

    request = GenerateRequest(photos=["chair.png"], settings=GenerateSettings(seed=7), mesh_path="chair.glb")
    result = generate(request, load_model(ModelRequest("mini")))

The command line calls this module; a server can do the same. Nothing is printed. `model_loading` loads pipelines.
"""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from triplane3d.file_formats import PREVIEW_SUFFIXES, mesh_format
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.simplification import check_simplify, simplify
from triplane3d.images.background import MaskReport, check_background_removal
from triplane3d.images.viewpoints import Viewpoint, relative_angles
from triplane3d.model_loading import takes_views
from triplane3d.refinement.agreement import Agreement
from triplane3d.settings import KEYWORDS, GenerateSettings

STAGES = ("generate", "extract", "finish", "write", "preview")
"""Stages of a job: photo to field; field to mesh; floaters and simplification; the mesh file; the preview file."""


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Photos of one object, the settings, and the files to write: everything that a job needs except the pipeline.

    Raises:
        ValueError: a value is not accepted, or a setting needs a package that is not installed.
    """

    photos: Sequence[Any]
    """One photo, or several where `cameras` is given: paths, PIL images, arrays or tensors, as the pipeline takes."""
    cameras: Sequence[Viewpoint] | None = None
    """The viewpoint of each photo, None where it is unknown. Needs a pipeline for several photos."""
    settings: GenerateSettings = field(default_factory=GenerateSettings)
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
        check_background_removal(self.settings.background_removal)
        if self.settings.faces is not None:
            try:
                check_simplify(self.settings.faces)
            except ImportError as error:
                raise ValueError(f"faces {self.settings.faces}: {error}") from error
        if self.mesh_path is not None:
            mesh_format(Path(self.mesh_path))
        if self.preview_path is not None and Path(self.preview_path).suffix.lower() not in PREVIEW_SUFFIXES:
            raise ValueError(f"preview_path {self.preview_path}: end the name in one of {', '.join(PREVIEW_SUFFIXES)}")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is: one of `STAGES`, and in the first two of them the finished steps of all `steps`.

    A step of "generate" is a denoising step. Those of "extract" are parts of the search for the surface; their number
    may differ from call to call.
    """

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
    agreement: Agreement | None
    """How well the mesh agrees with the first photo; None without refinement."""
    refinement_warnings: tuple[str, ...]
    """Passes that were not possible, and what to try where mesh and photo agree poorly. `warnings` has them too."""
    warnings: tuple[str, ...]
    """Warnings for the user, with the name of the photo where a request has several."""
    seconds: Mapping[str, float]
    """Duration of each of `STAGES` that ran, and of all of them as "total". A job without `progress` and `cancelled`
    counts "extract" as part of "generate"."""
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
    """Run a request: photos to mesh, then the steps on the mesh, then the files.

    Args:
        request: photos and settings of one object.
        pipeline: a `Triplane3DPipeline` or `TriplaneReconstructionPipeline`, as `load_model` returns.
        progress: called at the start of each stage, after each denoising step, and many times during the extraction
            of the surface: after each batch of samples of the field.
        cancelled: called at the same moments; where it returns True, the job ends with `GenerationCancelled`.

    Raises:
        ValueError: a photo cannot be read or shows no object, or the pipeline does not support the request.
        OSError: a file cannot be read or written.
        GenerationCancelled: see `cancelled`.
    """
    call_options = pipeline_options(request, pipeline)
    started: dict[str, float] = {}

    def enter(stage: str, step: int = 0, steps: int = 0) -> None:
        started.setdefault(stage, time.perf_counter())
        if cancelled is not None and cancelled():
            raise GenerationCancelled(f"cancelled in the stage {stage!r}")
        if progress is not None:
            progress(Progress(stage=stage, step=step, steps=steps))

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        enter("generate", step + 1, pipe.num_timesteps)
        return {}

    def during_extraction(done: int, total: int) -> None:
        enter("extract", done, total)

    takes = inspect.signature(pipeline.__call__).parameters
    if progress is not None or cancelled is not None:
        callbacks = {"callback_on_step_end": after_step, "callback_on_extraction": during_extraction}
        call_options |= {name: callback for name, callback in callbacks.items() if name in takes}

    enter("generate")
    photos = list(request.photos)
    output = pipeline([photos] if request.cameras is not None else photos[0], **call_options)

    enter("finish")
    mesh = finish_mesh(output.meshes[0], request.settings)
    output.meshes[0] = mesh  # the preview shows the mesh that is saved
    agreements = getattr(output, "agreement", None)
    agreement = None if agreements is None else agreements[0]
    refinement_warnings = [] if agreement is None else [*output.refinements[0].notes]
    if agreement is not None and agreement.advice is not None:
        refinement_warnings.append(agreement.advice)

    if request.mesh_path is not None:
        enter("write")
        mesh.save(request.mesh_path, up=request.settings.up, size=request.settings.size)
    if request.preview_path is not None:
        enter("preview")
        output.save_preview(request.preview_path)
    ended = time.perf_counter()

    reports = tuple(output.mask_reports or ())
    warnings = [
        report.warning if len(photos) == 1 else f"{photo}: {report.warning}"
        for photo, report in zip(photos, reports, strict=False)
        if report.warning is not None
    ]
    return GenerateResult(
        mesh=mesh,
        mesh_path=None if request.mesh_path is None else Path(request.mesh_path),
        preview_path=None if request.preview_path is None else Path(request.preview_path),
        mask_reports=reports,
        agreement=agreement,
        refinement_warnings=tuple(refinement_warnings),
        warnings=(*warnings, *refinement_warnings),
        seconds=_durations(started, ended),
        device=str(pipeline.device),
        dtype=str(pipeline.dtype).removeprefix("torch."),
    )


def _durations(started: Mapping[str, float], ended: float) -> dict[str, float]:
    """Seconds of each stage and of all, from the moments at which the stages began, in order, and the end."""
    moments = [*started.values(), ended]
    durations = [end - begin for begin, end in pairwise(moments)]
    return {**dict(zip(started, durations, strict=True)), "total": ended - moments[0]}


def pipeline_options(request: GenerateRequest, pipeline: Any) -> dict[str, Any]:
    """Keyword arguments of the pipeline's call, apart from the photos. Call it to check a request before any work.

    Settings that are None are left out: the pipeline takes its preset.

    Raises:
        ValueError: the pipeline has no such preset, or does not support a setting or several photos.
    """
    settings, takes = request.settings, inspect.signature(pipeline.__call__).parameters
    if settings.quality not in pipeline.config.presets:
        presets = ", ".join(sorted(pipeline.config.presets))
        raise ValueError(f"quality must be one of {presets}, got {settings.quality!r}")
    given = {name: getattr(settings, name) for name in KEYWORDS if getattr(settings, name) is not None}
    if refused := [name for name in given if KEYWORDS[name] not in takes]:
        raise ValueError(f"this model computes a mesh in a single pass: leave out {' and '.join(refused)}")
    options: dict[str, Any] = {KEYWORDS[name]: value for name, value in given.items()}
    if request.cameras is not None:
        if not takes_views(getattr(getattr(pipeline, "transformer", None), "config", {})):
            raise ValueError("this model is for one photo of each object: pass one photo, without cameras")
        options["cameras"] = [list(request.cameras)]
    if "generator" in takes:
        options["generator"] = torch.Generator().manual_seed(settings.seed)
    return options


def finish_mesh(mesh: Mesh, settings: GenerateSettings) -> Mesh:
    """The mesh with the pieces and the number of faces of `settings`."""
    mesh = mesh.remove_floaters(1.0) if settings.keep_largest else mesh
    return mesh if settings.faces is None else simplify(mesh, settings.faces)
