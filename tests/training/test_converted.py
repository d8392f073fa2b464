"""A converted Direct3D model is fine-tuned by the same stages."""

import json
from pathlib import Path

import pytest
import torch
from convert.tiny_checkpoints import FIXTURE, direct3d_fixture, encoder_sections, save_direct3d, save_encoders
from safetensors.torch import load_file
from tiny_stages import ROOT

from triplane3d.config import DenoiserConfig, LatentsConfig, load_config
from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.training.denoiser import train
from triplane3d.training.latents import encode

CONFIGS = ROOT / "configs" / "direct3d"


@pytest.fixture(scope="module")
def direct3d(tmp_path_factory) -> Path:
    """The small fixture as a pipeline, with tiny random encoders."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("direct3d")
    scheduler = {"target": "diffusers.DDIMScheduler", "params": {"clip_sample": False}}
    checkpoint = save_direct3d(
        folder / "checkpoint", FIXTURE, direct3d_fixture(), scheduler=scheduler, **encoder_sections()
    )
    clip, dino = save_encoders(folder, 12, 10)
    return convert_direct3d(checkpoint, folder / "pipeline", image_encoder=clip, pixel_encoder=dino)


def test_fine_tuning_uses_the_models_scheduler_and_statistics(direct3d: Path, work: Path, tmp_path: Path) -> None:
    vae_config = (direct3d / "vae" / "config.json").read_text()
    paths = {"vae": direct3d / "vae", "data": work / "data", "output": tmp_path / "latents"}
    paths |= {"surface_points": 256, "mixed_precision": "no"}
    encode(load_config(LatentsConfig, CONFIGS / "latents.yaml", paths))
    assert (direct3d / "vae" / "config.json").read_text() == vae_config  # its denoiser was trained with that scale

    paths = {"pipeline": direct3d, "init": direct3d, "data.folder": work / "data", "data.vae": direct3d / "vae"}
    paths |= {"data.latents": tmp_path / "latents", "data.validation": work / "data", "run.output": tmp_path / "run"}
    quick = {"run.steps": 6, "run.batch_size": 4, "run.log_every": 1, "run.mixed_precision": "no", "run.trackers": ()}
    quick |= {"data.validation_shapes": 2, "data.validation_steps": 2, "run.validate_every": 6, "optim.lr": 3e-3}
    quick |= {"optim.warmup_steps": 1, "run.checkpoint_every": 6, "optim.ema_decay": 0.0, "run.workers": 0}
    output = train(load_config(DenoiserConfig, CONFIGS / "denoiser.yaml", {**paths, **quick}))

    before = load_file(direct3d / "transformer" / "diffusion_pytorch_model.safetensors")
    after = load_file(output / "transformer" / "diffusion_pytorch_model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert not (output / "image_encoder").exists()
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert min(losses[3:]) < losses[0] and "val_iou" in lines[-1]
