"""Telling the object of a photo from its background.

`removal` chooses the way: the photo's alpha, `networks` that are on this machine, or `segmentation` without any. The
last describes the `backdrop`, draws `candidates`, redraws the best by `grabcut` and softens the `edges`.
"""

from triplane3d.images.background.networks import MATTING_VARIABLE
from triplane3d.images.background.removal import METHODS, MaskReport, check_background_removal, remove_background

__all__ = ["MATTING_VARIABLE", "METHODS", "MaskReport", "check_background_removal", "remove_background"]
