"""The configurations of `configs/tiny`, with inputs and outputs below a folder of the test."""

import json
import shutil
from pathlib import Path

from triplane3d.config import AutoencoderConfig, DenoiserConfig, DistillConfig, LatentsConfig, load_config

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


def distill_config(folder: Path, **overrides: object) -> DistillConfig:
    """The pipeline is `pipelines/tiny` with `interval_condition`."""
    pipeline = folder / "tiny_few_steps"
    if not pipeline.exists():
        shutil.copytree(ROOT / "pipelines" / "tiny", pipeline)
        path = pipeline / "transformer" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "interval_condition": True}))
    paths = {
        "pipeline": pipeline,
        "teacher": folder / "denoiser",
        "data.folder": folder / "data",
        "data.validation": folder / "data",
        "data.latents": folder / "latents",
        "data.vae": folder / "autoencoder" / "vae",
        "run.output": folder / "distill",
        "run.trackers": (),
    }
    return load_config(DistillConfig, CONFIGS / "distill.yaml", {**paths, **overrides})
