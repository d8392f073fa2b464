"""The content of mesh files, read by independent readers of each format, and round trips."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from geometry.mesh.independent_readers import read_file, read_glb

from triplane3d.geometry.mesh.mesh import SUFFIXES, Mesh
from triplane3d.geometry.mesh.normalization import normalize_mesh

Y_UP, Z_UP = np.eye(3), np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # (x, y, z) → (x, -z, y)
COLORED = (".glb", ".obj", ".ply")


def wedge(colored: bool = True) -> Mesh:
    """A solid without symmetry: 0.4 wide, 1.6 high, 0.8 deep and off centre, so that exchanged axes are detected."""
    solid = trimesh.creation.icosphere(2)
    vertices = solid.vertices * [0.2, 0.8, 0.4] * (1 + 0.3 * solid.vertices[:, [1]]) + [0.1, 0.2, 0.3]
    colors = np.random.default_rng(0).random((len(vertices), 3)) ** 2 if colored else None
    return Mesh(vertices, solid.faces, colors)


def to_display(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_obj_and_ply_contain_display_values(tmp_path: Path, suffix: str) -> None:
    mesh = wedge()
    colors = read_file(mesh.save(tmp_path / f"wedge{suffix}")).colors
    values = colors / 255 if colors.dtype == np.uint8 else colors
    np.testing.assert_allclose(values, to_display(mesh.vertex_colors), atol=0.51 / 255)


def test_glb_contains_linear_colors_in_16_bits(tmp_path: Path) -> None:
    mesh = wedge()
    content = read_glb(mesh.save(tmp_path / "wedge.glb"))
    attributes = content.header["meshes"][0]["primitives"][0]["attributes"]
    assert content.header["accessors"][attributes["COLOR_0"]]["normalized"] is True
    assert set(attributes) == {"POSITION", "NORMAL", "COLOR_0"} and content.colors.dtype == np.uint16
    np.testing.assert_allclose(content.colors[:, :3] / 65535, mesh.vertex_colors, atol=0.51 / 65535)
    assert (content.colors[:, 3] == 65535).all()


@pytest.mark.parametrize("suffix", COLORED)
def test_all_256_display_values_stay_distinct(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    strip = np.stack([np.arange(256), np.arange(256) % 2, np.zeros(256)], axis=1)
    faces = np.stack([np.arange(254), np.arange(1, 255), np.arange(2, 256)], axis=1)
    path = Mesh(strip, faces, np.repeat(linear[:, None], 3, axis=1)).save(tmp_path / f"ramp{suffix}")
    assert len(np.unique(read_file(path).colors[:, 0])) == 256
    np.testing.assert_allclose(to_display(Mesh.load(path).vertex_colors[:, 0]), levels, atol=0.03 / 255)


@pytest.mark.parametrize("colored", [True, False])
def test_glb_is_matt_single_sided_and_named_after_the_file(tmp_path: Path, colored: bool) -> None:
    header = read_glb(wedge(colored).save(tmp_path / "Bürostuhl 3.glb")).header
    (material,) = header["materials"]
    assert material["pbrMetallicRoughness"] == {"metallicFactor": 0, "roughnessFactor": 0.9}
    assert not material["doubleSided"] and header["meshes"][0]["primitives"][0]["material"] == 0
    assert header["nodes"] == [{"name": "Bürostuhl 3", "mesh": 0}] and header["scenes"] == [{"nodes": [0]}]
    assert header["meshes"][0]["name"] == "Bürostuhl 3"


@pytest.mark.parametrize(
    ("suffix", "options", "axes", "scale"),
    [
        (".glb", {}, Y_UP, 1),
        (".obj", {}, Y_UP, 1),
        (".ply", {}, Z_UP, 100 / 1.6),  # millimetres
        (".stl", {}, Z_UP, 100 / 1.6),
        (".glb", {"up": "z", "size": 800}, Z_UP, 0.8 / 1.6),  # metres
        (".obj", {"up": "z", "size": 40.0}, Z_UP, 40 / 1.6),
        (".ply", {"up": "y", "size": 0.5}, Y_UP, 0.5 / 1.6),
        (".stl", {"up": "y"}, Y_UP, 100 / 1.6),
    ],
)
def test_axes_unit_and_normals(tmp_path: Path, suffix: str, options: dict, axes: np.ndarray, scale: float) -> None:
    mesh = wedge()
    mesh = Mesh(mesh.vertices * (1.6 / np.ptp(mesh.vertices[:, 1])), mesh.faces, mesh.vertex_colors)
    content = read_file(mesh.save(tmp_path / f"wedge{suffix}", **options))
    corners = mesh.vertices[mesh.faces] @ axes.T * scale
    np.testing.assert_allclose(content.vertices[content.faces], corners, rtol=1e-5, atol=1e-5 * scale)
    if suffix == ".stl":
        crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = crosses / np.linalg.norm(crosses, axis=1, keepdims=True)
    else:
        normals = mesh.vertex_normals @ axes.T
    np.testing.assert_allclose(content.normals, normals, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("up", [None, "y", "z"])
def test_load_inverts_save_except_for_the_size(tmp_path: Path, suffix: str, up: str | None) -> None:
    mesh = normalize_mesh(wedge())
    path = mesh.save(tmp_path / "new folder" / f"wedge{suffix}", up=up, size=30)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "no temporary file remains"
    loaded = Mesh.load(path, up=up)
    assert np.ptp(loaded.vertices, axis=0).max() == pytest.approx(0.03 if suffix == ".glb" else 30, rel=1e-5)
    assert loaded.check().ok and len(loaded.vertices) == len(mesh.vertices)
    loaded = normalize_mesh(loaded)
    np.testing.assert_allclose(loaded.vertices[loaded.faces], mesh.vertices[mesh.faces], atol=1e-5)
    if suffix == ".stl":
        assert loaded.vertex_colors is None
    else:
        np.testing.assert_allclose(to_display(loaded.vertex_colors), to_display(mesh.vertex_colors), atol=0.51 / 255)


def test_glb_and_obj_keep_the_coordinates(tmp_path: Path) -> None:
    mesh = wedge()
    for name in ("wedge.glb", "wedge.obj"):
        loaded = Mesh.load(mesh.save(tmp_path / name))
        np.testing.assert_allclose(loaded.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(loaded.faces, mesh.faces)


def test_trimesh_has_display_values() -> None:
    """trimesh's readers of PLY and OBJ and its viewer use sRGB."""
    mesh = wedge()
    solid = mesh.to_trimesh()
    np.testing.assert_allclose(solid.visual.vertex_colors[:, :3] / 255, to_display(mesh.vertex_colors), atol=0.51 / 255)
    back = Mesh.from_trimesh(solid)
    np.testing.assert_allclose(to_display(back.vertex_colors), to_display(mesh.vertex_colors), atol=0.51 / 255)
    linear = Mesh.from_trimesh(solid, color_space="linear").vertex_colors
    np.testing.assert_allclose(linear, solid.visual.vertex_colors[:, :3] / 255, atol=1e-6)
    with pytest.raises(ValueError, match='"srgb" or "linear", got \'rgb\''):
        Mesh.from_trimesh(solid, color_space="rgb")


