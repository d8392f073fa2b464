"""Ablations of the denoiser's recipe: the velocity error after training on the same number of samples.

    python benchmarks/recipe.py --seeds 3 --steps 150 --output runs/recipe.json

A small denoiser (`--width`, `--layers`; otherwise that of `--pipeline`) is trained from scratch on the latents and
photos of configs/mini for each row of the table and each seed. The result is the mean squared error of the velocity on
held-out shapes, with the same photos, noise and noise levels for all: mean over seeds, standard deviation between them,
and the difference from the first row with the same seed. Auxiliary losses, such as coarse occupancy, are not included.
The first row (`BASELINE`) is the start of the search, not the present configs/mini. Its learning rate is the best for
runs of this length.
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
from transformers import Dinov2Model

from triplane3d import Triplane3DPipeline
from triplane3d.config import DenoiserConfig, load_config
from triplane3d.data.batches import gather
from triplane3d.data.shards import ShardDataset
from triplane3d.images.augmentation import premultiply
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.image_encoder import image_tokens
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.training.conditioning import pixel_values
from triplane3d.training.denoiser import train
from triplane3d.training.noise import mix_flow

SIGMAS = (0.3, 0.5, 0.7, 0.85, 0.95)
LR = 2e-2
"""Best rate of Muon for so few steps; AdamW needs a smaller one (docs/recipe.md)."""

BASELINE = {"optim.lr": LR, "flow.regression_warmup": 0.15, "flow.logit_std": 1.0, "views.max_views": 1}
"""The settings of the first row. Every other row changes one of them."""

CHANGES = {
    "recipe": Change(),
    "a fifth of the learning rate": Change({"optim.lr": LR / 5}),
    "AdamW at a quarter of it instead of Muon": Change({"optim.muon": False, "optim.lr": LR / 4}),
    "with coarse occupancy": Change({"flow.coarse_occupancy": 0.1}),
    "contrastive flow matching": Change({"flow.contrast": 0.05}),
    "no regression warm-up": Change({"flow.regression_warmup": 0.0}),
    "nearly uniform noise levels": Change({"flow.logit_std": 1.8}),
    "two noise levels a photo, half the photos": Change({"flow.noise_draws": 2}, batch=0.5),
    "half the batch, twice the updates": Change({"optim.lr": LR / 2**0.5}, batch=0.5, updates=2),
    "a quarter of the batch, four times the updates": Change({"optim.lr": LR / 2}, batch=0.25, updates=4),
    "no long skips": Change(architecture={"transformer": {"long_skips": False}}),
    "no projection of the photo onto the planes": Change(
        architecture={"transformer": {"front_plane_condition": False}}
    ),
    "image patches of 8 pixels": Change(architecture={"image_encoder": {"patch_size": 8}}),
}
"""The rows of the table."""


def main(
    pipeline: Annotated[Path, typer.Option(help="Folder with the architecture.")] = Path("pipelines/mini"),
    data: Annotated[Path, typer.Option(help="Folder of train, validation and latents.")] = Path("data/mini_views"),
    seeds: Annotated[int, typer.Option(help="Runs of each row.")] = 3,
    steps: Annotated[int, typer.Option(help="Updates of each run.")] = 150,
    batch: Annotated[int, typer.Option(help="Samples per update.")] = 32,
    width: Annotated[int, typer.Option(help="Width of denoiser and image encoder, 64 per head.")] = 128,
    layers: Annotated[int, typer.Option(help="Layers of the denoiser; the image encoder has half as many.")] = 4,
    only: Annotated[list[str] | None, typer.Option(help="Rows to run; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the results of every run.")] = None,
) -> None:
    """Train every row of the table with every seed and print the errors on held-out shapes."""
    lines = chosen(CHANGES, only)
    vae = AutoencoderKLTriplane.from_pretrained(pipeline, subfolder="vae").float().eval()
    samples = held_out_samples(vae, data / "validation")
    sizes = {
        "transformer": {"num_layers": layers, "num_attention_heads": width // 64, "cross_attention_dim": width},
        "image_encoder": {"num_hidden_layers": layers // 2, "hidden_size": width, "num_attention_heads": width // 64},
    }

    def measure(change: Change, seed: int, folder: Path) -> dict[str, float]:
        architecture = write_description(pipeline, folder / "pipeline", sizes, change)
        overrides = {
            "pipeline": architecture, "data.folder": data / "train", "data.latents": data / "latents",
            "data.vae": pipeline / "vae",
            **run_settings(change, steps=steps, batch=batch, seed=seed, output=folder / "run"),
            **BASELINE, **change.run,
        }  # fmt: skip
        started = time.perf_counter()
        trained = train(load_config(DenoiserConfig, "configs/mini/denoiser.yaml", overrides))
        seconds = time.perf_counter() - started
        return {"error": velocity_error(trained, architecture, vae, samples), "seconds": seconds}

    settings = {"steps": steps, "batch": batch, "width": width, "layers": layers}
    figures = measure_lines(lines, seeds, measure, output=output, settings=settings)
    print(f"\n{steps} steps of {batch}, width {width}, {layers} layers, {seeds} seeds\n")
    print(table(figures, {"error": "held-out error"}))


@torch.no_grad()
def held_out_samples(vae: AutoencoderKLTriplane, folder: Path, batch: int = 32) -> dict[str, Tensor]:
    """Normalized latents and a premultiplied photo of each held-out shape."""
    shapes = ShardDataset(folder, keys=("surface", "view"), surface_points=4096)
    samples = []
    for start in range(0, len(shapes), batch):
        indices = range(start, min(start + batch, len(shapes)))
        chunk = gather(shapes, indices, torch.Generator().manual_seed(start))
        surface = (chunk["surface_points"], chunk["surface_normals"], chunk["surface_colors"])
        samples.append((vae.encode(*surface).latent_dist.mode(), premultiply(chunk["view"])))
    latents, views = (torch.cat(parts) for parts in zip(*samples))
    return {"latents": vae.normalize_latents(latents), "views": views}


@torch.no_grad()
def velocity_error(trained: Path, pipeline: Path, vae: AutoencoderKLTriplane, samples: dict[str, Tensor]) -> float:
    """Mean squared error of the predicted velocity over shapes and `SIGMAS`."""
    encoder = Dinov2Model.from_pretrained(trained / "image_encoder", dtype=torch.float32).eval()
    transformer = TriplaneTransformer.from_pretrained(trained / "transformer").eval()
    settings = Triplane3DPipeline.load_config(pipeline)
    pipe = Triplane3DPipeline(
        encoder, transformer, vae, None, foreground_ratio=settings["foreground_ratio"],
        background=settings["background"], image_statistics=settings["image_statistics"],
    )  # fmt: skip
    tokens = image_tokens(encoder, pixel_values(pipe.image_processor, samples["views"]))
    latents, generator = samples["latents"], torch.Generator().manual_seed(0)
    errors = []
    for sigma in SIGMAS:
        noise = torch.randn(latents.shape, generator=generator)
        noisy = mix_flow(latents, noise, torch.full((len(latents),), sigma))
        prediction = transformer(
            hidden_states=noisy, timestep=1000 * sigma, encoder_hidden_states=tokens, return_dict=False
        )[0]
        errors.append(functional.mse_loss(prediction, noise - latents).item())
    return mean(errors)


if __name__ == "__main__":
    typer.run(main)
