"""Candidate masks: thresholds of the differences to the backdrop, each reduced to the parts that may be the object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from triplane3d.images.background.arrays import Difference, Mask
from triplane3d.images.background.backdrop import frame_mask
from triplane3d.images.background.features import FeatureExtractor, agreement

# Colour differences (CIE76) beyond which a pixel may belong to the object.
THRESHOLDS = tuple(np.geomspace(2.5, 45, 12))
# A mask that covers a share of the photo outside of this range is not a plausible object.
MIN_COVERAGE, MAX_COVERAGE = 0.002, 0.9
# Parts smaller than this share of the main one are specks.
SPECK = 0.05


@dataclass(frozen=True)
class Candidate:
    """A mask at the search size."""

    mask: Mask
    difference: str
    """The name of the thresholded difference, see `Backdrop.differences`."""
    threshold: float
    features: dict[str, float]
    """Those of `FeatureExtractor`, "agreement" with the other candidates, and later the "score"."""


def find_candidates(differences: dict[str, Difference]) -> list[Candidate]:
    """One candidate without features for each difference and threshold; where it has holes, another without them."""
    found: list[Candidate] = []
    for name, difference in differences.items():
        for threshold in THRESHOLDS:
            mask = main_parts(difference > threshold)
            if MIN_COVERAGE < mask.mean() < MAX_COVERAGE:
                found.append(Candidate(mask, name, threshold, {}))
                filled = ndimage.binary_fill_holes(mask)
                if filled.sum() > 1.01 * mask.sum() and filled.mean() < MAX_COVERAGE:
                    found.append(Candidate(filled, name, threshold, {}))
    return found


def with_features(candidates: list[Candidate], extractor: FeatureExtractor) -> list[Candidate]:
    """The candidates with their features; "agreement" is the one with the mean of all candidates."""
    mean = np.mean([candidate.mask for candidate in candidates], axis=0)
    return [
        replace(
            candidate,
            features=candidate.features
            | extractor.features(candidate.mask)
            | {"agreement": agreement(candidate.mask, mean)},
        )
        for candidate in candidates
    ]


def main_parts(mask: Mask) -> Mask:
    """The connected parts that may be the object.

    The main part has the largest area, where pixels near the centre of the photo count more. Specks are removed. Where
    the main part does not touch the photo's border, parts that touch it are removed too.
    """
    labels, count = ndimage.label(without_border_lines(mask))
    if count == 0:
        return np.zeros_like(mask)
    height, width = mask.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    weights = np.bincount(labels.ravel(), np.exp(-(x**2 + y**2)).ravel(), count + 1)
    weights[0] = 0
    areas = np.bincount(labels.ravel())
    main = weights.argmax()
    kept = areas >= SPECK * areas[main]
    kept[0] = False
    frame = np.ones_like(mask)
    frame[1:-1, 1:-1] = False
    at_border = np.zeros(count + 1, dtype=bool)
    at_border[np.unique(labels[frame])] = True
    if not at_border[main]:
        kept &= ~at_border
    return kept[labels]


def without_border_lines(mask: Mask) -> Mask:
    """The mask without thin lines that run from it to the photo's border, such as a horizon's."""
    lines = mask & ~ndimage.binary_opening(mask, np.ones((3, 3)))
    labels, count = ndimage.label(lines, np.ones((3, 3)))
    at_border = np.zeros(count + 1, dtype=bool)
    at_border[np.unique(labels[frame_mask(mask.shape)])] = True
    at_border[0] = False
    return mask & ~at_border[labels]
