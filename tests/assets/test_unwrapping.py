"""Texture coordinates: they belong to the mesh, do not overlap, and are made within a bounded time."""

import time

import numpy as np
import pytest
import trimesh
from scipy.ndimage import distance_transform_edt

from triplane3d.assets import unwrapping
from triplane3d.assets.texels import rasterize_texture
from triplane3d.assets.unwrapping import unwrap
from triplane3d.assets.uv_map import UVMap
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.topology import label_components


def of(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(solid.vertices, solid.faces)


def ramp(turns: float = 3.0, steps: int = 120) -> Mesh:
    """A spiral staircase without steps: one connected surface that covers itself when seen from above."""
    angle = np.linspace(0, turns * 2 * np.pi, steps)
    rings = [np.stack([r * np.cos(angle), angle / 40, r * np.sin(angle)], axis=1) for r in (0.3, 1.0)]
    inner = np.arange(steps - 1)
    outer = inner + steps
    faces = np.concatenate([np.stack([inner, inner + 1, outer], 1), np.stack([inner + 1, outer + 1, outer], 1)])
    return Mesh(np.concatenate(rings), faces)


SHAPES = {
    "sphere": of(trimesh.creation.icosphere(subdivisions=3)),
    "torus": of(trimesh.creation.torus(0.7, 0.25)),
    "box": of(trimesh.creation.box()),
    "ramp": ramp(),
    "ramp upside down": Mesh(ramp().vertices * [1, -1, 1], np.asarray(ramp().faces)),
    "triangle": Mesh(np.eye(3), np.array([[0, 1, 2]])),
}


@pytest.mark.parametrize("method", ["charts", "boxes"])
@pytest.mark.parametrize("shape", SHAPES)
def test_faces_do_not_overlap(shape: str, method: str) -> None:
    mesh = SHAPES[shape]
    uv_map = unwrap(mesh, size=512, method=method)
    uv_map.check(mesh)
    a, b, c = uv_map.uv.astype(np.float64)[uv_map.faces].transpose(1, 0, 2)
    areas = np.linalg.det(np.stack([b - a, c - a], axis=1)) / 2
    # v points down, so faces that are wound outwards have negative areas. xatlas mirrors single charts.
    assert (areas <= 1e-9).all() or (method == "charts" and areas.sum() < 0)
    areas = -np.abs(areas)
    # Overlapping faces cover fewer texels than the sum of their areas.
    covered = len(rasterize_texture(uv_map, 2048).face) / 2048**2
    assert covered == pytest.approx(-areas.sum(), rel=0.01)
    assert covered > 0.1, "most of the texture is empty"


@pytest.mark.parametrize("method", ["charts", "boxes"])
def test_charts_keep_their_distance(method: str) -> None:
    uv_map = unwrap(SHAPES["torus"], size=256, method=method, padding=6)
    texels = rasterize_texture(uv_map, 256)
    owner = np.full((256, 256), -1)
    owner[texels.row, texels.column] = label_components(uv_map.faces, len(uv_map.uv))[texels.face]
    assert owner.max() > 1
    for chart in range(owner.max() + 1):
        distance = distance_transform_edt(owner != chart)
        others = (owner >= 0) & (owner != chart)
        assert distance[others].min() >= (6 if method == "boxes" else 4)  # xatlas's texture has another size


def test_a_large_mesh_is_unwrapped_by_boxes() -> None:
    sphere = trimesh.creation.icosphere(subdivisions=6)
    assert len(sphere.faces) > unwrapping.MOST_CHART_FACES
    started = time.process_time()
    uv_map = unwrap(of(sphere), size=1024)
    assert time.process_time() - started < 20
    uv_map.check(of(sphere))


def test_triangles_without_common_vertices_are_unwrapped() -> None:
    """A soup that no edge connects, with crossing and repeated faces and one without area."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(600, 3))
    faces = np.arange(600).reshape(-1, 3)
    mesh = Mesh(vertices, np.concatenate([faces, faces[:5], faces[:5, ::-1], [[0, 0, 1]]]))
    for method in ("auto", "boxes"):
        uv_map = unwrap(mesh, size=256, method=method)
        uv_map.check(mesh)
        assert len(rasterize_texture(uv_map, 256).face) > 1000


@pytest.mark.parametrize(
    "script", ["import time; time.sleep(60)", "import os; os.abort()", "print('no charts')", "raise ValueError('no')"]
)
def test_a_process_that_hangs_or_fails_is_replaced_by_boxes(script: str, tmp_path, monkeypatch) -> None:
    path = tmp_path / "process.py"
    path.write_text(script)
    monkeypatch.setattr(unwrapping.xatlas_process, "__file__", str(path))
    started = time.perf_counter()
    with pytest.warns(UserWarning, match="box projection instead"):
        uv_map = unwrap(SHAPES["sphere"], seconds=1)
    assert time.perf_counter() - started < 20
    uv_map.check(SHAPES["sphere"])
    with pytest.raises(RuntimeError, match="xatlas"):
        unwrap(SHAPES["sphere"], method="charts", seconds=1)


def test_wrong_arguments_are_refused(monkeypatch) -> None:
    sphere = SHAPES["sphere"]
    for size in (7, 100_000):
        with pytest.raises(ValueError, match="size of a texture"):
            unwrap(sphere, size=size)
    with pytest.raises(ValueError, match="method"):
        unwrap(sphere, method="lscm")
    with pytest.raises(ValueError, match="without area"):
        unwrap(Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)))
    with pytest.raises(ValueError, match="without area"):
        unwrap(Mesh(np.ones((3, 3)), np.array([[0, 1, 2]])))
    monkeypatch.setattr(unwrapping, "MOST_FACES", 1000)
    with pytest.raises(ValueError, match="decimate"):
        unwrap(sphere)


def test_charts_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.normal(size=(9000, 3)), np.arange(9000).reshape(-1, 3))
    with pytest.raises(ValueError, match="3,000 charts do not fit into a texture of 16 × 16"):
        unwrap(mesh, size=16, method="boxes")


def test_coordinates_of_another_mesh_are_refused() -> None:
    box = SHAPES["box"]
    with pytest.raises(ValueError, match="another mesh"):
        unwrap(box).check(Mesh(box.vertices, np.asarray(box.faces)[::-1].copy()))
    with pytest.raises(ValueError, match="finite"):
        UVMap(np.full((3, 2), np.nan), np.arange(3), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="0..1"):
        UVMap(np.full((3, 2), 1.5), np.arange(3), np.array([[0, 1, 2]]))
