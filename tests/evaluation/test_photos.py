"""Silhouettes are compared with themselves and with others. No true shape is required."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from einops import rearrange
from pipelines.tiny_pipeline import build_tiny, photo

from triplane3d.evaluation.photos import photo_suite, silhouette_iou, touches_wall, worst_photo
from triplane3d.geometry.cameras import Camera
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.render import render
from triplane3d.images.image_processor import frame_foreground


def test_mesh_fits_its_own_silhouette_and_not_another() -> None:
    box = trimesh.creation.box(extents=(2, 0.6, 1))
    mesh = Mesh(np.asarray(box.vertices), np.asarray(box.faces))
    color = render(mesh, Camera.orbit(elevation=20), 200).color
    mask = frame_foreground(rearrange(color, "row column rgba -> 1 rgba row column"), 128)[0, 3].numpy() > 0.5
    assert silhouette_iou(mesh, mask) > 0.98
    assert silhouette_iou(mesh, mask.T) < 0.7


def test_photo_suite_scores_every_photo(tmp_path: Path) -> None:
    photo().save(tmp_path / "block.png")
    rows = photo_suite(build_tiny(), tmp_path, steps=1, resolution=10)
    measures = {"mask_iou", "depth_to_width", "watertight", "largest_component"}
    assert [set(row.scores[0]) for row in rows] == [measures | {"wall_contact"}, measures]
    assert all(list(row.categories) == ["block"] for row in rows)
    assert worst_photo(rows) == f"worst photo: block, mask IoU {rows[0].scores[0]['mask_iou']:.3f}"


def test_inflated_silhouette_fits_the_mask_by_construction(tmp_path: Path) -> None:
    photo().save(tmp_path / "block.png")
    inflated = photo_suite(build_tiny(), tmp_path, steps=1, resolution=10)[1]
    assert inflated.method == "inflated silhouette"
    assert inflated.scores[0]["mask_iou"] > 0.9
    assert inflated.scores[0]["watertight"] == inflated.scores[0]["largest_component"] == 1


def test_contact_is_detected_on_every_side_of_the_grid() -> None:
    values = np.full((5, 5, 5), -1.0)
    values[2, 2, 2] = 1
    assert not touches_wall(values, 0.0)
    for side in [(0, 2, 2), (4, 2, 2), (2, 0, 2), (2, 4, 2), (2, 2, 0), (2, 2, 4)]:
        touching = values.copy()
        touching[side] = 0.5
        assert touches_wall(touching, 0.0) and not touches_wall(touching, 0.6)


def test_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no photo"):
        photo_suite(build_tiny(), tmp_path)
