"""A camera sees the near cap of a ball, and nothing of what stands behind something else."""

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


def test_of_a_ball_the_cap_before_the_tangents_is_seen() -> None:
    """From distance d a camera sees (1 - 1/d) / 2 of a unit ball: the points of height above 1/d towards it."""
    surface = as_surface(ball())
    seen = visible(surface.points, surface.normals, *surface.triangles, CAMERA)
    back = np.array(
        [
            np.sin(np.radians(30)) * np.cos(np.radians(20)),
            np.sin(np.radians(20)),
            np.cos(np.radians(30)) * np.cos(np.radians(20)),
        ]
    )
    height = surface.points @ back - 1 / CAMERA.distance
    assert seen[height > 0.02].all()
    # Beyond the rim a ray that grazes it is as near as the pixel allows.
    assert not seen[height < -0.15].any()
    assert seen.mean() == pytest.approx((1 - 1 / CAMERA.distance) / 2, abs=0.03)


def test_what_stands_behind_is_hidden() -> None:
    wall = trimesh.creation.box(extents=(1.6, 1.6, 0.02))
    wall.apply_translation((0, 0, 0.9))
    surface = as_surface(ball(0.4), wall)
    seen = visible(surface.points, surface.normals, *surface.triangles, Camera.orbit())
    of_ball = np.linalg.norm(surface.points, axis=1) < 0.45
    assert not seen[of_ball].any()
    assert seen[surface.points[:, 2] > 0.905].all()


def test_a_wrong_back_costs_the_hidden_part_alone() -> None:
    """The ball's far half is pushed in by a cap that the camera cannot see."""
    truth = as_surface(ball())
    dented = ball()
    vertices = np.array(dented.vertices)
    vertices[vertices[:, 2] < -0.3, 2] = -0.3
    prediction = as_surface(trimesh.Trimesh(vertices, dented.faces, process=False))
    scores = compare_surfaces(truth, prediction, camera=Camera.orbit())
    assert scores["f_score_05_visible"] > 0.99
    assert scores["f_score_05_hidden"] < 0.7 < scores["f_score_05"] < 0.95
    assert compare_surfaces(truth, None, camera=Camera.orbit())["f_score_05_visible"] == 0


def test_a_surface_of_samples_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="samples only"):
        _ = Surface(np.zeros((1, 3)), np.ones((1, 3))).triangles
