"""A simplified mesh is the same closed solid, with as many components and the same colours."""

import numpy as np
import pytest
import torch
import trimesh

from triplane3d.geometry.isosurface import extract_surface
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh import simplification as module
from triplane3d.geometry.mesh.simplification import simplify


@pytest.fixture(scope="module")
def ring_and_ball() -> Mesh:
    """A torus and a separate ball; red where x is positive, blue elsewhere."""

    def inside(points: torch.Tensor) -> torch.Tensor:
        ring = 0.15 - torch.hypot(points[:, :2].norm(dim=1) - 0.6, points[:, 2])
        return torch.maximum(ring, 0.25 - points.norm(dim=1))

    mesh = extract_surface(inside, 64)
    red = mesh.vertices[:, :1] > 0
    return Mesh(mesh.vertices, mesh.faces, np.where(red, [0.8, 0.1, 0.0], [0.0, 0.1, 0.8]))


@pytest.mark.parametrize("faces", [4000, 600])
def test_the_solid_stays_the_same(ring_and_ball: Mesh, faces: int) -> None:
    few = simplify(ring_and_ball, faces)
    report = few.check()
    assert len(few.faces) == faces < len(ring_and_ball.faces) / 3 and report.ok
    assert (report.components, report.euler_number) == (2, 2)
    assert few.volume == pytest.approx(ring_and_ball.volume, rel=0.02)
    ring = np.abs(np.hypot(np.linalg.norm(few.vertices[:, :2], axis=1) - 0.6, few.vertices[:, 2]) - 0.15)
    ball = np.abs(np.linalg.norm(few.vertices, axis=1) - 0.25)
    assert np.minimum(ring, ball).max() < 0.01
    away_from_border = np.abs(few.vertices[:, 0]) > 2 / 64
    np.testing.assert_allclose(
        few.vertex_colors[away_from_border, 0], np.where(few.vertices[away_from_border, 0] > 0, 0.8, 0), atol=1e-6
    )


def test_every_component_stays_closed(ring_and_ball: Mesh) -> None:
    few = simplify(Mesh(ring_and_ball.vertices, ring_and_ball.faces), 4)
    assert few.is_watertight and few.check().components == 2 and len(few.faces) < 40 and few.vertex_colors is None


def test_a_mesh_of_few_faces_is_unchanged(ring_and_ball: Mesh) -> None:
    assert simplify(ring_and_ball, len(ring_and_ball.faces)) is ring_and_ball


def test_invalid_simplifications_are_refused(ring_and_ball: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    solid = trimesh.creation.icosphere(3)
    twisted = np.vstack([solid.faces[:1, ::-1], solid.faces[1:]])
    for mesh in (Mesh(solid.vertices, solid.faces[20:]), Mesh(solid.vertices, twisted)):
        with pytest.raises(ValueError, match="only a closed, consistently wound.*(open edges|against each other)"):
            simplify(mesh, 100)
    with pytest.raises(ValueError, match="at least 4.*got 3"):
        simplify(ring_and_ball, 3)
    monkeypatch.setattr(module, "igl", None)
    with pytest.raises(ImportError, match=r"triplane3d\[mesh\]"):
        simplify(ring_and_ball, 100)
