"""Stage 2: every shape of the shards becomes its latents, so that the denoiser never runs the encoder.

    accelerate launch scripts/encode_latents.py configs/mini/latents.yaml

Writes `latents-NNNNN.safetensors` files, rows in the order of the shards, and tells the vae's own config the mean and
the deviation of each latent channel: the schedule's signal-to-noise ratios assume unit variance. With `measure: false`
the config stays as it is, for a denoiser that was trained with what it says.
"""

import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.configuration_utils import FrozenDict
from einops import rearrange
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from triplane3d.config import LatentsConfig
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.training.run import gather


@torch.no_grad()
def encode(config: LatentsConfig) -> Path:
    """Encodes all of `config.data` and returns the folder of latents."""
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    vae = AutoencoderKLTriplane.from_pretrained(config.vae).to(accelerator.device).eval()
    shapes = ShardDataset(config.data, keys=("surface",), surface_points=config.surface_points)
    seeds = torch.tensor(shapes.seeds)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)

    if accelerator.is_main_process:
        for old in output.glob("latents-*.safetensors"):
            old.unlink()
    accelerator.wait_for_everyone()

    # Each process encodes its share of the files. Per channel: how many numbers, their sum, the sum of their squares.
    moments = torch.zeros(3, vae.config.latent_channels, dtype=torch.float64)
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
            values = rearrange(tensors[key].double(), "shape channel height width -> channel (shape height width)")
            moments += torch.stack([torch.ones_like(values).sum(1), values.sum(1), values.square().sum(1)])
        save_file(tensors, output / f"latents-{number:05d}.safetensors")
        done += last - first
        accelerator.print(f"{done} shapes, {done / (time.perf_counter() - begun):.0f} per second", flush=True)

    count, total, squares = accelerator.reduce(moments.to(accelerator.device)).cpu()
    mean = total / count
    std = (squares / count - mean**2).clamp(min=1e-12).sqrt()
    if accelerator.is_main_process and config.measure:
        vae.register_to_config(latents_mean=rounded(mean), latents_std=rounded(std))
        vae.save_config(config.vae)
        accelerator.print("latents' deviation per channel:", *(f"{value:.3f}" for value in std))
    return output


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
    sides = batch["surface_points"].new_tensor([-1 if mirror else 1, 1, 1])
    with accelerator.autocast():
        encoded = vae.encode(sides * batch["surface_points"], sides * batch["surface_normals"], batch["surface_colors"])
    return encoded.latent_dist.mode().float().cpu()


def rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


class Latents:
    """The files that `encode` wrote, memory-mapped; one shape's latents at a time, unit variance per channel."""

    def __init__(self, folder: str | Path, vae_config: FrozenDict | dict) -> None:
        paths = sorted(Path(folder).glob("latents-*.safetensors"))
        if not paths:
            raise FileNotFoundError(f"no latents-*.safetensors in {folder}; write them with scripts/encode_latents.py")
        if vae_config["latents_mean"] is None:
            raise ValueError("the vae's config has no latents_mean: encode latents with it first")
        self._files = [safe_open(path, framework="pt") for path in paths]
        self._ends = list(accumulate(len(file.get_tensor("seeds")) for file in self._files))
        self.mean = rearrange(torch.tensor(vae_config["latents_mean"]), "channel -> channel 1 1")
        self.std = rearrange(torch.tensor(vae_config["latents_std"]), "channel -> channel 1 1")

    @property
    def seeds(self) -> list[int]:
        """The seed of each shape, in order."""
        return [int(seed) for file in self._files for seed in file.get_tensor("seeds")]

    @property
    def mirrored(self) -> bool:
        """Whether every shape's mirror image was encoded too."""
        return all("mirrored" in file.keys() for file in self._files)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Float[Tensor, "channels height width"]:
        return self.read(index)

    def read(self, index: int, mirrored: bool = False) -> Float[Tensor, "channels height width"]:
        """The latents of shape `index`, or of its mirror image in x."""
        file = next(number for number, end in enumerate(self._ends) if index < end)
        row = index - (self._ends[file - 1] if file else 0)
        stored = self._files[file].get_slice("mirrored" if mirrored else "latents")[row : row + 1][0]
        return (stored.float() - self.mean) / self.std
