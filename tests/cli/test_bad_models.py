"""A saved pipeline with a missing or damaged file gives one error sentence, in info and in generate."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
ENCODER = "image_encoder/model.safetensors"  # loaded by transformers, which raises errors of its own kind


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        (TRANSFORMER, lambda content: POINTER, "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
        (ENCODER, lambda content: POINTER, "is a Git LFS pointer"),
        (TRANSFORMER, lambda content: content[: len(content) // 2], "is not a complete safetensors file"),
        (ENCODER, lambda content: content[: len(content) // 2], "is not a complete safetensors file"),
        (ENCODER, lambda content: content[:20], "is not a complete safetensors file"),
        (ENCODER, lambda content: b"", "is not a complete safetensors file"),
        ("model_index.json", lambda content: POINTER, "is a Git LFS pointer"),
        ("model_index.json", lambda content: b"", "is no JSON"),
        ("model_index.json", lambda content: b"[]", "should hold an object of keys and values, not list"),
        ("transformer/config.json", lambda content: b"{", "is no JSON"),
        ("transformer/config.json", lambda content: b"\xff", "is no text in UTF-8"),
    ],
)
def test_a_damaged_file_is_named(
    copy: Path, image: Path, run: Callable, file: str, change: Callable, sentence: str
) -> None:
    (copy / file).write_bytes(change((copy / file).read_bytes()))
    for arguments in (["info", copy], ["generate", image, "--model", copy]):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        (line,) = [line for line in result.stderr.splitlines() if line]
        assert line.startswith(f"error: {copy / file} ") and sentence in line


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (ENCODER, "image_encoder holds no weights"),
        ("image_encoder/config.json", "image_encoder holds weights but no config.json"),
        ("vae", "names a vae, but"),
    ],
)
def test_a_missing_file_is_named(copy: Path, image: Path, run: Callable, file: str, sentence: str) -> None:
    shutil.rmtree(copy / file) if (copy / file).is_dir() else (copy / file).unlink()
    result = run("generate", image, "--model", copy)
    assert result.exit_code == 2 and sentence in result.stderr and "Traceback" not in result.output
    assert run("info", copy).exit_code == 0, "info describes the other files"


def test_a_missing_shard_is_named(crossing: object, image: Path, run: Callable, tmp_path: Path) -> None:
    crossing.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    shard = sorted((tmp_path / "shards" / "vae").glob("*-00002-of-*.safetensors"))[0]
    shard.unlink()
    result = run("generate", image, "--model", tmp_path / "shards")
    assert result.exit_code == 2 and f"names {shard.name}, which is not there" in result.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("model_index.json", '"resolution": 12', '"resolution": "x"', "presets must contain a section of numbers"),
        ("README.md", "", "---\nlicense: [\n---\n", "README.md is no plain YAML file"),
        ("README.md", "", "---\n- a\n---\n", "README.md is not a model card"),
    ],
)
def test_info_names_what_it_cannot_read(
    copy: Path, run: Callable, name: str, old: str, new: str, sentence: str
) -> None:
    content = (copy / name).read_text() if old else ""
    assert old in content
    (copy / name).write_text(content.replace(old, new))
    result = run("info", copy)
    assert result.exit_code == 2 and sentence in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("level", ['{"a": 1}', "[null]", '"x"'])
@pytest.mark.parametrize("key", ["image_encoder", "presets", "level", "_class_name"])
def test_info_ends_without_a_traceback_for_any_value(copy: Path, run: Callable, key: str, level: str) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    index[key] = [["transformers"], json.loads(level)] if key == "image_encoder" else json.loads(level)
    (copy / "model_index.json").write_text(json.dumps(index))
    result = run("info", copy)
    assert result.exit_code in (0, 2) and "Traceback" not in result.output, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_control_characters_of_a_model_card_are_escaped(copy: Path, run: Callable) -> None:
    (copy / "README.md").write_text("---\nlicense: mit\n---\nRed \x1b[31mand \u202eback, 椅子 \N{CHAIR}\n")
    result = run("info", copy)
    assert "\x1b" not in result.output and "\u202e" not in result.output
    assert "Red \\x1b[31mand \\u202eback, 椅子 \N{CHAIR}" in result.output
