"""Features of a mask that separate good masks from bad ones, measured on the photo and on its backdrop's model."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from triplane3d.images.background.arrays import Difference, Lab, Mask, Opacity
from triplane3d.images.background.backdrop import frame_mask


class FeatureExtractor:
    """Measures masks of one photo. What does not depend on the mask is computed once, here.

    Args:
        lab: the photo at the search size.
        differences: those of `Backdrop.differences` at the same size.
    """

    def __init__(self, lab: Lab, differences: dict[str, Difference]) -> None:
        self.lab = lab
        self.frame = frame_mask(lab.shape)
        self.margin = frame_mask(lab.shape, 0.06)
        # The least difference to any model: in the colours of the model, or in darker ones, as in a shadow.
        self.plain = np.min([difference for name, difference in differences.items() if "shadow" not in name], axis=0)
        shaded = np.min(list(differences.values()), axis=0)
        # The frame is backdrop nearly everywhere, so that its differences show the noise of the models.
        level = max(4.0, 1.5 * float(np.quantile(shaded[self.frame], 0.95)))
        self.unexplained, self.parts = ndimage.label(shaded > level)
        self.explained = self.plain < max(2.0, float(np.quantile(self.plain[self.frame], 0.9)))
        channels = np.moveaxis(lab, -1, 0)
        self.steepness = np.linalg.norm(
            [ndimage.gaussian_gradient_magnitude(channel, 1.0) for channel in channels], axis=0
        )
        self.margin_steepness = max(1.0, float(np.quantile(self.steepness[self.margin], 0.99)))
        self.peak = ndimage.maximum_filter(self.steepness, 3)
        self.around = np.stack([ndimage.gaussian_filter(channel, 2.0) for channel in channels], axis=-1)

    def beside(self, mask: Mask) -> Mask:
        """Pixels outside of the mask, connected with it, whose colour no model of the backdrop explains."""
        touched = np.zeros(self.parts + 1, dtype=bool)
        touched[self.unexplained[mask]] = True
        touched[0] = False
        return touched[self.unexplained] & ~mask

    def features(self, mask: Mask) -> dict[str, float]:
        """The features by name. Lengths are in pixels; contrast and steepness are logarithms of CIE76 differences.

        Along the outline:

        - "contrast": the median difference between the mean colours inside and outside.
        - "weak steepness": the 20% quantile of the gradient.
        - "sharpness": the median of gradient over contrast; low for a shadow, high for a line.
        - "rank": the mean rank of the gradient among the gradients outside, in 0..1. A share of 10⁻ᵏ of the outside
          that is as steep gives k/3.
        - "raggedness": the logarithm of squared length over area.
        - "roughness": the share of the mask that a morphological opening removes.

        Outside, each over the length of the outline, as a square root:

        - "edges lost": pixels with a gradient above half of the outline's median.
        - "edges beside": pixels with a gradient above that of the photo's margin.

        Areas over the mask's area:

        - "parts lost": of `beside`, as a square root.
        - "like backdrop": of the mask's pixels that a model of the backdrop explains.
        - "holes": of the mask's holes.

        "at border" is the share of the photo's frame that the mask covers.
        """
        outline = outline_of(mask)
        length, area = outline.sum(), mask.sum()
        share = ndimage.gaussian_filter(mask.astype(np.float32), 2.0)[outline][:, None]
        inside = np.stack(
            [ndimage.gaussian_filter(channel * mask, 2.0)[outline] for channel in np.moveaxis(self.lab, -1, 0)], axis=-1
        )
        outside = self.around[outline] - inside
        contrast = np.linalg.norm(inside / np.maximum(share, 1e-3) - outside / np.maximum(1 - share, 1e-3), axis=-1)
        steep = self.peak[outline]
        away = ~ndimage.binary_dilation(mask, iterations=3)
        ranks = np.searchsorted(np.sort(self.steepness[away]), steep) / max(away.sum(), 1)
        elsewhere = self.steepness[away & ~self.margin]
        lost = self.beside(mask) & ~ndimage.binary_dilation(mask)
        features = {
            "contrast": np.log1p(np.median(contrast)),
            "weak steepness": np.log1p(np.quantile(steep, 0.2)),
            "sharpness": np.median(steep / np.maximum(contrast, 1)),
            "rank": np.mean(-np.log10(np.maximum(1 - ranks, 1e-3)) / 3),
            "edges lost": np.sqrt((elsewhere > 0.5 * np.median(steep)).sum() / length),
            "edges beside": np.sqrt((elsewhere > self.margin_steepness).sum() / length),
            "parts lost": np.sqrt(lost.sum() / area),
            "like backdrop": (mask & self.explained).sum() / area,
            "at border": (mask & self.frame).sum() / self.frame.sum(),
            "roughness": (mask ^ ndimage.binary_opening(mask)).sum() / area,
            "raggedness": np.log(length**2 / area),
            "holes": (ndimage.binary_fill_holes(mask).sum() - area) / area,
        }
        return {name: float(value) for name, value in features.items()}

    def is_see_through(self, mask: Mask) -> bool:
        """Whether the backdrop seems to show through: the inside is nearer to the backdrop's colours than the rim."""
        depth = ndimage.distance_transform_edt(mask)
        inside, rim = self.plain[depth > 4], self.plain[(depth > 0) & (depth <= 2.5)]
        if len(inside) < 30:
            return False
        return bool(np.median(inside) < 18 and np.median(rim) > 1.35 * np.median(inside))


def outline_of(mask: Mask) -> Mask:
    """The mask's outermost pixels. The photo's own border is no outline."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union, in 0..1."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 0.0


def agreement(mask: Mask, consensus: Opacity) -> float:
    """Dice's coefficient of a mask and a map in 0..1: twice the intersection over the sum of both areas."""
    return float(2 * consensus[mask].sum() / (mask.sum() + consensus.sum()))
