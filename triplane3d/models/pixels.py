"""Pictures as vision encoders were trained on them: their size, and the statistics of their colours."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Mean and standard deviation per colour channel, as the public image encoders were trained.
IMAGE_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def resize_square(
    pictures: Float[Tensor, "batch channels height width"], size: tuple[int, int]
) -> Float[Tensor, "batch channels rows columns"]:
    """Bilinear, antialiased where it shrinks; what has the size already is left alone."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
