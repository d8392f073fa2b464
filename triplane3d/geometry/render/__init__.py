"""Pictures of meshes by rasterisation, and of radiance fields by ray marching."""

from triplane3d.geometry.render.rasterization import (
    RenderOutput,
    contact_sheet,
    framing_distance,
    rasterize,
    render,
    save_turntable,
    turntable,
)

__all__ = ["RenderOutput", "contact_sheet", "framing_distance", "rasterize", "render", "save_turntable", "turntable"]
