"""Formats that are ZIP archives: 3MF for slicers, USDZ for Apple's viewers."""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from triplane3d.assets.material import Material
from triplane3d.assets.pictures import encode_picture
from triplane3d.assets.uv_map import UVMap
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.files import ROUGHNESS, display_bytes

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
MATERIALS = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
CONTENT_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
MODEL_TYPE = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
TEXTURE_TYPE = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dtexture"

TIME = (1980, 1, 1, 0, 0, 0)
"""Time of the files in an archive: the same mesh gives the same bytes."""


def encode_3mf(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    colors: Float[np.ndarray, "vertices 3"] | None,
    uv_map: UVMap | None,
    material: Material | None,
) -> bytes:
    """A 3MF model in millimetres, with a texture, or with linear vertex colours, or without either.

    Source: 3MF Core Specification 1.3, Materials and Properties Extension 1.2. Colours are sRGB there, and texture
    coordinates count from the lower left corner.
    """
    resources, properties = "", np.zeros((len(faces), 0), np.int64)
    if uv_map is not None and material is not None:
        rows = _rows(np.stack([uv_map.uv[:, 0], 1 - uv_map.uv[:, 1]], axis=1), '<m:tex2coord u="%.7g" v="%.7g"/>')
        resources = (
            '<m:texture2d id="2" path="/3D/Textures/base_color.png" contenttype="image/png" tilestyleu="clamp" '
            f'tilestylev="clamp"/><m:texture2dgroup id="3" texid="2">{rows}</m:texture2dgroup>'
        )
        properties = uv_map.faces
    elif colors is not None:
        rows = _rows(display_bytes(colors)[:, :3], '<m:color color="#%02X%02X%02X"/>')
        resources = f'<m:colorgroup id="3">{rows}</m:colorgroup>'
        properties = faces
    triangle, group = '<triangle v1="%d" v2="%d" v3="%d"/>', ""
    if properties.size:
        triangle, group = '<triangle v1="%d" v2="%d" v3="%d" pid="3" p1="%d" p2="%d" p3="%d"/>', ' pid="3" pindex="0"'
    model = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}" '
        f'xmlns:m="{MATERIALS}"><resources>{resources}<object id="1" type="model"{group}><mesh><vertices>'
        + _rows(vertices, '<vertex x="%.7g" y="%.7g" z="%.7g"/>')
        + "</vertices><triangles>"
        + _rows(np.hstack([faces, properties]), triangle)
        + '</triangles></mesh></object></resources><build><item objectid="1"/></build></model>'
    )
    types = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Types xmlns="{CONTENT_TYPES}">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>'
        '<Default Extension="png" ContentType="image/png"/></Types>'
    )
    files: dict[str, bytes] = {
        "[Content_Types].xml": types.encode(),
        "_rels/.rels": _relationship("/3D/3dmodel.model", MODEL_TYPE),
        "3D/3dmodel.model": model.encode(),
    }
    if uv_map is not None and material is not None:
        files["3D/_rels/3dmodel.model.rels"] = _relationship("/3D/Textures/base_color.png", TEXTURE_TYPE)
        files["3D/Textures/base_color.png"] = encode_picture(material.base_color, "png")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(zipfile.ZipInfo(name, TIME), content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _rows(array: np.ndarray, form: str) -> str:
    """One element of XML per row."""
    return "".join(form % tuple(row) for row in array.tolist())


def _relationship(target: str, kind: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Relationships xmlns="{RELATIONSHIPS}">'
        f'<Relationship Target="{target}" Id="rel0" Type="{kind}"/></Relationships>'
    ).encode()


def encode_usdz(
    name: str,
    vertices: Float[np.ndarray, "vertices 3"],
    normals: Float[np.ndarray, "vertices 3"],
    mesh: Mesh,
    uv_map: UVMap | None,
    material: Material | None,
    *,
    up: str,
) -> bytes:
    """A USDZ package in metres: a mesh with a UsdPreviewSurface. Raises ImportError without usd-core."""
    try:
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdUtils, Vt
    except ImportError as error:
        raise ImportError("USDZ needs usd-core: pip install 'triplane3d[usd]'") from error
    faces = np.asarray(mesh.faces)
    with tempfile.TemporaryDirectory() as folder:
        stage = Usd.Stage.CreateNew(str(Path(folder, "asset.usdc")))
        UsdGeom.SetStageUpAxis(stage, up.upper())
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/asset")
        root.GetPrim().SetDisplayName(name)
        stage.SetDefaultPrim(root.GetPrim())
        shape = UsdGeom.Mesh.Define(stage, "/asset/mesh")
        shape.CreateSubdivisionSchemeAttr("none")
        shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(vertices, np.float32)))
        shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
        shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel().astype(np.int32)))
        shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(normals, np.float32)))
        shape.SetNormalsInterpolation("vertex")
        low, high = vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist()
        shape.CreateExtentAttr([Gf.Vec3f(*low), Gf.Vec3f(*high)])

        looks = UsdShade.Material.Define(stage, "/asset/material")
        shader = UsdShade.Shader.Define(stage, "/asset/material/surface")
        shader.CreateIdAttr("UsdPreviewSurface")
        roughness, metallic = (ROUGHNESS, 0.0) if material is None else (material.roughness, material.metallic)
        shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(roughness)
        shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(metallic)
        looks.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(looks)

        def read(picture: np.ndarray, space: str) -> Any:
            """A shader node that reads a picture."""
            Path(folder, f"{space}.png").write_bytes(encode_picture(picture, "png"))
            texture = UsdShade.Shader.Define(stage, f"/asset/material/{space}")
            texture.CreateIdAttr("UsdUVTexture")
            texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(f"./{space}.png")
            texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(space)
            for wrap in ("wrapS", "wrapT"):
                texture.CreateInput(wrap, Sdf.ValueTypeNames.Token).Set("clamp")
            texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
            texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
            return texture

        if uv_map is not None and material is not None:
            upwards = np.stack([uv_map.uv[:, 0], 1 - uv_map.uv[:, 1]], axis=1)
            coordinates = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
                "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
            )
            coordinates.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(upwards, np.float32)))
            coordinates.SetIndices(Vt.IntArray.FromNumpy(uv_map.faces.ravel().astype(np.int32)))
            reader = UsdShade.Shader.Define(stage, "/asset/material/coordinates")
            reader.CreateIdAttr("UsdPrimvarReader_float2")
            reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
            reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
            color = read(material.base_color, "sRGB")
            shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
                color.ConnectableAPI(), "rgb"
            )
            if material.normal_map is not None:
                bumps = read(material.normal_map, "raw")
                bumps.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
                bumps.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
                shader.CreateInput("normal", Sdf.ValueTypeNames.Normal3f).ConnectToSource(bumps.ConnectableAPI(), "rgb")
        elif mesh.vertex_colors is not None:
            shown = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
                "displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex
            )
            shown.Set(Vt.Vec3fArray.FromNumpy(mesh.vertex_colors.clip(0, 1)))
            # UsdPreviewSurface ignores displayColor unless a node reads it.
            reader = UsdShade.Shader.Define(stage, "/asset/material/colors")
            reader.CreateIdAttr("UsdPrimvarReader_float3")
            reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
            reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
            shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
                reader.ConnectableAPI(), "result"
            )
        stage.Save()
        package = Path(folder, "asset.usdz")
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(Path(folder, "asset.usdc"))), str(package)):
            raise RuntimeError("usd-core could not write the USDZ package")
        return package.read_bytes()
