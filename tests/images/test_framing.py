"""Squares for the public checkpoints equal those of the checkpoints' own code, to the grey level."""

from pathlib import Path

import numpy as np
import pytest
import torch

from triplane3d.images.framing import frame_direct3d, frame_triposr
from triplane3d.images.image_processor import Triplane3DImageProcessor

FIXTURES = Path(__file__).parents[1] / "convert" / "fixtures"


def rgba_of(pixels: np.ndarray) -> torch.Tensor:
    if pixels.shape[2] == 3:
        pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=2)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.mark.parametrize("name", ["rgba_wide", "rgba_square", "rgb_tall"])
def test_squares_for_direct3d_equal_those_of_its_code(name: str) -> None:
    fixture = np.load(FIXTURES / "direct3d_preprocess.npz")
    assert np.array_equal(frame_direct3d(rgba_of(fixture[f"in_{name}"])).numpy(), fixture[f"out_{name}"])


def test_squares_for_triposr_equal_those_of_its_code() -> None:
    fixture = np.load(FIXTURES / "triposr.npz")
    square = frame_triposr(rgba_of(fixture["pre_in_rgba"]))
    assert np.array_equal((square * 255).round().permute(1, 2, 0).byte().numpy(), fixture["pre_out_rgb"])


@pytest.mark.parametrize("frame", [frame_direct3d, frame_triposr])
@pytest.mark.parametrize("solid", [(0, 0, 0, 0), (7, 8, 11, 12), (0, 30, 0, 20)])
def test_any_mask_gives_a_square(frame, solid: tuple[int, int, int, int]) -> None:
    """The mask is empty, has a single pixel, or covers the whole image."""
    rgba = torch.rand(4, 30, 20)
    rgba[3] = 0
    top, bottom, left, right = solid
    rgba[3, top:bottom, left:right] = 1
    square = frame(rgba)
    assert square.shape[0] == 3 and square.shape[1] == square.shape[2] > 0
    assert 0 <= square.min() and square.max() <= 1


def test_the_processor_frames_resizes_and_normalizes() -> None:
    fixture = np.load(FIXTURES / "direct3d_preprocess.npz")
    processor = Triplane3DImageProcessor(24, background=1.0, statistics="none", mask_channel=False, framing="direct3d")
    prepared = processor.preprocess(rgba_of(fixture["in_rgba_wide"]), "alpha")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(fixture["out_rgba_wide"])[None], (24, 24), mode="bilinear", antialias=True
    )
    assert torch.equal(prepared.pixel_values, expected)
    assert prepared.images[0].size == (24, 24)
    with pytest.raises(ValueError, match="framing must be one of"):
        Triplane3DImageProcessor(24, framing="tight")
