"""Checks of a stage's inputs before anything is computed.

Missing inputs raise a `ValueError` that names the stage which writes them.
"""

import fnmatch
from pathlib import Path

from triplane3d.errors import exists_in_checkout_only, missing_path_message
from triplane3d.storage.tensor_files import check_utf8

STAGES = {
    "shards": "stage 0, scripts/prepare_shapes.py",
    "vae": "stage 1, scripts/train_autoencoder.py",
    "latents": "stage 2, scripts/encode_latents.py",
    "denoiser": "stage 3, scripts/train_denoiser.py",
    "draws": "stage 5, scripts/draw_latents.py",
    "refiner": "stage 5, scripts/train_refiner.py",
}


def check_pipeline(folder: str, *files: str) -> None:
    """Raises `ValueError` unless `folder` exists and holds each of `files`, such as "transformer/config.json"."""
    check_utf8(folder, "pipeline")
    if not Path(folder).is_dir():
        if exists_in_checkout_only(folder):
            raise ValueError(f"pipeline: {missing_path_message(folder)}")
        raise ValueError(f"pipeline={folder} is not a folder: name one of pipelines/, such as pipelines/mini")
    for file in files:
        if not (Path(folder) / file).is_file():
            raise ValueError(
                f"pipeline={folder} has no {file}, which this stage needs: name a pipeline that describes what it "
                "trains, such as pipelines/mini"
            )


def check_model(key: str, folder: str, writer: str) -> None:
    """Raises `ValueError` unless `folder` holds a saved model with weights.

    `key` is the configuration's key, for the message; `writer` is the key of `STAGES` that writes the folder.
    """
    path, made_by = Path(folder), f"{STAGES[writer]}, writes it when it has finished"
    check_utf8(folder, key)
    if not path.is_dir():
        there = missing_path_message(folder) if exists_in_checkout_only(folder) else f"there is no folder {folder}"
        raise ValueError(f"{key}: {there}; {made_by}")
    if not (path / "config.json").is_file():
        inside = next((f"; do you mean {below.parent}?" for below in sorted(path.glob("*/config.json"))), "")
        raise ValueError(f"{key}: {folder} holds no saved model (no config.json){inside or f'; {made_by}'}")
    if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        raise ValueError(f"{key}: {folder} describes a model but holds no weights; {made_by}")


def check_files(key: str, folder: str, pattern: str, writer: str) -> None:
    """Raises `ValueError` unless `folder` holds files that match `pattern`. `key` and `writer` as for `check_model`.

    Raises `OSError` for a folder that may not be read.
    """
    if not Path(folder).is_dir():
        there = missing_path_message(folder) if exists_in_checkout_only(folder) else f"there is no folder {folder}"
        raise ValueError(f"{key}: {there}; {STAGES[writer]}, writes it")
    names = [path.name for path in Path(folder).iterdir()]  # `glob` is empty for a folder that may not be read
    if not fnmatch.filter(names, pattern):
        raise ValueError(f"{key}: no {pattern} in {folder}; {STAGES[writer]}, writes them")
