"""Weights that are saved only as a variant, such as fp16, are found: by the command, by our classes, on the Hub."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from convert.tiny_checkpoints import FIXTURES, TRIPOSR_FIXTURE, save_triposr
from diffusers import DiffusionPipeline
from huggingface_hub import errors
from pipelines.mock_hub import mock_hub
from pipelines.tiny_pipeline import grids
from safetensors.torch import load_file

from triplane3d import Triplane3DPipeline, TriplaneReconstructionPipeline
from triplane3d.convert.triposr import convert_triposr
from triplane3d.model_loading import _http_error
from triplane3d.pipelines.saved import files_below, find_variant, saved_variant, variants

SHARDED = {"variant": "fp16", "max_shard_size": "60KB"}


@pytest.fixture(scope="module", params=[{"variant": "fp16"}, SHARDED, {"variant": "bf16"}], ids=str)
def half(request: pytest.FixtureRequest, crossing: Triplane3DPipeline, tmp_path_factory: pytest.TempPathFactory):
    """A folder that is saved as in docs/diffusers.md, and its variant."""
    folder = tmp_path_factory.mktemp("variant") / "model"
    crossing.save_pretrained(folder, **request.param)
    return folder, request.param["variant"]


def test_the_command_finds_the_variant(half: tuple, image: Path, run: Callable) -> None:
    folder, variant = half
    result = run("generate", image, "--model", folder, "-o", "out.glb")
    assert result.exit_code == 0, result.output
    assert f"variant {variant}" in result.stderr and (image.parent / "out.glb").is_file()
    described = run("info", folder)
    assert described.exit_code == 0 and f"variants: only {variant}" in described.stdout
    assert "199,940" in described.stdout


def test_from_pretrained_finds_the_variant(half: tuple, crossing: Triplane3DPipeline) -> None:
    folder, variant = half
    found, named = (Triplane3DPipeline.from_pretrained(folder, variant=which) for which in (None, variant))
    for pipe in (found, named):
        pipe.set_progress_bar_config(disable=True)
    assert torch.equal(grids(found), grids(named))


def test_the_variant_of_a_reconstruction_pipeline_is_found(tmp_path: Path) -> None:
    weights = load_file(FIXTURES / "triposr.safetensors")
    checkpoint = save_triposr(tmp_path / "c", TRIPOSR_FIXTURE["config"], TRIPOSR_FIXTURE["vit"], weights)
    folder = convert_triposr(checkpoint, tmp_path / "model", variant="fp16")
    assert saved_variant(folder) is None, "plain weights have priority"
    for path in folder.glob("*/*.safetensors"):
        if "fp16" not in path.name:
            path.unlink()
    assert saved_variant(folder) == "fp16"
    assert TriplaneReconstructionPipeline.from_pretrained(folder).reconstructor is not None


@pytest.mark.parametrize(
    ("files", "variant"),
    [
        (["vae/diffusion_pytorch_model.safetensors", "unet/model.safetensors"], None),
        (["vae/diffusion_pytorch_model.fp16.safetensors", "unet/model.safetensors"], "fp16"),
        (["vae/model.safetensors", "vae/model.fp16.safetensors", "unet/model.safetensors"], None),
        (["vae/model.bf16.safetensors", "vae/model.fp16.safetensors", "unet/model.bf16.safetensors"], "bf16"),
        (["vae/model.bf16.safetensors", "vae/model.fp16.safetensors", "unet/model.safetensors"], "fp16"),
        (["vae/model.fp16-00001-of-00002.safetensors", "unet/model-00001-of-00002.safetensors"], "fp16"),
        (["vae/model-00001-of-00002.ema.safetensors"], "ema"),
        (["old/model.ema.safetensors", "vae/model.safetensors", "vae/config.json"], None),
        ([], None),
    ],
)
def test_a_variant_is_found_if_every_component_has_weights(files: list[str], variant: str | None) -> None:
    assert find_variant(variants(files, ["vae", "unet"]), "here") == variant


def test_without_a_complete_variant_the_error_lists_what_exists() -> None:
    with pytest.raises(ValueError, match="unet only as bf16; vae only as fp16"):
        find_variant(variants(["vae/model.fp16.safetensors", "unet/model.bf16.safetensors"], ["vae", "unet"]), "here")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--variant", "fp16"], "has no variant 'fp16' of its weights: it holds plain weights"),
        (["--revision", "main"], "revision main is for a model on the Hugging Face Hub"),
    ],
)
def test_a_missing_variant_or_revision_is_refused(
    model: Path, image: Path, run: Callable, options: list[str], sentence: str
) -> None:
    result = run("generate", image, "--model", model, *options)
    assert result.exit_code == 2 and sentence in result.stderr and result.stderr.count("error:") == 1


def test_the_variant_is_found_on_the_hub(crossing: Triplane3DPipeline, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    crossing.save_pretrained(folder, variant="fp16")
    with mock_hub() as (address, files):
        for path in folder.rglob("*.*"):
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
        }
        arguments = ["generate", "block.png", "--model", "somebody/chairs", "--revision", "v1", "-o", "out.glb"]
        done = subprocess.run(
            [sys.executable, "-m", "triplane3d", *arguments], capture_output=True, text=True, env=environment
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "loading somebody/chairs on cpu (float32, variant fp16)\n", "no other line is printed"


def test_without_a_network_the_cache_is_used(
    half: tuple, image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("generate", image, "--model", "nobody/nothing")
    assert result.exit_code == 2 and result.stderr.count("error:") == 1
    assert "nobody/nothing is not on this machine" in result.stderr and "HF_HUB_OFFLINE is set" in result.stderr
    assert "stack" not in result.stderr

    folder, variant = half
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(folder / "model_index.json"))
    result = run("generate", image, "--model", "somebody/chairs")
    assert result.exit_code == 0 and f"variant {variant}" in result.stderr


def test_an_interrupted_download_gives_one_sentence(
    model: Path, image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise _http_error()("connection lost")

    listed = [SimpleNamespace(rfilename=path) for path in files_below(model)]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=listed))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(model / "model_index.json"))
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", interrupt)
    result = run("generate", image, "--model", "somebody/chairs")
    assert result.exit_code == 2
    assert "error: somebody/chairs was not downloaded completely (HTTPError): give the command again" in result.stderr


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (errors.RepositoryNotFoundError, "no such model on the Hugging Face Hub: check the name"),
        (errors.GatedRepoError, "accept its terms on the Hub"),
        (errors.RevisionNotFoundError, "has no revision 'v9': name a branch"),
        (errors.RemoteEntryNotFoundError, "is not a saved pipeline: it has no model_index.json"),
        (errors.HfHubHTTPError, "the Hub cannot be reached (HfHubHTTPError)"),
    ],
)
def test_an_error_of_the_hub_gives_one_sentence(
    image: Path, run: Callable, monkeypatch: pytest.MonkeyPatch, error: type, sentence: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error("many lines", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    result = run("generate", image, "--model", "somebody/chairs", "--revision", "v9")
    assert result.exit_code == 2 and sentence in result.stderr and result.stderr.count("\n") == 1


def test_pipelines_without_meshes_or_of_a_newer_version_are_refused(
    model: Path, image: Path, run: Callable, tmp_path: Path
) -> None:
    for old, new, sentence in (
        ("Triplane3DPipeline", "StableDiffusionPipeline", "class StableDiffusionPipeline, which makes no meshes"),
        ("TriplaneTransformer", "TriplaneTransformer2", "class TriplaneTransformer2, which the installed triplane3d"),
    ):
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        shutil.copytree(model, tmp_path / "other")
        index = tmp_path / "other" / "model_index.json"
        index.write_text(index.read_text().replace(f'"{old}"', f'"{new}"'))
        result = run("generate", image, "--model", tmp_path / "other")
        assert result.exit_code == 2 and sentence in result.stderr
