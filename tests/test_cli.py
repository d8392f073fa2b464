"""The command end to end on the tiny pipeline: written files, exit codes, one-sentence errors."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from convert.tiny_checkpoints import FIXTURES, TRIPOSR_FIXTURE, save_triposr
from PIL import Image
from pipelines.tiny_pipeline import build_tiny, build_tiny_for_views, grids, photo
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import triplane3d
from triplane3d.cli import app
from triplane3d.convert.triposr import convert_triposr

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved tiny pipeline with a random field that crosses zero."""
    pipe = build_tiny()
    middle = float(grids(pipe, num_inference_steps=2, resolution=12).median())
    shift_logits(pipe.vae, -middle)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    pipe.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n\nRandom weights for tests.\n")
    return str(folder)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    photo().save(tmp_path / "block.png")
    return tmp_path / "block.png"


def shift_logits(vae: torch.nn.Module, amount: float) -> None:
    with torch.no_grad():
        vae.field_decoder.proj_out.bias += amount


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_photo_becomes_a_glb_and_its_path_is_printed(model: str, image: Path, tmp_path: Path) -> None:
    result = run("generate", image, "-o", tmp_path / "out" / "block.glb", "--model", model, "--resolution", 12)
    assert result.exit_code == 0, result.output
    assert "block.glb" in result.stdout and "faces" in result.stdout
    assert len(trimesh.load_mesh(tmp_path / "out" / "block.glb").faces) > 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["block.glb"]


def test_without_an_output_the_mesh_has_the_name_of_the_photo(model: str, image: Path, tmp_path: Path) -> None:
    assert run("generate", image, "--model", model).exit_code == 0
    assert (tmp_path / "block.glb").is_file()


