"""The rasteriser: perspective of spheres and walls, visibility, shading, turntables."""

from math import pi, radians, sin, sqrt, tan

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.color import linear_from_srgb
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.normalization import normalize_mesh
from triplane3d.geometry.render import framing_distance, image_grid, render, save_turntable, turntable


def ball(radius: float = 1.0, center=(0.0, 0.0, 0.0), color=None, subdivisions: int = 5) -> Mesh:
    solid = trimesh.creation.icosphere(subdivisions, radius)
    colors = None if color is None else np.tile(np.float32(color), (len(solid.vertices), 1))
    return Mesh(solid.vertices + np.asarray(center), solid.faces, colors)


def joined(first: Mesh, second: Mesh) -> Mesh:
    colors = None if first.vertex_colors is None else np.concatenate([first.vertex_colors, second.vertex_colors])
    return Mesh(
        np.concatenate([first.vertices, second.vertices]),
        np.concatenate([first.faces, second.faces + len(first.vertices)]),
        colors,
    )


@pytest.fixture(scope="module")
def tilted() -> Mesh:
    """Two balls without symmetry: every view is different."""
    return normalize_mesh(joined(ball(0.5, (0.3, 0.1, 0.2), (1, 0, 0), 4), ball(0.3, (-0.4, 0.5, -0.3), (0, 0, 1), 4)))


@pytest.mark.parametrize("fov", [20.0, 60.0])
def test_the_area_of_a_sphere_follows_perspective(fov):
    radius, distance, size = 0.8, 6.0, 200
    picture = render(ball(radius), Camera.orbit(35, 20, field_of_view=fov, distance=distance), size)
    apparent = radius / sqrt(distance**2 - radius**2) / tan(radians(fov) / 2) * size / 2
    assert picture.color[..., 3].sum().item() == pytest.approx(pi * apparent**2, rel=5e-3)
    assert picture.depth.isfinite().sum().item() == pytest.approx(pi * apparent**2, rel=2e-2)


def test_depth_is_exact_at_the_center_and_infinite_outside():
    picture = render(ball(0.8), Camera.orbit(0, 0, field_of_view=40, distance=3.0), 65)
    assert picture.depth[32, 32].item() == pytest.approx(2.2, abs=1e-3)
    assert picture.depth[0, 0].isinf() and (picture.normal[0, 0] == 0).all() and picture.color[0, 0, 3] == 0


def test_the_depth_of_a_slanted_wall_is_exact():
    wall = Mesh(np.array([[-1, -1, 1.0], [1, -1, -1], [1, 1, -1], [-1, 1, 1]]), np.array([[0, 1, 2], [0, 2, 3]]))
    camera = Camera.orbit(0, 0, field_of_view=40, distance=4.0)
    picture = render(wall, camera, 64)
    visible = picture.depth.isfinite()
    _, directions = camera.rays(64)
    ray = directions.view(64, 64, 3)
    expected = 4 * ray[..., 2] / (ray[..., 0] + ray[..., 2])  # where the ray meets x + z = 0
    assert visible.sum() > 500
    torch.testing.assert_close(picture.depth[visible], expected[visible], atol=1e-4, rtol=0)


def test_depth_and_projection_agree():
    camera, size = Camera.orbit(25, 15, field_of_view=45), 128
    picture = render(ball(0.9), camera, size)
    row, column = picture.depth.isfinite().nonzero(as_tuple=True)
    origins, directions = camera.rays(size)
    axis = -origins[0] / origins[0].norm()
    ray = directions.view(size, size, 3)[row, column]
    points = origins[0] + ray * (picture.depth[row, column] / (ray @ axis))[:, None]
    assert abs(points.norm(dim=-1) - 0.9).max() < 2e-3
    pixels, depth = camera.project(points, size)
    torch.testing.assert_close(pixels, torch.stack([column, row], -1) + 0.5, atol=2e-2, rtol=0)
    torch.testing.assert_close(depth, picture.depth[row, column], atol=1e-4, rtol=0)


@pytest.mark.parametrize("smooth", [True, False])
def test_normals_are_unit_and_face_the_camera(smooth):
    mesh = ball(0.9, subdivisions=2)
    for faces in (mesh.faces, mesh.faces[:, ::-1]):  # also for faces that are wound inwards
        camera = Camera.orbit(40, 25)
        picture = render(Mesh(mesh.vertices, faces), camera, 64, smooth=smooth)
        visible = picture.depth.isfinite()
        normals, rays = picture.normal[visible], camera.rays(64)[1].view(64, 64, 3)[visible]
        torch.testing.assert_close(normals.norm(dim=-1), torch.ones(int(visible.sum())))
        assert (normals * rays).sum(-1).max() < 1e-5
        assert (normals[:, 1].max() > 0.9) and picture.normal[32, 32] @ torch.tensor(
            [sin(radians(40)), 0, sin(radians(50))]
        ) > 0.8


