"""Convolutions in half precision on a CPU that avoid kernels of oneDNN with wrong results."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

HALF = (torch.bfloat16, torch.float16)

CORRECT_SIDE = 3
"""Side in pixels of the largest convolution kernels for which oneDNN is used in half precision."""


class SafeConvolutions(TorchFunctionMode):
    """A context in which convolutions in half precision have correct results on every CPU.

    On CPUs with AMX, oneDNN 3.12 (torch 2.13) returns wrong numbers in bfloat16 for kernels at least 4 wide with an
    even number of input channels below 32, if channels × width is a multiple of 32 above 32. An example is the patch
    embedding of a vision transformer with patches of 16 pixels and four channels, the fourth being the mask. Kernels up
    to 3 × 3 were correct in all of 1,902 shapes that were tried; they are not changed, and neither are other devices
    and float32.

    Modules do not change: neither their weights nor their classes and hooks, nor what is saved of them.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = safe_conv2d if func is F.conv2d else func
        return call(*args, **(kwargs or {}))


def safe_conv2d(
    input: Float[Tensor, "*batch channels height width"],
    weight: Float[Tensor, "features channels_of_group kernel_height kernel_width"],
    bias: Float[Tensor, " features"] | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Float[Tensor, "*batch features rows columns"]:
    """`torch.nn.functional.conv2d`, with its arguments and correct results in half precision on every CPU."""
    autocast = torch.is_autocast_enabled("cpu") and input.dtype is not torch.float64
    dtype = torch.get_autocast_dtype("cpu") if autocast else input.dtype
    kernel = tuple(weight.shape[-2:])
    if input.device.type != "cpu" or dtype not in HALF or max(kernel) <= CORRECT_SIDE:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    disjoint = _pair(stride) == kernel and _pair(dilation) == (1, 1)
    if disjoint and padding in (0, (0, 0), "valid") and groups == 1:
        return _patches_times_weights(input, weight, bias)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return F.conv2d(input.float(), weight.float(), bias, stride, padding, dilation, groups).to(dtype)


def _patches_times_weights(
    pixels: Float[Tensor, "*batch channels height width"],
    weight: Float[Tensor, "features channels kernel_height kernel_width"],
    bias: Float[Tensor, " features"] | None,
) -> Float[Tensor, "*batch features rows columns"]:
    """A convolution with the stride of its kernel, as one matrix product. Pixels of incomplete patches are ignored."""
    i, j = weight.shape[-2:]
    rows, columns = pixels.shape[-2] // i, pixels.shape[-1] // j
    patches = rearrange(
        pixels[..., : rows * i, : columns * j],
        "... channel (row i) (column j) -> ... row column (channel i j)",
        i=i,
        j=j,
    )
    return F.linear(patches, weight.flatten(1), bias).movedim(-1, -3)


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
