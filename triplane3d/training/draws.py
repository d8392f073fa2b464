"""Stage 5, first part: latents that a trained pipeline generates from the photos of the shards.

    python scripts/draw_latents.py configs/mini/draws.yaml

The refiner is trained to correct these latents' fields, with the errors that they have. The files have the format of
stage 2 (`triplane3d.data.latents`), with rows in the order of the shards.
"""

import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from triplane3d.config import DrawsConfig
from triplane3d.config.loader import read_saved, refuse_other_settings, save_config
from triplane3d.data.shards import ShardDataset
from triplane3d.pipelines.pipeline_triplane3d import Triplane3DPipeline
from triplane3d.printing import print_line
from triplane3d.storage.durable import remove_temporaries, writing_file
from triplane3d.storage.locks import lock_folder
from triplane3d.storage.writability import check_folder
from triplane3d.training.inputs import check_files, check_pipeline

CHANGEABLE = ("output", "batch_size")
"""Keys that may differ from those of the files that a folder already holds."""


@torch.no_grad()
def draw(config: DrawsConfig) -> Path:
    """Runs the stage; returns the folder of latents. Files that exist are kept: a stopped command continues.

    Raises:
        ValueError: for missing inputs, or a folder that holds latents of other settings.
        OSError: if the output cannot be written to.
    """
    check_pipeline(config.pipeline, "model_index.json", "transformer/config.json", "vae/config.json")
    check_files("data", config.data, "*.safetensors", "shards")
    output = Path(config.output)
    check_folder(output, "output")
    shapes = ShardDataset(config.data, keys=("view",))
    seeds = torch.tensor(shapes.seeds)
    parts = [
        range(first, min(first + config.shard_size, len(shapes))) for first in range(0, len(shapes), config.shard_size)
    ]
    files = [(output / f"latents-{number:05d}.safetensors", rows) for number, rows in enumerate(parts)]
    check_existing(config, [(path, seeds[rows.start : rows.stop]) for path, rows in files if path.exists()])

    pipeline = Triplane3DPipeline.from_pretrained(config.pipeline)
    if pipeline.image_processor is None:
        raise ValueError(f"pipeline={config.pipeline} has no image encoder: name a pipeline that reads photos")
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    pipeline.set_progress_bar_config(disable=True)
    output.mkdir(parents=True, exist_ok=True)
    lock_folder(output)
    remove_temporaries(output)
    save_config(config, output / "config.yaml")

    started, done = time.perf_counter(), 0
    for path, rows in files:
        if path.exists():
            continue
        latents = []
        for start in range(rows.start, rows.stop, config.batch_size):
            batch = range(start, min(start + config.batch_size, rows.stop))
            latents.append(generate_latents(pipeline, shapes, batch, config))
        with writing_file(path) as partial:
            save_file({"seeds": seeds[rows.start : rows.stop].clone(), "latents": torch.cat(latents).half()}, partial)
        done += len(rows)
        print_line(f"{done} photos, {done / (time.perf_counter() - started):.1f} per second")
    return output


def generate_latents(
    pipeline: Triplane3DPipeline, shapes: ShardDataset, rows: range, config: DrawsConfig
) -> torch.Tensor:
    """Latents as the decoder takes them, from a photo of each of these shapes. Photo and noise depend on its seed."""
    views, generators = [], []
    for row in rows:
        generator = torch.Generator().manual_seed((shapes.seeds[row] + config.seed) % 2**63)
        shapes.generator = generator
        views.append(shapes[row]["view"])
        generators.append(generator)
    latents = pipeline(
        torch.stack(views),
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        generator=generators,
        output_type="latent",
        return_dict=False,
    )[0]
    return pipeline.vae.denormalize_latents(latents).cpu()


def check_existing(config: DrawsConfig, existing: list[tuple[Path, torch.Tensor]]) -> None:
    """Raises `ValueError` if files in the output folder were written with other settings or for other shapes."""
    settings = read_saved(Path(config.output) / "config.yaml")
    if existing and settings is not None:
        refuse_other_settings(config.output, settings, config, CHANGEABLE, "latents")
    for path, seeds in existing:
        if not torch.equal(load_file(path)["seeds"], seeds):
            raise ValueError(f"{path} holds latents of other shapes than {config.data}: delete it")
