"""Convolutions in half precision on a CPU, without those kernels of oneDNN that return wrong numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

HALF = (torch.bfloat16, torch.float16)

TRUSTED_SIDE = 3
"""Side in pixels of the largest kernels whose convolution in half precision is left to oneDNN."""


class SafeConvolutions(TorchFunctionMode):
    """Inside this context, wide convolutions in half precision on a CPU run so that they are right on every CPU.

    On CPUs with AMX, oneDNN 3.12 (torch 2.13) returns noise in bfloat16 from convolutions of kernels at least 4 wide
    with an even number of input channels below 32, if channels × width is a multiple of 32 above 32. One of them is the
    patch embedding of a vision transformer with patches of 16 pixels that also reads the mask. Kernels up to 3 × 3 were
    right in all of 1,902 shapes that were tried, and stay as they are, like everything on other devices and in float32.

    The modules stay as they are: their weights, classes and hooks, and so what is saved of them.
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
    """`torch.nn.functional.conv2d`, whose arguments these are, right on every CPU also in half precision."""
    autocast = torch.is_autocast_enabled("cpu") and input.dtype is not torch.float64
    dtype = torch.get_autocast_dtype("cpu") if autocast else input.dtype
    kernel = tuple(weight.shape[-2:])
    if input.device.type != "cpu" or dtype not in HALF or max(kernel) <= TRUSTED_SIDE:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    apart = _pair(stride) == kernel and _pair(dilation) == (1, 1)
    if apart and padding in (0, (0, 0), "valid") and groups == 1:
        return _patches_times_weights(input, weight, bias)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return F.conv2d(input.float(), weight.float(), bias, stride, padding, dilation, groups).to(dtype)


def _patches_times_weights(
    pixels: Float[Tensor, "*batch channels height width"],
    weight: Float[Tensor, "features channels kernel_height kernel_width"],
    bias: Float[Tensor, " features"] | None,
) -> Float[Tensor, "*batch features rows columns"]:
    """A convolution whose stride is its kernel, as one matrix product; pixels that fill no patch are left out."""
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
