"""Stage 2: encodes the shapes of the shards into latents, and measures the mean and standard deviation of latents.

    python scripts/encode_latents.py configs/mini/latents.yaml

Writes files `latents-NNNNN.safetensors`, with rows in the order of the shards, so that stage 3 need not run the encoder
(`triplane3d.data.latents` reads them). Mean and standard deviation per channel are written into the config of the
autoencoder: the schedule's signal-to-noise ratios assume unit variance. `measure: false` keeps the statistics that the
config has, for a denoiser that was trained with them. Without shards the stage only measures, on generated shapes:
denoisers that train on streamed shapes encode these themselves.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from triplane3d.config import LatentsConfig
from triplane3d.data.batches import gather
from triplane3d.data.procedural import generate_shapes, sample_surface
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.signals import Stopped
from triplane3d.storage.durable import remove_temporaries, write_file, writing_file
from triplane3d.storage.locks import lock_folder
from triplane3d.storage.writability import check_folder
from triplane3d.training.inputs import check_files, check_model
from triplane3d.training.precision import check_precision
from triplane3d.training.processes import describe_processes, make_accelerator

Moments = Float[Tensor, "3 channels"]
"""Per channel: the count of numbers, their sum, and the sum of their squares."""

Surface = tuple[Float[Tensor, "batch points 3"], Float[Tensor, "batch points 3"], Float[Tensor, "batch points 3"]]
"""Points, normals and colours of a batch of surfaces."""


@torch.no_grad()
def encode(config: LatentsConfig) -> Path:
    """Runs the stage; returns the folder of latents, or that of the autoencoder if it only measures.

    A signal ends it at once and leaves complete files only.

    Raises:
        ValueError: for missing inputs, and for a precision that does not reproduce float32 on this machine.
        OSError: if an output cannot be written to.
    """
    only_measure = config.data is None and config.output is None and config.measure
    if not only_measure and (config.data is None or config.output is None):
        raise ValueError(
            "stage 2 takes `data` (shards) and `output` (a folder for their latents) together, or neither, to measure "
            "the mean and standard deviation of latents on generated shapes; got "
            f"data={config.data}, output={config.output}, measure={config.measure}"
        )
    check_model("vae", config.vae, "vae")
    if config.data is not None:
        check_files("data", config.data, "*.safetensors", "shards")
    if config.measure:
        check_folder(config.vae, "vae")
    if config.output is not None:
        check_folder(config.output, "output")
    accelerator = make_accelerator(mixed_precision=config.mixed_precision)
    accelerator.print(describe_processes(accelerator, config.mixed_precision), flush=True)
    vae = AutoencoderKLTriplane.from_pretrained(config.vae).to(accelerator.device).eval()
    if only_measure:
        seeds = range(min(config.batch_size, config.fresh_shapes))
        check_encoder_precision(accelerator, vae, lambda: generated_surface(seeds, config, accelerator.device))
        moments = generated_moments(accelerator, vae, config)
        write_statistics(accelerator, vae, config, moments)
        return Path(config.vae)
    assert config.data is not None and config.output is not None, "checked above"
    shapes = ShardDataset(config.data, keys=("surface",), surface_points=config.surface_points)
    first = range(min(config.batch_size, len(shapes)))
    check_encoder_precision(accelerator, vae, lambda: stored_surface(shapes, first, accelerator.device))
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        lock_folder(output)
        remove_temporaries(output)
        # Removed before any file is written: files of two autoencoders must never be mixed in a folder.
        for old in output.glob("latents-*.safetensors"):
            old.unlink()
    accelerator.wait_for_everyone()

    try:
        moments = write_latents(accelerator, vae, shapes, output, config)
    except Stopped as stopped:
        raise Stopped(
            stopped.signum,
            f"stopped by {stopped.name}: {output} holds the latents of some shapes only. "
            "The same command starts from the beginning",
        ) from None
    if config.measure:
        write_statistics(accelerator, vae, config, moments)
    return output


def check_encoder_precision(
    accelerator: Accelerator, vae: AutoencoderKLTriplane, read_batch: Callable[[], Surface]
) -> None:
    """Compares the encoder's layers in the stage's precision with float32, on one batch.

    Raises `ValueError` if they differ by more than rounding. All processes must call it.
    """
    if accelerator.mixed_precision == "no":
        return
    surface = read_batch()
    check_precision(
        accelerator, {"encoder": vae.encoder}, lambda: posterior_mean(vae, surface), setting="mixed_precision"
    )


def write_latents(
    accelerator: Accelerator, vae: AutoencoderKLTriplane, shapes: ShardDataset, output: Path, config: LatentsConfig
) -> Moments:
    """Writes this process's part of the files, and returns the moments of its latents."""
    moments = torch.zeros(3, vae.config.latent_channels, dtype=torch.float64)
    seeds = torch.tensor(shapes.seeds)
    started, done = time.perf_counter(), 0
    files = list(enumerate(range(0, len(shapes), config.shard_size)))
    for number, first in files[accelerator.process_index :: accelerator.num_processes]:
        last = min(first + config.shard_size, len(shapes))
        tensors = {"seeds": seeds[first:last]}
        for key in ("latents", "mirrored") if config.mirror else ("latents",):
            encoded = []
            for start in range(first, last, config.batch_size):
                indices = range(start, min(start + config.batch_size, last))
                surface = stored_surface(shapes, indices, accelerator.device)
                encoded.append(encode_surface(accelerator, vae, *surface, mirror=key == "mirrored").cpu())
            tensors[key] = torch.cat(encoded).half()
            moments += moments_of(tensors[key])
        with writing_file(output / f"latents-{number:05d}.safetensors") as partial:
            save_file(tensors, partial)
        done += last - first
        accelerator.print(f"{done} shapes, {done / (time.perf_counter() - started):.0f} per second", flush=True)
    return moments


