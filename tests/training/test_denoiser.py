"""Stage 3: the target is the velocity of the scheduler's flow. The denoiser generates the shape of a photo."""

import json
import shutil

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file
from tiny_stages import denoiser_config
from transformers import AutoConfig, AutoModel

from triplane3d.config import FlowConfig
from triplane3d.data.latents import LatentDataset, LatentPhotoDataset
from triplane3d.data.shards import ShardDataset
from triplane3d.models.autoencoder_kl_triplane import AutoencoderKLTriplane
from triplane3d.models.transformer_triplane import TriplaneTransformer
from triplane3d.training.denoiser import DenoiserObjective, train


class KnownPath(torch.nn.Module):
    """Mock of a transformer: it returns the exact velocity at any point of the path."""

    def __init__(self, data: torch.Tensor):
        super().__init__()
        self.data = data
        self.calls = []

    def forward(self, hidden_states, timestep, encoder_hidden_states, return_dict):
        sigma = timestep.view(-1, 1, 1, 1) / 1000
        self.calls.append((timestep, encoder_hidden_states))
        return ((hidden_states - self.data) / sigma,)


class OneToken(torch.nn.Module):
    """Mock of an image encoder: one token, the mean over all pixels."""

    def forward(self, pixel_values):
        tokens = pixel_values.mean((2, 3))[:, None]
        return type("Output", (), {"last_hidden_state": tokens})()


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_target_is_the_velocity_that_the_scheduler_integrates(shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    data = torch.randn(1, 4, 4, 12)
    path = KnownPath(data)
    objective = DenoiserObjective(OneToken(), path, scheduler, FlowConfig(noise_draws=3))
    assert objective(data.expand(5, -1, -1, -1), torch.rand(5, 4, 8, 8))["loss"] < 1e-6

    # The same velocity, integrated from noise in any number of steps, returns the data.
    scheduler.set_timesteps(7)
    latents = torch.randn(2, 4, 4, 12)
    for timestep in scheduler.timesteps:
        velocity = path(latents, timestep.expand(2), None, False)[0]
        latents = scheduler.step(velocity, timestep, latents).prev_sample
    assert torch.allclose(latents, data.expand(2, -1, -1, -1), atol=1e-4)


def test_noise_levels_are_logit_normal_and_pure_noise_in_the_warm_up():
    path = KnownPath(torch.zeros(1, 4, 4, 12))
    objective = DenoiserObjective(OneToken(), path, FlowMatchEulerDiscreteScheduler(), FlowConfig())
    sigma = objective.path.sample_timesteps(20_000, regression=False) / 1000
    logits = torch.logit(sigma.clamp(1e-3, 1 - 1e-3))
    assert abs(logits.mean()) < 0.05 and abs(logits.std() - 1) < 0.05
    assert (objective.path.sample_timesteps(8, regression=True) == 1000).all()


def test_tokens_are_used_for_several_noise_levels_and_sometimes_dropped():
    path = KnownPath(torch.zeros(1, 4, 4, 12))
    flow = FlowConfig(noise_draws=4, condition_dropout=0.25)
    objective = DenoiserObjective(OneToken(), path, FlowMatchEulerDiscreteScheduler(), flow)
    objective(torch.zeros(500, 4, 4, 12), 1 + torch.rand(500, 4, 2, 2))
    timesteps, tokens = path.calls[0]
    assert len(timesteps) == 2000 and timesteps.unique().numel() > 300
    dropped = (tokens == 0).all(dim=(1, 2))
    assert abs(dropped.float().mean() - 0.25) < 0.05
    groups = zip(tokens.flatten(1).view(500, 4, -1), dropped.view(500, 4))
    assert all(group[~without].unique(dim=0).shape[0] <= 1 for group, without in groups)


def test_the_denoiser_generates_the_shape_of_the_photo(denoiser):
    lines = [json.loads(line) for line in (denoiser / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    assert lines[-1]["val_iou"] > 0.35
    assert lines[-1]["val_iou"] > lines[-1]["val_iou_swapped"] + 0.2  # the photo determines the shape
    assert list((denoiser / "pictures").glob("validation-*.png"))


def test_a_killed_run_resumes_exactly(work, latents, tmp_path):
    quick = {"run.steps": 6, "run.checkpoint_every": 3, "data.validation": None}
    whole = train(denoiser_config(work, **quick, **{"run.output": tmp_path / "whole"}))
    (tmp_path / "killed").mkdir()
    (whole / "checkpoint-3").rename(tmp_path / "killed" / "checkpoint-3")
    killed = train(denoiser_config(work, **quick, **{"run.output": tmp_path / "killed"}))
    for name in ("transformer/diffusion_pytorch_model.safetensors", "image_encoder/model.safetensors"):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected), name


def test_latents_of_other_shapes_are_refused(work, autoencoder, latents):
    vae = AutoencoderKLTriplane.from_pretrained(autoencoder / "vae")
    with pytest.raises(ValueError, match=r"other shapes than the photos \(8 and 7 shapes\)"):
        LatentPhotoDataset(LatentDataset(latents, vae.config), ShardDataset(work / "data", keys=("views",), limit=7))


def test_initial_weights_of_another_architecture_are_refused(work, latents, denoiser, tmp_path):
    settings = {"init": tmp_path, "run.output": tmp_path / "run", "run.steps": 1, "data.validation": None}
    shutil.copytree(denoiser / "transformer", tmp_path / "transformer")
    encoder = AutoConfig.from_pretrained(denoiser, subfolder="image_encoder")
    for change, sentence in (
        ({"intermediate_size": 24, "mlp_ratio": 3}, r"image_encoder does not fit what .*tiny declares"),
        ({"num_hidden_layers": encoder.num_hidden_layers + 1}, r"image_encoder does not fit what .*tiny declares"),
    ):
        AutoModel.from_config(AutoConfig.for_model(**(encoder.to_dict() | change))).save_pretrained(
            tmp_path / "image_encoder"
        )
        with pytest.raises(ValueError, match=sentence):
            train(denoiser_config(work, **settings))

    other = TriplaneTransformer.load_config(denoiser / "transformer") | {"num_layers": 1}
    TriplaneTransformer.from_config(other).save_pretrained(tmp_path / "transformer")
    with pytest.raises(ValueError, match=r"another architecture than .*tiny/transformer: num_layers=1 there, \d here"):
        train(denoiser_config(work, **settings))