def test_the_nearest_surface_is_visible_in_any_order_of_faces():
    red, blue = ball(0.5, (0, 0, 0.5), (1, 0, 0)), ball(0.8, (0, 0, -0.6), (0, 0, 1))
    for mesh in (joined(red, blue), joined(blue, red)):
        front, back = render(mesh, Camera.orbit(0), 33).color[16, 16], render(mesh, Camera.orbit(180), 33).color[16, 16]
        assert front[0] > 0.5 > 0.1 > front[2] and back[2] > 0.5 > 0.1 > back[0]


@pytest.mark.parametrize("azimuth", [30.0, 135.0])
def test_turning_the_object_equals_turning_the_camera_the_other_way(tilted, azimuth):
    angle = radians(-azimuth)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    turned = Mesh(tilted.vertices @ turn.T, tilted.faces, tilted.vertex_colors)
    orbited, fixed = render(tilted, Camera.orbit(azimuth, 20), 96), render(turned, Camera.orbit(0, 20), 96)
    different = (orbited.color - fixed.color).abs().amax(-1) > 0.02
    assert different.float().mean() < 2e-3
    assert (render(tilted, Camera.orbit(0, 20), 96).color - fixed.color).abs().mean() > 0.01


def test_supersampling_changes_only_the_edge():
    hard, soft = (render(ball(), Camera.orbit(), 48, supersample=samples).color[..., 3] for samples in (1, 3))
    assert hard.unique().tolist() == [0, 1]
    between = (soft > 0) & (soft < 1)
    assert 40 < between.sum() < 250 and abs(hard.sum() - soft.sum()) < 0.01 * soft.sum()


