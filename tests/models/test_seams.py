"""Smoothing of seams: jumps between patches are smoothed; edges inside patches and slopes do not change."""

import pytest
import torch
from seams import autoencoded, contrast, smoothed

from triplane3d import Triplane3DPipeline
from triplane3d.data.procedural import FAMILIES
from triplane3d.evaluation.evaluation_shapes import held_out_shapes
from triplane3d.models.seams import smooth_seams
from triplane3d.models.triplane import TriplaneField, TriplaneFieldDecoder


def steps(at: int, size: int = 32) -> torch.Tensor:
    """Planes that step from 0 to 1 at the column `at`."""
    return (torch.arange(size) >= at).float().expand(1, 3, 2, size, size).clone()


@pytest.mark.parametrize("transposed", [False, True])
def test_a_step_between_patches_becomes_a_slope(transposed: bool) -> None:
    planes = steps(at=16).mT if transposed else steps(at=16)
    smooth = smooth_seams(planes, patch=8, reach=4)
    profile = (smooth.mT if transposed else smooth)[0, 0, 0, 0]
    assert float(profile.diff().max()) <= 1 / 8 + 1e-6
    assert torch.equal(profile[:12], torch.zeros(12)) and torch.equal(profile[20:], torch.ones(12))


def test_an_edge_within_a_patch_stays_sharp() -> None:
    planes = steps(at=12)
    assert torch.equal(smooth_seams(planes, patch=8, reach=2), planes)


def test_slopes_do_not_change() -> None:
    row, column = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    planes = (0.3 * row - 0.7 * column + 1).expand(2, 3, 4, 24, 24)
    assert torch.allclose(smooth_seams(planes, patch=8, reach=4), planes, atol=1e-5)


@pytest.mark.parametrize("reach", [0, 5])
def test_the_reach_is_at_most_half_a_patch(reach: int) -> None:
    with pytest.raises(ValueError, match="1 to 4 pixels"):
        smooth_seams(torch.zeros(1, 3, 1, 16, 16), patch=8, reach=reach)


def test_colors_use_smoothed_planes_and_occupancy_does_not() -> None:
    torch.manual_seed(0)
    planes, points = torch.randn(2, 3, 4, 16, 16), torch.rand(2, 50, 3) * 2 - 1
    decoder = TriplaneFieldDecoder(4, color_channels=3)
    plain = TriplaneField(planes, decoder, has_color=True)
    smooth = TriplaneField(planes, decoder, has_color=True, seams=(8, 4))
    expected = TriplaneField(smooth_seams(planes, 8, 4), decoder, has_color=True).color(points)
    assert torch.equal(smooth.occupancy(points), plain.occupancy(points))
    assert torch.equal(smooth.color(points), expected)
    assert torch.allclose(smooth[1].color(points[1:]), expected[1:], atol=1e-6)
    assert not torch.allclose(plain.color(points), expected, atol=1e-3)


def test_colors_of_mini_do_not_jump_between_patches() -> None:
    """Over held-out shapes benchmarks/seams.py prints 2.3 to 2.5 without smoothing and 0.8 to 0.9 with it."""
    pipe = Triplane3DPipeline.from_pretrained("mini")
    cases = held_out_shapes(3, list(FAMILIES), seed=2, resolution=32)
    fields = [autoencoded(pipe, case) for case in cases]
    plain = [contrast(smoothed(field, None), case) for field, case in zip(fields, cases)]
    smooth = [contrast(field, case) for field, case in zip(fields, cases)]
    assert sum(plain) / 3 > 1.8 and max(smooth) < 1.3
