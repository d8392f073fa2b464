"""triplane3d turns photos of an object into a 3D mesh, and trains the models that do it.

`import triplane3d` imports neither torch nor diffusers: public names are imported at their first use. It registers the
library with diffusers' loader, so that `DiffusionPipeline.from_pretrained` loads this library's pipelines.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from triplane3d import diffusers_compat

if TYPE_CHECKING:
    from triplane3d.geometry.cameras import Camera
    from triplane3d.geometry.isosurface import extract_surface
    from triplane3d.geometry.mesh import Mesh
    from triplane3d.images.image_processor import Triplane3DImageProcessor
    from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
    from triplane3d.models.photo_plane import PhotoPlaneRefiner
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
    "PhotoPlaneRefiner",
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

_MODULES = {
    "AutoencoderKLTriplane": "triplane3d.models.autoencoder_kl_triplane",
    "Camera": "triplane3d.geometry.cameras",
    "Mesh": "triplane3d.geometry.mesh",
    "PhotoPlaneRefiner": "triplane3d.models.photo_plane",
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
    # diffusers' loader looks up these base classes in the library that model_index.json names for a component.
    "ModelMixin": "diffusers",
    "SchedulerMixin": "diffusers",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'triplane3d' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def register_with_diffusers() -> None:
    """Let diffusers' loaders find this library's pipelines and components. `import triplane3d` calls it. Idempotent."""
    diffusers_compat.register("triplane3d", _find_pipeline_class)


def _find_pipeline_class(source: Any, options: Mapping[str, Any]) -> type | None:
    """The pipeline class of the saved pipeline at `source`, a folder or Hub name; None for those of other libraries."""
    from triplane3d.pipelines.saved import own_class_name

    name = own_class_name(source, options)
    return None if name is None else __getattr__(name)


register_with_diffusers()
