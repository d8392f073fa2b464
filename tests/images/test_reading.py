"""Picture files of every type are read as the same upright RGBA; a bad file is an error that names it."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from triplane3d.images import reading as photo
from triplane3d.images.reading import decode_photo, split_batch

RED, BLUE = (255, 0, 0), (0, 0, 255)


def two_tone(mode: str = "RGB") -> Image.Image:
    """Red above blue, wider than high, so that a rotation or a flip changes the picture."""
    picture = Image.new("RGB", (24, 16), RED)
    picture.paste(BLUE, (0, 8, 24, 16))
    return picture.convert(mode)


def test_a_path_a_picture_an_array_and_a_tensor_are_the_same_photo(tmp_path: Path) -> None:
    picture = two_tone("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((24, 16)))
    picture.save(tmp_path / "photo.png")
    array = np.array(picture)
    expected = torch.from_numpy(array).permute(2, 0, 1) / 255
    for same in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        picture,
        array,
        array.astype(np.float64) / 255,
        torch.from_numpy(array).permute(2, 0, 1),
        expected,
    ):
        assert torch.equal(decode_photo(same), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"])
def test_color_modes_keep_their_colors(mode: str) -> None:
    rgba = decode_photo(two_tone().quantize(4) if mode == "P" else two_tone(mode))
    assert torch.allclose(rgba[:, 0, 0], torch.tensor([1.0, 0, 0, 1]), atol=0.02)
    assert torch.allclose(rgba[:, -1, -1], torch.tensor([0, 0, 1.0, 1]), atol=0.02)


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk_files_keep_their_colors(suffix: str, tmp_path: Path) -> None:
    two_tone("CMYK").save(tmp_path / f"print.{suffix}")
    rgba = decode_photo(tmp_path / f"print.{suffix}")
    assert torch.allclose(rgba[:, 0, 0], torch.tensor([1.0, 0, 0, 1]), atol=0.05)


def test_gray_one_bit_and_gray_with_alpha_are_read() -> None:
    ramp = Image.linear_gradient("L")
    assert torch.allclose(decode_photo(ramp)[0, :, 0], torch.arange(256) / 255)
    bits = decode_photo(ramp.convert("1", dither=Image.Dither.NONE))
    assert set(bits[:3].unique().tolist()) == {0.0, 1.0}
    with_alpha = Image.merge("LA", (ramp, ramp.rotate(90)))
    assert torch.allclose(decode_photo(with_alpha)[3, 0, :], decode_photo(ramp.rotate(90))[0, 0, :])


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_scaled_not_clipped(mode: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.int32)[None].repeat(8, axis=0)
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": np.int32}[mode]
    picture = Image.frombytes(mode, (64, 8), ramp.astype(dtype).tobytes())
    path = tmp_path / "deep.tif"
    picture.save(path)
    for source in (picture, path):
        assert torch.allclose(decode_photo(source)[1, 3], torch.linspace(0, 1, 64), atol=1e-4)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBX", "RGBa", "LAB", "I;16L"])
def test_rare_modes_are_read(mode: str) -> None:
    source = two_tone("LA") if mode in ("LA", "La", "PA") else two_tone("RGBA") if mode == "RGBa" else two_tone()
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(source, srgb, lab, outputMode="LAB")
    elif mode == "I;16L":
        picture = Image.frombytes("I;16L", (2, 1), b"\x00\x00\xff\xff")
    else:
        picture = source.convert(mode)
    rgba = decode_photo(picture)
    assert rgba.shape == (4, *picture.size[::-1]) and bool((rgba[3] == 1).all())
    if mode in ("RGBX", "RGBa", "LAB"):
        assert torch.allclose(rgba[:3, 0, 0], torch.tensor([1.0, 0, 0]), atol=0.03)


@pytest.mark.parametrize(
    ("values", "white"), [((0.0, 0.25, 1.0), 1), ((0.0, 51.0, 255.0), 255), ((0.5, 1.5, 6.0), 6), ((0, 4, 900), 900)]
)
@pytest.mark.parametrize("suffix", ["tif", "pfm"])
def test_the_white_of_float_gray_depends_on_its_values(
    values: tuple[float, ...], white: float, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(np.array([values], np.float32)).save(path)
    assert torch.allclose(decode_photo(path)[1, 0], torch.tensor(values) / white)


def test_nan_and_infinity_become_black() -> None:
    picture = Image.fromarray(np.array([[np.nan, np.inf, -np.inf, -3, 1]], np.float32))
    assert decode_photo(picture)[0].tolist() == [[0, 0, 0, 0, 1]]


def test_sixteen_bit_arrays_are_scaled_by_their_type() -> None:
    assert torch.allclose(decode_photo(np.full((4, 4, 3), 65535, np.uint16)), torch.ones(4, 4, 4))


def test_the_transparent_color_of_a_palette_and_of_gray_becomes_alpha(tmp_path: Path) -> None:
    palette = two_tone().quantize(4)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 15)))
    two_tone("L").save(tmp_path / "l.png", transparency=two_tone("L").getpixel((0, 15)))
    for name in ("p.png", "l.png"):
        alpha = decode_photo(tmp_path / name)[3]
        assert alpha[:8].min() == 1 and alpha[8:].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored with a rotation by 90 degrees, which a viewer must undo
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = two_tone()
    upright.putpixel((0, 0), (255, 255, 255))
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "phone.png", exif=exif)
    assert torch.equal(decode_photo(tmp_path / "phone.png"), decode_photo(upright))


def test_a_large_jpeg_is_downscaled_on_reading_and_keeps_its_aspect_ratio(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 3000), RED).save(tmp_path / "large.jpg")
    assert decode_photo(tmp_path / "large.jpg").shape == (4, photo.MAX_SIDE // 2, photo.MAX_SIDE)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_shapes_are_read(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, RED).save(tmp_path / "thin.png")
    rgba = decode_photo(tmp_path / "thin.png")
    assert max(rgba.shape[1:]) == min(max(size), photo.MAX_SIDE) and min(rgba.shape[1:]) == 1
    assert torch.allclose(rgba[:, 0, 0], torch.tensor([1.0, 0, 0, 1]))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "CMYK", "I;16", "F"])
def test_downscaling_in_strips_equals_downscaling_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (97, 130, 4), np.uint8)
    if mode in ("I;16", "F"):
        picture = Image.fromarray(noise[..., 0].astype({"I;16": np.uint16, "F": np.float32}[mode]) * 200)
    else:
        picture = Image.fromarray(noise) if mode == "RGBA" else Image.fromarray(noise[..., :3]).convert(mode)
    monkeypatch.setattr(photo, "MAX_SIDE", 32)
    whole = decode_photo(picture)
    monkeypatch.setattr(photo, "STRIP_PIXELS", 1)
    assert torch.equal(decode_photo(picture), whole)
    assert whole.shape == (4, 24, 32)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"moving.{suffix}"
    two_tone().save(path, save_all=True, append_images=[Image.new("RGB", (24, 16), (0, 255, 0))], duration=100)
    with Image.open(path) as moving:
        assert moving.n_frames == 2
    rgba = decode_photo(path)
    assert torch.allclose(rgba[:3, 2, 5], torch.tensor([1.0, 0, 0]), atol=0.1)
    assert torch.allclose(rgba[:3, -3, 5], torch.tensor([0, 0, 1.0]), atol=0.1)


def test_the_format_is_determined_by_the_content_not_the_extension(tmp_path: Path) -> None:
    two_tone().save(tmp_path / "photo.png")
    for name in ("photo.jpg", "photo.txt", "photo"):
        (tmp_path / name).write_bytes((tmp_path / "photo.png").read_bytes())
        assert torch.equal(decode_photo(tmp_path / name), decode_photo(two_tone()))


def test_a_photo_with_damaged_exif_data_is_read(tmp_path: Path) -> None:
    two_tone().save(tmp_path / "photo.jpg", quality=95, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    assert decode_photo(tmp_path / "photo.jpg").shape == (4, 16, 24)


def test_a_batch_is_split_into_photos() -> None:
    assert len(split_batch(torch.rand(3, 4, 8, 8))) == 3
    assert len(split_batch(np.zeros((2, 8, 8, 3), np.uint8))) == 2
    assert len(split_batch(["a.png", [two_tone(), torch.rand(2, 3, 8, 8)]])) == 4
    assert split_batch("a.png") == ["a.png"]
    with pytest.raises(ValueError, match="empty list"):
        split_batch([])


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header declares this size and whose pixel data are too short."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + pixels + chunk(b"IEND", b"")


def bad_files() -> dict[str, tuple[bytes, str]]:
    whole = png_header(32, 32)
    return {
        "page.png": (b"\n<!DOCTYPE HTML><html>404</html>", "web page.*save the picture itself"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing.*export it"),
        "paper.jpg": (b"%PDF-1.7", "document"),
        "sky.hdr": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n", "high-dynamic-range.*tone-map"),
        "sky.exr": (b"v/1\x01\x02\x00\x00\x00", "high-dynamic-range.*tone-map"),
        "sky.pfm": (b"PF\n1 1\n-1.0\n" + bytes(12), "high-dynamic-range.*tone-map"),
        "phone.jpg": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIF photo.*export it as JPEG"),
        "film.png": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "video.*one frame"),
        "layers.png": (b"8BPS\x00\x01", "Photoshop"),
        "text.png": (b"I am not a picture", "not a picture"),
        "empty.png": (b"", "not a picture"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        "cut.png": (whole[:45], "damaged or cut short|not a picture"),
        "short.png": (whole, "damaged or cut short"),
        "bomb.png": (png_header(30000, 30000), "megapixels"),
        "large.png": (png_header(12000, 12000), "megapixels"),
    }


@pytest.mark.parametrize("name", list(bad_files()))
def test_the_error_of_a_bad_file_is_one_sentence_that_names_it(name: str, tmp_path: Path) -> None:
    content, reason = bad_files()[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        decode_photo(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.effect_noise((256, 256), 80).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="photo.jpg is damaged or cut short"):
        decode_photo(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.png does not exist"):
        decode_photo(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="is not a file but a folder"):
        decode_photo(tmp_path)


def test_a_photo_without_read_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    two_tone().save(tmp_path / "secret.png")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match="secret.png may not be read: change its permissions"):
        decode_photo(tmp_path / "secret.png")
    monkeypatch.setattr(Path, "is_dir", refuse)  # as in a folder that may not be entered
    with pytest.raises(ValueError, match="secret.png may not be read"):
        decode_photo(tmp_path / "secret.png")


@pytest.mark.parametrize("scheme", ["http://", "https://", "HTTPS://", "ftp://", "s3://", "file:///", "data:"])
def test_urls_are_refused_with_what_to_do(scheme: str) -> None:
    for url in (f"{scheme}host/mug.png", Path(f"{scheme}host/mug.png")):
        with pytest.raises(ValueError, match="is a URL: download the picture first"):
            decode_photo(url)
    with pytest.raises(ValueError) as caught:
        decode_photo(scheme + "x" * 10_000)
    assert len(str(caught.value)) < 200


def test_values_that_are_not_those_of_a_photo_are_refused() -> None:
    with pytest.raises(ValueError, match="values in 0..1"):
        decode_photo(torch.rand(3, 8, 8) * 2 - 1)
    with pytest.raises(ValueError, match="finite values"):
        decode_photo(torch.full((3, 8, 8), torch.nan))
    with pytest.raises(ValueError, match="channels"):
        decode_photo(torch.rand(5, 8, 8))
    with pytest.raises(TypeError, match="int"):
        decode_photo(3)
    with pytest.raises(TypeError, match="bytes"):
        decode_photo(split_batch(b"png")[0])
    with pytest.raises(ValueError, match="got complex"):
        decode_photo(np.zeros((4, 4), complex))
    for empty in (torch.zeros(3, 0, 5), Image.new("RGB", (0, 5))):
        with pytest.raises(ValueError, match="pixel"):
            decode_photo(empty)
