"""Procedural shapes: signed-distance programs in batched torch, with exact labels, in any number and on any device.

A seed determines a shape. Training uses seeds below `FIRST_EVALUATION_SEED`, evaluation uses the others.
"""

import warnings

from triplane3d.data.procedural.families import FAMILIES, HOLDOUT_FAMILIES
from triplane3d.data.procedural.generation import FIRST_EVALUATION_SEED, generate_shapes, generate_unnormalized
from triplane3d.data.procedural.parts import Material, Part
from triplane3d.data.procedural.rendering import OrbitCameras, render_views
from triplane3d.data.procedural.sampling import distance_grid, sample_labels, sample_surface
from triplane3d.data.procedural.shape_batch import ShapeBatch

__all__ = [
    "FAMILIES",
    "FIRST_EVALUATION_SEED",
    "HOLDOUT_FAMILIES",
    "Material",
    "OrbitCameras",
    "Part",
    "ShapeBatch",
    "distance_grid",
    "generate_shapes",
    "generate_unnormalized",
    "render_views",
    "sample_labels",
    "sample_surface",
]

_RENAMED = {
    "HELD_OUT_SEED": "FIRST_EVALUATION_SEED",
    "Paint": "Material",
    "Views": "OrbitCameras",
    "draw_shapes": "generate_shapes",
    "draw_unframed": "generate_unnormalized",
    "occupancy_grid": "distance_grid",
}


def __getattr__(name: str) -> object:
    """Former names still work, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{name} is now called {_RENAMED[name]}", FutureWarning, stacklevel=2)
    return globals()[_RENAMED[name]]
