"""The camera of a photo, corrected by the silhouette of the surface that was generated from the photo.

The silhouette of a wrong surface fits its photo best from a wrong camera. The fit therefore stays close to a prior: the
prediction of a network, with its uncertainty, or the average camera.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.refinement.silhouettes import silhouettes

FIT_SIZE = 48
"""Pixels along the side of the compared pictures."""
FIT_STEPS = 16
LEARNING_RATE = 0.1
"""Of Adam, in the units of the camera's parameters."""
PRIOR_WEIGHT = 0.02
"""Weight of one squared deviation from the prior, relative to the mean squared error of the silhouette."""
STEEPNESS = 1.0
"""Slope of the sigmoid that makes a share of coverage of a silhouette's logit."""


def fit_cameras(
    grid: Float[Tensor, "batch x y z"],
    masks: Float[Tensor, "batch rows columns"],
    weights: Float[Tensor, "batch rows columns"],
    prior: Float[Tensor, "batch 5"],
    scale: Float[Tensor, "batch 5"],
    azimuth: Float[Tensor, " batch"] | float = 0.0,
) -> FramedCameras:
    """Cameras whose silhouettes agree with the masks, near the prior.

    Minimizes the weighted mean squared difference of silhouette and mask, plus the squared deviation of the parameters
    from `prior` in units of `scale`, by a few steps of Adam.

    Args:
        grid: logits of each field on a regular grid over [-1, 1]³.
        masks: the object's share of each pixel of the framed photo, 0..1.
        weights: of the pixels; 0 where a pixel is held back.
        prior: parameters of the most likely cameras (`FramedCameras.from_parameters`).
        scale: their uncertainties.
        azimuth: of the cameras in degrees, which is known.
    """
    masks, weights = (F.interpolate(values[:, None], FIT_SIZE, mode="area")[:, 0] for values in (masks, weights))
    weights = weights / weights.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    scale = scale.clamp(min=1e-3)
    with torch.enable_grad():
        # The steps are in units of the uncertainty: a parameter that is known well moves little.
        deviation = torch.zeros_like(prior).requires_grad_(True)
        optimizer = torch.optim.Adam([deviation], LEARNING_RATE)
        for _ in range(FIT_STEPS):
            cameras = FramedCameras.from_parameters(prior + scale * deviation, azimuth)
            logits = silhouettes(grid, cameras.cameras, FIT_SIZE, num_samples=32).logits
            difference = (torch.sigmoid(STEEPNESS * logits) - masks).square()
            loss = (weights * difference).sum(dim=(1, 2)) + PRIOR_WEIGHT * deviation.square().sum(dim=1)
            (gradient,) = torch.autograd.grad(loss.sum(), deviation)
            deviation.grad = torch.nan_to_num(gradient)
            optimizer.step()
    return FramedCameras.from_parameters(prior + scale * deviation.detach(), azimuth)
