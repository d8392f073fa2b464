"""Copies trained weights into the folder of a saved pipeline, as fp16 safetensors beside its JSON files.

`scripts/assemble_pipeline.py` runs this after stages 1 to 4, and `scripts/add_refiner.py` after stage 5.
"""

import inspect
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.photo_plane import PhotoPlaneRefiner
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.assembly import component_class
from triplane3d.pipelines.encoder_weights import load_encoder
from triplane3d.storage.durable import write_file, writing_file, writing_folder
from triplane3d.storage.tensor_files import check_utf8
from triplane3d.storage.writability import check_folder
from triplane3d.training.architecture import INCIDENTAL, STATISTICS
from triplane3d.training.inputs import check_model, check_pipeline

COMPONENTS = ("vae", "transformer", "image_encoder")

VERSIONS = ("_diffusers_version", "_name_or_path", "transformers_version", "dtype")
"""Keys of a saved config that are not architecture, besides `INCIDENTAL`."""


def assemble_pipeline(autoencoder: Path, denoiser: Path, pipeline: Path, *, limit_mb: float = 60.0) -> float:
    """Writes the trained weights into `pipeline`; returns their size in MB.

    Args:
        autoencoder: output folder of stages 1 and 2, with `vae/`.
        denoiser: output folder of stage 3 or 4, with `transformer/` and `image_encoder/`.
        pipeline: folder with `model_index.json` and a config for each component.
        limit_mb: upper bound of the size.

    Raises:
        ValueError: if an input is missing, if weights have another architecture than the configs in `pipeline`, or if
            they are too large. The folder is not changed then.
        OSError: if the folder cannot be written to.
    """
    check_pipeline(str(pipeline), "model_index.json", *(f"{name}/config.json" for name in COMPONENTS))
    check_model("autoencoder", f"{autoencoder}/vae", "vae")
    for name in ("transformer", "image_encoder"):
        check_model("denoiser", f"{denoiser}/{name}", "denoiser")
    check_folder(pipeline.absolute().parent, "pipeline")  # the folder is replaced by a new one
    sources = {"vae": autoencoder, "transformer": denoiser, "image_encoder": denoiser}
    classes = {
        "vae": AutoencoderKLTriplane,
        "transformer": TriplaneTransformer,
        "image_encoder": component_class(pipeline, "image_encoder"),
    }
    return _replace_weights(pipeline, sources, classes, limit_mb)


def add_refiner(refiner: Path, pipeline: Path, *, limit_mb: float = 60.0) -> float:
    """Adds the refiner of stage 5 to `pipeline`, or replaces it; returns the size of all weights in MB.

    Args:
        refiner: output folder of stage 5, with `refiner/`.
        pipeline: folder of a pipeline with weights, and with `refiner/config.json`.
        limit_mb: upper bound of the size of all weights.

    Raises:
        ValueError: as `assemble_pipeline`.
        OSError: if the folder cannot be written to.
    """
    check_utf8(str(pipeline), "pipeline")
    check_model("refiner", f"{refiner}/refiner", "refiner")
    check_pipeline(str(pipeline), "model_index.json", "refiner/config.json")
    check_folder(pipeline.absolute().parent, "pipeline")  # the folder is replaced by a new one
    return _replace_weights(pipeline, {"refiner": refiner}, {"refiner": PhotoPlaneRefiner}, limit_mb)


def _replace_weights(pipeline: Path, sources: Mapping[str, Path], classes: Mapping[str, Any], limit_mb: float) -> float:
    """Replaces weights and configs of some components, all together or not at all; returns the size of all weights."""
    others = (file for file in pipeline.glob("*/*.safetensors") if file.parent.name not in sources)
    total = sum(file.stat().st_size for file in others) / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        weights = {
            name: _save_half(source / name, classes[name], Path(scratch) / name) for name, source in sources.items()
        }
        total += sum(file.stat().st_size for file in weights.values()) / 1e6
        if not total <= limit_mb:
            raise ValueError(f"the weights take {total:.1f} MB, more than the {limit_mb:g} MB allowed")
        configs = {
            name: _released_config(name, classes[name], file.parent, pipeline / name) for name, file in weights.items()
        }
        with writing_folder(pipeline, replace=True) as partial:
            shutil.copytree(pipeline, partial, symlinks=True, dirs_exist_ok=True)
            for name, file in weights.items():
                with writing_file(partial / name / file.name) as target:
                    shutil.copyfile(file, target)
                write_file(partial / name / "config.json", json.dumps(configs[name], indent=2) + "\n")
            if "refiner" in sources:
                index = json.loads((pipeline / "model_index.json").read_text())
                index["refiner"] = ["triplane3d", PhotoPlaneRefiner.__name__]
                write_file(partial / "model_index.json", json.dumps(index, indent=2) + "\n")
    return total


def _save_half(source: Path, model_class: Any, target: Path) -> Path:
    """Saves the model in `source` in half precision to `target`; returns its file of weights."""
    is_ours = model_class in (AutoencoderKLTriplane, PhotoPlaneRefiner, TriplaneTransformer)
    model = model_class.from_pretrained(source) if is_ours else load_encoder(source, model_class)
    model.half().save_pretrained(target)
    return next(target.glob("*.safetensors"))


def _released_config(name: str, model_class: type, trained_folder: Path, declared_folder: Path) -> dict[str, Any]:
    """The declared config of a component, with the values that belong to its trained weights."""
    trained = json.loads((trained_folder / "config.json").read_text())
    declared_file = declared_folder / "config.json"
    declared = json.loads(declared_file.read_text())
    # Keys that were added after the file was written have their default values.
    _check_architecture(trained, constructor_defaults(model_class) | declared, declared_file)
    if name == "vae":
        if trained["latents_mean"] is None:
            raise ValueError("the trained vae has no latents_mean: run scripts/encode_latents.py on it")
        declared |= {key: trained[key] for key in STATISTICS}
    if name == "image_encoder":
        declared["dtype"] = "float32"  # otherwise transformers computes in the type of the stored weights
    return declared


def constructor_defaults(model_class: type) -> dict[str, Any]:
    """Default values of the constructor's parameters. For models of transformers there are none."""
    parameters = inspect.signature(model_class.__init__).parameters.values()  # type: ignore[misc]
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _check_architecture(trained: Mapping[str, Any], declared: Mapping[str, Any], file: Path) -> None:
    """Raises `ValueError` if a key that both configs have, and that is architecture, differs."""
    for key in (trained.keys() & declared.keys()) - {*INCIDENTAL, *VERSIONS}:
        if trained[key] != declared[key]:
            raise ValueError(f"{file}: {key}={declared[key]!r}, but the weights were trained with {trained[key]!r}")
