"""Every kind of file that the product reads: how to make valid ones, which of them to damage, how to read them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from convert.tiny_checkpoints import (
    FIXTURE,
    SMALL_TRIPOSR,
    SMALL_VIT,
    direct3d_fixture,
    random_triposr,
    save_direct3d,
    save_triposr,
)
from pipelines.tiny_pipeline import build_tiny, photo
from reader import Read
from test_trainer import config as run_config
from test_trainer import fit
from tiny_stages import CONFIGS
from typer.testing import CliRunner

from triplane3d import Mesh, Triplane3DPipeline, TriplaneReconstructionPipeline
from triplane3d.cli import app
from triplane3d.config import AutoencoderConfig, DenoiserConfig, DistillConfig, LatentsConfig, load_config
from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr
from triplane3d.data.procedural.samples import write_shape_shard
from triplane3d.data.shards import ShardDataset
from triplane3d.geometry.isosurface import extract_surface


@dataclass(frozen=True)
class Target:
    """A kind of files.

    `make` writes valid files into a folder that does not exist yet. `reads` are the ways to read that folder, each
    returning a fingerprint of the result. Damage that changes the result must be refused, as in weights, unless it is
    done to a file with an ending in `settings`, where another value is as valid, or, in a `collection` of files, by
    removing one. `share` is the number of damaged copies relative to the other targets.
    """

    make: Callable[[Path], object]
    reads: dict[str, Read]
    settings: tuple[str, ...] = ()
    collection: bool = False
    share: float = 1.0


def _sha(*arrays: torch.Tensor | np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return digest.hexdigest()[:16]


def _command(*arguments: str) -> str:
    """Runs the command in this process; its error messages become ValueErrors, other exceptions RuntimeErrors."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exit_code in (1, 2) and not isinstance(result.exception, Exception):
        raise ValueError(result.output)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise RuntimeError(repr(result.exception)) from result.exception
    if "\x1b" in result.output:
        raise RuntimeError("an escape sequence is printed")
    return ""


# ---- saved pipelines


def make_pipeline(folder: Path) -> None:
    build_tiny().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- 3d\n---\n\n# A model\n")


def load_pipeline(folder: Path, loader: type = Triplane3DPipeline) -> str:
    pipe = loader.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    embeds = torch.linspace(-1, 1, 5 * pipe.transformer.config.cross_attention_dim).view(1, 5, -1)
    generator = torch.Generator().manual_seed(0)
    latents = pipe(image_embeds=embeds, generator=generator, num_inference_steps=1, output_type="latent")[0]
    return _sha(latents.float().round(decimals=4))


