"""What a stage reads must be there before anything is computed or written; otherwise a sentence says who writes it."""

from pathlib import Path

from triplane3d.errors import elsewhere, not_there

WRITERS = {
    "shards": "stage 0, scripts/prepare_shapes.py",
    "vae": "stage 1, scripts/train_autoencoder.py",
    "latents": "stage 2, scripts/encode_latents.py",
    "denoiser": "stage 3, scripts/train_denoiser.py",
}


def check_pipeline(folder: str, *files: str) -> None:
    """`pipeline` names a folder with each of these files, such as "transformer/config.json"."""
    if not Path(folder).is_dir():
        if elsewhere(folder):
            raise ValueError(f"pipeline: {not_there(folder)}")
        raise ValueError(f"pipeline={folder} is not a folder: name one of pipelines/, such as pipelines/mini")
    for file in files:
        if not (Path(folder) / file).is_file():
            raise ValueError(
                f"pipeline={folder} has no {file}, which this stage needs: name a pipeline that describes what it "
                "trains, such as pipelines/mini"
            )


def check_model(key: str, folder: str, writer: str) -> None:
    """The folder that `key` names holds a saved model, weights and all; `writer` is one of `WRITERS`."""
    path, made_by = Path(folder), f"{WRITERS[writer]}, writes it when it has finished"
    if not path.is_dir():
        there = not_there(folder) if elsewhere(folder) else f"there is no folder {folder}"
        raise ValueError(f"{key}: {there}; {made_by}")
    if not (path / "config.json").is_file():
        inside = next((f"; do you mean {below.parent}?" for below in sorted(path.glob("*/config.json"))), "")
        raise ValueError(f"{key}: {folder} holds no saved model (no config.json){inside or f'; {made_by}'}")
    if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        raise ValueError(f"{key}: {folder} describes a model but holds no weights; {made_by}")


def check_files(key: str, folder: str, pattern: str, writer: str) -> None:
    """The folder that `key` names holds files of that `pattern`; `writer` is one of `WRITERS`."""
    if not Path(folder).is_dir():
        there = not_there(folder) if elsewhere(folder) else f"there is no folder {folder}"
        raise ValueError(f"{key}: {there}; {WRITERS[writer]}, writes it")
    if not any(Path(folder).glob(pattern)):
        raise ValueError(f"{key}: no {pattern} in {folder}; {WRITERS[writer]}, writes them")