def test_the_seed_determines_the_mesh(model: str, image: Path, tmp_path: Path) -> None:
    contents = []
    for index, seed in enumerate((5, 5, 6)):
        target = tmp_path / f"{index}.stl"
        assert run("generate", image, "-o", target, "--model", model, "--seed", seed).exit_code == 0
        contents.append(target.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_mesh_options_change_size_axis_pieces_and_faces(model: str, image: Path, tmp_path: Path) -> None:
    command = ["generate", image, "--model", model, "--resolution", 12, "--level", 0]
    assert run(*command, "-o", tmp_path / "plain.stl").exit_code == 0
    plain = trimesh.load_mesh(tmp_path / "plain.stl")
    assert plain.extents.max() == pytest.approx(100, rel=1e-5)
    result = run(*command, "-o", tmp_path / "y.stl", "--size", 30, "--up", "y")
    assert result.exit_code == 0 and f"{len(plain.faces):,} faces, {plain.body_count} pieces" in result.stdout
    turned = trimesh.load_mesh(tmp_path / "y.stl")
    np.testing.assert_allclose(turned.extents, plain.extents[[0, 2, 1]] * 0.3, rtol=1e-4)

    result = run(*command, "-o", tmp_path / "few.stl", "--keep-largest", "--faces", 1000)
    few = trimesh.load_mesh(tmp_path / "few.stl")
    assert result.exit_code == 0 and "1,000 faces, " in result.stdout and "pieces" not in result.stdout
    assert plain.body_count > few.body_count == 1 and len(few.faces) == 1000 and few.is_watertight


def test_fewer_faces_without_libigl_are_refused_at_once(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane3d.geometry.mesh.simplification.igl", None)
    result = run("generate", image, "--faces", 1000)
    assert result.exit_code == 2 and "loading" not in result.stderr
    assert result.stderr.startswith("error: faces 1000: fewer faces need libigl: pip install 'triplane3d[mesh]'")


def test_the_other_meshes_are_written_if_one_photo_is_damaged(model: str, image: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    photo(1).save(tmp_path / "other" / "block.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    photos = [image, tmp_path / "broken.png", tmp_path / "other" / "block.png"]
    result = run("generate", *photos, "-o", tmp_path / "meshes", "--model", model)
    assert result.exit_code == 2
    assert sorted(path.name for path in (tmp_path / "meshes").iterdir()) == ["block-2.glb", "block.glb"]
    assert result.stderr.count("error:") == 1 and "broken.png" in result.stderr


def test_a_doubtful_mask_gives_a_warning(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save("noise.png")
    result = run("generate", "noise.png", "--model", model, "-o", "noise.glb")
    assert "warning: noise.png" in result.stderr and "whole photo" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.png", b"", "empty"),
        ("page.jpg", b"<html>404</html>", "web page"),
        ("sky.hdr", b"#?RADIANCE\n", "tone-map"),
        ("cut.gif", b"GIF89a\x08\x00\x08\x00\x00\x00\x00,\x00\x00\x00\x00\x08\x00\x08\x00\x00\x08", "damaged"),
        ("bomb.bmp", b"BM" + bytes(12) + struct.pack("<IiiHH6I", 40, 12000, 12000, 1, 24, *[0] * 6), "megapixels"),
    ],
)
def test_a_bad_photo_gives_one_sentence_and_exit_code_2(
    model: str, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = run("generate", tmp_path / name, "--model", model, "-o", tmp_path / "out.glb")
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert name in line and sentence in line and "Traceback" not in result.output


def test_the_method_of_background_removal_is_printed(model: str, image: Path, tmp_path: Path) -> None:
    result = run("generate", image, "--model", model)
    assert "background: alpha, confidence 1.00" in result.stdout
    Image.open(image).convert("RGB").save(tmp_path / "opaque.png")
    for method in ("none", "border"):
        result = run("generate", tmp_path / "opaque.png", "--model", model, "--background-removal", method)
        assert result.exit_code == 0 and f"background: {method}, confidence" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.png"], "nowhere.png does not exist"),
        (["."], "not a file but a folder"),
        (["https://example.com/mug.png"], "is a URL: download the picture first"),
        (["block.png", "--background-removal", "magic"], "one of auto, none, alpha"),
        (["block.png", "--background-removal", "owner/model"], "not on this machine"),
        (["block.png", "-o", "block.fbx"], "end the name in one of .glb"),
        (["block.png", "--preview", "block.mp4"], "end the name in one of .webp"),
        (["block.png", "-o", "block.png/mesh.glb"], "error:"),
        (["block.png", "-o", "block.glb", "--preview", "block.png"], "would be overwritten"),
        (["block.png", "--model", "huge"], "there is no pipeline 'huge'"),
        (["block.png", "--model", "."], "no model_index.json"),
        (["block.png", "--device", "tpu"], "tpu"),
        (["block.png", "--steps", "0"], "steps"),
        (["block.png", "--up", "x"], "up"),
        (["block.png", "--size", "nan"], "a finite number above 0; got nan"),
        (["block.png", "--size", "0"], "a finite number above 0; got 0"),
        (["block.png", "--faces", "3"], "faces"),
        (["--views", "frnt=block.png"], "there is no camera 'frnt'; did you mean 'front'"),
        (["--views", "block.png", "front,20=block.png"], "there is no camera 'front,20'"),
        (["--views", "block.png", "1,2,3=block.png"], "there is no camera '1,2,3'"),
        (["--views", "block.png", "left="], "left= names no photo"),
        (["--views", "0,95=block.png"], "must be from -90 to 90 degrees, got 95"),
        (["--views", "nan=block.png"], "must be a finite number, got nan"),
        (["--views", "front=nowhere.png"], "nowhere.png does not exist"),
        (["--views", *["block.png"] * 7], "expected 1 to 6"),
        (["--views", "block.png", "-o", "block.fbx"], "end the name in one of .glb"),
    ],
)
def test_a_wrong_argument_gives_one_sentence_and_exit_code_2(image: Path, arguments: list[str], sentence: str) -> None:
    result = run("generate", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr and "Traceback" not in result.output
    assert sorted(path.name for path in image.parent.iterdir()) == ["block.png"], "no file is written"


def test_a_pipeline_without_weights_gives_one_sentence(model: str, image: Path, tmp_path: Path) -> None:
    (tmp_path / "no-weights" / "vae").mkdir(parents=True)
    for name in ("model_index.json", "vae/config.json"):
        (tmp_path / "no-weights" / name).write_text((Path(model) / name).read_text())
    result = run("generate", image, "--model", tmp_path / "no-weights")
    assert result.exit_code == 2
    assert "holds no weights: train it" in result.stderr and "Traceback" not in result.output
    result = run("generate", image, "--model", ROOT / "pipelines" / "triposr")
    assert result.exit_code == 2 and "triplane3d convert triposr" in result.stderr


def test_a_pipeline_saved_without_its_encoder_gives_one_sentence(model: str, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "converted"
    shutil.copytree(model, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "image_encoder": [None, None]}))
    result = run("generate", image, "--model", folder)
    assert result.exit_code == 2
    assert "was saved without its image_encoder" in result.stderr and "Traceback" not in result.output


@pytest.fixture(scope="module")
def model_of_views(tmp_path_factory: pytest.TempPathFactory) -> str:
    pipe = build_tiny_for_views()
    middle = float(grids(pipe, num_inference_steps=2, resolution=12).median())
    shift_logits(pipe.vae, -middle)
    folder = tmp_path_factory.mktemp("views") / "tiny"
    pipe.save_pretrained(folder)
    return str(folder)


def test_photos_of_one_object_give_one_mesh(model_of_views: str, image: Path, tmp_path: Path) -> None:
    photo(1).save(tmp_path / "side.png")
    photo(2).save(tmp_path / "a=b.png")
    contents = []
    for views in (
        ["block.png", "270=side.png"],
        ["front=block.png", "left=side.png"],
        ["90=block.png", "0=side.png"],
        ["front=block.png", "right=side.png"],
        ["?=block.png", "270,40=side.png", "a=b.png"],
    ):
        result = run("generate", "--views", *views, "--model", model_of_views)
        assert result.exit_code == 0, result.output
        assert result.stdout.count("background: alpha") == len(views)
        contents.append(trimesh.load_mesh(tmp_path / "block.glb").vertices)
        assert [path.name for path in tmp_path.glob("*.glb")] == ["block.glb"]
    first = contents[0]
    same = [each.shape == first.shape and np.allclose(each, first, atol=1e-4) for each in contents]
    assert same == [True, True, True, False, False]


def test_a_model_for_one_photo_refuses_views(model: str, model_of_views: str, image: Path) -> None:
    result = run("generate", "--views", "front=block.png", "block.png", "--model", model)
    assert result.exit_code == 2 and "this model is for one photo of each object: pass one photo" in result.stderr
    assert "photos: one of each object" in run("info", model).stdout
    assert "photos: 1 to 6 of an object (--views)" in run("info", model_of_views).stdout


def test_info_counts_the_parameters_in_the_files(model: str) -> None:
    result = run("info", model)
    assert result.exit_code == 0, result.output
    vae = build_tiny().vae
    assert f"{sum(tensor.numel() for tensor in vae.state_dict().values()):,}" in result.stdout
    for expected in ("licence: apache-2.0", "Random weights for tests.", "TriplaneTransformer", "F32", "--quality"):
        assert expected in result.stdout
    assert re.search(r"^balanced +2 +3 +12$", result.stdout, re.MULTILINE)
    missing = run("info", "nowhere")
    assert missing.exit_code == 2 and "no pipeline 'nowhere'" in missing.stderr


def test_quality_names_a_preset_of_the_model(model: str, image: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in ("draft", "balanced"):
        target = tmp_path / f"{quality}.stl"
        assert run("generate", image, "-o", target, "--model", model, "--quality", quality).exit_code == 0
        sizes.append(target.stat().st_size)
    assert sizes[0] < sizes[1]
    result = run("generate", image, "--model", model, "--quality", "best")
    assert result.exit_code == 2 and "quality must be one of balanced, draft, got 'best'" in result.stderr


def test_an_interruption_leaves_no_partial_file(
    model: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("triplane3d.storage.durable.os.replace", stop)
    result = run("generate", image, "--model", model, "-o", tmp_path / "out" / "block.glb")
    assert result.exit_code == 130 and "stopped at" in result.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("way", ["triplane3d", "python -m triplane3d"])
def test_help_is_quick_and_shows_examples(way: str, tmp_path: Path) -> None:
    """The console script and `python -m` print the help without importing torch."""
    script = tmp_path / "triplane3d"
    script.write_text("import sys\nfrom triplane3d.__main__ import main\nsys.exit(main())\n")
    command = [str(script)] if way == "triplane3d" else ["-m", "triplane3d"]
    environment = {**os.environ, "PYTHONPATH": str(Path(triplane3d.__file__).parents[1])}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command, "generate", "--help"],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert time.perf_counter() - started < 5
    assert done.returncode == 0 and "triplane3d generate chair.png -o chair.glb" in done.stdout
    assert "triplane3d generate --views front=a.png left=b.png" in done.stdout
    assert "torch" not in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_info_counts_weights_in_two_precisions_once(tmp_path: Path) -> None:
    weights = load_file(FIXTURES / "triposr.safetensors")
    checkpoint = save_triposr(tmp_path / "c", TRIPOSR_FIXTURE["config"], TRIPOSR_FIXTURE["vit"], weights)
    described = {}
    for variant in (None, "fp16"):
        folder = convert_triposr(checkpoint, tmp_path / str(variant), variant=variant)
        described[variant] = CliRunner().invoke(app, ["info", str(folder)]).output
    total = {variant: text.split("total")[1].split()[0] for variant, text in described.items()}
    assert total["fp16"] == total[None] and "F16/F32" in described["fp16"]
    assert "resolution" in described[None] and "guidance" not in described[None]
