"""Ablations of the autoencoder's recipe: reconstruction of held-out shapes and information in the latents.

    python benchmarks/recipe_autoencoder.py --seeds 3 --steps 150 --output runs/recipe_autoencoder.json

A small autoencoder (`--width`, `--layers`; otherwise that of `--pipeline`) is trained from scratch on the shards of
configs/mini for each row of the table and each seed. On held-out shapes three values are measured: V-IoU at uniform
points; S-IoU at points whose distance from the surface is normally distributed with a deviation of 0.02; the angle
between the surface's normal and the negative gradient of the occupancy. The table also has the size of the latents and
the information in them in nats, which a denoiser must generate. The first row (`BASELINE`) is the start of the search,
not the present configs/mini.
"""

import time
from pathlib import Path
from statistics import mean
from typing import Annotated

import torch
import typer
from one_change import Change, chosen, measure_lines, run_settings, table, write_description
from torch import Tensor
from torch.nn import functional

from triplane3d.config import AutoencoderConfig, load_config
from triplane3d.data.batches import gather
from triplane3d.data.shards import ShardDataset
from triplane3d.evaluation.shape_metrics import NEAR_STD
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.triplane import TriplaneField
from triplane3d.training.autoencoder import NORMAL_STEP, train
from triplane3d.training.losses import descent, occupancy_iou, tetrahedra

LABELS_STD = 0.04
"""Standard deviation of the distance of the shards' labels from the surface. Weights correct it to that of S-IoU."""

LR = 1.6e-2
BASELINE = {
    "optim.lr": LR, "loss.kl": 1e-3, "loss.kl_warmup_steps": 0, "loss.color": 0.2, "loss.band": 2 / 128,
    "loss.near_surface_share": 0.5, "data.surface_points": 2048, "data.label_points": 2048,
}  # fmt: skip
"""The settings of the first row. Every other row changes one of them."""

CHANGES = {
    "recipe": Change(),
    "a quarter of the learning rate": Change({"optim.lr": LR / 4}),
    "AdamW at a quarter of it instead of Muon": Change({"optim.muon": False, "optim.lr": LR / 4}),
    "AdamW at a sixteenth of it": Change({"optim.muon": False, "optim.lr": LR / 16}),
    "half the batch, twice the updates": Change({"optim.lr": LR / 2**0.5}, batch=0.5, updates=2),
    "binary occupancy": Change({"loss.band": 1e-4}),
    "half the band": Change({"loss.band": 1 / 128}),
    "twice the band": Change({"loss.band": 4 / 128}),
    "four fifths of the loss near the surface": Change({"loss.near_surface_share": 0.8}),
    "loss of normals": Change({"loss.normal": 0.1}),
    "four times the KL": Change({"loss.kl": 4e-3}),
    "latents 3 x 16 x 16 x 4": Change(architecture={"vae": {"latent_channels": 4}}),
    "latents 3 x 16 x 16 x 16": Change(architecture={"vae": {"latent_channels": 16}}),
    "latents 3 x 8 x 8 x 32": Change(
        architecture={
            "vae": {"latent_size": 8, "latent_channels": 32, "encoder_patch_size": 1, "decoder_patch_size": 1}
        }
    ),
    "latents 3 x 32 x 32 x 8": Change(
        architecture={"vae": {"latent_size": 32, "encoder_patch_size": 4, "decoder_patch_size": 4}}
    ),
    "planes of 128 x 128": Change(architecture={"vae": {"plane_size": 128}}),
    "two residual blocks over the planes": Change(architecture={"vae": {"decoder_resnet_layers": 2}}),
    "no positions of points in the field's MLP": Change(architecture={"vae": {"field_num_freqs": 0}}),
}
"""The rows of the table."""


