"""Which pipeline `--model` names, and loading it."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from triplane3d.cli.errors import fail, mistakes_are_sentences
from triplane3d.pipelines.loading import embedded_names, embedded_pipeline, register_with_diffusers

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def takes_views(transformer: Mapping[str, Any]) -> bool:
    """A denoiser of this config reads several photos of an object."""
    return bool(transformer.get("camera_condition"))


def find_local(model: str) -> Path | None:
    embedded = embedded_pipeline(model)
    if embedded is not None:
        return embedded
    return Path(model) if (Path(model) / "model_index.json").is_file() else None


def load(model: str, device: Device, dtype: Dtype) -> "DiffusionPipeline":
    folder = find_local(model)
    if folder is None:
        if Path(model).exists():
            fail(f"{model} is not a saved pipeline: it has no model_index.json")
        if model.count("/") != 1:
            fail(
                f"there is no pipeline {model!r}: name one that came along ({', '.join(embedded_names())}), "
                "a folder, or owner/name on the Hugging Face Hub"
            )
    elif not any(folder.glob("*/*.safetensors")):
        public = folder.name in ("direct3d", "triposr")
        way_out = f"convert the public checkpoint (triplane3d convert {folder.name} --help)" if public else "train it"
        fail(f"{folder} describes a pipeline but holds no weights: {way_out} and name the folder that comes of it")
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    register_with_diffusers()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    chosen = _choose_device(device)
    if dtype is Dtype.auto:
        dtype = Dtype.float16 if chosen.type == "cuda" else Dtype.float32
    typer.echo(f"loading {model} on {chosen} ({dtype.value})", err=True)
    with mistakes_are_sentences():
        return DiffusionPipeline.from_pretrained(folder or model, dtype=getattr(torch, dtype.value)).to(chosen)


def _choose_device(device: Device) -> "torch.device":
    import torch

    if device is Device.auto:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device is Device.cuda and not torch.cuda.is_available():
        fail("--device cuda: this machine's torch sees no CUDA GPU; leave the option out")
    if device is Device.mps and not torch.backends.mps.is_available():
        fail("--device mps: this machine's torch sees no Apple GPU; leave the option out")
    return torch.device(device.value)
