"""Rendered views and previews of an output show its meshes. The first view is from the front."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triplane3d import Mesh, Triplane3DPipelineOutput, extract_surface
from triplane3d.images.background import MaskReport


@pytest.fixture(scope="module")
def meshes() -> list[Mesh]:
    """A ball at the left and a wide, flat box."""
    ball = extract_surface(lambda p: 0.4 - (p - torch.tensor([-0.4, 0.0, 0.0])).norm(dim=-1), 24)
    box = extract_surface(lambda p: -(p.abs() / torch.tensor([0.9, 0.2, 0.6])).amax(dim=-1) + 1, 24)
    return [ball, box]


def test_a_still_shows_each_mesh_at_its_position(meshes: list[Mesh]) -> None:
    ball, box = (
        np.array(picture)[..., 3] > 127 for picture in Triplane3DPipelineOutput(meshes).render("still", size=64)
    )
    assert ball[:, :32].sum() > 10 * ball[:, 32:].sum() > 0 or not ball[:, 32:].any()
    rows, columns = np.nonzero(box)
    assert np.ptp(columns) > 3 * np.ptp(rows)


def test_depth_and_normal_maps_have_the_silhouette_of_the_still(meshes: list[Mesh]) -> None:
    out = Triplane3DPipelineOutput(meshes)
    depth, normal = (np.array(out.render(view, size=64)[0]) for view in ("depth", "normal"))
    assert np.array_equal(depth[..., 3], normal[..., 3])
    rows, columns = np.nonzero(depth[..., 3])
    middle = round(rows.mean()), round(columns.mean())
    assert depth[*middle, 0] == pytest.approx(depth[..., 0].max(), abs=8), "the ball's nearest point is its middle"
    assert normal[*middle, 2] > 240, "the normal at the middle points to the camera"


def test_turntables_and_previews(meshes: list[Mesh], tmp_path: Path) -> None:
    out = Triplane3DPipelineOutput(meshes)
    turns = out.render("turntable", size=32, frames=4)
    assert [len(turn) for turn in turns] == [4, 4]
    for name, frames in (("box.webp", 4), ("box.gif", 4), ("box.png", 1)):
        with Image.open(out.save_preview(tmp_path / name, index=1, size=32, frames=4)) as picture:
            assert getattr(picture, "n_frames", 1) == frames and picture.size == (32, 32)


def test_other_outputs_views_and_suffixes_are_refused(meshes: list[Mesh], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="output_type"):
        Triplane3DPipelineOutput(torch.zeros(1, 4, 4, 4)).render()
    with pytest.raises(ValueError, match="turntable"):
        Triplane3DPipelineOutput(meshes).render("wireframe")
    with pytest.raises(ValueError, match=".webp"):
        Triplane3DPipelineOutput(meshes).save_preview(tmp_path / "box.mp4", frames=1, size=16)
    assert list(tmp_path.iterdir()) == []


def test_the_old_name_of_the_mask_reports_still_works() -> None:
    reports = [MaskReport("alpha", 0.5, 1.0)]
    with pytest.warns(FutureWarning, match="mask_reports"):
        assert Triplane3DPipelineOutput([], mask_reports=reports).mattes == reports
