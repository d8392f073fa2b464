"""Photos taken around an object: their positions, and the gain in V-IoU from using several of them."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from evaluation.scripted_pipeline import ScriptedPipeline, ball, no_log
from PIL import Image

from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import EvaluationShape, held_out_shapes, mesh_shapes
from triplane3d.evaluation.views import AZIMUTHS, photos_around_meshes, photos_around_shapes, views_suite

SOME = sorted(FAMILIES)[:4]


@pytest.fixture(scope="module")
def shapes() -> list[EvaluationShape]:
    return held_out_shapes(3, SOME, resolution=16)


def aspect(photo: Image.Image) -> float:
    """Width of the object in pixels over its height."""
    rows, columns = np.nonzero(np.asarray(photo.getchannel("A")) > 127)
    return np.ptp(columns) / np.ptp(rows)


def test_gain_of_several_views_is_measured_against_one(shapes: list[EvaluationShape]) -> None:
    """The pipeline returns the truth from three photos on, and a ball for fewer photos."""
    pipe = ScriptedPipeline(shapes, lambda shape, *, photos, **_: shape.solid.field if photos > 2 else ball(0.5))
    photos = [[shape.pil_image] * 4 for shape in shapes]
    rows, estimates = views_suite(pipe, "made up", shapes, photos, counts=(1, 2, 4), points=4000, log=no_log)
    assert [row.method for row in rows] == ["1 view", "2 views", "4 views"]
    assert rows[-1].values("volume_iou") == [1.0] * 3
    gains = {found.name: found for found in estimates}
    assert gains["2 views - 1 view"].value == 0
    assert gains["4 views - 1 view"].low > 0.2
    assert pipe.calls[-1] == {"photos": 4, "cameras": [(0.0, None), (90.0, None), (180.0, None), (270.0, None)]}


def test_more_views_than_photos_are_an_error(shapes: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(shapes, lambda shape, **_: ball(0.5))
    with pytest.raises(ValueError, match="between 1 and the 2 photos of each shape, got 3"):
        views_suite(pipe, "made up", shapes, [[shape.pil_image] * 2 for shape in shapes], counts=(1, 3), log=no_log)


def test_pipeline_without_camera_conditions_receives_the_first_photo_only(shapes: list[EvaluationShape]) -> None:
    pipe = ScriptedPipeline(shapes, lambda shape, **_: ball(0.5))
    photos = [[shape.pil_image] * 2 for shape in shapes]
    views_suite(pipe, "made up", shapes, photos, counts=(1,), points=1000, pass_cameras=False, log=no_log)
    assert pipe.calls == [{"photos": 1, "cameras": None}] * 3
    with pytest.raises(ValueError, match="several photos need cameras"):
        views_suite(pipe, "made up", shapes, photos, counts=(2,), pass_cameras=False, log=no_log)


def test_photos_of_shapes_start_with_their_own_image_and_are_reproducible(shapes: list[EvaluationShape]) -> None:
    photos = photos_around_shapes(shapes, SOME, count=3, size=48)
    assert [len(of_shape) for of_shape in photos] == [3, 3, 3]
    for shape, of_shape in zip(shapes, photos):
        assert of_shape[0].tobytes() == shape.pil_image.tobytes()
        assert all(0.02 < (np.asarray(photo.getchannel("A")) > 127).mean() < 0.9 for photo in of_shape)
    again = photos_around_shapes(shapes, SOME, count=3, size=48)
    assert again[2][2].tobytes() == photos[2][2].tobytes()


def test_plank_is_narrow_in_photos_of_its_ends(tmp_path: Path) -> None:
    trimesh.creation.box(extents=(2, 0.8, 0.3)).export(tmp_path / "plank.ply")
    shapes = mesh_shapes(tmp_path, surface_points=100, image_size=96)
    (photos,) = photos_around_meshes(shapes, count=4, size=96)
    front, side, back, other_side = (aspect(photo) for photo in photos)
    assert AZIMUTHS[:4] == (0, 90, 180, 270)
    assert front == pytest.approx(back, rel=0.1) and side == pytest.approx(other_side, rel=0.1)
    assert front > 2 * side
