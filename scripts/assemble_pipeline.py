"""Trained weights into a saved pipeline. `python scripts/assemble_pipeline.py runs/mini/autoencoder runs/mini/denoiser
pipelines/mini` writes fp16 safetensors beside the JSON that the runs were built from."""

import argparse
import inspect
import json
import shutil
import tempfile
from pathlib import Path

from triplane3d.errors import errors_as_sentences
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.assembly import component_class
from triplane3d.pipelines.encoder_weights import load_encoder
from triplane3d.storage.durable import write_file, writing_file, writing_folder
from triplane3d.training.architecture import INCIDENTAL
from triplane3d.training.inputs import check_model, check_pipeline

COMPONENTS = ("vae", "transformer", "image_encoder")

# What a saved config may say that is not architecture either.
VERSIONS = ("_diffusers_version", "_name_or_path", "transformers_version", "dtype")


def assemble(autoencoder: Path, denoiser: Path, pipeline: Path, *, limit_mb: float = 60.0) -> float:
    """Returns the weights' size in MB, which `limit_mb` bounds."""
    check_pipeline(str(pipeline), "model_index.json", *(f"{name}/config.json" for name in COMPONENTS))
    check_model("autoencoder", f"{autoencoder}/vae", "vae")
    for name in ("transformer", "image_encoder"):
        check_model("denoiser", f"{denoiser}/{name}", "denoiser")
    sources = {"vae": autoencoder, "transformer": denoiser, "image_encoder": denoiser}
    classes = {
        "vae": AutoencoderKLTriplane,
        "transformer": TriplaneTransformer,
        "image_encoder": component_class(pipeline, "image_encoder"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, source in sources.items():
            if name == "image_encoder":
                model = load_encoder(source / name, classes[name])
            else:
                model = classes[name].from_pretrained(source / name)
            model.half().save_pretrained(Path(scratch) / name)
        weights = {name: next((Path(scratch) / name).glob("*.safetensors")) for name in sources}
        total = sum(file.stat().st_size for file in weights.values()) / 1e6
        if not total <= limit_mb:
            raise ValueError(f"the weights take {total:.1f} MB, more than the {limit_mb:g} MB allowed")

        declarations = {}
        for name, file in weights.items():
            trained = json.loads((file.parent / "config.json").read_text())
            declared_at = pipeline / name / "config.json"
            declared = json.loads(declared_at.read_text())
            # Keys that are younger than the description mean what they mean by default.
            check_architecture(trained, defaults(classes[name]) | declared, declared_at)
            if name == "vae":
                if trained["latents_mean"] is None:
                    raise ValueError(f"{autoencoder}/vae has no latents_mean: run scripts/encode_latents.py on it")
                declared |= {key: trained[key] for key in ("latents_mean", "latents_std")}
            if name == "image_encoder":
                declared["dtype"] = "float32"  # else transformers computes in the type that the weights are stored in
            declarations[name] = declared
        # Weights and JSON of all components change together, or not at all.
        with writing_folder(pipeline, replace=True) as partial:
            shutil.copytree(pipeline, partial, symlinks=True, dirs_exist_ok=True)
            for name, file in weights.items():
                with writing_file(partial / name / file.name) as target:
                    shutil.copyfile(file, target)
                write_file(partial / name / "config.json", json.dumps(declarations[name], indent=2) + "\n")
    return total


def defaults(kind: type) -> dict:
    """What a class of diffusers takes for granted where its config is silent; nothing for those of transformers."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def check_architecture(trained: dict, declared: dict, where: Path) -> None:
    """Weights belong to one architecture: every key that both configs state must agree."""
    for key in (trained.keys() & declared.keys()) - {*INCIDENTAL, *VERSIONS}:
        if trained[key] != declared[key]:
            raise ValueError(f"{where}: {key}={declared[key]!r}, but the weights were trained with {trained[key]!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("autoencoder", type=Path, help="output folder of stages 1 and 2, with vae/")
    parser.add_argument("denoiser", type=Path, help="output folder of stage 3 or 4: transformer/, image_encoder/")
    parser.add_argument("pipeline", type=Path, help="folder of pipelines/ to fill")
    parser.add_argument("--limit-mb", type=float, default=60.0, help="fail if the weights are larger (default: 60)")
    given = parser.parse_args()
    with errors_as_sentences():
        size = assemble(given.autoencoder, given.denoiser, given.pipeline, limit_mb=given.limit_mb)
        print(f"{given.pipeline}: {size:.1f} MB of weights")
