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
from triplane3d.assets.remeshing import MOST_REMESHED_FACES, check_remesh, reconstruct_poisson, remesh_isotropic
from triplane3d.assets.settings import DEFAULT_PRESET, MOST_FACES, PRESETS, FinishSettings
from triplane3d.assets.smoothing import smooth
from triplane3d.assets.snapping import snap
from triplane3d.assets.solids import MOST_SOLID_FACES, check_make_solid, make_solid
from triplane3d.assets.textured_mesh import TexturedMesh
from triplane3d.assets.texturing import texture
from triplane3d.geometry.fields import ColorField, Field
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.simplification import check_simplify


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
        ValueError: the mesh has no faces or too many, or cannot be repaired as the settings require.
        ImportError: a setting needs a package that is not installed.
    """
    check_finish(mesh, settings)

    def run(name: str, step: Callable[[Mesh], Mesh | tuple[Mesh, object]], before: Mesh) -> Mesh:
        started = time.perf_counter()
        result = step(before)
        after, report = result if isinstance(result, tuple) else (result, "")
        changed = len(before.faces) != len(after.faces)
        notes = [f"{len(before.faces):,} → {len(after.faces):,} faces" if changed else "", str(report)]
        if on_step is not None:
            note = ", ".join(filter(None, notes))
            on_step(FinishStep(name=name, seconds=time.perf_counter() - started, note=note))
        return after

    if settings.clean:
        mesh = run("clean", clean, mesh)
    if settings.floaters > 0:
        mesh = run("floaters", lambda one: one.remove_floaters(settings.floaters), mesh)
    if settings.solid == "always" or (settings.solid == "auto" and not _is_solid(mesh)):
        mesh = run("solid", _solid if settings.solid == "always" else _solid_if_possible, mesh)
    if settings.snap and field is not None:
        mesh = run("snap", lambda one: snap(one, field), mesh)
    if settings.smooth > 0:
        mesh = run("smooth", lambda one: smooth(one, settings.smooth), mesh)
    if settings.remesh == "poisson":
        mesh = run("poisson", reconstruct_poisson, mesh)
    if settings.remesh == "isotropic":
        budget = min(settings.faces or len(mesh.faces), MOST_REMESHED_FACES)
        # More faces than the budget, which decimation then reaches.
        mesh = run("isotropic", lambda one: remesh_isotropic(one, min(budget * 5 // 4, MOST_REMESHED_FACES)), mesh)
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


def check_finish(mesh: Mesh, settings: FinishSettings) -> None:
    """Raise ValueError where the mesh is empty or too large, ImportError where a setting needs a missing package."""
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces cannot be finished")
    if len(mesh.faces) > MOST_FACES:
        raise ValueError(f"a mesh of up to {MOST_FACES:,} faces can be finished; this one has {len(mesh.faces):,}")
    if settings.solid == "always":
        check_make_solid()
    if settings.remesh != "none":
        check_remesh()
    if settings.faces is not None and settings.decimation == "quality":
        check_simplify(settings.faces)


def _is_solid(mesh: Mesh) -> bool:
    report = mesh.check(sampled_faces=0)
    return report.manifold and report.outward


def _solid(mesh: Mesh) -> Mesh:
    return make_solid(decimate(mesh, MOST_SOLID_FACES))


def _solid_if_possible(mesh: Mesh) -> tuple[Mesh, str]:
    """`make_solid`, or the mesh unchanged with the reason: no libigl, nothing enclosed, too little time."""
    try:
        return _solid(mesh), ""
    except (ImportError, ValueError, TimeoutError) as error:
        return mesh, f"the mesh stays open: {error}"
