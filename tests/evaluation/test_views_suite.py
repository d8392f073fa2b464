"""Photos from around an object: where they are taken from is what the pipeline is told, and more of them may help."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from evaluation.scripted_pipeline import ScriptedPipeline, ball
from PIL import Image

from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.shapes import EvaluationShape, held_out_shapes, mesh_shapes
from triplane3d.evaluation.views import AZIMUTHS, photos_around_meshes, photos_around_shapes, views_suite

SOME = sorted(FAMILIES)[:4]


@pytest.fixture(scope="module")
def cases() -> list[EvaluationShape]:
    return held_out_shapes(3, SOME, resolution=16)


def silent(message: str) -> None:
    pass


def aspect(photo: Image.Image) -> float:
    rows, columns = np.nonzero(np.asarray(photo.getchannel("A")) > 127)
    return np.ptp(columns) / np.ptp(rows)


def test_what_several_views_add_is_measured_against_one(cases: list[EvaluationShape]) -> None:
    """The truth from three photos on, a ball before."""
    pipe = ScriptedPipeline(cases, lambda case, *, photos, **_: case.solid.field if photos > 2 else ball(0.5))
    rows, estimates = views_suite(
        pipe, "made up", cases, [[case.picture] * 4 for case in cases], counts=(1, 2, 4), points=4000, progress=silent
    )
    assert [row.method for row in rows] == ["1 view", "2 views", "4 views"]
    assert rows[-1].values("volume_iou") == [1.0] * 3
    gains = {found.name: found for found in estimates}
    assert gains["2 views - 1 view"].value == 0
    assert gains["4 views - 1 view"].low > 0.2
    assert pipe.asked[-1] == {"photos": 4, "cameras": [(0.0, None), (90.0, None), (180.0, None), (270.0, None)]}


def test_more_views_than_photos_are_refused(cases: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(cases, lambda case, **_: ball(0.5))
    with pytest.raises(ValueError, match="has 2 photos; 3"):
        views_suite(pipe, "made up", cases, [[case.picture] * 2 for case in cases], counts=(1, 3), progress=silent)


def test_shapes_are_photographed_from_around_and_first_from_their_front(cases: list[EvaluationShape]) -> None:
    photos = photos_around_shapes(cases, SOME, count=3, size=48)
    assert [len(of_case) for of_case in photos] == [3, 3, 3]
    for case, of_case in zip(cases, photos):
        assert of_case[0].tobytes() == case.picture.tobytes()
        assert all(0.02 < (np.asarray(photo.getchannel("A")) > 127).mean() < 0.9 for photo in of_case)
    again = photos_around_shapes(cases, SOME, count=3, size=48)
    assert again[2][2].tobytes() == photos[2][2].tobytes()


def test_a_plank_is_narrow_from_its_ends(tmp_path: Path) -> None:
    trimesh.creation.box(extents=(2, 0.8, 0.3)).export(tmp_path / "plank.ply")
    cases = mesh_shapes(tmp_path, surface_points=100, image_size=96)
    (photos,) = photos_around_meshes(cases, count=4, size=96)
    front, side, back, other_side = (aspect(photo) for photo in photos)
    assert AZIMUTHS[:4] == (0, 90, 180, 270)
    assert front == pytest.approx(back, rel=0.1) and side == pytest.approx(other_side, rel=0.1)
    assert front > 2 * side