def main(
    pipeline: Annotated[Path, typer.Option(help="Folder with the architecture.")] = Path("pipelines/mini"),
    data: Annotated[Path, typer.Option(help="Folder of train and validation.")] = Path("data/mini_views"),
    seeds: Annotated[int, typer.Option(help="Runs of each row.")] = 3,
    steps: Annotated[int, typer.Option(help="Updates of each run.")] = 150,
    batch: Annotated[int, typer.Option(help="Samples per update.")] = 16,
    width: Annotated[int, typer.Option(help="Width of encoder and decoder; 64 per head.")] = 128,
    layers: Annotated[int, typer.Option(help="Layers of encoder and of decoder.")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Rows to run; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the results of every run.")] = None,
) -> None:
    """Train every row of the table with every seed and print the results on held-out shapes."""
    lines = chosen(CHANGES, only)
    shapes = ShardDataset(data / "validation", ("surface", "labels"), label_points=8192)
    coders = ("encoder", "decoder")
    sizes = {f"{coder}_{key}": value for coder in coders
             for key, value in (("dim", width), ("heads", width // 64), ("layers", layers))}  # fmt: skip
    sizes["decoder_resnet_layers"] = 0  # as at the start of the search

    def measure(change: Change, seed: int, folder: Path) -> dict[str, float]:
        overrides = {
            "pipeline": write_description(pipeline, folder / "pipeline", {"vae": sizes}, change),
            "data.folder": data / "train",
            **run_settings(change, steps=steps, batch=batch, seed=seed, output=folder / "run"),
            **BASELINE, **change.run,
        }  # fmt: skip
        config = load_config(AutoencoderConfig, "configs/mini/autoencoder.yaml", overrides)
        started = time.perf_counter()
        trained = train(config)
        seconds = time.perf_counter() - started
        vae = AutoencoderKLTriplane.from_pretrained(trained / "vae").eval()
        return reconstruction_quality(vae, shapes) | {"seconds": seconds}

    settings = {"steps": steps, "batch": batch, "width": width, "layers": layers}
    figures = measure_lines(lines, seeds, measure, output=output, settings=settings)
    print(f"\n{steps} steps of {batch}, width {width}, {layers} + {layers} layers, {seeds} seeds\n")
    compared = {"volume": "V-IoU", "surface": "S-IoU"}
    print(table(figures, compared, {"degrees": "normals, degrees", "numbers": "latent numbers", "nats": "nats"}))


@torch.no_grad()
def reconstruction_quality(vae: AutoencoderKLTriplane, shapes: ShardDataset, chunk: int = 16) -> dict[str, float]:
    """Means over shapes, for fields that are decoded from the posterior's mean."""
    found: dict[str, list[float]] = {"volume": [], "surface": [], "degrees": [], "nats": []}
    for start in range(0, len(shapes), chunk):
        indices = range(start, min(start + chunk, len(shapes)))
        batch = gather(shapes, indices, torch.Generator().manual_seed(start))
        posterior = vae.encode(batch["surface_points"], batch["surface_normals"], batch["surface_colors"]).latent_dist
        field = vae.field(vae.decode(posterior.mode()).planes)
        logits, distance = field.occupancy(batch["label_points"]), batch["label_distance"]
        uniform = distance.shape[1] // 2
        found["volume"] += occupancy_iou(logits[:, :uniform], distance[:, :uniform]).tolist()
        found["surface"] += surface_iou(logits[:, uniform:], distance[:, uniform:]).tolist()
        found["degrees"] += normal_angle(field, batch).tolist()
        found["nats"] += posterior.kl().tolist()
    return {name: mean(values) for name, values in found.items()} | {"numbers": posterior.mean[0].numel()}


def surface_iou(logits: Tensor, distance: Tensor) -> Tensor:
    """IoU of each shape near the surface. Points have weights that turn their distribution into that of S-IoU."""
    weights = (-0.5 * distance.square() * (NEAR_STD**-2 - LABELS_STD**-2)).exp()
    predicted, true = logits > 0, distance < 0
    return (weights * (predicted & true)).sum(1) / (weights * (predicted | true)).sum(1)


def normal_angle(field: TriplaneField, batch: dict[str, Tensor]) -> Tensor:
    """Mean angle of each shape, in degrees, between its normals and the negative gradient of the occupancy."""
    directions = descent(field.occupancy(tetrahedra(batch["surface_points"], NORMAL_STEP)))
    cosine = functional.cosine_similarity(directions, batch["surface_normals"], dim=-1)
    return cosine.clamp(-1, 1).arccos().rad2deg().mean(1)


if __name__ == "__main__":
    typer.run(main)
