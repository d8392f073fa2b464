"""Several photos per shape in training: their number, hidden camera values, tokens and coarse occupancy."""

import pytest
import torch
from tiny_stages import denoiser_config
from torch import nn

from triplane3d.config import ViewsConfig
from triplane3d.data.latents import mirror
from triplane3d.training.coarse_occupancy import CoarseOccupancy
from triplane3d.training.conditioning import choose_views, view_tokens
from triplane3d.training.denoiser import train
from triplane3d.training.warm_start import warm_start_transformer


def stored(batch: int = 3, views: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Photos and cameras whose values identify them."""
    numbers = torch.arange(batch * views).view(batch, views)
    cameras = torch.stack([numbers * 10.0, numbers * 1.0], dim=-1)
    return numbers.view(batch, views, 1, 1, 1).expand(-1, -1, 4, 8, 8) / 100, cameras


def test_half_of_the_batches_have_one_photo_and_all_numbers_occur() -> None:
    views, cameras = stored()
    config = ViewsConfig(max_views=4, single=0.5)
    counts = torch.tensor([choose_views(views, cameras, config)[0].shape[1] for _ in range(600)])
    shares = counts.bincount(minlength=5)[1:] / 600
    assert abs(shares[0] - 0.5) < 0.08 and (shares[1:] > 0.1).all()
    assert choose_views(views, cameras, ViewsConfig())[0].shape[1] == 1


def test_all_processes_use_the_same_number_of_photos() -> None:
    views, cameras = stored()
    config = ViewsConfig(max_views=4, single=0.3)

    def counts(own_seed: int) -> list[int]:
        common = torch.Generator().manual_seed(5)
        torch.manual_seed(own_seed)
        return [choose_views(views, cameras, config, common)[0].shape[1] for _ in range(50)]

    assert counts(0) == counts(1)
    assert set(counts(0)) == {1, 2, 3, 4}


def test_camera_values_are_unchanged_or_hidden_and_the_first_azimuth_is_never_hidden() -> None:
    views, cameras = stored(batch=200)
    config = ViewsConfig(max_views=4, single=0.0, unknown_elevation=0.5, unknown_azimuth=0.25)
    chosen, visible = choose_views(views, cameras, config)
    known = visible.isfinite()
    assert torch.equal(visible[known], cameras[:, : visible.shape[1]][known])
    assert torch.allclose(chosen[:, :, 0, 0, 0] * 1000, cameras[:, : visible.shape[1], 0])
    assert known[:, 0, 0].all()
    assert abs(known[:, 1:, 0].float().mean() - 0.75) < 0.08 and abs(known[..., 1].float().mean() - 0.5) < 0.08


def test_mirroring_twice_restores_the_sample() -> None:
    sample = {"views": torch.rand(2, 4, 8, 8), "cameras": torch.tensor([[0.0, 10.0], [70.0, -5.0]]),
              "label_points": torch.rand(16, 3), "label_distance": torch.rand(16)}  # fmt: skip
    once = mirror(sample, torch.tensor(True))
    assert once["cameras"].tolist() == [[0.0, 10.0], [-70.0, -5.0]]
    assert torch.equal(once["views"], sample["views"].flip(-1))
    assert all(torch.equal(tensor, sample[name]) for name, tensor in mirror(once, torch.tensor(True)).items())
    assert all(torch.equal(tensor, sample[name]) for name, tensor in mirror(sample, torch.tensor(False)).items())


class PatchMeans(nn.Module):
    """Mock of an image encoder: a prefix token, then the mean of each of 2 × 2 patches."""

    def forward(self, pixel_values):
        patches = nn.functional.adaptive_avg_pool2d(pixel_values, 2).flatten(2).mT
        tokens = torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1)
        return type("Output", (), {"last_hidden_state": tokens})()


def test_tokens_of_several_photos_are_concatenated() -> None:
    photos = torch.rand(2, 3, 4, 8, 8)
    tokens = view_tokens(PatchMeans(), photos)
    assert tokens.shape == (2, 15, 4)
    assert all(torch.equal(tokens[:, 5 * view : 5 * view + 5], view_tokens(PatchMeans(), photos[:, view]))
               for view in range(3))  # fmt: skip


def test_coarse_occupancy_uses_the_column_behind_each_token() -> None:
    """The upper left front of the cube is solid: only the head that predicts this has a low loss."""
    head = CoarseOccupancy(token_dim=4, num_prefix_tokens=1)
    points = torch.rand(1, 8192, 3) * 2 - 1
    inside = (points[..., 0] < 0) & (points[..., 1] > 0) & (points[..., 2] > 0)
    distance = torch.where(inside, -1.0, 1.0)
    tokens = torch.cat([torch.zeros(1, 1, 4), torch.eye(4)[None]], dim=1)  # of patches, row by row from the top left
    logits = torch.full((8, 4), -20.0)
    logits[4:, 0] = 20.0  # the upper left token: the nearer half of the depths, z > 0
    with torch.no_grad():
        head.depths.bias.zero_()
        losses = []
        for patch in range(4):
            head.depths.weight.copy_(logits.roll(patch, dims=1))
            losses.append(head(tokens, points, distance).item())
    assert losses[0] < 1e-6 and min(losses[1:]) > 1


def test_a_one_photo_model_can_be_trained_further_on_several(work, latents, denoiser, tmp_path) -> None:
    """The warm-started model starts with the same error, and its camera embedding is trained."""
    import json
    import shutil

    config = denoiser_config(work)
    extended = tmp_path / "pipeline"
    shutil.copytree(config.pipeline, extended)
    declared = extended / "transformer" / "config.json"
    declared.write_text(json.dumps(json.loads(declared.read_text()) | {"camera_condition": True}))

    before = warm_start_transformer(denoiser, extended)
    assert not before.camera_embed.linear_2.weight.any()
    output = train(
        denoiser_config(work, **{"pipeline": extended, "init": denoiser, "run.output": tmp_path / "several",
                                 "run.steps": 4, "views.max_views": 2, "views.single": 0.0, "optim.lr": 1e-4,
                                 "flow.coarse_occupancy": 0.1, "flow.contrast": 0.05,
                                 "data.validation": None})
    )  # fmt: skip
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    plain = [json.loads(line) for line in (denoiser / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["velocity"] < 0.7 * plain[0]["loss"]
    assert {"coarse", "contrast"} <= lines[-1].keys()
    after = warm_start_transformer(output, extended)
    assert after.config.camera_condition and after.camera_embed.linear_2.weight.any()


def test_several_photos_need_a_model_with_cameras(work, latents) -> None:
    with pytest.raises(ValueError, match="views.max_views=2 needs a transformer with camera_condition"):
        train(denoiser_config(work, **{"views.max_views": 2, "run.steps": 1, "run.output": work / "refused"}))