def test_parts_of_a_glb_keep_their_colors_and_places(tmp_path: Path) -> None:
    mesh = wedge()
    scene = trimesh.load_scene(mesh.save(tmp_path / "wedge.glb"))
    scene.apply_translation([3, 0, 0])
    moved = Mesh.from_trimesh(scene, color_space="linear")
    np.testing.assert_allclose(moved.vertices, mesh.vertices + np.float32([3, 0, 0]), atol=1e-6)
    np.testing.assert_allclose(moved.vertex_colors, mesh.vertex_colors, atol=1e-4)


def test_a_vertex_without_faces_has_a_unit_normal_in_the_file(tmp_path: Path) -> None:
    mesh = wedge()
    mesh = Mesh(np.vstack([mesh.vertices, [[0, 9, 0]]]), mesh.faces)
    content = read_glb(mesh.save(tmp_path / "wedge.glb"))
    np.testing.assert_allclose(np.linalg.norm(content.normals, axis=1), 1, atol=1e-5)
    corners = read_file(mesh.save(tmp_path / "wedge.ply")).vertices[mesh.faces].reshape(-1, 3)
    assert np.ptp(corners, axis=0).max() == pytest.approx(100, rel=1e-5), "the size is that of the surface"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"up": "x"}, 'up must be "y" or "z"'),
        ({"size": 0}, "above 0; got 0"),
        ({"size": float("nan")}, "got nan"),
        ({"size": float("inf")}, "got inf"),
        ({"size": -3}, "got -3"),
    ],
)
def test_invalid_axes_and_sizes_are_refused(tmp_path: Path, options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        wedge().save(tmp_path / "wedge.stl", **options)
    assert not list(tmp_path.iterdir())


def test_missing_files_other_suffixes_and_empty_meshes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no mesh file .*nowhere.ply"):
        Mesh.load(tmp_path / "nowhere.ply")
    with pytest.raises(ValueError, match=r"'chair.fbx'.*\.glb, \.obj, \.ply, \.stl"):
        Mesh.load(tmp_path / "chair.fbx")
    with pytest.raises(ValueError, match="without faces as 'empty.glb'"):
        Mesh(np.zeros((3, 3)), np.zeros((0, 3), np.int64)).save(tmp_path / "empty.glb")
    with pytest.raises(ValueError, match="coincide"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])).save(tmp_path / "point.stl")
