"""All steps from a raw mesh to a finished asset, in order.

    asset = finish(mesh, field, preset("web", faces=10_000))
    asset.save("chair.glb")

The order: clean, remove floaters, make solid, snap to the field, smooth, remesh, decimate, texture. Topology is
repaired first, because the later steps require a manifold. Vertices move while the mesh is dense. The texture comes
last, because it belongs to the final triangles.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from triplane3d.assets.baking import VertexColorField
from triplane3d.assets.cleaning import clean
from triplane3d.assets.decimation import decimate
from triplane3d.assets.settings import DEFAULT_PRESET, PRESETS, FinishSettings
from triplane3d.assets.textured_mesh import TexturedMesh
from triplane3d.assets.texturing import texture
from triplane3d.geometry.fields import ColorField, Field
from triplane3d.geometry.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class FinishStep:
    """A step that has ended."""

    name: str
    seconds: float
    note: str
    """What changed, in words; empty where there is nothing to report."""


def finish(
    mesh: Mesh,
    field: Field | None = None,
    settings: FinishSettings = PRESETS[DEFAULT_PRESET],
    *,
    on_step: Callable[[FinishStep], None] | None = None,
) -> Mesh | TexturedMesh:
    """The mesh after all steps of `settings`, with a texture where they name its size. The input is not changed.

    Args:
        mesh: in the frame of `field`, where one is given.
        field: whose surface the mesh is: vertices are snapped to it, colours are taken from it.
        settings: a preset of `PRESETS`, `preset("web", faces=5000)`, or settings of your own.
        on_step: called after each step.

    Raises:
        ValueError: the mesh has no faces, or cannot be repaired as the settings require.
        ImportError: a setting needs a package that is not installed.
    """
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces cannot be finished")

    def run(name: str, step: Callable[[Mesh], Mesh], before: Mesh) -> Mesh:
        started = time.perf_counter()
        after = step(before)
        if on_step is not None:
            note = (
                f"{len(before.faces):,} → {len(after.faces):,} faces" if len(before.faces) != len(after.faces) else ""
            )
            on_step(FinishStep(name=name, seconds=time.perf_counter() - started, note=note))
        return after

    if settings.clean:
        mesh = run("clean", clean, mesh)
    if settings.floaters > 0:
        mesh = run("floaters", lambda one: one.remove_floaters(settings.floaters), mesh)
    dense = mesh  # textures and normal maps are baked from it
    if settings.faces is not None:
        mesh = run("decimate", lambda one: decimate(one, settings.faces or 0, method=settings.decimation), mesh)
    if settings.texture is None:
        return mesh
    started = time.perf_counter()
    colors = field if isinstance(field, ColorField) else None
    if colors is None or not colors.has_color:
        # Without a field the colours are those of the dense mesh, which has more of them than the decimated one.
        colors = None if dense.vertex_colors is None else VertexColorField(dense)
    textured = texture(
        mesh,
        colors,
        size=settings.texture,
        dense=dense,
        normal_map=settings.normal_map,
        occlusion=settings.occlusion,
    )
    if on_step is not None:
        note = f"{settings.texture} × {settings.texture} texels"
        on_step(FinishStep(name="texture", seconds=time.perf_counter() - started, note=note))
    return textured
