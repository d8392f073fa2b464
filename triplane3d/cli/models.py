"""Loading the pipeline of `--model`, with error messages for the command line."""

from typing import TYPE_CHECKING

from triplane3d.cli.console import print_message
from triplane3d.cli.errors import errors_are_sentences
from triplane3d.model_loading import Dtype, ModelRequest, find_model, load_found_model

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def load(request: ModelRequest) -> "DiffusionPipeline":
    """Load the pipeline. An error ends the command with one sentence."""
    with errors_are_sentences():
        folder = find_model(request)
        device = request.resolved_device()
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    full_precision = request.resolved_dtype(device) is Dtype.float32
    with errors_are_sentences(request.model, memory_advice(device, full_precision=full_precision, loading=True)):
        return load_found_model(request, folder, report=print_message)


def memory_advice(device: "torch.device", *, full_precision: bool, loading: bool = False) -> str:
    """Options that reduce the memory used on `device`, for the error message when it runs out."""
    ways = [] if loading else ["--quality draft", "a lower --resolution"]
    if full_precision:
        ways.append("--dtype bfloat16")
    if device.type != "cpu":
        ways.append("--device cpu")
    return f"on {device} try {' or '.join(filter(None, [', '.join(ways[:-1]), *ways[-1:]]))}" if ways else ""
