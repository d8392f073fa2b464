"""Properties of meshes of simple solids, conversions to and from trimesh, atomic saving."""

import numpy as np
import pytest
import torch
import trimesh
from diffusers.utils import export_to_obj, export_to_ply
from PIL import Image

from triplane3d.geometry.color import linear_from_srgb, srgb_from_linear
from triplane3d.geometry.mesh import Mesh


def box(scale: float = 1.0, center=(0.0, 0.0, 0.0), colored: bool = False) -> Mesh:
    solid = trimesh.creation.box([scale] * 3)
    colors = np.random.default_rng(0).random((8, 3)) if colored else None
    return Mesh(solid.vertices + np.asarray(center), solid.faces, colors)


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def test_properties_of_a_box():
    mesh = box(2.0, center=(5, 0, 0))
    report = mesh.check()
    assert report.ok and report.components == 1 and report.euler_number == 2
    assert mesh.volume == pytest.approx(8) and mesh.area == pytest.approx(24)
    np.testing.assert_allclose(mesh.bounds, [[4, -1, -1], [6, 1, 1]])
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, rtol=1e-6)
    assert ((mesh.vertices - [5, 0, 0]) * mesh.vertex_normals).sum(axis=1).min() > 0
    assert str(report) == "8 vertices, 12 faces, 1 component, volume 8: closed and wound outwards"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("array", ["vertices", "vertex_colors"])
def test_values_that_are_not_finite_are_refused(array, value):
    solid = box(colored=True)
    arrays = {"vertices": solid.vertices.copy(), "faces": solid.faces, "vertex_colors": solid.vertex_colors.copy()}
    arrays[array][3, 1] = value
    with pytest.raises(ValueError, match=f"{array} must be finite, got NaN or infinite values in 1 of 8 rows"):
        Mesh(**arrays)


def test_report_names_each_fault():
    solid = box()
    inverted = Mesh(solid.vertices, solid.faces[:, ::-1])
    assert inverted.volume == pytest.approx(-1)
    assert not inverted.check().outward and "wound inwards" in str(inverted.check())

    opened = Mesh(solid.vertices, solid.faces[1:])
    assert not opened.is_watertight and opened.check().boundary_edges == 3 and opened.check().winding_consistent

    twisted = solid.faces.copy()
    twisted[0] = twisted[0, ::-1]
    assert not Mesh(solid.vertices, twisted).check().winding_consistent

    doubled = Mesh(solid.vertices, np.concatenate([solid.faces, solid.faces[:1]]))
    assert doubled.check().crowded_edges == 3 and not doubled.is_watertight

    flat = Mesh(np.array([[0.0] * 3, [1.0] * 3, [2.0] * 3]), np.array([[0, 1, 2]]))
    assert flat.check().degenerate_faces == 1 and "without area" in str(flat.check())


def test_properties_agree_with_trimesh():
    mesh = joined(box(), box(0.5, (2, 0, 0)))
    other = mesh.to_trimesh()
    assert mesh.volume == pytest.approx(other.volume) and mesh.euler_number == other.euler_number == 4
    assert mesh.check().components == other.body_count == 2


def test_only_small_components_are_removed():
    mesh = joined(box(0.1, (3, 0, 0)), box(1.0), box(0.5, (2, 0, 0)))
    kept = mesh.remove_floaters(0.01)
    assert kept.volume == pytest.approx(1.125) and len(kept.vertices) == 16 and kept.check().components == 2
    assert mesh.remove_floaters(0).check() == mesh.check()
    assert mesh.remove_floaters(1.0).volume == pytest.approx(1)


def test_components_of_an_open_mesh_are_compared_by_area():
    solid = box(0.1, (3, 0, 0))
    mesh = joined(Mesh(solid.vertices, solid.faces[1:]), box(1.0))
    assert mesh.remove_floaters(0.02).volume == pytest.approx(1)


def test_the_error_for_an_unknown_suffix_lists_the_supported_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'box.fbx'.*\.glb, \.obj, \.ply, \.stl"):
        box().save(tmp_path / "box.fbx")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = box().save(tmp_path / "box.ply")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        box(2.0).save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_diffusers_exporters_accept_a_mesh(tmp_path):
    mesh = box(colored=True)
    for export, name in ((export_to_ply, "box.ply"), (export_to_obj, "box.obj")):
        export(mesh, str(tmp_path / name))
        loaded = trimesh.load(tmp_path / name, process=False)
        np.testing.assert_allclose(loaded.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(loaded.faces, mesh.faces)
    shown = trimesh.load(tmp_path / "box.ply", process=False).visual.vertex_colors[:, :3] / 255  # sRGB, as in a PLY
    np.testing.assert_allclose(shown, srgb_from_linear(torch.from_numpy(mesh.vertex_colors)), atol=1.01 / 255)
    export_to_ply(box(), str(tmp_path / "plain.ply"))


def test_all_parts_of_a_scene_are_loaded_in_place():
    part = box().to_trimesh()
    scene = trimesh.Scene()
    scene.add_geometry(part)
    scene.add_geometry(part, transform=trimesh.transformations.translation_matrix([3, 0, 0]))
    mesh = Mesh.from_trimesh(scene)
    assert mesh.volume == pytest.approx(2)
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -0.5], [3.5, 0.5, 0.5]])


def test_a_texture_becomes_linear_vertex_colors():
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    gray = Image.new("RGB", (4, 4), (188, 188, 188))  # half the linear intensity
    square.visual = trimesh.visual.TextureVisuals(uv=square.vertices[:, :2], image=gray)
    np.testing.assert_allclose(Mesh.from_trimesh(square).vertex_colors, 0.5, atol=5e-3)


def test_invalid_arrays_are_refused():
    with pytest.raises((ValueError, TypeError)):  # TypeError comes from the shape checks of the test run
        Mesh(np.zeros((4, 2)), np.array([[0, 1, 2]]))
    with pytest.raises((ValueError, TypeError)):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="index 3 vertices"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 3]]))
    with pytest.raises(ValueError, match=r"0\.\.1"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.full((3, 3), 255.0))


def test_srgb_curves_are_inverse():
    values = torch.linspace(0, 1, 257)
    torch.testing.assert_close(linear_from_srgb(srgb_from_linear(values)), values, atol=1e-6, rtol=0)
    assert srgb_from_linear(torch.tensor(0.2140)).item() == pytest.approx(0.5, abs=1e-3)
