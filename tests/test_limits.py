"""Every row of the table of limits: a file beyond it is refused quickly and with one sentence."""

import io
import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from triplane3d import TriplaneReconstructor, TriplaneTransformer
from triplane3d.config import RunConfig, load_config
from triplane3d.convert.checkpoint import read_settings
from triplane3d.images.reading import decode_photo
from triplane3d.limits import (
    LIMITS,
    check_config,
    estimated_parameters,
    read_json,
    read_text,
    read_weights_header,
    read_yaml,
)

ROOT = Path(__file__).parents[1]


def config(**values: Any) -> Callable[[Path], None]:
    return lambda path: check_config(values, str(path))


def text(content: str, read: Callable[[Path], Any]) -> Callable[[Path], None]:
    def written(path: Path) -> None:
        path.write_text(content)
        read(path)

    return written


def photo(content: bytes) -> Callable[[Path], None]:
    def written(path: Path) -> None:
        path.write_bytes(content)
        decode_photo(path)

    return written


def picture(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("L", (1500, 1500), 90).save(file, kind, **options)
    return file.getvalue()


def scans(count: int, side: int) -> bytes:
    """A progressive JPEG with `count` copies of its last scan; `side` is the declared width and height."""
    content = picture("JPEG", progressive=True)
    frame = content.index(b"\xff\xc2") + 5
    content = content[:frame] + struct.pack(">HH", side, side) + content[frame + 4 :]
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + b"\xff\xd9"


def nine_levels(value: str) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {value.format(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, 10)]
    return "\n".join(lines)


def header(path: Path, length: int, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + content)
        file.truncate(8 + max(length, len(content)))
    read_weights_header(path)


def many_tensors(path: Path) -> None:
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    content = json.dumps({str(number): entry for number in range(100_001)}).encode()
    header(path, len(content), content)


def large(size: int, read: Callable[[Path], Any]) -> Callable[[Path], None]:
    def written(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size + 1)  # a sparse file
        read(path)

    return written


JPEG, PNG = picture("JPEG"), picture("PNG")
CHUNK = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
BEYOND_LIMITS: dict[str, list[Callable[[Path], None]]] = {
    "json": [large(8 << 20, read_json)],
    "index": [large(32 << 20, lambda path: read_json(path, limit="index"))],
    "yaml": [large(256 << 10, read_yaml), large(256 << 10, lambda path: load_config(RunConfig, path))],
    "card": [large(1 << 20, lambda path: read_text(path, "card"))],
    "nodes": [text(json.dumps({"a": [0] * 400_001}), read_json)],
    "yaml_nodes": [
        text(nine_levels("[{}]"), read_yaml),
        text(nine_levels("{{<<: [{}]}}"), read_settings),
        text(nine_levels("{{<<: [{}]}}"), lambda path: load_config(RunConfig, path)),
        text("a: [" + "1, " * 9_000 + "1]\nb: ${a}\nc: ${b}", read_settings),
    ],
    "depth": [text("a: " + "[" * 900 + "]" * 900, read_yaml), text('{"a":' * 90 + "1" + "}" * 90, read_json)],
    "references": [text("a0: 1\n" + "\n".join(f"a{n}: " + f"${{a{n - 1}}}" * 10 for n in range(1, 10)), read_settings)],
    "text": [text("a: " + "x" * 6_000 + "\nb: ${a}${a}", read_settings)],
    "header": [lambda path: header(path, (25 << 20) + 1, b"{")],
    "tensors": [many_tensors],
    "layers": [config(num_layers=10**9), lambda _: TriplaneTransformer(num_layers=10**9)],
    "heads": [config(vision_config={"num_attention_heads": 10**6})],
    "width": [config(hidden_size=10**9), config(hidden_sizes=[64, 10**300])],
    "side": [config(image_size=10**6), lambda _: TriplaneReconstructor(plane_size=10**6)],
    "patch": [config(encoder_patch_size=1000)],
    "frequencies": [config(num_freqs=100)],
    "samples": [config(num_samples_per_ray=10**6)],
    "timesteps": [config(num_train_timesteps=10**9), config(presets={"draft": {"num_inference_steps": 10**9}})],
    "list": [config(trained_betas=[0.1] * 100_001)],
    "parameters": [
        config(num_layers=900, hidden_size=10_000),
        lambda _: TriplaneTransformer(attention_head_dim=50_000),
    ],
    "photo": [large(1 << 30, decode_photo)],
    "text_photo": [photo(b"P3\n9 9 255\n" + b"1 " * (4 << 20))],
    "scans": [photo(scans(1000, 1500))],
    "scan_pixels": [photo(scans(50, 11_000))],
    "segments": [photo(JPEG[:2] + b"\xff\xef\x00\x02" * 10_001 + JPEG[2:])],
    "chunks": [photo(PNG[:33] + CHUNK * 200_001 + PNG[33:])],
}
"""For each limit, files and calls beyond it."""


@pytest.mark.parametrize("name", LIMITS)
def test_a_file_beyond_a_limit_is_refused_quickly(name: str, tmp_path: Path, as_users_run_it: None) -> None:
    for number, attempt in enumerate(BEYOND_LIMITS[name]):
        started = time.process_time()
        with pytest.raises(ValueError, match="at most") as caught:
            attempt(tmp_path / f"{number}.yaml")
        assert time.process_time() - started < 5
        assert LIMITS[name].unit in str(caught.value) and len(str(caught.value)) < 700


def test_all_shipped_files_are_within_the_limits() -> None:
    for path in [*ROOT.glob("pipelines/*/model_index.json"), *ROOT.glob("pipelines/*/*/*.json")]:
        check_config(read_json(path), str(path))
    for path in ROOT.glob("configs/**/*.yaml"):
        assert read_yaml(path)
    transformer = read_json(ROOT / "pipelines" / "mini" / "transformer" / "config.json")
    assert 9.9e6 / 2 < estimated_parameters(transformer) < 2 * 9.9e6  # it has 9.9 million parameters


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_infinite_numbers_and_nan_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="eps must be a finite number"):
        check_config({"eps": number}, "config.json")
    check_config({"lambda_min_clipped": -float("inf")}, "scheduler_config.json")


@pytest.mark.parametrize(("content", "words"), [
    ("a: &a [*a]", "contains itself"), ("a: 2001-99-99", "month"), ("? [a]\n: 1", "unhashable"), ("\x00", "accept"),
])  # fmt: skip
def test_yaml_that_the_parser_cannot_read_gives_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ValueError, match=f"no plain YAML.*{words}"):
        read_yaml(tmp_path / "a.yaml")
