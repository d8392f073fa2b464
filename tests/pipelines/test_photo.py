"""Every kind of picture file opens to the same upright RGBA; a bad file is one sentence that names it."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triplane3d.pipelines import photo
from triplane3d.pipelines.photo import decode_photo, split_batch

RED, BLUE = (255, 0, 0), (0, 0, 255)


def two_tone(mode: str = "RGB") -> Image.Image:
    """Red above blue, wider than high, so that neither a turn nor a flip goes unseen."""
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


def test_grey_one_bit_and_grey_with_alpha() -> None:
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


def test_sixteen_bit_arrays_are_scaled_by_their_type() -> None:
    assert torch.allclose(decode_photo(np.full((4, 4, 3), 65535, np.uint16)), torch.ones(4, 4, 4))


def test_the_transparent_color_of_a_palette_and_of_plain_grey_becomes_alpha(tmp_path: Path) -> None:
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
        6: Image.Transpose.ROTATE_90,  # stored a quarter turn off; tag 6 tells the viewer to turn it back
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


def test_a_large_jpeg_is_shrunk_on_reading_and_keeps_its_shape(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 3000), RED).save(tmp_path / "large.jpg")
    assert decode_photo(tmp_path / "large.jpg").shape == (4, photo.MAX_SIDE // 2, photo.MAX_SIDE)


def test_a_batch_is_split_into_photos() -> None:
    assert len(split_batch(torch.rand(3, 4, 8, 8))) == 3
    assert len(split_batch(np.zeros((2, 8, 8, 3), np.uint8))) == 2
    assert len(split_batch(["a.png", [two_tone(), torch.rand(2, 3, 8, 8)]])) == 4
    assert split_batch("a.png") == ["a.png"]
    with pytest.raises(ValueError, match="empty list"):
        split_batch([])


def png_header(width: int, height: int) -> bytes:
    """A valid PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + pixels + chunk(b"IEND", b"")


def broken_files() -> dict[str, tuple[bytes, str]]:
    whole = png_header(32, 32)
    return {
        "text.png": (b"I am not a picture", "not a picture"),
        "empty.png": (b"", "not a picture"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        "cut.png": (whole[:45], "damaged or cut short|not a picture"),
        "short.png": (whole, "damaged or cut short"),
        "bomb.png": (png_header(30000, 30000), "megapixels"),
        "firecracker.png": (png_header(12000, 12000), "megapixels"),
    }


@pytest.mark.parametrize("name", list(broken_files()))
def test_a_bad_file_is_one_sentence_that_names_it(name: str, tmp_path: Path) -> None:
    content, reason = broken_files()[name]
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


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.png does not exist"):
        decode_photo(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="is not a file"):
        decode_photo(tmp_path)


def test_values_outside_a_photo_are_refused() -> None:
    with pytest.raises(ValueError, match="values in 0..1"):
        decode_photo(torch.rand(3, 8, 8) * 2 - 1)
    with pytest.raises(ValueError, match="values in 0..1"):
        decode_photo(torch.full((3, 8, 8), torch.nan))
    with pytest.raises(ValueError, match="channels"):
        decode_photo(torch.rand(5, 8, 8))
    with pytest.raises(TypeError, match="int"):
        decode_photo(3)
