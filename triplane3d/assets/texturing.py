"""The texture of a mesh in one call: unwrap, find the texels, bake."""

from triplane3d.assets.baking import bake_color
from triplane3d.assets.material import Material
from triplane3d.assets.normal_maps import bake_normal_map
from triplane3d.assets.occlusion import bake_occlusion
from triplane3d.assets.texels import rasterize_texture
from triplane3d.assets.textured_mesh import TexturedMesh
from triplane3d.assets.unwrapping import unwrap
from triplane3d.assets.uv_map import UVMap, check_uv_area
from triplane3d.geometry.fields import ColorField
from triplane3d.geometry.mesh import Mesh


def texture(
    mesh: Mesh,
    field: ColorField | None = None,
    *,
    size: int = 1024,
    uv_map: UVMap | None = None,
    dense: Mesh | None = None,
    normal_map: bool = False,
    occlusion: bool = False,
    seconds: int = 30,
) -> TexturedMesh:
    """`mesh` with a texture of `size` × `size` texels.

    Args:
        field: whose colours are baked. Without it, the colours of the mesh's vertices.
        uv_map: texture coordinates of `mesh`; None unwraps it.
        dense: the same surface with more faces, whose normals `normal_map` bakes.
        normal_map: bake the normals of `dense`.
        occlusion: bake ambient occlusion.
        seconds: limit on the time of the charts, see `unwrap`.

    Raises:
        ValueError: a size outside of 16..8192, a mesh or texture coordinates without area, coordinates of another mesh,
            or `normal_map` without `dense`.
    """
    if normal_map and dense is None:
        raise ValueError("a normal map needs the dense mesh whose normals it stores: give `dense`")
    if uv_map is None:
        uv_map = unwrap(mesh, size=size, seconds=seconds)
    check_uv_area(mesh, uv_map)
    texels = rasterize_texture(uv_map, size)
    normals = bake_normal_map(mesh, uv_map, texels, dense) if normal_map and dense is not None else None
    shade = bake_occlusion(mesh, texels) if occlusion else None
    return TexturedMesh(mesh, uv_map, Material(bake_color(mesh, texels, field), normal_map=normals, occlusion=shade))
