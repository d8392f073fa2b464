"""Stage 2: every shape of the shards becomes its latents, so that the denoiser never runs the encoder.

    python scripts/encode_latents.py configs/mini/latents.yaml

Writes `latents-NNNNN.safetensors` files, rows in the order of the shards, and tells the vae's own config the mean and
the deviation of each latent channel: the schedule's signal-to-noise ratios assume unit variance. With `measure: false`
the config stays as it is, for a denoiser that was trained with what it says. Without shards mean and deviation are all
that it leaves, measured on fresh shapes: a denoiser that streams encodes its own.
"""

import time
from collections.abc import Sequence
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
from triplane3d.training.inputs import check_files, check_model
from triplane3d.training.processes import describe_processes, make_accelerator

# Per channel: how many numbers, their sum, the sum of their squares.
Moments = Float[Tensor, "3 channels"]


@torch.no_grad()
def encode(config: LatentsConfig) -> Path:
    """Encodes all of `config.data` and returns the folder of latents. A signal that ends it leaves only whole files."""
    fresh = config.data is None and config.output is None and config.measure
    if not fresh and (config.data is None or config.output is None):
        raise ValueError(
            "stage 2 takes `data` (shards) and `output` (a folder for their latents) together, or neither, to measure "
            f"the latents' mean and deviation on fresh shapes; got data={config.data}, output={config.output}, "
            f"measure={config.measure}"
        )
    check_model("vae", config.vae, "vae")
    if config.data is not None:
        check_files("data", config.data, "*.safetensors", "shards")
    accelerator = make_accelerator(mixed_precision=config.mixed_precision)
    accelerator.print(describe_processes(accelerator, config.mixed_precision), flush=True)
    vae = AutoencoderKLTriplane.from_pretrained(config.vae).to(accelerator.device).eval()
    if fresh:
        moments = fresh_moments(accelerator, vae, config)
        write_statistics(accelerator, vae, config, moments)
        return Path(config.vae)
    assert config.data is not None and config.output is not None, "checked above"
    shapes = ShardDataset(config.data, keys=("surface",), surface_points=config.surface_points)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        lock_folder(output)
        remove_temporaries(output)
        # First: files of two autoencoders must never stand side by side. Half a set is refused by its seeds.
        for old in output.glob("latents-*.safetensors"):
            old.unlink()
    accelerator.wait_for_everyone()

    try:
        moments = write_latents(accelerator, vae, shapes, output, config)
    except Stopped as stopped:
        raise Stopped(
            stopped.signum,
            f"stopped by {stopped.name}: {output} holds the latents of some shapes only. The same command begins anew",
        ) from None
    if config.measure:
        write_statistics(accelerator, vae, config, moments)
    return output


def write_latents(
    accelerator: Accelerator, vae: AutoencoderKLTriplane, shapes: ShardDataset, output: Path, config: LatentsConfig
) -> Moments:
    """Writes the files of this process's share of the shapes, and returns the moments of its latents."""
    moments = torch.zeros(3, vae.config.latent_channels, dtype=torch.float64)
    seeds = torch.tensor(shapes.seeds)
    begun, done = time.perf_counter(), 0
    files = list(enumerate(range(0, len(shapes), config.shard_size)))
    for number, first in files[accelerator.process_index :: accelerator.num_processes]:
        last = min(first + config.shard_size, len(shapes))
        tensors = {"seeds": seeds[first:last]}
        for key in ("latents", "mirrored") if config.mirror else ("latents",):
            encoded = []
            for start in range(first, last, config.batch_size):
                indices = range(start, min(start + config.batch_size, last))
                encoded.append(posterior_mean(accelerator, vae, shapes, indices, mirror=key == "mirrored"))
            tensors[key] = torch.cat(encoded).half()
            moments += moments_of(tensors[key])
        with writing_file(output / f"latents-{number:05d}.safetensors") as partial:
            save_file(tensors, partial)
        done += last - first
        accelerator.print(f"{done} shapes, {done / (time.perf_counter() - begun):.0f} per second", flush=True)
    return moments


def fresh_moments(accelerator: Accelerator, vae: AutoencoderKLTriplane, config: LatentsConfig) -> Moments:
    """Of the latents of the first `config.fresh_shapes` shapes, the same whoever encodes them."""
    moments = torch.zeros(3, vae.config.latent_channels, dtype=torch.float64)
    firsts = range(0, config.fresh_shapes, config.batch_size)
    for first in firsts[accelerator.process_index :: accelerator.num_processes]:
        seeds = range(first, min(first + config.batch_size, config.fresh_shapes))
        shapes = generate_shapes(seeds, azimuths="random", device=accelerator.device)
        generator = torch.Generator(accelerator.device).manual_seed(first)
        points, normals = sample_surface(shapes, config.surface_points, generator)
        for mirror in (False, True) if config.mirror else (False,):
            latents = encode_surface(accelerator, vae, points, normals, shapes.color(points), mirror=mirror)
            moments += moments_of(latents.cpu())
    return moments


def moments_of(latents: Float[Tensor, "batch channel height width"]) -> Moments:
    values = rearrange(latents.double(), "shape channel height width -> channel (shape height width)")
    return torch.stack([torch.ones_like(values).sum(1), values.sum(1), values.square().sum(1)])


def write_statistics(
    accelerator: Accelerator, vae: AutoencoderKLTriplane, config: LatentsConfig, moments: Moments
) -> None:
    """All processes' moments as mean and deviation per channel, into the config of the vae's folder."""
    count, total, squares = accelerator.reduce(moments.to(accelerator.device)).cpu()
    mean = total / count
    std = (squares / count - mean**2).clamp(min=1e-12).sqrt()
    if accelerator.is_main_process:
        vae.register_to_config(latents_mean=rounded(mean), latents_std=rounded(std))
        write_file(Path(config.vae) / "config.json", vae.to_json_string())
        accelerator.print("latents' deviation per channel:", *(f"{value:.3f}" for value in std))


def posterior_mean(
    accelerator: Accelerator,
    vae: AutoencoderKLTriplane,
    shapes: ShardDataset,
    indices: Sequence[int],
    mirror: bool = False,
) -> Float[Tensor, "batch channels height width"]:
    """The latents of these shapes, each from the same points at every call; with `mirror`, of their images in x."""
    batch = gather(shapes, indices, torch.Generator().manual_seed(indices[0]))
    batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
    surface = (batch["surface_points"], batch["surface_normals"], batch["surface_colors"])
    return encode_surface(accelerator, vae, *surface, mirror=mirror).cpu()


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
    """The mean of the posterior of these surfaces, or with `mirror` of their images in x."""
    sides = points.new_tensor([-1 if mirror else 1, 1, 1])
    with accelerator.autocast():
        return vae.encode(sides * points, sides * normals, colors).latent_dist.mode().float()


def rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
