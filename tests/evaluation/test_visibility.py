"""The near cap of a ball is visible, and points behind another part are not."""

import numpy as np
import pytest
import trimesh

from triplane3d.evaluation.shape_metrics import Surface, compare_surfaces
from triplane3d.evaluation.visibility import visible
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh import Mesh

CAMERA = Camera.orbit(azimuth=30, elevation=20, field_of_view=40)


def as_surface(*parts: trimesh.Trimesh) -> Surface:
    whole = trimesh.util.concatenate(list(parts))
    return Surface.of_mesh(Mesh(np.asarray(whole.vertices), np.asarray(whole.faces)))


def ball(radius: float = 1.0) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=5, radius=radius)


def test_cap_of_a_ball_is_visible() -> None:
    """From distance d a camera sees the points of a unit ball with a height above 1/d: a fraction (1 - 1/d) / 2."""
    surface = as_surface(ball())
    visible_points = visible(surface.points, surface.normals, surface.require_mesh(), CAMERA)
    back = np.array(
        [
            np.sin(np.radians(30)) * np.cos(np.radians(20)),
            np.sin(np.radians(20)),
            np.cos(np.radians(30)) * np.cos(np.radians(20)),
        ]
    )
    height = surface.points @ back - 1 / CAMERA.distance
    assert visible_points[height > 0.02].all()
    # Near the rim the tolerance for grazing angles also accepts points just behind it.
    assert not visible_points[height < -0.15].any()
    assert visible_points.mean() == pytest.approx((1 - 1 / CAMERA.distance) / 2, abs=0.03)


def test_points_behind_another_part_are_hidden() -> None:
    wall = trimesh.creation.box(extents=(1.6, 1.6, 0.02))
    wall.apply_translation((0, 0, 0.9))
    surface = as_surface(ball(0.4), wall)
    visible_points = visible(surface.points, surface.normals, surface.require_mesh(), Camera.orbit())
    of_ball = np.linalg.norm(surface.points, axis=1) < 0.45
    assert not visible_points[of_ball].any()
    assert visible_points[surface.points[:, 2] > 0.905].all()


def test_wrong_back_lowers_the_hidden_f_score_only() -> None:
    """The far cap of the ball is flattened where the camera does not see it."""
    truth = as_surface(ball())
    dented = ball()
    vertices = np.array(dented.vertices)
    vertices[vertices[:, 2] < -0.3, 2] = -0.3
    prediction = as_surface(trimesh.Trimesh(vertices, dented.faces, process=False))
    scores = compare_surfaces(truth, prediction, camera=Camera.orbit())
    assert scores["f_score_05_visible"] > 0.99
    assert scores["f_score_05_hidden"] < 0.7 < scores["f_score_05"] < 0.95
    assert compare_surfaces(truth, None, camera=Camera.orbit())["f_score_05_visible"] == 0


def test_surface_without_a_mesh_raises() -> None:
    with pytest.raises(ValueError, match="samples only"):
        _ = Surface(np.zeros((1, 3)), np.ones((1, 3))).require_mesh()
