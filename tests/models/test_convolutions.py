"""Convolutions in half precision agree with float32 on this CPU, and nothing else changes."""

import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from models.vision_models import VISION_MODELS, vision_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from triplane3d.models.convolutions import CORRECT_SIDE, SafeConvolutions, safe_conv2d
from triplane3d.models.image_encoder import image_tokens

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
SHAPES = [
    {"stride": 16}, {"stride": (16, 16), "padding": "valid"}, {"stride": 8}, {"stride": 1}, {"stride": 5, "padding": 3},
    {"padding": "same"}, {"stride": 16, "padding": 4}, {"stride": 16, "dilation": 2}, {"stride": 16, "groups": 2},
]  # fmt: skip


def deviation(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, relative to that of `expected`."""
    return float((found.detach().float() - expected.detach()).norm() / expected.detach().norm())


@HALF
@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_results_and_gradients_agree_with_float32(options: dict, dtype: torch.dtype) -> None:
    """Kernels of 16 × 16 × 4 and 8 × 8 × 8: oneDNN 3.12 on CPUs with AMX computes both incorrectly in bfloat16."""
    torch.manual_seed(0)
    for channels, side in ((4, 16), (8, 8)):
        scaled = {name: value if value != 16 else side for name, value in options.items()}
        pixels = torch.randn(2, channels, 3 * side + 1, 4 * side).to(dtype).requires_grad_()
        weight = torch.randn(32, channels // scaled.get("groups", 1), side, side).div(side).to(dtype).requires_grad_()
        bias = torch.randn(32).to(dtype).requires_grad_()
        full = [tensor.detach().float().requires_grad_() for tensor in (pixels, weight, bias)]
        found, expected = safe_conv2d(pixels, weight, bias, **scaled), F.conv2d(*full, **scaled)
        assert found.dtype == dtype and found.shape == expected.shape and deviation(found, expected) < 0.01
        gradient = torch.randn_like(expected)
        found.backward(gradient.to(dtype))
        expected.backward(gradient)
        assert all(
            deviation(half.grad, whole.grad) < 0.01 for half, whole in zip((pixels, weight, bias), full, strict=True)
        )


def test_an_unbatched_image_and_autocast_are_supported() -> None:
    pixels, layer = torch.randn(4, 40, 40), nn.Conv2d(4, 16, 16, stride=16)
    expected = layer(pixels)
    with SafeConvolutions():
        assert torch.equal(layer(pixels), expected), "in float32 the layer is not replaced"
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(pixels)
    assert found.dtype == torch.bfloat16 and found.shape == expected.shape == (16, 2, 2)
    assert deviation(found, expected) < 0.01


class ConvolutionRecorder(TorchDispatchMode):
    """Records the element type and the kernel's width of every convolution that reaches PyTorch's own kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[torch.dtype, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.calls.append((args[0].dtype, max(args[1].shape[2:])))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", VISION_MODELS)
def test_no_encoder_runs_a_wide_convolution_in_half_precision(name: str, autocast: bool) -> None:
    """Checks which kernels are called, because their results are wrong on some CPUs only."""
    encoder, pixels = vision_model(name, num_channels=4), torch.rand(1, 4, 32, 32)
    expected = image_tokens(encoder, pixels)
    if not autocast:
        encoder, pixels = encoder.to(torch.bfloat16), pixels.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), ConvolutionRecorder() as recorder:
        tokens = image_tokens(encoder, pixels)
    assert deviation(tokens, expected) < 0.02
    assert not [call for call in recorder.calls if call[0] != torch.float32 and call[1] > CORRECT_SIDE]


def test_modules_are_not_changed() -> None:
    encoder = vision_model("ViTModel", num_channels=4).to(torch.bfloat16)
    before = deepcopy(encoder)
    image_tokens(encoder, torch.rand(1, 4, 32, 32).to(torch.bfloat16))

    def described(model: nn.Module) -> Iterator[tuple]:
        return ((name, type(layer), "forward" in vars(layer), len(layer._forward_hooks)) for name, layer in
                model.named_modules())  # fmt: skip

    assert list(described(encoder)) == list(described(before))
    assert encoder.state_dict().keys() == before.state_dict().keys()


COMPILED = """
import torch
from transformers import ViTConfig, ViTModel
from triplane3d.models.image_encoder import image_tokens

vit = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
encoder = ViTModel(ViTConfig(**vit, image_size=32, patch_size=16, num_channels=4)).to(torch.bfloat16).eval()
pixels, calls = torch.rand(1, 4, 32, 32).bfloat16(), []
expected = image_tokens(encoder, pixels)

def backend(graph, inputs):
    calls.extend(node.target for node in graph.graph.nodes if node.op == "call_function")
    return graph

compiled = torch.compile(image_tokens, backend=backend, fullgraph=True)
assert torch.equal(compiled(encoder, pixels), expected)
encoder.compile(backend=backend, fullgraph=True)
assert torch.equal(image_tokens(encoder, pixels), expected)
assert torch.nn.functional.linear in calls or torch._C._nn.linear in calls, calls
assert torch.conv2d not in calls, calls
"""


def test_compiled_code_has_no_wide_convolution() -> None:
    """Runs in a separate process, because the compiler cannot trace the shape checks of the test run."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kernel, stride, channels", list(product((1, 2, 3), (1, 2), (3, 4, 8, 24, 32))))
def test_small_kernels_are_correct_on_this_cpu(kernel: int, stride: int, channels: int) -> None:
    torch.manual_seed(0)
    pixels = torch.randn(1, channels, 17, 17).bfloat16()
    weight = torch.randn(16, channels, kernel, kernel).bfloat16()
    expected = F.conv2d(pixels.float(), weight.float(), stride=stride)
    assert deviation(F.conv2d(pixels, weight, stride=stride), expected) < 0.01
    transposed = weight.transpose(0, 1)
    expected = F.conv_transpose2d(pixels.float(), transposed.float(), stride=stride)
    assert deviation(F.conv_transpose2d(pixels, transposed, stride=stride), expected) < 0.01
