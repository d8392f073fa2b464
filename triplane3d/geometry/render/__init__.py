"""Pictures of meshes by rasterisation, and of radiance fields by ray marching."""

from triplane3d.geometry.render.meshes import RenderOutput, framing_distance, render
from triplane3d.geometry.render.rasterization import rasterize
from triplane3d.geometry.render.turntable import image_grid, save_turntable, turntable

__all__ = ["RenderOutput", "framing_distance", "image_grid", "rasterize", "render", "save_turntable", "turntable"]
