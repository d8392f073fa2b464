"""The object is centred in a square at a known size. Files and tensors give the same pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from triplane3d.images.image_processor import (
    IMAGE_STATISTICS,
    Triplane3DImageProcessor,
    frame_foreground,
    prepare_rgba,
)


def block(top: int, left: int, height: int, width: int, canvas: tuple[int, int] = (96, 128)) -> Tensor:
    """An opaque orange block on a transparent background, as a batch of one."""
    rgba = torch.zeros(1, 4, *canvas)
    rgba[:, :, top : top + height, left : left + width] = torch.tensor([1.0, 0.5, 0.25, 1])[:, None, None]
    return rgba


@pytest.mark.parametrize("ratio", [0.5, 0.85, 1.0])
@pytest.mark.parametrize("box", [(10, 20, 30, 40), (0, 0, 60, 20), (66, 108, 30, 20), (5, 5, 90, 120)])
def test_the_object_is_centered_and_fills_its_share(box: tuple[int, int, int, int], ratio: float) -> None:
    size = 64
    alpha = frame_foreground(block(*box), size, foreground_ratio=ratio)[0, 3]
    rows, columns = alpha.sum(dim=1), alpha.sum(dim=0)
    center = torch.arange(size) + 0.5
    for profile in (rows, columns):
        assert float((profile * center).sum() / profile.sum()) == pytest.approx(size / 2, abs=0.05)
    # The area is exact however the edges fall between pixels.
    height, width = box[2:]
    scale = ratio * size / max(height, width)
    assert float(alpha.sum()) == pytest.approx(height * width * scale**2, rel=0.02)


def test_the_result_does_not_depend_on_position_and_canvas() -> None:
    one = frame_foreground(block(10, 20, 30, 40), 64)
    other = frame_foreground(block(50, 3, 30, 40, canvas=(200, 80)), 64)
    assert torch.allclose(one, other, atol=1e-5)


def test_an_image_at_its_final_scale_is_not_changed() -> None:
    rgba = torch.cat([torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)], dim=1)
    assert torch.equal(frame_foreground(rgba, 32, foreground_ratio=1.0), rgba)


def test_shrinking_averages_and_does_not_alias() -> None:
    checker = (torch.arange(256)[:, None] + torch.arange(256)[None]) % 2
    rgba = torch.cat([checker.expand(1, 3, 256, 256).float(), torch.ones(1, 1, 256, 256)], dim=1)
    inside = frame_foreground(rgba, 37)[0, :3, 8:-8, 8:-8]
    assert float((inside - 0.5).abs().max()) < 0.05


def test_colors_of_transparent_pixels_have_no_effect() -> None:
    clean = block(10, 20, 30, 40)
    dirty = clean.clone()
    dirty[:, :3] = torch.where(clean[:, 3:] > 0, clean[:, :3], torch.rand(1, 3, 96, 128))
    assert torch.equal(prepare_rgba(clean, 64), prepare_rgba(dirty, 64))


def test_a_batch_equals_single_images_each_with_its_own_box() -> None:
    singles = [block(10, 20, 30, 40), block(0, 0, 60, 20), block(40, 90, 11, 7)]
    batch = prepare_rgba(torch.cat(singles), 48)
    for index, single in enumerate(singles):
        assert torch.allclose(batch[index], prepare_rgba(single, 48)[0], atol=1e-6)


def test_the_backdrop_is_gray_and_the_mask_is_in_zero_to_one() -> None:
    mean, std = (torch.tensor(values) for values in IMAGE_STATISTICS["imagenet"])
    pixels = prepare_rgba(block(10, 20, 30, 40), 64)[0]
    assert torch.allclose(pixels[:3, 0, 0] * std + mean, torch.full((3,), 0.5), atol=1e-6)
    assert torch.allclose(pixels[:3, 32, 32] * std + mean, torch.tensor([1.0, 0.5, 0.25]), atol=1e-6)
    assert pixels[3, 0, 0] == 0 and pixels[3, 32, 32] == pytest.approx(1)
    assert prepare_rgba(block(10, 20, 30, 40), 64, mask_channel=False).shape == (1, 3, 64, 64)


def test_a_photo_and_a_rendered_tensor_give_the_same_pixels(tmp_path: Path) -> None:
    """Training uses tensors and inference uses files: both give the same pixels."""
    rgba = torch.rand(1, 4, 80, 100)
    rgba[:, 3, :20] = 0
    rgba = (rgba * 255).round() / 255
    array = (rgba[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "render.png")
    processor = Triplane3DImageProcessor(56)
    expected = prepare_rgba(rgba, 56)
    for photo in (tmp_path / "render.png", Image.fromarray(array), array, rgba, rgba[0]):
        assert torch.allclose(processor.preprocess(photo).pixel_values, expected, atol=1e-5)


def test_photos_of_different_kinds_and_sizes_make_one_batch(tmp_path: Path) -> None:
    block_picture = Image.new("RGBA", (70, 50))
    block_picture.paste((200, 30, 30, 255), (10, 10, 40, 30))
    block_picture.save(tmp_path / "a.png")
    photos = [tmp_path / "a.png", block_picture, block(10, 20, 30, 40)[0], np.array(block_picture)]
    prepared = Triplane3DImageProcessor(32).preprocess(photos)
    assert prepared.pixel_values.shape == (4, 4, 32, 32)
    assert [report.method for report in prepared.mask_reports] == ["alpha"] * 4
    assert all(picture.mode == "RGBA" and picture.size == (32, 32) for picture in prepared.images)


def test_gradients_and_half_precision_pass_through() -> None:
    rgba = block(10, 20, 30, 40).requires_grad_()
    prepare_rgba(rgba, 32).sum().backward()
    assert rgba.grad is not None and bool(rgba.grad.isfinite().all())
    half = prepare_rgba(block(10, 20, 30, 40).bfloat16(), 32)
    assert half.dtype == torch.bfloat16


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="foreground_ratio"):
        frame_foreground(block(0, 0, 9, 9), 16, foreground_ratio=0.0)
    with pytest.raises(ValueError, match="imagenet"):
        prepare_rgba(block(0, 0, 9, 9), 16, statistics="vgg")
