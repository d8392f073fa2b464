"""The settings of a generation: everything that determines the mesh except the photos and the pipeline.

Each field of `GenerateSettings` is stated once: its default, range, help text, and the keyword argument of the
pipeline's call that takes it. `cli/settings_options.py` makes the options of `triplane3d generate` from the fields,
`generation.py` makes the keyword arguments. Imports neither torch nor numpy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, get_args

from triplane3d.arguments import check_number, check_whole
from triplane3d.file_formats import AXES, check_placement
from triplane3d.limits import LIMITS

MAX_PASSES = 100
"""Most passes of refinement."""
MAX_CANDIDATES = 1000
"""Most shapes that are generated for one mesh."""

DEFAULT_QUALITY = "balanced"
"""The preset that is used where none is named. Every pipeline has it."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known about a field of a class of settings besides its name, type and default."""

    help: str
    """Help text of the command's option."""
    keyword: str | None
    """Keyword argument of the pipeline's call. None: the setting does not concern the pipeline."""
    least: float | None
    most: float | None
    """Range of a number, both ends included. None: no limit."""
    choices: tuple[str, ...]
    """Accepted words. Empty: any."""
    metavar: str | None
    """Name of the value in the help text. None: that of its type."""


def setting(
    default: Any,
    help: str,
    *,
    keyword: str | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
) -> Any:
    """A field of a class of settings; the arguments are those of `Setting`."""
    about = Setting(help=help, keyword=keyword, least=least, most=most, choices=choices, metavar=metavar)
    return field(default=default, metadata={"setting": about})


def settings_of(kind: type) -> Mapping[str, Setting]:
    """The settings of a class by name, in the order of its fields."""
    return {each.name: each.metadata["setting"] for each in fields(kind)}


def setting_types(kind: type) -> Mapping[str, type]:
    """The type of each setting of a class: int, float, str or bool. None is not one of them."""
    return {
        each.name: next(one for one in (*get_args(each.type), each.type) if one is not NoneType)
        for each in fields(kind)
    }


def check_settings(settings: Any) -> None:
    """Raise ValueError where a value is out of its range or not one of its choices."""
    types = setting_types(type(settings))
    for name, about in settings_of(type(settings)).items():
        value = getattr(settings, name)
        if value is None:
            continue
        if about.choices and value not in about.choices:
            raise ValueError(f"{name} must be one of {', '.join(about.choices)}, got {value!r}")
        if types[name] is int:
            assert about.least is not None, f"{name} needs a lower limit"
            check_whole(name, value, int(about.least), None if about.most is None else int(about.most))
        elif types[name] is float:
            least = -math.inf if about.least is None else about.least
            check_number(name, value, least, math.inf if about.most is None else about.most)


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """Settings of one mesh. A number that is None is taken from the preset `quality`, or from the pipeline.

    Raises:
        ValueError: a value is out of its range or not one of its choices.
    """

    quality: str = setting(
        DEFAULT_QUALITY,
        "A preset of the model for steps, guidance and resolution: draft, balanced or high.",
        keyword="quality",
    )
    steps: int | None = setting(
        None,
        "Denoising steps. Default: the preset's.",
        keyword="num_inference_steps",
        least=1,
        most=LIMITS["timesteps"].most,
    )
    guidance: float | None = setting(
        None,
        "Guidance scale: higher values follow the photo more closely; 1 is off. Default: the preset's.",
        keyword="guidance_scale",
        least=0,
    )
    resolution: int | None = setting(
        None, "Cells along an edge of the grid. Default: the preset's.", keyword="resolution", least=8, most=2048
    )
    refine: int | None = setting(
        None,
        "Passes that bring the shape into agreement with the photo; 0 is off. Default: the preset's.",
        keyword="refine",
        least=0,
        most=MAX_PASSES,
    )
    candidates: int | None = setting(
        None,
        "Shapes that are generated with different noise; the one that agrees best with the photo is kept. Default: 1.",
        keyword="num_candidates",
        least=1,
        most=MAX_CANDIDATES,
    )
    seed: int = setting(0, "The same seed gives the same mesh; try others for variants.", least=0, most=2**63 - 1)
    background_removal: str = setting(
        "auto",
        "auto (the photo's alpha, or else the best available method), none (the photo as it is), alpha, rembg, "
        "matting, grabcut, border, or the folder of a matting model. Nothing is downloaded.",
        keyword="background_removal",
        metavar="METHOD",
    )
    level: float | None = setting(
        None, "Logit of the surface; higher values give a thinner object. Default: the model's.", keyword="level"
    )
    up: str | None = setting(
        None, "Axis that points up in the file. Default: z in .ply and .stl, else y.", choices=AXES
    )
    size: float | None = setting(
        None,
        "Longest side in millimetres. Default: 100 in .ply and .stl; .glb and .obj keep the model's units, at most 2 "
        "(metres in .glb).",
        metavar="MM",
    )
    faces: int | None = setting(
        None, "Simplify the mesh to this many faces. Needs: pip install 'triplane3d[mesh]'.", least=4
    )
    keep_largest: bool = setting(False, "Keep only the largest connected piece.")

    def __post_init__(self) -> None:
        check_placement(self.up, self.size)
        check_settings(self)


SETTINGS = settings_of(GenerateSettings)
"""The settings by name, in the order of the command's help."""

TYPES = setting_types(GenerateSettings)
"""The type of each setting: int, float, str or bool. Those with the default None can be None as well."""

KEYWORDS: Mapping[str, str] = {name: about.keyword for name, about in SETTINGS.items() if about.keyword is not None}
"""The settings that the pipeline's call takes, and its keyword arguments of the same values."""
