"""The configurations of `configs/tiny`, reading and writing below a folder of the test's own."""

from pathlib import Path

from triplane3d.config import AutoencoderConfig, DenoiserConfig, LatentsConfig, load_config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "tiny"


def autoencoder_config(folder: Path, **overrides: object) -> AutoencoderConfig:
    paths = {
        "pipeline": ROOT / "pipelines" / "tiny",
        "data.folder": folder / "data",
        "data.validation": folder / "data",
        "run.output": folder / "autoencoder",
        "run.trackers": (),
    }
    return load_config(AutoencoderConfig, CONFIGS / "autoencoder.yaml", {**paths, **overrides})


def latents_config(folder: Path, **overrides: object) -> LatentsConfig:
    paths = {"vae": folder / "autoencoder" / "vae", "data": folder / "data", "output": folder / "latents"}
    return load_config(LatentsConfig, CONFIGS / "latents.yaml", {**paths, **overrides})


def denoiser_config(folder: Path, **overrides: object) -> DenoiserConfig:
    paths = {
        "pipeline": ROOT / "pipelines" / "tiny",
        "data.folder": folder / "data",
        "data.validation": folder / "data",
        "data.latents": folder / "latents",
        "data.vae": folder / "autoencoder" / "vae",
        "run.output": folder / "denoiser",
        "run.trackers": (),
    }
    return load_config(DenoiserConfig, CONFIGS / "denoiser.yaml", {**paths, **overrides})
