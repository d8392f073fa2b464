"""Presets: steps, guidance and resolution for each name of `quality`, saved with a pipeline; and limits of sizes."""

from collections.abc import Mapping

from triplane3d.arguments import check_number, check_whole
from triplane3d.settings import DEFAULT_QUALITY, MAX_PASSES

# In cells along an edge: the largest grid for a mesh, and the largest grid that is returned, whose values take 4 GB.
MAX_RESOLUTION = 2048
MAX_GRID = 1024
MAX_MESHES = 10_000

# The presets of a pipeline that was saved without any.
PRESETS = {
    "draft": {"num_inference_steps": 8, "guidance_scale": 3.0, "resolution": 128},
    "balanced": {"num_inference_steps": 20, "guidance_scale": 3.0, "resolution": 256},
    "high": {"num_inference_steps": 50, "guidance_scale": 3.0, "resolution": 512},
}


def check_presets(presets: dict, example: Mapping[str, Mapping] = PRESETS) -> dict:
    """A copy of `presets` as plain dicts. Each must have the settings that those of `example` have.

    A preset may also have "refine", the passes of refinement; without it there are none.

    Raises:
        ValueError: for a missing, unknown or unacceptable setting, or without a preset of the default quality.
    """
    if not isinstance(presets, Mapping) or not all(isinstance(preset, Mapping) for preset in presets.values()):
        raise ValueError(f"presets must be a dict of dicts such as {example}, got {presets!r}")
    settings = example[DEFAULT_QUALITY]
    for name, preset in presets.items():
        if set(preset) - {"refine"} != set(settings):
            raise ValueError(f"presets[{name!r}] must have {sorted(settings)}, got {dict(preset)}")
        check_whole(f"presets[{name!r}] refine", preset.get("refine", 0), 0, MAX_PASSES)
        check_whole(f"presets[{name!r}] resolution", preset["resolution"], 2, MAX_RESOLUTION)
        if "num_inference_steps" in settings:
            check_whole(f"presets[{name!r}] num_inference_steps", preset["num_inference_steps"], 1)
            check_number(f"presets[{name!r}] guidance_scale", preset["guidance_scale"], 0)
    if DEFAULT_QUALITY not in presets:
        raise ValueError(f"presets must have one called {DEFAULT_QUALITY!r}, got {sorted(presets)}")
    return {name: dict(preset) for name, preset in presets.items()}
