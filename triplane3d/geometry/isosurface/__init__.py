"""Isosurface extraction: a field becomes a mesh.

`extraction.py` has the entry points. `search.py` finds the surface from coarse to fine in the `bricks.py` of a lattice;
`node_sampling.py` and `field_sampling.py` compute the field's values; `marching.py` makes the triangles;
`vertex_refinement.py` moves the vertices onto the surface.
"""

from triplane3d.geometry.isosurface.extraction import extract_surface, extract_surfaces
from triplane3d.geometry.isosurface.field_sampling import color_at, evaluate_grid, evaluate_grids
from triplane3d.geometry.isosurface.marching import surface_of_grid

__all__ = ["color_at", "evaluate_grid", "evaluate_grids", "extract_surface", "extract_surfaces", "surface_of_grid"]
