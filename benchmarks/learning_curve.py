"""Learning curve: an autoencoder from scratch with a fixed number of operations, and a denoiser that overfits 8 shapes.

    python benchmarks/learning_curve.py --budget full
    python benchmarks/learning_curve.py --budget full --set run.batch_size=16 --set optim.lr=6e-3    # changed settings

The autoencoder trains for a number of floating-point operations (torch's counter: matrix products, convolutions and
attention, forward and backward), so that a wider network gets fewer steps. The result is its V-IoU on held-out shapes,
over several training seeds with the same data. The denoiser then trains on eight shapes only. From their photos it
should generate shapes with nearly the V-IoU of the autoencoder's reconstructions. A change of a recipe must not lower
the mean of the seeds by more than 0.01.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from diffusers import FlowMatchEulerDiscreteScheduler
from torch.utils.flop_counter import FlopCounterMode

from triplane3d import Triplane3DPipeline
from triplane3d.config import AutoencoderConfig, DenoiserConfig, LatentsConfig, load_config
from triplane3d.data.batches import gather
from triplane3d.data.procedural import FIRST_EVALUATION_SEED
from triplane3d.data.procedural.samples import write_shape_shard
from triplane3d.data.shards import ShardDataset
from triplane3d.evaluation.report import Report
from triplane3d.evaluation.summary import Estimate, Row, ratio_of_means
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.pipelines.assembly import component_class
from triplane3d.training import autoencoder, denoiser
from triplane3d.training.latents import encode
from triplane3d.training.losses import occupancy_iou
from triplane3d.training.validation import reconstruct

ROOT = Path(__file__).parents[1]
OVERFIT_SHAPES = 8
"""Shapes that the denoiser trains on."""


@dataclass(frozen=True)
class Budget:
    """Amount of training: `flops` for each autoencoder, `denoiser_steps` updates for the denoiser.

    `recipe` names the folders of the pipeline and of the configurations.
    """

    recipe: str
    flops: float
    shapes: int
    held_out: int
    denoiser_steps: int
    surface_points: int
    label_points: int
    image_size: int
    families: tuple[str, ...] | None = None


BUDGETS = {
    "full": Budget("mini", 3e14, 2048, 16, 1500, 4096, 8192, 128),
    "quick": Budget("mini", 1e13, 256, 8, 300, 4096, 8192, 128),
    "tiny": Budget("tiny", 2e10, 8, 4, 60, 512, 2048, 32, ("airplane", "car", "rocket", "truck_or_bus")),
}


def main(
    budget: Annotated[str, typer.Option(help=f"One of {', '.join(BUDGETS)}; criteria refer to `full`.")] = "quick",
    seeds: Annotated[int, typer.Option(help="Autoencoders to train, on the same shapes.")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Folder to keep shapes and runs in; by default they are removed.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the autoencoder's configuration; repeatable.")
    ] = None,
) -> None:
    """Measure the V-IoU after a fixed amount of training."""
    if budget not in BUDGETS:
        raise typer.BadParameter(f"--budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    with tempfile.TemporaryDirectory() as scratch:
        print(measure(BUDGETS[budget], range(seeds), folder or Path(scratch), budget, parsed(changes or [])).text())


def parsed(changes: Sequence[str]) -> dict[str, str]:
    """`["optim.lr=6e-3"]` → `{"optim.lr": "6e-3"}`. The configuration checks keys and values."""
    unclear = [change for change in changes if "=" not in change]
    if unclear:
        raise typer.BadParameter(f"--set takes KEY=VALUE, as in optim.lr=6e-3, not {unclear[0]!r}")
    return dict(change.split("=", 1) for change in changes)


def measure(
    budget: Budget, seeds: Sequence[int], folder: Path, data: str, changes: Mapping[str, str] | None = None
) -> Report:
    """Train below `folder` and report the results; `changes` are those of the autoencoder's configuration."""
    write_shapes(budget, folder / "train", range(budget.shapes))
    write_shapes(budget, folder / "few", range(OVERFIT_SHAPES), views=2)
    write_shapes(budget, folder / "held_out", range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + budget.held_out))

    report = Report(f"budget {data}")
    scores, steps = [], 0
    for seed in seeds:
        config = autoencoder_config(budget, folder, seed, changes)
        steps = config.run.steps
        vae = AutoencoderKLTriplane.from_pretrained(autoencoder.train(config) / "vae").eval()
        scores += [{"volume_iou": value} for value in reconstruction(vae, folder / "held_out", budget)]
    report.settings = {"steps": steps, **(changes or {})}
    report.rows.append(
        Row(
            "learning",
            data,
            "autoencoder",
            scores,
            [f"seed {seed}" for seed in seeds for _ in range(budget.held_out)],
            [f"shape {number}" for _ in seeds for number in range(budget.held_out)],
        )
    )

    # The denoiser trains on the latents of the last autoencoder.
    generated, reconstructed = overfit_denoiser(budget, folder, folder / f"autoencoder-{seeds[-1]}" / "vae")
    for method, values in (("denoiser", generated), ("its autoencoder", reconstructed)):
        report.rows.append(Row("learning", f"{data}, overfit", method, [{"volume_iou": value} for value in values]))
    report.estimates.append(
        Estimate("learning", f"{data}, overfit", "denoiser / autoencoder", *ratio_of_means(generated, reconstructed))
    )
    return report


