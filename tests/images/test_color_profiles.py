"""A photo with a colour profile is converted to sRGB; a profile that cannot be used is ignored with a warning."""

import io
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from images.icc import cmyk_profile, decode, display_p3, encode, gray_gamma, profile, srgb_of_p3
from PIL import Image, ImageCms

from triplane3d.images import reading as photo
from triplane3d.images.reading import decode_photo

VALUES = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
EXPECTED = srgb_of_p3(VALUES / 255)


def colors_of(path: Path) -> np.ndarray:
    """Rows × columns × RGB in 0..1."""
    return decode_photo(path)[:3].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_display_p3_is_shown_as_srgb(suffix: str, tmp_path: Path) -> None:
    assert np.abs(EXPECTED - VALUES / 255).max() > 30 / 255, "the profile changes the colours"
    path = tmp_path / f"phone.{suffix}"
    Image.fromarray(VALUES).save(path, icc_profile=display_p3(), lossless=True)
    np.testing.assert_allclose(colors_of(path), EXPECTED, atol=1.5 / 255)
    with Image.open(path) as picture:
        np.testing.assert_allclose(decode_photo(picture)[:3].permute(1, 2, 0), EXPECTED, atol=1.5 / 255)


def test_alpha_palettes_and_strips_are_converted_correctly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16, 1)
    Image.fromarray(np.concatenate([VALUES, alpha], axis=2)).save(tmp_path / "rgba.png", icc_profile=display_p3())
    monkeypatch.setattr(photo, "STRIP_PIXELS", 1)
    rgba = decode_photo(tmp_path / "rgba.png").permute(1, 2, 0).numpy()
    np.testing.assert_allclose(rgba, np.concatenate([EXPECTED, alpha / 255], axis=2), atol=1.5 / 255)

    few = Image.fromarray(VALUES).quantize(16)
    few.save(tmp_path / "palette.png", icc_profile=display_p3(), transparency=few.getpixel((0, 0)))
    rgba = decode_photo(tmp_path / "palette.png").permute(1, 2, 0).numpy()
    np.testing.assert_allclose(rgba[..., :3], srgb_of_p3(np.asarray(few.convert("RGB")) / 255), atol=1.5 / 255)
    assert rgba[0, 0, 3] == 0 and rgba[..., 3].max() == 1


def test_gray_values_are_converted_with_their_curve_in_8_and_16_bits(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    Image.fromarray(ramp).save(tmp_path / "grey.png", icc_profile=gray_gamma(1.0))
    np.testing.assert_allclose(
        colors_of(tmp_path / "grey.png")[0], encode(ramp[0, :, None] / 255).repeat(3, 1), atol=1.5 / 255
    )
    deep = np.linspace(0, 65535, 1000).astype(np.uint16)[None]
    Image.fromarray(deep).save(tmp_path / "deep.png", icc_profile=gray_gamma(2.2))
    np.testing.assert_allclose(
        colors_of(tmp_path / "deep.png")[0, :, 0], encode((deep[0] / 65535) ** 2.2), atol=1.5 / 255
    )
    neutral = colors_of(save(tmp_path, "L", display_p3()))
    np.testing.assert_allclose(
        neutral, np.asarray(Image.fromarray(VALUES).convert("L"))[..., None] / 255 + [0, 0, 0], atol=1.5 / 255
    )


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_large_pictures_are_converted_too(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"RGB": display_p3(), "CMYK": cmyk_profile({(1, 0, 0, 0): 50.0}), "L": gray_gamma(1.8)}[mode]
    Image.new("RGB", (61, 37), (0, 255, 255)).convert(mode).save(tmp_path / "plain.tif", icc_profile=content)
    whole = decode_photo(tmp_path / "plain.tif")
    monkeypatch.setattr(photo, "MAX_SIDE", 16)
    small = decode_photo(tmp_path / "plain.tif")
    assert max(small.shape[1:]) == 16 and small[:, :2, :2].allclose(whole[:, :2, :2])


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_values_are_converted_with_their_profile(suffix: str, tmp_path: Path) -> None:
    inks = Image.new("CMYK", (32, 16))
    inks.paste((255, 0, 0, 0), (0, 0, 16, 16))
    path = tmp_path / f"print.{suffix}"
    inks.save(path, icc_profile=cmyk_profile({(1, 0, 0, 0): 50.0}))
    lightness = ((50 + 16) / 116) ** 3  # of CIE L*, above the linear part
    cyan, paper = colors_of(path)[8, 4], colors_of(path)[8, 28]
    np.testing.assert_allclose(cyan, encode(np.float64(lightness)), atol=3 / 255)
    np.testing.assert_allclose(paper, 1, atol=3 / 255)


def save(folder: Path, mode: str, content: bytes, suffix: str = "tif") -> Path:
    path = folder / f"{mode}.{suffix}"
    Image.fromarray(VALUES).convert(mode).save(path, icc_profile=content)
    return path


@pytest.mark.parametrize(
    ("mode", "content", "reason"),
    [
        ("RGB", b"not a profile", "not used"),
        ("RGB", display_p3()[:200], "not used"),
        ("RGB", display_p3()[:132] + bytes(500), "not used"),
        ("RGB", display_p3() + bytes(5_000_000), "it takes 5 MB, more than 4"),
        ("RGB", gray_gamma(2.2), "it is for GRAY, the picture is RGB"),
        ("RGB", profile(b"HSV ", {}), "it is for HSV, the picture is RGB"),
        ("CMYK", display_p3(), "it is for RGB, the picture is CMYK"),
        ("L", cmyk_profile({}), "it is for CMYK, the picture is L"),
    ],
)
def test_a_profile_that_cannot_be_used_is_logged_and_ignored(
    mode: str, content: bytes, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "triplane3d"):
        colors = colors_of(save(tmp_path, mode, content))
    plain = np.asarray(Image.fromarray(VALUES).convert(mode).convert("RGB")) / 255
    np.testing.assert_allclose(colors, plain, atol=1e-6)
    (record,) = caplog.records
    assert f"{mode}.tif: colours are taken as sRGB" in record.getMessage() and reason in record.getMessage()


def test_a_very_large_profile_is_ignored_quickly(tmp_path: Path) -> None:
    started = time.perf_counter()
    for suffix in ("png", "jpg", "webp"):
        path = save(tmp_path, "RGB", display_p3() + bytes(12_000_000), suffix)
        assert decode_photo(path).shape == (4, 12, 16)
    np.testing.assert_allclose(colors_of(tmp_path / "RGB.png"), VALUES / 255, atol=1e-6)
    assert time.perf_counter() - started < 5


def test_a_picture_converted_before_is_not_converted_again(tmp_path: Path) -> None:
    path = save(tmp_path, "RGB", display_p3())
    with Image.open(path) as picture:
        p3 = ImageCms.ImageCmsProfile(io.BytesIO(display_p3()))
        converted = ImageCms.profileToProfile(picture, p3, ImageCms.createProfile("sRGB"))
    np.testing.assert_allclose(decode_photo(converted), decode_photo(path), atol=1.01 / 255)


def test_the_curves_of_this_file_are_inverse() -> None:
    np.testing.assert_allclose(encode(decode(np.linspace(0, 1, 256))), np.linspace(0, 1, 256), atol=1e-6)
