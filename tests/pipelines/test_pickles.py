"""A pickle in place of a file of a saved pipeline, or beside it, is refused or not read, and never executed."""

import shutil
from _pickle import UnpicklingError
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from pipelines.pickles import malicious_pickle
from safetensors.torch import load_file

import triplane3d
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane

BESIDE = ("diffusion_pytorch_model.bin", "pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.ckpt",
          "pytorch_model.bin.index.json", "adapter_model.bin", "pytorch_lora_weights.bin")  # fmt: skip
"""Names of files that a loader of diffusers or transformers reads if they are there."""

LOADERS = ["own class", "DiffusionPipeline"]


def load(loader: str, folder: Path, **options: object) -> DiffusionPipeline:
    own = getattr(triplane3d, folder.name)  # the folder is named for the class
    return (own if loader == "own class" else DiffusionPipeline).from_pretrained(folder, **options)


@pytest.mark.parametrize("loader", LOADERS)
def test_pickles_beside_the_files_are_not_executed(loader: str, saved_copy: Path, tmp_path: Path) -> None:
    for folder in [saved_copy, *(path for path in saved_copy.iterdir() if path.is_dir())]:
        for name in BESIDE[:-3]:
            (folder / name).write_bytes(malicious_pickle(tmp_path / "marker"))
    load(loader, saved_copy)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("use_safetensors", [None, True, False])
def test_pickles_in_place_of_files_are_not_executed(
    saved_copy: Path, tmp_path: Path, use_safetensors: bool | None
) -> None:
    """With `use_safetensors=False` `.bin` files are read, by `torch.load(weights_only=True)`."""
    files = [path.relative_to(saved_copy) for path in saved_copy.rglob("*") if path.is_file()]
    weights = [file for file in files if file.suffix == ".safetensors"]
    assert weights
    for file in files:
        folder = tmp_path / "changed" / saved_copy.name
        shutil.copytree(saved_copy, folder)
        (folder / file).write_bytes(malicious_pickle(tmp_path / "marker"))
        if file in weights:
            (folder / file).unlink()
            for name in BESIDE:
                (folder / file.parent / name).write_bytes(malicious_pickle(tmp_path / "marker"))
        refused = None
        try:
            load("own class", folder, use_safetensors=use_safetensors)
        except (ValueError, OSError, RuntimeError, UnpicklingError) as error:
            refused = error
        assert not (tmp_path / "marker").exists(), file
        assert refused is not None or file not in weights, file
        shutil.rmtree(folder)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_bin_file_is_read_only_on_demand(loader: str, saved_copy: Path) -> None:
    for file in saved_copy.glob("*/diffusion_pytorch_model.safetensors"):
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()
    for file in saved_copy.glob("*/model.safetensors"):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
    for options in ({}, {"use_safetensors": None}, {"use_safetensors": True}):
        with pytest.raises(ValueError, match="holds no weights .*use_safetensors=False reads tensors from pickles"):
            load(loader, saved_copy, **options)
    pipe = load(loader, saved_copy, use_safetensors=False)
    assert all(not p.is_meta for model in pipe.components.values() for p in getattr(model, "parameters", list)())


def test_an_autoencoder_of_pickles_is_not_executed(saved_folders: dict[str, Path], tmp_path: Path) -> None:
    """The autoencoder is loaded as in the training stages."""
    shutil.copytree(saved_folders["Triplane3DPipeline"] / "vae", tmp_path / "vae")
    for path in (tmp_path / "vae").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
        path.with_suffix(".bin").write_bytes(malicious_pickle(tmp_path / "marker"))
    with pytest.raises((ValueError, OSError)):
        AutoencoderKLTriplane.from_pretrained(tmp_path / "vae")
    assert not (tmp_path / "marker").exists()
