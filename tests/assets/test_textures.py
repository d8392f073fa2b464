"""Texels, baked colours and baked normals, compared with the functions that they sample."""

import numpy as np
import pytest
import torch
import trimesh

from triplane3d.assets.baking import VertexColorField, bake_color, texel_positions
from triplane3d.assets.finishing import finish
from triplane3d.assets.normal_maps import bake_normal_map, dense_normals
from triplane3d.assets.occlusion import lit_share
from triplane3d.assets.pictures import sample_picture
from triplane3d.assets.settings import preset
from triplane3d.assets.texels import rasterize_texture
from triplane3d.assets.textured_mesh import TexturedMesh
from triplane3d.assets.texturing import texture
from triplane3d.assets.unwrapping import unwrap
from triplane3d.assets.uv_map import UVMap, tangent_frames
from triplane3d.geometry.color import srgb_from_linear
from triplane3d.geometry.fields import ColorField
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.sampling import sample_mesh


def sphere(subdivisions: int = 3) -> Mesh:
    solid = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(solid.vertices, solid.faces)


class Gradient(ColorField):
    """Colours that change smoothly with the position."""

    has_color = True

    def color(self, points: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.4 * torch.sin(3 * points)


def surface_points(mesh: Mesh, uv_map: UVMap, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random points of the surface: face, barycentric coordinates, position and texture coordinates."""
    rng = np.random.default_rng(1)
    face = rng.choice(len(mesh.faces), count, p=mesh.face_areas / mesh.face_areas.sum())
    weights = rng.dirichlet([1, 1, 1], count)
    position = (mesh.vertices[np.asarray(mesh.faces)[face]] * weights[..., None]).sum(axis=1)
    uv = (uv_map.uv[uv_map.faces[face]] * weights[..., None]).sum(axis=1)
    return face, weights, position, uv


@pytest.mark.parametrize("size", [16, 100, 512])
def test_a_texel_is_at_its_centre(size: int) -> None:
    mesh = sphere()
    uv_map = unwrap(mesh, size=size, method="boxes")
    texels = rasterize_texture(uv_map, size)
    found = texels.interpolate(uv_map.faces, uv_map.uv)
    centers = np.stack([texels.column + 0.5, texels.row + 0.5], axis=1) / size
    assert np.abs(found - centers).max() < 0.02 / size
    assert np.allclose(texels.weights.sum(axis=1), 1, atol=1e-5)


def test_faces_without_area_in_the_texture_have_no_texels() -> None:
    uv_map = UVMap(np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]), np.arange(4), np.array([[3, 3, 3],
                                                                                   [0, 2, 1], [0, 0, 2]]))  # fmt: skip
    assert set(rasterize_texture(uv_map, 64).face) == {1}


def test_empty_pixels_take_the_value_of_the_nearest_texel() -> None:
    uv_map = UVMap(np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]), np.arange(3), np.array([[0, 2, 1]]))
    texels = rasterize_texture(uv_map, 32)
    picture = texels.picture(np.stack([texels.row, texels.column], axis=1))
    rows, columns = np.mgrid[:32, :32]
    distance = np.hypot(picture[..., 0] - rows, picture[..., 1] - columns)
    everything = np.hypot(texels.row[:, None, None] - rows, texels.column[:, None, None] - columns)
    assert np.allclose(distance, everything.min(axis=0))


def test_the_colours_of_a_field_are_found_in_the_texture() -> None:
    """The texture is read at random points of the surface, also next to seams."""
    mesh, field = sphere(4), Gradient()
    uv_map = unwrap(mesh, size=512)
    picture = bake_color(mesh, rasterize_texture(uv_map, 512), field)
    _, _, position, uv = surface_points(mesh, uv_map, 20_000)
    expected = field.color(torch.from_numpy(position)).numpy()
    error = np.abs(sample_picture(picture, uv) - expected)
    assert np.median(error) < 0.002 and error.max() < 0.03


def test_textures_are_srgb_and_interpolated_in_linear_light() -> None:
    half = Mesh(np.eye(3), np.array([[0, 1, 2]]), np.full((3, 3), 0.5))
    uv_map = unwrap(half, size=64)
    assert (bake_color(half, rasterize_texture(uv_map, 64)) == 188).all()  # sRGB of one half
    ramp = Mesh(np.eye(3), np.array([[0, 1, 2]]), np.eye(3))
    texels = rasterize_texture(uv_map, 64)
    expected = srgb_from_linear(torch.from_numpy(texel_positions(ramp, texels))) * 255
    found = bake_color(ramp, texels)[texels.row, texels.column]
    assert np.abs(found - expected.numpy()).max() < 0.51 + 1e-3


def test_a_field_without_colours_and_broken_colours() -> None:
    class Broken(Gradient):
        def color(self, points: torch.Tensor) -> torch.Tensor:
            return points * torch.nan

    class Plain(Gradient):
        has_color = False

    mesh = sphere(1)
    assert len(np.unique(texture(mesh, Plain(), size=64).material.base_color.reshape(-1, 3), axis=0)) == 1
    with pytest.raises(ValueError, match="not finite"):
        texture(mesh, Broken(), size=64)


def bumps(points: np.ndarray) -> np.ndarray:
    """Positive inside of a sphere with bumps."""
    return 0.8 + 0.01 * np.sin(14 * points).sum(axis=-1) - np.linalg.norm(points, axis=-1)


def bumpy_normals(points: np.ndarray) -> np.ndarray:
    """The outward normals of the surface through the points, from the gradient."""
    gradient = 0.14 * np.cos(14 * points) - points / np.linalg.norm(points, axis=-1, keepdims=True)
    return -gradient / np.linalg.norm(gradient, axis=-1, keepdims=True)


def bumpy(subdivisions: int) -> Mesh:
    directions = sphere(subdivisions).vertices.astype(np.float64)
    radius = np.full((len(directions), 1), 0.8)
    for _ in range(50):
        radius += bumps(directions * radius)[:, None]
    return Mesh(directions * radius, np.asarray(sphere(subdivisions).faces))


def tangent_space(textured: TexturedMesh, count: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points of the surface, their mapped normals by the frames of a file, the same by derivatives, plain normals.

    The second are what a renderer computes that has no tangents: T = ∂P/∂u across the normal and, since v points down
    and the bitangent up, B = -∂P/∂v, both from the triangle (glTF 2.0, section 3.9.3).
    """
    mesh, uv_map = textured.mesh, textured.uv_map
    face, weights, position, uv = surface_points(mesh, uv_map, count)
    picture = textured.material.normal_map
    size = len(picture)
    stored = picture[(uv[:, 1] * size).astype(int), (uv[:, 0] * size).astype(int)] / 127.5 - 1

    def mean(values: np.ndarray) -> np.ndarray:
        return (values[uv_map.faces[face]] * weights[..., None]).sum(axis=1)

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    normal, tangent = mean(textured.normals), mean(textured.tangents)
    bitangent = np.cross(normal, tangent[:, :3]) * tangent[:, 3:]
    by_frames = stored[:, :1] * tangent[:, :3] + stored[:, 1:2] * bitangent + stored[:, 2:] * normal

    p, q = mesh.vertices[np.asarray(mesh.faces)[face]].astype(float), uv_map.uv[uv_map.faces[face]].astype(float)
    edges = np.stack([p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]], axis=1)
    steps = np.stack([q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]], axis=1)
    along_u, along_v = np.linalg.solve(steps, edges).transpose(1, 0, 2)
    n = unit(normal)
    t = unit(along_u - (along_u * n).sum(1, keepdims=True) * n)
    b = unit(-along_v + (along_v * n).sum(1, keepdims=True) * n)
    by_derivatives = stored[:, :1] * t + stored[:, 1:2] * b + stored[:, 2:] * n
    return position, unit(by_frames), unit(by_derivatives), n


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between unit vectors, in degrees."""
    return np.degrees(np.arccos((a * b).sum(axis=-1).clip(-1, 1)))


@pytest.mark.parametrize("method", ["charts", "boxes"])
def test_a_normal_map_restores_the_normals_of_the_dense_mesh(method: str) -> None:
    mesh, dense = bumpy(3), bumpy(6)
    uv_map = unwrap(mesh, size=512, method=method)
    textured = texture(mesh, size=512, uv_map=uv_map, dense=dense, normal_map=True)
    position, by_frames, by_derivatives, plain = tangent_space(textured)
    expected = bumpy_normals(position)
    without = angles(plain, expected)
    assert np.median(without) > 2.5  # the bumps are not in the mesh
    assert np.median(angles(by_frames, expected)) < 0.3 * np.median(without)
    # A renderer without tangents gets nearly the same: a wrong sign of an axis would double the error instead.
    assert np.median(angles(by_derivatives, expected)) < 0.6 * np.median(without)


def test_tangent_frames_are_orthonormal_and_follow_mirrored_charts() -> None:
    mesh = sphere(2)
    uv_map = unwrap(mesh, size=256, method="boxes")
    frames = tangent_frames(mesh, uv_map)
    normals = mesh.vertex_normals[uv_map.vertices]
    assert np.allclose(np.linalg.norm(frames[:, :3], axis=1), 1, atol=1e-5)
    assert np.abs((frames[:, :3] * normals).sum(axis=1)).max() < 1e-5
    assert (frames[:, 3] == 1).all()
    mirrored = tangent_frames(mesh, UVMap(uv_map.uv * [-1, 1] + [1, 0], uv_map.vertices, uv_map.faces))
    assert (mirrored[:, 3] == -1).all() and np.allclose(mirrored[:, :3], -frames[:, :3], atol=1e-4)
    flat = tangent_frames(mesh, UVMap(uv_map.uv * 0, uv_map.vertices, uv_map.faces))
    assert np.isfinite(flat).all() and np.allclose(np.linalg.norm(flat[:, :3], axis=1), 1, atol=1e-5)


def test_the_other_side_of_a_thin_plate_is_not_baked() -> None:
    plate = trimesh.creation.box((1, 1, 0.001)).subdivide_loop(4)
    dense = Mesh(plate.vertices, plate.faces)
    points = np.array([[0.1, 0.1, -0.0004], [0.1, 0.1, 0.0004]], np.float32)
    facing = np.array([[0, 0, 1], [0, 0, 1]], np.float32)
    assert (dense_normals(dense, points, facing)[:, 2] > 0.9).all()


def test_a_flat_normal_map_where_the_dense_mesh_is_the_mesh() -> None:
    mesh = sphere(4)
    uv_map = unwrap(mesh, size=128)
    texels = rasterize_texture(uv_map, 128)
    picture = bake_normal_map(mesh, uv_map, texels, mesh)
    assert np.abs(picture.astype(int) - [128, 128, 255]).max() <= 6


def test_the_colours_of_a_dense_mesh_are_kept() -> None:
    dense = sphere(5)
    colors = Gradient().color(torch.from_numpy(dense.vertices)).numpy()
    dense = Mesh(dense.vertices, np.asarray(dense.faces), colors)
    textured = finish(dense, None, preset("web", texture=256, faces=500, snap=False))
    assert isinstance(textured, TexturedMesh) and len(textured.faces) < len(dense.faces) / 2
    points, _ = sample_mesh(dense, 2000, np.random.default_rng(0))
    _, _, position, uv = surface_points(textured.mesh, textured.uv_map, 2000)
    near = VertexColorField(dense).color(torch.from_numpy(position.astype(np.float32))[None])[0].numpy()
    assert np.abs(sample_picture(textured.material.base_color, uv) - near).max() < 0.05
    assert np.abs(near - Gradient().color(torch.from_numpy(position)).numpy()).mean() < 0.02


def test_ambient_occlusion_of_a_sphere_and_of_a_corner() -> None:
    ball = sphere(4)
    assert lit_share(ball, ball.vertices, ball.vertex_normals).min() > 0.97
    # A floor that a high wall meets at x = 0: half of the directions are free next to it, all far away from it.
    floor = trimesh.creation.box((4, 0.1, 4), transform=trimesh.transformations.translation_matrix([2, -0.05, 0]))
    wall = trimesh.creation.box((0.1, 4, 4), transform=trimesh.transformations.translation_matrix([-0.05, 2, 0]))
    solid = trimesh.util.concatenate([floor, wall])
    mesh = Mesh(solid.vertices, solid.faces)
    points = np.array([[0.08, 0, 0], [0.8, 0, 0], [3.9, 0, 0]], np.float32)
    share = lit_share(mesh, points, np.tile(np.array([[0, 1, 0]], np.float32), (3, 1)))
    assert share[0] == pytest.approx(0.5, abs=0.08) and share[0] < share[1] < share[2] and share[2] > 0.85
    # The form factor of the infinite wall's strip: (1 - sin of the angle to its top) / 2 is hidden in the plane.
    assert share[1] == pytest.approx(1 - (1 - np.sin(np.arctan(0.8 / 4))) / 2, abs=0.12)


def test_wrong_arguments_are_refused() -> None:
    mesh = sphere(1)
    for size in (7, 100_000):
        with pytest.raises(ValueError, match="size of a texture in texels must be from 16 to 8192"):
            texture(mesh, size=size)
    with pytest.raises(ValueError, match="dense"):
        texture(mesh, size=64, normal_map=True)
    good = unwrap(mesh, size=64)
    with pytest.raises(ValueError, match="no area"):
        texture(mesh, size=64, uv_map=UVMap(good.uv * 0, good.vertices, good.faces))
    with pytest.raises(ValueError, match="another mesh"):
        texture(sphere(2), size=64, uv_map=good)
    with pytest.raises(ValueError, match="NaN"):
        texture(Mesh(mesh.vertices * np.nan, np.asarray(mesh.faces)), size=64)
