"""triplane3d: one photo in, a clean 3D asset out; and the library that trains the model which does it.

Importing the package registers it with diffusers' loader, so `DiffusionPipeline.from_pretrained` opens our pipelines.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triplane3d.pipelines.loading import register_with_diffusers

if TYPE_CHECKING:
    from triplane3d.geometry.cameras import Camera
    from triplane3d.geometry.isosurface import extract_surface
    from triplane3d.geometry.mesh import Mesh
    from triplane3d.images.image_processor import Triplane3DImageProcessor
    from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
    from triplane3d.models.radiance import TriplaneRadianceField
    from triplane3d.models.reconstructor_triplane import TriplaneReconstructor
    from triplane3d.models.transformer_triplane import TriplaneTransformer
    from triplane3d.models.triplane import TriplaneField
    from triplane3d.pipelines.pipeline_output import Triplane3DPipelineOutput
    from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
    from triplane3d.pipelines.pipeline_triplane_reconstruction import (
        TriplaneReconstructionPipeline,
        TriplaneReconstructionPipelineOutput,
    )

__version__ = "0.1.0"

__all__ = [
    "AutoencoderKLTriplane",
    "Camera",
    "Mesh",
    "Triplane3DImageProcessor",
    "Triplane3DPipeline",
    "Triplane3DPipelineOutput",
    "TriplaneField",
    "TriplaneRadianceField",
    "TriplaneReconstructionPipeline",
    "TriplaneReconstructionPipelineOutput",
    "TriplaneReconstructor",
    "TriplaneTransformer",
    "extract_surface",
    "register_with_diffusers",
]

_HOMES = {
    "AutoencoderKLTriplane": "triplane3d.models.autoencoder_kl_triplane",
    "Camera": "triplane3d.geometry.cameras",
    "Mesh": "triplane3d.geometry.mesh",
    "Triplane3DImageProcessor": "triplane3d.images.image_processor",
    "Triplane3DPipeline": "triplane3d.pipelines.pipeline_triplane3d",
    "Triplane3DPipelineOutput": "triplane3d.pipelines.pipeline_output",
    "TriplaneField": "triplane3d.models.triplane",
    "TriplaneRadianceField": "triplane3d.models.radiance",
    "TriplaneReconstructionPipeline": "triplane3d.pipelines.pipeline_triplane_reconstruction",
    "TriplaneReconstructionPipelineOutput": "triplane3d.pipelines.pipeline_triplane_reconstruction",
    "TriplaneReconstructor": "triplane3d.models.reconstructor_triplane",
    "TriplaneTransformer": "triplane3d.models.transformer_triplane",
    "extract_surface": "triplane3d.geometry.isosurface",
    # diffusers' loader asks the library that model_index.json names for these bases.
    "ModelMixin": "diffusers",
    "SchedulerMixin": "diffusers",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'triplane3d' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _is_command() -> bool:
    """Whether this process is the `triplane3d` command, or `python -m triplane3d`."""
    if sys.argv[:1] == ["-m"]:  # so it is called until Python has found the module that it is to run
        return "triplane3d" in sys.orig_argv[1:3]
    return Path(*sys.argv[:1]).stem == "triplane3d"


# The command shows its help without waiting for torch and diffusers; its verbs register by themselves.
if not _is_command():
    register_with_diffusers()
