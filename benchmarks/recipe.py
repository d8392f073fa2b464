"""One change to the denoiser's recipe at a time: does it learn more from the same samples?

    python benchmarks/recipe.py --seeds 3 --steps 150 --output runs/recipe.json

A small denoiser (`--width`, `--layers`; otherwise that of `--pipeline`) is trained from scratch on the latents and
photos of configs/mini for each line of the table and each seed. What is reported is the error of the velocity on
held-out shapes, with the same photos, noises and noise levels for all: mean over seeds, the spread between them, and
the difference to the first line, seed by seed. Losses on the side, such as coarse occupancy, are not part of it. The
first line is where the search began (`BEGUN`), not what configs/mini made of its findings; its learning rate is what
suits runs of this length.
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

SIGMAS = (0.3, 0.5, 0.7, 0.85, 0.95)
LR = 2e-2
"""Best of Muon's on so few steps; AdamW wants a smaller one (docs/recipe.md)."""

BEGUN = {"optim.lr": LR, "flow.regression_warmup": 0.15, "flow.logit_std": 1.0, "views.max_views": 1}
"""The recipe that every line changes at one place."""

CHANGES = {
    "recipe": Change(),
    "a fifth of the learning rate": Change({"optim.lr": LR / 5}),
    "AdamW at a quarter of it instead of Muon": Change({"optim.muon": False, "optim.lr": LR / 4}),
    "coarse occupancy on the side": Change({"flow.coarse_occupancy": 0.1}),
    "contrastive flow matching": Change({"flow.contrast": 0.05}),
    "no regression warm-up": Change({"flow.regression_warmup": 0.0}),
    "noise levels nearly even": Change({"flow.logit_std": 1.8}),
    "two noise levels a photo, half the photos": Change({"flow.noise_draws": 2}, batch=0.5),
    "half the batch, twice the updates": Change({"optim.lr": LR / 2**0.5}, batch=0.5, updates=2),
    "a quarter of the batch, four times the updates": Change({"optim.lr": LR / 2}, batch=0.25, updates=4),
    "no long skips": Change(architecture={"transformer": {"long_skips": False}}),
    "photo not laid over the planes": Change(architecture={"transformer": {"front_plane_condition": False}}),
    "image patches of 8 pixels": Change(architecture={"image_encoder": {"patch_size": 8}}),
}
"""The recipe, and what was tried against it."""


def main(
    pipeline: Annotated[Path, typer.Option(help="Folder that says the architecture.")] = Path("pipelines/mini"),
    data: Annotated[Path, typer.Option(help="Folder of train, validation and latents.")] = Path("data/mini_views"),
    seeds: Annotated[int, typer.Option(help="Runs of each line.")] = 3,
    steps: Annotated[int, typer.Option(help="Updates of each run.")] = 150,
    batch: Annotated[int, typer.Option(help="Samples per update.")] = 32,
    width: Annotated[int, typer.Option(help="Of denoiser and image encoder; 64 a head.")] = 128,
    layers: Annotated[int, typer.Option(help="Of the denoiser; the image encoder has half.")] = 4,
    only: Annotated[list[str] | None, typer.Option(help="Lines to run; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for every run's figures.")] = None,
) -> None:
    """Train every line of the table with every seed and print what held-out shapes say."""
    lines = chosen(CHANGES, only)
    vae = AutoencoderKLTriplane.from_pretrained(pipeline, subfolder="vae").float().eval()
    held_out = held_out_samples(vae, data / "validation")
    sizes = {
        "transformer": {"num_layers": layers, "num_attention_heads": width // 64, "cross_attention_dim": width},
        "image_encoder": {"num_hidden_layers": layers // 2, "hidden_size": width, "num_attention_heads": width // 64},
    }

    def measure(change: Change, seed: int, folder: Path) -> dict[str, float]:
        architecture = write_description(pipeline, folder / "pipeline", sizes, change)
        overrides = {
            "pipeline": architecture, "data.folder": data / "train", "data.latents": data / "latents",
            "data.vae": pipeline / "vae",
            **run_settings(change, steps=steps, batch=batch, seed=seed, output=folder / "run"), **BEGUN, **change.run,
        }  # fmt: skip
        begun = time.perf_counter()
        trained = train(load_config(DenoiserConfig, "configs/mini/denoiser.yaml", overrides))
        seconds = time.perf_counter() - begun
        return {"error": velocity_error(trained, architecture, vae, held_out), "seconds": seconds}

    settings = {"steps": steps, "batch": batch, "width": width, "layers": layers}
    figures = measure_lines(lines, seeds, measure, output=output, settings=settings)
    print(f"\n{steps} steps of {batch}, width {width}, {layers} layers, {seeds} seeds\n")
    print(table(figures, {"error": "held-out error"}))


@torch.no_grad()
def held_out_samples(vae: AutoencoderKLTriplane, folder: Path, batch: int = 32) -> dict[str, Tensor]:
    """Latents of unit variance and a photo of each held-out shape."""
    shapes = ShardDataset(folder, keys=("surface", "view"), surface_points=4096)
    samples = []
    for start in range(0, len(shapes), batch):
        indices = range(start, min(start + batch, len(shapes)))
        drawn = gather(shapes, indices, torch.Generator().manual_seed(start))
        surface = (drawn["surface_points"], drawn["surface_normals"], drawn["surface_colors"])
        samples.append((vae.encode(*surface).latent_dist.mode(), premultiply(drawn["view"])))
    latents, views = (torch.cat(parts) for parts in zip(*samples))
    return {"latents": vae.normalize_latents(latents), "views": views}


@torch.no_grad()
def velocity_error(trained: Path, pipeline: Path, vae: AutoencoderKLTriplane, held_out: dict[str, Tensor]) -> float:
    """Mean square of what is wrong with the velocity, over shapes and noise levels."""
    encoder = Dinov2Model.from_pretrained(trained / "image_encoder", dtype=torch.float32).eval()
    transformer = TriplaneTransformer.from_pretrained(trained / "transformer").eval()
    settings = Triplane3DPipeline.load_config(pipeline)
    pipe = Triplane3DPipeline(
        encoder, transformer, vae, None, foreground_ratio=settings["foreground_ratio"],
        background=settings["background"], image_statistics=settings["image_statistics"],
    )  # fmt: skip
    tokens = image_tokens(encoder, pixel_values(pipe.image_processor, held_out["views"]))
    latents, generator = held_out["latents"], torch.Generator().manual_seed(0)
    errors = []
    for sigma in SIGMAS:
        noise = torch.randn(latents.shape, generator=generator)
        noisy = (1 - sigma) * latents + sigma * noise
        answer = transformer(
            hidden_states=noisy, timestep=1000 * sigma, encoder_hidden_states=tokens, return_dict=False
        )[0]
        errors.append(functional.mse_loss(answer, noise - latents).item())
    return mean(errors)


if __name__ == "__main__":
    typer.run(main)
