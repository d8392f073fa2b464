"""A pickle in the place of any file of a saved pipeline, or beside it, is refused or not read; it never runs."""

import os
import shutil
from _pickle import UnpicklingError
from pathlib import Path

import pytest

from triplane3d import Triplane3DPipeline
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane

BESIDE = ("diffusion_pytorch_model.bin", "pytorch_model.bin", "model.bin", "model.pt", "model.pth", "model.ckpt",
          "pytorch_model.bin.index.json", "adapter_model.bin", "pytorch_lora_weights.bin")  # fmt: skip
"""Names of files that a loader of diffusers or transformers looks for."""


def explosive(marker: Path) -> bytes:
    """A pickle that creates `marker` when it is read; tests/training/test_durability.py shows that it does."""
    return f"c{os.name}\nsystem\n(S'touch {marker}'\ntR.".encode()


def test_pickles_beside_the_files_change_nothing(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    for folder in [tmp_path / "tiny", *(path for path in (tmp_path / "tiny").iterdir() if path.is_dir())]:
        for name in BESIDE[:-3]:
            (folder / name).write_bytes(explosive(tmp_path / "marker"))
    Triplane3DPipeline.from_pretrained(tmp_path / "tiny", use_safetensors=True)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("use_safetensors", [None, True])
def test_pickles_in_the_place_of_files_are_not_run(tiny_folder, tmp_path, use_safetensors):
    """Without an option too: diffusers and transformers then read `.bin` files, but with `weights_only=True`."""
    files = [path.relative_to(tiny_folder) for path in tiny_folder.rglob("*") if path.is_file()]
    weights = [file for file in files if file.suffix == ".safetensors"]
    assert len(weights) >= 3
    for file in files:
        folder = tmp_path / "tiny"
        shutil.copytree(tiny_folder, folder)
        (folder / file).write_bytes(explosive(tmp_path / "marker"))
        if file in weights:
            (folder / file).unlink()
            for name in BESIDE:
                (folder / file.parent / name).write_bytes(explosive(tmp_path / "marker"))
        refused = None
        try:
            Triplane3DPipeline.from_pretrained(folder, use_safetensors=use_safetensors)
        except (ValueError, OSError, RuntimeError, UnpicklingError) as error:
            refused = error
        assert not (tmp_path / "marker").exists(), file
        assert refused is not None or file not in weights, file
        shutil.rmtree(folder)


def test_an_autoencoder_of_pickles_is_not_run(tiny_folder, tmp_path):
    """As the training stages load it."""
    shutil.copytree(tiny_folder / "vae", tmp_path / "vae")
    for path in (tmp_path / "vae").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
        path.with_suffix(".bin").write_bytes(explosive(tmp_path / "marker"))
    with pytest.raises((ValueError, OSError)):
        AutoencoderKLTriplane.from_pretrained(tmp_path / "vae")
    assert not (tmp_path / "marker").exists()