def load_generic(folder: Path) -> str:
    """Loads with diffusers' loader, whose errors are not checked if the index names no pipeline of this package."""
    from diffusers import DiffusionPipeline

    try:
        named = json.loads((folder / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        named = None
    if named != "Triplane3DPipeline":
        raise ValueError(f"{folder} names no pipeline of triplane3d")
    return load_pipeline(folder, DiffusionPipeline)


def print_info(folder: Path) -> str:
    return _command("info", str(folder))


def make_reconstruction(folder: Path) -> None:
    source = folder.with_name(folder.name + "-checkpoint")
    make_triposr(source)
    convert_triposr(source, folder)


def load_reconstruction(folder: Path, loader: type = TriplaneReconstructionPipeline) -> str:
    pipe = loader.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    mesh = pipe(photo(), resolution=8, output_type="pt")[0]
    return _sha(torch.as_tensor(mesh).float().round(decimals=3))


def make_adapter(folder: Path) -> None:
    from peft import LoraConfig

    pipe = build_tiny()
    pipe.transformer.add_adapter(
        LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    pipe.save_lora_weights(folder, pipe.transformer)


def load_adapter(folder: Path) -> str:
    pipe = build_tiny()
    try:
        pipe.load_lora_weights(folder)
    except ValueError as error:
        if type(error) is ValueError and "LoRA" in str(error):  # tensors have no file name
            raise ValueError(f"{folder}: {error}") from error
        raise
    return _sha(*(value for name, value in pipe.transformer.state_dict().items() if "lora" in name))


# ---- training


def make_run(folder: Path) -> None:
    torch.manual_seed(0)
    fit(run_config(folder.with_name(folder.name + "-run")))
    shutil.copytree(folder.with_name(folder.name + "-run") / "checkpoint-3", folder / "checkpoint-3")


def resume_run(folder: Path) -> str:
    fit(run_config(folder))
    return ""


def make_shards(folder: Path) -> None:
    folder.mkdir()
    for number, seeds in enumerate((range(2), range(2, 4))):
        write_shape_shard(folder / f"shapes-{number}.safetensors", seeds, surface_points=64, label_points=128, views=2,
                    image_size=16, batch_size=4, families=("car",))  # fmt: skip


def read_shards(folder: Path) -> str:
    shapes = ShardDataset(folder, ("surface", "labels", "views"), surface_points=16, label_points=16)
    shapes.generator = torch.Generator().manual_seed(0)
    samples = [shapes[index] for index in range(len(shapes))]
    # The names of families are labels for people. Training does not read them, and they have no checksum.
    assert len(shapes.families) == len(shapes)
    return _sha(*(sample[key].float() for sample in samples for key in sorted(sample)))


def make_configs(folder: Path) -> None:
    folder.mkdir()
    for path in CONFIGS.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())


def read_configs(folder: Path) -> str:
    kinds = {"autoencoder": AutoencoderConfig, "latents": LatentsConfig, "denoiser": DenoiserConfig}
    for name, kind in (kinds | {"distill": DistillConfig}).items():
        load_config(kind, folder / f"{name}.yaml", {})
    return ""


# ---- converters


def make_triposr(folder: Path) -> None:
    weights = random_triposr(SMALL_TRIPOSR, SMALL_VIT, 0).state_dict()
    save_triposr(folder, SMALL_TRIPOSR, SMALL_VIT, weights, pickled=False)


def make_triposr_pickle(folder: Path) -> None:
    weights = random_triposr(SMALL_TRIPOSR, SMALL_VIT, 0).state_dict()
    save_triposr(folder, SMALL_TRIPOSR, SMALL_VIT, weights, pickled=True)


def make_direct3d(folder: Path) -> None:
    save_direct3d(folder, FIXTURE, direct3d_fixture())


def make_direct3d_pickle(folder: Path) -> None:
    save_direct3d(folder, FIXTURE, direct3d_fixture(), pickled=True)


def _weights_of(folder: Path) -> str:
    files = sorted(folder.rglob("*.safetensors")) + sorted(folder.rglob("config.json"))
    return _sha(*(np.frombuffer(path.read_bytes(), np.uint8) for path in files))


def read_triposr(folder: Path) -> str:
    output = folder.with_name(folder.name + "-out")
    convert_triposr(folder, output)
    return _weights_of(output)


def read_direct3d(folder: Path) -> str:
    output = folder.with_name(folder.name + "-out")
    convert_direct3d(folder, output, skip_encoders=True)
    return _weights_of(output)


# ---- meshes and photos


def make_meshes(folder: Path) -> None:
    folder.mkdir()
    mesh = extract_surface(lambda points: 0.8 - points.norm(dim=-1), resolution=6)
    for ending in ("glb", "obj", "ply", "stl"):
        mesh.save(folder / f"ball.{ending}")


def read_meshes(folder: Path) -> str:
    for ending in ("glb", "obj", "ply", "stl"):
        mesh = Mesh.load(folder / f"ball.{ending}")
        if not np.isfinite(mesh.vertices).all() or (len(mesh.faces) and mesh.faces.max() >= len(mesh.vertices)):
            raise RuntimeError(f"{ending}: a mesh of vertices that are not finite or do not exist")
    return ""


TARGETS: dict[str, Target] = {
    "pipeline": Target(
        make_pipeline,
        {"Triplane3DPipeline": load_pipeline, "DiffusionPipeline": load_generic, "info": print_info},
        settings=(".json",),
        share=3.0,
    ),
    "reconstruction": Target(
        make_reconstruction, {"TriplaneReconstructionPipeline": load_reconstruction}, settings=(".json",)
    ),
    "LoRA": Target(make_adapter, {"load_lora_weights": load_adapter}),
    "checkpoint": Target(make_run, {"resume": resume_run}, settings=(".json", ".safetensors")),
    "shards": Target(make_shards, {"ShardDataset": read_shards}, collection=True),
    "YAML": Target(make_configs, {"load_config": read_configs}, settings=(".yaml",)),
    "TripoSR": Target(make_triposr, {"convert": read_triposr}, settings=(".yaml", ".json")),
    "TripoSR pickle": Target(make_triposr_pickle, {"convert": read_triposr}, settings=(".yaml", ".json"), share=0.5),
    "Direct3D": Target(make_direct3d, {"convert": read_direct3d}, settings=(".yaml",)),
    "Direct3D pickle": Target(make_direct3d_pickle, {"convert": read_direct3d}, settings=(".yaml",), share=0.5),
    "mesh": Target(make_meshes, {"Mesh.load": read_meshes}, settings=(".glb", ".obj", ".ply", ".stl")),
}
