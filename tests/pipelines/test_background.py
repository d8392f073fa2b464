"""The object is found by alpha, GrabCut or the border's colour; where it is not found, that is said."""

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from triplane3d.pipelines import background
from triplane3d.pipelines.background import remove_background


def disc(size: int = 160, radius: float = 0.5) -> Tensor:
    axis = torch.linspace(-1, 1, size)
    return (axis[:, None] ** 2 + axis[None] ** 2 < radius**2).float()


def photographed(mask: Tensor, backdrop: Tensor) -> Tensor:
    """A striped red object before a backdrop (3, h, w), opaque."""
    stripes = torch.linspace(0, 20, mask.shape[1]).sin() * 0.1
    color = torch.stack([0.8 + stripes.expand_as(mask), 0.2 + 0 * mask, 0.15 + 0 * mask])
    return torch.cat([color * mask + backdrop * (1 - mask), torch.ones_like(mask)[None]])


def backdrops() -> dict[str, Tensor]:
    noise = torch.randn(3, 160, 160, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0.55, 0.95, 160).expand(3, 160, 160)
    return {"white": torch.ones(3, 160, 160), "ramp": ramp, "grain": (0.7 + 0.03 * noise).clamp(0, 1)}


@pytest.fixture(params=["grabcut", "border"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "border":
        monkeypatch.setattr(background, "find_spec", lambda name: None)
    else:
        pytest.importorskip("cv2")
    return request.param


@pytest.mark.parametrize("backdrop", ["white", "ramp", "grain"])
def test_the_object_is_found_on_plain_backdrops(backdrop: str, method: str) -> None:
    truth = disc()
    rgba, matte = remove_background(photographed(truth, backdrops()[backdrop]))
    found = rgba[3] > 0.5
    overlap = (found & truth.bool()).sum() / (found | truth.bool()).sum()
    assert overlap > 0.95
    assert matte.method == method and matte.warning is None
    assert matte.coverage == pytest.approx(float(truth.mean()), rel=0.05)


def test_the_same_photo_gets_the_same_mask(method: str) -> None:
    photo = photographed(disc(), backdrops()["grain"])
    assert torch.equal(remove_background(photo)[0], remove_background(photo)[0])


def test_alpha_is_believed() -> None:
    photo = torch.cat([torch.rand(3, 160, 160), disc()[None]])
    rgba, matte = remove_background(photo)
    assert torch.equal(rgba, photo)
    assert matte.method == "alpha" and matte.warning is None


def test_an_opaque_alpha_is_no_mask() -> None:
    assert remove_background(photographed(disc(), backdrops()["white"]))[1].method != "alpha"


@pytest.mark.parametrize("photo", [torch.zeros(4, 32, 32), torch.ones(4, 32, 32)], ids=["transparent", "blank"])
def test_a_photo_of_nothing_is_refused_by_name(photo: Tensor) -> None:
    with pytest.raises(ValueError, match="mug.png.*no object"):
        remove_background(photo, name="mug.png")


def test_a_full_frame_is_kept_whole_and_reported(caplog: pytest.LogCaptureFixture, method: str) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32))
    with caplog.at_level(logging.WARNING):
        rgba, matte = remove_background(torch.cat([noise, torch.ones(1, 64, 64)]), name="wall.png")
    assert matte.method == "none" and matte.coverage == 1 and "whole photo" in matte.warning
    assert "wall.png" in caplog.text
    assert bool((rgba[3] == 1).all())
