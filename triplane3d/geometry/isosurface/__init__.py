"""Isosurface extraction: a field becomes a mesh, coarse to fine, with colours at its vertices."""

from triplane3d.geometry.isosurface.extraction import color_at, evaluate_grid, extract_surface, extract_surfaces

__all__ = ["color_at", "evaluate_grid", "extract_surface", "extract_surfaces"]
