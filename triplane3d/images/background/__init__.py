"""Background removal: the mask of a photo's object.

`removal` chooses the method: the photo's alpha channel, a network (`rembg_model`, `matting_model`), or `segmentation`,
which needs no network. Segmentation models the `backdrop`, makes `candidates`, measures their `features`, refines the
best by `grabcut` and softens its `edges`.
"""

from triplane3d.images.background.matting_model import MATTING_VARIABLE
from triplane3d.images.background.removal import METHODS, MaskReport, check_background_removal, remove_background

__all__ = ["MATTING_VARIABLE", "METHODS", "MaskReport", "check_background_removal", "remove_background"]
