"""Framing, size and colour statistics of the images for vision encoders."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

IMAGE_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of each colour channel, with which public image encoders were trained."""

FOREGROUND_RATIO = 0.85
"""Share of a framed image that the longer side of the object fills. Rendered views and framed photos must agree."""


def resize_square(
    images: Float[Tensor, "batch channels height width"], size: tuple[int, int]
) -> Float[Tensor, "batch channels rows columns"]:
    """`images` resampled to `size`, bilinear with antialiasing. Images that have the size are returned unchanged."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
