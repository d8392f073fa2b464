"""Session fixtures: eight shapes in shards, and the tiny stages, each trained once on the output of the one before."""

from pathlib import Path

import pytest
from tiny_stages import autoencoder_config, denoiser_config, distill_config, latents_config

FAMILIES = ("airplane", "car", "rocket", "truck_or_bus")


@pytest.fixture(scope="session")
def work(tmp_path_factory) -> Path:
    """A folder with eight shapes below `data/`, in two shards."""
    from triplane3d.data.procedural.samples import write_shape_shard

    folder = tmp_path_factory.mktemp("work")
    (folder / "data").mkdir()
    for number, seeds in enumerate((range(5), range(5, 8))):
        write_shape_shard(folder / "data" / f"shapes-{number}.safetensors", seeds, surface_points=512,
                          label_points=2048, views=2, image_size=32, batch_size=8, families=FAMILIES)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def autoencoder(work) -> Path:
    from triplane3d.training.autoencoder import train

    return train(autoencoder_config(work))


@pytest.fixture(scope="session")
def latents(work, autoencoder) -> Path:
    from triplane3d.training.latents import encode

    return encode(latents_config(work))


@pytest.fixture(scope="session")
def denoiser(work, latents) -> Path:
    from triplane3d.training.denoiser import train

    return train(denoiser_config(work))


@pytest.fixture(scope="session")
def distilled(work, denoiser) -> Path:
    from triplane3d.training.distill import train

    return train(distill_config(work))
