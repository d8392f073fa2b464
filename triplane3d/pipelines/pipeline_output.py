"""What the pipeline returns: meshes, the photos as it saw them, and their pictures from any side."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from triplane3d.pipelines.background import Matte


@dataclass
class Triplane3DPipelineOutput(BaseOutput):
    """`meshes` holds what `output_type` asked for, one entry per mesh; the rest is set where a photo was given."""

    meshes: list[Any] | Tensor | np.ndarray
    images: list[Image.Image] | None = None
    """The squares that the image encoder saw, one for each photo, background removed."""
    mattes: list[Matte] | None = None
    """How each photo's object was told from its background, and any doubt about it."""
