"""EfficientNet-Lite0's folded weights against the published structure with its batch norms, and bad checkpoints."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from triplane3d.convert.efficientnet_lite import convert_backbone
from triplane3d.models.efficientnet_lite import BATCH_NORM_EPS, FEATURE_CHANNELS, STAGES, EfficientNetLite0


def published_weights() -> dict[str, torch.Tensor]:
    """Random weights with the names and shapes of the published checkpoint; activations keep their size."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}

    def add(convolution: str, norm: str, out: int, each: int, kernel: int) -> None:
        fan = each * kernel**2
        weights[f"{convolution}.weight"] = (
            torch.randn(out, each, kernel, kernel, generator=generator) * (2 / fan) ** 0.5
        )
        weights[f"{norm}.weight"] = 0.5 + torch.rand(out, generator=generator)
        weights[f"{norm}.bias"] = 0.2 * torch.randn(out, generator=generator)
        weights[f"{norm}.running_mean"] = 0.2 * torch.randn(out, generator=generator)
        weights[f"{norm}.running_var"] = 0.5 + torch.rand(out, generator=generator)

    add("_conv_stem", "_bn0", 32, 3, 3)
    channels, number = 32, 0
    for blocks, kernel, _, expansion, width in STAGES:
        for _ in range(blocks):
            name, inner = f"_blocks.{number}", channels * expansion
            if expansion > 1:
                add(f"{name}._expand_conv", f"{name}._bn0", inner, channels, 1)
            add(f"{name}._depthwise_conv", f"{name}._bn1", inner, 1, kernel)
            add(f"{name}._project_conv", f"{name}._bn2", width, inner, 1)
            channels, number = width, number + 1
    weights["_fc.weight"] = torch.zeros(1000, 1280)
    return weights


def published_network(weights: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of all seven stages, as the structure is published."""

    def apply(x: torch.Tensor, convolution: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        kernel = weights[f"{convolution}.weight"]
        size, side = x.shape[-1], kernel.shape[-1]
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, kernel, stride=stride, groups=groups)
        statistics = (weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *statistics, eps=BATCH_NORM_EPS)

    x = F.relu6(apply(x, "_conv_stem", "_bn0", 2))
    outputs, number = [], 0
    for blocks, _, stride, expansion, _ in STAGES:
        for block in range(blocks):
            name, before = f"_blocks.{number}", x
            inner = F.relu6(apply(x, f"{name}._expand_conv", f"{name}._bn0")) if expansion > 1 else x
            step = stride if block == 0 else 1
            inner = F.relu6(apply(inner, f"{name}._depthwise_conv", f"{name}._bn1", step, inner.shape[1]))
            x = apply(inner, f"{name}._project_conv", f"{name}._bn2")
            x = x + before if block else x
            number += 1
        outputs.append(x)
    return outputs


def test_folded_weights_give_the_published_features(tmp_path) -> None:
    weights = published_weights()
    torch.save(weights, tmp_path / "published.pth")
    convert_backbone(tmp_path / "published.pth", tmp_path / "backbone.safetensors")
    network = EfficientNetLite0()
    network.load_state_dict(load_file(tmp_path / "backbone.safetensors"))
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        found, expected = network(picture), published_network(weights, picture)
    assert [each.shape[1] for each in found] == list(FEATURE_CHANNELS)
    for mine, theirs in zip(found, (expected[number] for number in (0, 1, 2, 4, 6)), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("fault", ["lacks", "shape", "finite"])
def test_other_checkpoints_are_refused(fault, tmp_path) -> None:
    weights = published_weights()
    if fault == "lacks":
        del weights["_blocks.3._bn1.bias"]
    elif fault == "shape":
        weights["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    else:
        weights["_blocks.0._bn1.bias"][0] = torch.nan
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no checkpoint of EfficientNet-Lite0" if fault != "finite" else "finite|NaN"):
        convert_backbone(tmp_path / "other.pth", tmp_path / "backbone.safetensors")
    assert not (tmp_path / "backbone.safetensors").exists()