def test_the_background_is_transparent_by_default():
    clear, blue = render(ball(), Camera.orbit(), 32), render(ball(), Camera.orbit(), 32, background=(0.1, 0.2, 0.9))
    torch.testing.assert_close(blue.color[0, 0], torch.tensor([0.1, 0.2, 0.9, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(blue.color[16, 16], clear.color[16, 16])
    assert clear.color[0, 0, 3] == 0


def test_rendered_colors_are_proportional_to_the_albedo():
    """Two albedos under the same light: the ratio of the linear pictures is the ratio of the albedos."""
    bright, dim = (
        linear_from_srgb(render(ball(color=[value] * 3), Camera.orbit(), 24).color[12, 12, :3]) for value in (0.6, 0.3)
    )
    torch.testing.assert_close(bright / dim, torch.full((3,), 2.0), atol=1e-3, rtol=0)


def test_there_are_no_gaps_between_neighboring_triangles():
    """A dense closed surface near the camera covers the background everywhere inside its outline."""
    mesh = Mesh.from_trimesh(trimesh.creation.icosphere(6))
    assert render(mesh, Camera.orbit(13, 7, field_of_view=30, distance=2.0), 300, supersample=1).depth.isfinite().all()


def test_triangles_are_cut_at_the_near_plane():
    floor = Mesh(
        np.array([[-50, -1, 60.0], [50, -1, 60], [50, -1, -60], [-50, -1, -60]]), np.array([[0, 1, 2], [0, 2, 3]])
    )
    picture = render(floor, Camera.orbit(0, 0, field_of_view=60, distance=3.0), 40, supersample=1)
    assert picture.depth[22:].isfinite().all() and not picture.depth[:20].isfinite().any()
    expected = 1 / (torch.tensor(19.5) / 20 * tan(radians(30)))
    assert picture.depth[39, 20].item() == pytest.approx(expected.item(), rel=1e-4)
    assert (
        not render(ball(0.5, (0, 0, 9)), Camera.orbit(0, 0, field_of_view=60, distance=3.0), 40).depth.isfinite().any()
    )  # behind the camera


def test_an_empty_or_edge_on_mesh_gives_an_empty_picture():
    edge_on = Mesh(np.array([[0, -1, 1.0], [0, 1, 1], [0, 0, -1]]), np.array([[0, 1, 2]]))
    for mesh in (Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), edge_on):
        picture = render(mesh, Camera.orbit(), 16)
        assert not picture.color.isnan().any() and picture.color[..., 3].sum() < 16
        picture.image(), picture.depth_image(), picture.normal_image()


def test_pictures_are_rgba_of_the_requested_size(tilted):
    picture = render(tilted, Camera.orbit(), 40)
    for image in (picture.image(), picture.depth_image(), picture.normal_image()):
        assert image.size == (40, 40) and image.mode == "RGBA" and 0 < np.asarray(image)[..., 3].mean() < 255
    near_is_bright = np.asarray(picture.depth_image())[..., 0][picture.depth.isfinite().numpy()]
    assert near_is_bright.max() == 255 and near_is_bright.min() > 20


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_turntable_files_contain_all_frames(tmp_path, tilted, suffix):
    images = turntable(tilted, frames=5, size=48)
    path = save_turntable(images, tmp_path / "new" / f"turn{suffix}", seconds=1.0)
    with Image.open(path) as animation:
        assert animation.n_frames == 5 and animation.size == (48, 48) and animation.info["loop"] == 0
        animation.seek(2)
        shown = np.asarray(animation.convert("RGBA").convert("RGB"), dtype=float)
        assert animation.info["duration"] == 200
    page = Image.new("RGBA", (48, 48), "white" if suffix == ".gif" else (0, 0, 0, 0))
    page.alpha_composite(images[2])
    inside = np.asarray(images[2])[..., 3] == 255
    assert abs(shown - np.asarray(page.convert("RGB"), dtype=float))[inside].mean() < 12


def test_a_turntable_starts_at_the_photo_and_can_be_one_picture(tmp_path, tilted):
    images = turntable(tilted, frames=3, size=32, elevation=10)
    camera = Camera.orbit(0, 10, distance=framing_distance(tilted))
    assert images[0].tobytes() == render(tilted, camera, 32).image().tobytes()
    assert Image.open(save_turntable(images, tmp_path / "still.png")).tobytes() == images[0].tobytes()
    with pytest.raises(ValueError, match=r"'turn.mp4'.*\.webp, \.gif or \.png"):
        save_turntable(images, tmp_path / "turn.mp4")


def test_a_turntable_shows_the_whole_object_and_fills_the_picture():
    for mesh in (normalize_mesh(Mesh.from_trimesh(trimesh.creation.box([2, 0.1, 2]))), ball(0.1)):
        coverage = np.stack([np.asarray(image)[..., 3] for image in turntable(mesh, frames=8, size=64)])
        assert not coverage[:, [0, -1]].any() and not coverage[:, :, [0, -1]].any()
        assert coverage.any(axis=(0, 1)).sum() > 0.9 * 64


def test_an_image_grid_contains_pictures_of_all_sizes():
    sheet = image_grid(
        [Image.new("RGBA", (30, 30), color) for color in ("red", "lime")] + [Image.new("L", (60, 20), 0)],
        columns=2,
        gap=4,
    )
    assert sheet.size == (2 * 34 + 4, 2 * 34 + 4)
    assert sheet.getpixel((19, 19)) == (255, 0, 0) and sheet.getpixel((53, 19)) == (0, 255, 0)
    assert sheet.getpixel((19, 53)) == (0, 0, 0) and sheet.getpixel((19, 40)) == (255, 255, 255)


def test_a_posed_camera_renders_its_own_picture(tilted):
    """Not square, off centre and away from the origin: every pixel shows the point that projects to it."""
    pose = np.eye(4)
    pose[:3, 3] = [0.3, -0.2, 3.5]
    camera = Camera(pose, fx=110.0, fy=90.0, cx=60.0, cy=30.0, width=96, height=64)
    picture = render(tilted, camera)
    assert picture.color.shape == (64, 96, 4) and picture.image().size == (96, 64)
    row, column = picture.depth.isfinite().nonzero(as_tuple=True)
    origins, directions = camera.rays()
    ray = directions.view(64, 96, 3)[row, column]
    points = origins[0] + ray * (picture.depth[row, column] / -ray[:, 2])[:, None]
    centers = tilted.vertices[np.asarray(tilted.faces)].mean(axis=1)
    distance, _ = cKDTree(centers).query(points.numpy())
    assert len(points) > 500 and distance.max() < 0.05
    pixels, _ = camera.project(points)
    torch.testing.assert_close(pixels, torch.stack([column, row], -1) + 0.5, atol=1e-3, rtol=0)


def test_an_orbiting_camera_and_its_pose_give_the_same_picture(tilted):
    orbit = Camera.orbit(40, 25, width=64, height=48)
    one, other = render(tilted, orbit), render(tilted, Camera(orbit.camera_to_world, fx=orbit.fx, width=64, height=48))
    assert (one.color - other.color).abs().amax(-1).gt(1e-3).float().mean() < 2e-3