def generated_moments(accelerator: Accelerator, vae: AutoencoderKLTriplane, config: LatentsConfig) -> Moments:
    """Moments of this process's part of the first `config.fresh_shapes` generated shapes.

    The shapes and their points do not depend on the number of processes.
    """
    moments = torch.zeros(3, vae.config.latent_channels, dtype=torch.float64)
    firsts = range(0, config.fresh_shapes, config.batch_size)
    for first in firsts[accelerator.process_index :: accelerator.num_processes]:
        seeds = range(first, min(first + config.batch_size, config.fresh_shapes))
        surface = generated_surface(seeds, config, accelerator.device)
        for mirror in (False, True) if config.mirror else (False,):
            moments += moments_of(encode_surface(accelerator, vae, *surface, mirror=mirror).cpu())
    return moments


def moments_of(latents: Float[Tensor, "batch channel height width"]) -> Moments:
    """Moments of a batch, in float64."""
    values = rearrange(latents.double(), "shape channel height width -> channel (shape height width)")
    return torch.stack([torch.ones_like(values).sum(1), values.sum(1), values.square().sum(1)])


def write_statistics(
    accelerator: Accelerator, vae: AutoencoderKLTriplane, config: LatentsConfig, moments: Moments
) -> None:
    """Writes mean and standard deviation per channel, from the moments of all processes, into the vae's config."""
    count, total, squares = accelerator.reduce(moments.to(accelerator.device)).cpu()
    mean = total / count
    std = (squares / count - mean**2).clamp(min=1e-12).sqrt()
    if accelerator.is_main_process:
        vae.register_to_config(latents_mean=five_digits(mean), latents_std=five_digits(std))
        write_file(Path(config.vae) / "config.json", vae.to_json_string())
        accelerator.print("standard deviation of the latents per channel:", *(f"{value:.3f}" for value in std))


def stored_surface(shapes: ShardDataset, indices: Sequence[int], device: torch.device) -> Surface:
    """Surfaces of these shapes, with the same points at every call."""
    batch = gather(shapes, indices, torch.Generator().manual_seed(indices[0]))
    points, normals, colors = (batch[f"surface_{name}"].to(device) for name in ("points", "normals", "colors"))
    return points, normals, colors


def generated_surface(seeds: range, config: LatentsConfig, device: torch.device) -> Surface:
    """Surfaces of the procedural shapes of these seeds."""
    shapes = generate_shapes(seeds, azimuths="random", device=device)
    generator = torch.Generator(device).manual_seed(seeds[0])
    points, normals = sample_surface(shapes, config.surface_points, generator)
    return points, normals, shapes.color(points)


@torch.no_grad()
def encode_surface(
    accelerator: Accelerator,
    vae: AutoencoderKLTriplane,
    points: Float[Tensor, "batch points 3"],
    normals: Float[Tensor, "batch points 3"],
    colors: Float[Tensor, "batch points 3"],
    *,
    mirror: bool = False,
) -> Float[Tensor, "batch channels height width"]:
    """Latents of these surfaces, or with `mirror` of their mirror images in x, in the accelerator's precision."""
    sides = points.new_tensor([-1 if mirror else 1, 1, 1])
    with accelerator.autocast():
        return posterior_mean(vae, (sides * points, sides * normals, colors))


def posterior_mean(vae: AutoencoderKLTriplane, surface: Surface) -> Float[Tensor, "batch channels height width"]:
    """The mean of the encoder's posterior, as float32."""
    return vae.encode(*surface).latent_dist.mode().float()


def five_digits(values: Tensor) -> list[float]:
    """The values, rounded to five significant digits."""
    return [float(f"{value:.5g}") for value in values.tolist()]
