"""Procedural shapes: endless, exactly labelled, on any device, and no seed is ever in both training and evaluation."""

from triplane3d.data.procedural.families import FAMILIES, HOLDOUT_FAMILIES
from triplane3d.data.procedural.parts import Paint, Part
from triplane3d.data.procedural.rendering import Views, render_views
from triplane3d.data.procedural.sampling import occupancy_grid, sample_labels, sample_surface
from triplane3d.data.procedural.shape_batch import HELD_OUT_SEED, ShapeBatch, draw_shapes, draw_unframed

__all__ = [
    "FAMILIES",
    "HELD_OUT_SEED",
    "HOLDOUT_FAMILIES",
    "Paint",
    "Part",
    "ShapeBatch",
    "Views",
    "draw_shapes",
    "draw_unframed",
    "occupancy_grid",
    "render_views",
    "sample_labels",
    "sample_surface",
]