def write_shapes(budget: Budget, folder: Path, seeds: range, *, views: int = 0) -> None:
    """Write one shard of these shapes, unless it exists."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "shapes.safetensors").exists():
        write_shape_shard(
            folder / "shapes.safetensors",
            seeds,
            surface_points=budget.surface_points,
            label_points=budget.label_points,
            views=views,
            image_size=budget.image_size,
            families=budget.families,
        )


def autoencoder_config(
    budget: Budget, folder: Path, seed: int, changes: Mapping[str, str] | None = None
) -> AutoencoderConfig:
    """The recipe's configuration with `changes`, and with as many steps as the budget allows."""
    paths = {
        **(changes or {}),
        "pipeline": ROOT / "pipelines" / budget.recipe,
        "data.folder": folder / "train",
        "data.validation": None,
        "run.output": folder / f"autoencoder-{seed}",
        "run.seed": seed,
        "run.trackers": (),
        "run.workers": 0,
        "run.resume": "none",
    }
    source = ROOT / "configs" / budget.recipe / "autoencoder.yaml"
    one_step = step_flops(load_config(AutoencoderConfig, source, paths))
    return load_config(AutoencoderConfig, source, {**paths, "run.steps": max(1, round(budget.flops / one_step))})


def step_flops(config: AutoencoderConfig) -> int:
    """Floating-point operations of one update."""
    vae = AutoencoderKLTriplane.from_config(AutoencoderKLTriplane.load_config(config.pipeline, subfolder="vae"))
    objective = autoencoder.AutoencoderObjective(vae.train(), config.loss)
    shapes = ShardDataset(
        config.data.folder,
        ("surface", "labels"),
        surface_points=config.data.surface_points,
        label_points=config.data.label_points,
    )
    # All shapes of a batch take the same number of operations.
    batch = gather(shapes, [0], torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        objective(**batch)["loss"].backward()
    return counter.get_total_flops() * config.run.batch_size


@torch.no_grad()
def reconstruction(vae: AutoencoderKLTriplane, folder: Path, budget: Budget) -> list[float]:
    """V-IoU of each shape of the folder, on the uniform half of its labels."""
    shapes = ShardDataset(
        folder, ("surface", "labels"), surface_points=budget.surface_points, label_points=budget.label_points
    )
    batch = gather(shapes, range(len(shapes)), torch.Generator().manual_seed(0))
    uniform = budget.label_points // 2
    logits = reconstruct(vae, batch).occupancy(batch["label_points"][:, :uniform])
    return occupancy_iou(logits.float(), batch["label_distance"][:, :uniform]).tolist()


def overfit_denoiser(budget: Budget, folder: Path, vae_folder: Path) -> tuple[list[float], list[float]]:
    """V-IoU of shapes generated from the photos of the training shapes, and of the reconstructions."""
    recipe = ROOT / "configs" / budget.recipe
    encode(
        load_config(
            LatentsConfig,
            recipe / "latents.yaml",
            {"vae": vae_folder, "data": folder / "few", "output": folder / "latents", "mirror": False},
        )
    )
    config = load_config(
        DenoiserConfig,
        recipe / "denoiser.yaml",
        {
            "pipeline": ROOT / "pipelines" / budget.recipe,
            "data.folder": folder / "few",
            "data.validation": None,
            "data.latents": folder / "latents",
            "data.vae": vae_folder,
            "run.output": folder / "denoiser",
            "run.steps": budget.denoiser_steps,
            "run.batch_size": OVERFIT_SHAPES,
            "run.trackers": (),
            "run.workers": 0,
            "run.resume": "none",
        },
    )
    trained = denoiser.train(config)
    vae = AutoencoderKLTriplane.from_pretrained(vae_folder).eval()
    pipe = Triplane3DPipeline(
        component_class(config.pipeline, "image_encoder").from_pretrained(trained / "image_encoder").eval(),
        TriplaneTransformer.from_pretrained(trained / "transformer").eval(),
        vae,
        FlowMatchEulerDiscreteScheduler.from_pretrained(config.pipeline, subfolder="scheduler"),
    )
    pipe.set_progress_bar_config(disable=True)

    shapes = ShardDataset(folder / "few", ("labels", "view"), label_points=budget.label_points)
    batch = gather(shapes, range(OVERFIT_SHAPES), torch.Generator().manual_seed(0))
    latents = pipe(
        batch["view"],
        num_inference_steps=20,
        guidance_scale=1.0,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
        return_dict=False,
    )[0]
    uniform = budget.label_points // 2
    with torch.no_grad():
        logits = pipe.decode_latents(latents).occupancy(batch["label_points"][:, :uniform])
    generated = occupancy_iou(logits.float(), batch["label_distance"][:, :uniform]).tolist()
    return generated, reconstruction(vae, folder / "few", budget)


if __name__ == "__main__":
    typer.run(main)
