"""The settings of `finish`, and the presets of them.

Each field of `FinishSettings` is stated once: its default, range and help text. `triplane3d finish` makes its options
from the fields. Imports neither torch nor numpy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from triplane3d.settings import check_settings, setting, setting_types, settings_of

LEAST_FACES = 4
"""Faces of a tetrahedron, the smallest solid."""
MOST_FACES = 5_000_000
"""Most faces of a mesh that `finish` accepts."""


@dataclass(frozen=True, kw_only=True)
class FinishSettings:
    """What `finish` does to a mesh. The defaults are those of the preset `raw`: the mesh stays as it is.

    Raises:
        ValueError: a value is out of its range or not one of its choices.
    """

    clean: bool = setting(
        False, "Remove faces without area and repeated faces, close small holes, wind all faces outwards."
    )
    floaters: float = setting(
        0.0,
        "Remove pieces whose volume is below this share of the largest piece's; 0 keeps all, 1 only the largest.",
        least=0,
        most=1,
    )
    solid: str = setting(
        "never",
        "Rebuild the mesh as a closed solid from its winding numbers: never, auto (where cleaning leaves it open or "
        "not manifold), always.",
        choices=("never", "auto", "always"),
    )
    snap: bool = setting(False, "Move vertices onto the surface of the model's field, where a field is given.")
    smooth: int = setting(0, "Passes of Taubin smoothing, which keeps the volume; 0 is off.", least=0, most=200)
    remesh: str = setting(
        "none",
        "Triangulate anew before decimation: none, isotropic (equilateral triangles), poisson (a closed surface "
        "through oriented samples). Needs: pip install 'triplane3d[remesh]'.",
        choices=("none", "isotropic", "poisson"),
    )
    faces: int | None = setting(
        None, "Reduce the mesh to this many faces; none keeps all.", least=LEAST_FACES, most=MOST_FACES
    )
    decimation: str = setting(
        "fast",
        "Method of the reduction: fast, or quality (libigl; needs: pip install 'triplane3d[mesh]').",
        choices=("fast", "quality"),
    )
    texture: int | None = setting(
        None, "Width and height of the texture in pixels; none keeps colours at the vertices.", least=64, most=8192
    )
    texture_format: str = setting("jpeg", "Format of the base colour's picture.", choices=("jpeg", "png", "webp"))
    normal_map: bool = setting(False, "Bake the details of the dense mesh into a normal map. Needs a texture.")
    occlusion: bool = setting(False, "Bake ambient occlusion. Needs a texture.")

    def __post_init__(self) -> None:
        check_settings(self)


FINISH_SETTINGS = settings_of(FinishSettings)
"""The settings by name, in the order of the command's help."""

FINISH_TYPES = setting_types(FinishSettings)
"""The type of each setting: int, float, str or bool."""

_CLEAN = FinishSettings(clean=True, floaters=0.02, solid="auto")

PRESETS: Mapping[str, FinishSettings] = {
    "raw": FinishSettings(),
    "draft": replace(_CLEAN, faces=10_000),
    "web": replace(_CLEAN, snap=True, faces=20_000, texture=1024),
    "game": replace(_CLEAN, snap=True, faces=5_000, texture=1024, normal_map=True, occlusion=True),
    "print": replace(_CLEAN, snap=True, floaters=1.0, faces=200_000),
}
"""Settings for a use: raw (as extracted), draft, web (a page, a viewer), game (an engine), print (a 3D printer)."""

DEFAULT_PRESET = "web"


def preset(name: str, **changes: Any) -> FinishSettings:
    """The settings of a preset, some of them changed. Raises ValueError for another name or a wrong value."""
    if name not in PRESETS:
        raise ValueError(f"the preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return replace(PRESETS[name], **changes)
