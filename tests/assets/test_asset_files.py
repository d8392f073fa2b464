"""Files of finished assets, read back by trimesh, by other libraries, and by hand from the formats' specifications."""

import io
import json
import os
import struct
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from textured_sphere import colored_sphere, colors_at, textured_sphere

from triplane3d.assets.textured_mesh import TexturedMesh, save_asset
from triplane3d.geometry.color import linear_from_srgb, srgb_from_linear
from triplane3d.geometry.mesh import Mesh


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and binary chunk, by section 4.4 of the specification of glTF 2.0."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and size % 4 == 0
    binary_size, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert kind == b"BIN\0" and binary_size % 4 == 0 and 28 + size + binary_size == length
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def view(header: dict[str, Any], binary: bytes, index: int) -> bytes:
    entry = header["bufferViews"][index]
    return binary[entry["byteOffset"] : entry["byteOffset"] + entry["byteLength"]]


def accessor(header: dict[str, Any], binary: bytes, index: int) -> np.ndarray:
    entry = header["accessors"][index]
    dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[entry["componentType"]]
    columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
    values = np.frombuffer(view(header, binary, entry["bufferView"]), dtype)
    assert len(values) == entry["count"] * columns
    return values.reshape(-1, columns)


def texture_error(picture: Image.Image, uv: np.ndarray, positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Differences, in linear light, between the picture at the centres of the faces and the true colours.

    `uv` counts from the upper left corner.
    """
    srgb = torch.from_numpy(np.asarray(picture.convert("RGB"))[..., :3] / 255)
    x, y = (uv[faces].mean(axis=1) * [picture.width, picture.height]).astype(int).T
    return np.abs(linear_from_srgb(srgb).numpy()[y, x] - colors_at(positions[faces].mean(axis=1)))


def test_a_glb_by_hand(tmp_path: Path) -> None:
    textured = textured_sphere()
    header, binary = read_glb(textured.save(tmp_path / "one.glb"))
    assert header["asset"]["extras"] == {
        "model": "mini", "revision": "abc", "seed": 3, "settings": {"steps": 8, "size": None}
    }  # fmt: skip
    assert header["nodes"][0]["name"] == header["meshes"][0]["name"] == "one"
    (primitive,) = header["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}  # COLOR_0 would darken the texture
    values = {key: accessor(header, binary, index) for key, index in primitive["attributes"].items()}
    faces = accessor(header, binary, primitive["indices"]).reshape(-1, 3)
    np.testing.assert_array_equal(faces, textured.faces)
    np.testing.assert_array_equal(values["POSITION"], textured.vertices)
    assert header["accessors"][primitive["attributes"]["POSITION"]]["max"] == values["POSITION"].max(axis=0).tolist()
    assert np.allclose(np.linalg.norm(values["NORMAL"], axis=1), 1, atol=1e-5)
    assert ((values["NORMAL"] * values["POSITION"]).sum(axis=1) > 0).all()

    material = header["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    source = header["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]["source"]
    assert header["images"][source]["mimeType"] == "image/jpeg"
    picture = Image.open(io.BytesIO(view(header, binary, header["images"][source]["bufferView"])))
    assert picture.format == "JPEG" and picture.size == (128, 128)
    error = texture_error(picture, values["TEXCOORD_0"], values["POSITION"], faces)
    assert np.median(error) < 0.01 and error.mean() < 0.015


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_a_glb_in_trimesh(form: str, tmp_path: Path) -> None:
    textured = textured_sphere(normal_map=True)
    path = textured.save(tmp_path / "one.glb", texture_format=form)
    (solid,) = trimesh.load_scene(path, process=False).geometry.values()
    np.testing.assert_array_equal(solid.vertices, textured.vertices)
    if form != "webp":  # trimesh does not read the extension
        uv = np.stack([solid.visual.uv[:, 0], 1 - solid.visual.uv[:, 1]], axis=1)
        error = texture_error(solid.visual.material.baseColorTexture, uv, solid.vertices, solid.faces)
        assert np.median(error) < 0.01
        assert solid.visual.material.normalTexture.size == (128, 128)
    header, binary = read_glb(path)
    tangents = accessor(header, binary, header["meshes"][0]["primitives"][0]["attributes"]["TANGENT"])
    assert set(tangents[:, 3]) <= {-1.0, 1.0} and np.allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)


def test_a_glb_without_texture_has_linear_colours(tmp_path: Path) -> None:
    mesh = colored_sphere()
    header, binary = read_glb(save_asset(mesh, tmp_path / "one.glb", extras={"seed": 1}))
    assert header["asset"]["extras"] == {"seed": 1}
    (primitive,) = header["meshes"][0]["primitives"]
    entry = header["accessors"][primitive["attributes"]["COLOR_0"]]
    assert entry["normalized"]
    colors = accessor(header, binary, primitive["attributes"]["COLOR_0"])
    assert np.abs(colors[:, :3] / 65535 - mesh.vertex_colors).max() < 1e-4 and (colors[:, 3] == 65535).all()


def test_draco(tmp_path: Path) -> None:
    DracoPy = pytest.importorskip("DracoPy")
    textured = textured_sphere(normal_map=True)
    path = textured.save(tmp_path / "draco.glb", draco=True)
    header, binary = read_glb(path)
    (primitive,) = header["meshes"][0]["primitives"]
    extension = primitive["extensions"]["KHR_draco_mesh_compression"]
    assert header["extensionsRequired"] == ["KHR_draco_mesh_compression"]
    decoded = DracoPy.decode(view(header, binary, extension["bufferView"]))
    arrays = {row["unique_id"]: row["data"] for row in decoded.attributes}
    read = {key: np.asarray(arrays[number]) for key, number in extension["attributes"].items()}
    assert set(read) == set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}
    for key, array in read.items():
        assert len(array) == header["accessors"][primitive["attributes"][key]]["count"]
    assert len(decoded.faces) * 3 == header["accessors"][primitive["indices"]]["count"] == textured.faces.size
    picture = Image.fromarray(textured.material.base_color)
    assert np.median(texture_error(picture, read["TEXCOORD_0"], read["POSITION"], decoded.faces)) < 0.01
    assert ((read["NORMAL"] * read["POSITION"]).sum(axis=1) > 0).all()
    assert np.abs((read["NORMAL"] * read["TANGENT"][:, :3]).sum(axis=1)).max() < 0.02
    (solid,) = trimesh.load_scene(path, process=False).geometry.values()
    assert len(solid.faces) == len(textured.faces) and solid.bounds == pytest.approx(textured.mesh.bounds, abs=1e-3)


def test_an_obj_with_material_and_pictures(tmp_path: Path) -> None:
    textured = textured_sphere(normal_map=True)
    path = textured.save(tmp_path / "my chair.obj", size=50)
    names = {"my chair.obj", "my_chair.mtl", "my_chair.png", "my_chair_normal.png"}
    assert {each.name for each in tmp_path.iterdir()} == names
    lines = [line.split() for line in path.read_text().splitlines()]
    rows = {key: [line[1:] for line in lines if line[0] == key] for key in ("v", "vt", "vn", "f", "mtllib")}
    assert rows["mtllib"] == [["my_chair.mtl"]]
    vertices, uv = np.array(rows["v"], float), np.array(rows["vt"], float)
    corners = np.array([[corner.split("/") for corner in face] for face in rows["f"]], int) - 1
    assert np.ptp(vertices, axis=0).max() == pytest.approx(50)
    solid = Mesh(vertices, corners[..., 0])
    assert solid.is_watertight and solid.check().outward  # seams do not open the surface
    picture = Image.open(tmp_path / "my_chair.png")
    x, y = (uv[corners[..., 1]].mean(axis=1) * 128).astype(int).T
    srgb = torch.from_numpy(np.asarray(picture)[127 - y, x] / 255)  # v counts from the lower edge
    centers = vertices[corners[..., 0]].mean(axis=1)
    assert np.median(np.abs(linear_from_srgb(srgb).numpy() - colors_at(centers))) < 0.01

    read = trimesh.load_mesh(path, process=False)
    assert len(read.faces) == len(textured.faces) and read.visual.material.image.size == (128, 128)


def test_a_ply_has_srgb_colours_and_an_stl_millimetres(tmp_path: Path) -> None:
    textured = textured_sphere()
    ply = trimesh.load_mesh(textured.save(tmp_path / "one.ply", size=100, up="y"), process=False)
    assert ply.is_watertight and ply.extents == pytest.approx([100, 50, 80], rel=0.02)
    expected = srgb_from_linear(torch.from_numpy(colors_at(ply.vertices))).numpy() * 255
    assert np.median(np.abs(ply.visual.vertex_colors[:, :3] - expected)) < 3
    stl = trimesh.load_mesh(textured.save(tmp_path / "one.stl", size=80))
    assert stl.is_watertight and stl.extents == pytest.approx([80, 64, 40], rel=0.02)  # z up


@pytest.mark.parametrize("kind", ["textured", "coloured", "plain"])
def test_a_3mf(kind: str, tmp_path: Path) -> None:
    textured = textured_sphere()
    plain = Mesh(textured.mesh.vertices, np.asarray(textured.mesh.faces))
    asset: Mesh | TexturedMesh = {"textured": textured, "coloured": textured.mesh, "plain": plain}[kind]
    path = save_asset(asset, tmp_path / "one.3mf", size=120)
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        names = set(package.namelist())
        root = ElementTree.fromstring(package.read("3D/3dmodel.model"))
        for name in names:
            if name.endswith((".rels", ".xml")):
                ElementTree.fromstring(package.read(name))
        picture = Image.open(io.BytesIO(package.read("3D/Textures/base_color.png"))) if kind == "textured" else None
    assert {"[Content_Types].xml", "_rels/.rels"} <= names and root.get("unit") == "millimeter"

    def every(name: str) -> list[ElementTree.Element]:
        return [each for each in root.iter() if each.tag.endswith("}" + name)]

    vertices = np.array([[float(each.get(axis) or "nan") for axis in "xyz"] for each in every("vertex")])
    faces = np.array([[int(each.get(key) or -1) for key in ("v1", "v2", "v3")] for each in every("triangle")])
    assert np.ptp(vertices, axis=0) == pytest.approx([120, 96, 60], rel=0.02)  # z up
    assert Mesh(vertices, faces).check().outward
    centers = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)[faces].mean(axis=1)
    if kind == "plain":
        assert every("triangle")[0].get("pid") is None
        return
    used = np.array([[int(each.get(key) or -1) for key in ("p1", "p2", "p3")] for each in every("triangle")])
    if picture is not None:
        uv = np.array([[float(each.get(key) or "nan") for key in "uv"] for each in every("tex2coord")])
        x, y = (uv[used].mean(axis=1) * 128).astype(int).T
        shown = np.asarray(picture)[127 - y, x] / 255
    else:
        rows = [bytes.fromhex((each.get("color") or "")[1:7]) for each in every("color")]
        shown = np.array([list(row) for row in rows])[used].mean(axis=1) / 255
    assert np.median(np.abs(linear_from_srgb(torch.from_numpy(shown)).numpy() - colors_at(centers))) < 0.01


def test_a_3mf_in_trimesh(tmp_path: Path) -> None:
    pytest.importorskip("lxml")
    pytest.importorskip("networkx")
    path = save_asset(textured_sphere(), tmp_path / "one.3mf")
    read = trimesh.load_scene(path).to_mesh()
    assert read.is_watertight and read.extents == pytest.approx([100, 80, 50], rel=0.02)


@pytest.mark.parametrize("kind", ["textured", "coloured"])
def test_a_usdz(kind: str, tmp_path: Path) -> None:
    Usd = pytest.importorskip("pxr.Usd")
    UsdGeom = pytest.importorskip("pxr.UsdGeom")
    textured = textured_sphere(normal_map=True)
    path = save_asset(textured if kind == "textured" else textured.mesh, tmp_path / "one.usdz", size=500)
    with zipfile.ZipFile(path) as package:
        assert all(each.compress_type == zipfile.ZIP_STORED for each in package.infolist())
        pictures = [name for name in package.namelist() if name.endswith(".png")]
        assert len(pictures) == (2 if kind == "textured" else 0)
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/asset/mesh"))
    points = np.array(shape.GetPointsAttr().Get())
    assert np.ptp(points, axis=0).max() == pytest.approx(0.5) and len(points) == len(textured.mesh.vertices)
    assert stage.GetPrimAtPath("/asset/material/surface").IsValid()
    uv = UsdGeom.PrimvarsAPI(shape).GetPrimvar("st" if kind == "textured" else "displayColor")
    assert uv.HasValue()
    if kind == "textured":
        assert len(uv.ComputeFlattened()) == 3 * len(textured.faces)


def test_existing_files_are_replaced_only_where_this_is_allowed(tmp_path: Path) -> None:
    textured = textured_sphere()
    (tmp_path / "one.png").write_text("a picture of the user's")
    with pytest.raises(FileExistsError, match="one.png exists"):
        textured.save(tmp_path / "one.obj", overwrite=False)
    assert os.listdir(tmp_path) == ["one.png"]
    textured.save(tmp_path / "one.glb", overwrite=False)
    with pytest.raises(FileExistsError, match="one.glb exists"):
        textured.save(tmp_path / "one.glb", overwrite=False)
    textured.save(tmp_path / "one.glb")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = textured_sphere().save(tmp_path / "one.glb")
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("triplane3d.storage.durable.os.replace", full)
    with pytest.raises(OSError, match="no room"):
        textured_sphere(normal_map=True).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["one.glb"]


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    textured = textured_sphere()
    for name, options, message in (
        ("one.fbx", {}, "is not the name of a mesh file"),
        ("one.glb", {"up": "x"}, "up must be"),
        ("one.glb", {"size": -1.0}, "size is the longest side"),
        ("one.glb", {"texture_format": "bmp"}, "format of a texture must be one of jpeg, png, webp"),
        ("one.obj", {"draco": True}, "Draco compresses a .glb only"),
    ):
        with pytest.raises(ValueError, match=message):
            textured.save(tmp_path / name, **options)
    with pytest.raises(ValueError, match="extras must be JSON"):
        textured.with_extras(loss=float("nan")).save(tmp_path / "one.glb")
    with pytest.raises(ValueError, match="without faces"):
        save_asset(Mesh(np.eye(3), np.zeros((0, 3), int)), tmp_path / "one.glb")
    assert not list(tmp_path.iterdir())


def test_the_view_in_trimesh() -> None:
    textured = textured_sphere()
    solid = textured.to_trimesh()
    uv = np.stack([solid.visual.uv[:, 0], 1 - solid.visual.uv[:, 1]], axis=1)
    picture = solid.visual.material.baseColorTexture
    assert np.median(texture_error(picture, uv, solid.vertices, solid.faces)) < 0.01
    assert textured.check().ok
