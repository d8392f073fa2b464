"""The object of a photo without a network.

Many candidate masks are made at a small size. The best of them are refined at the working size, and the best refined
mask is returned with the estimated probability that it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage

from triplane3d.geometry.color import lab_from_srgb
from triplane3d.images.background.arrays import Difference, Lab, Mask, Opacity, Rgb
from triplane3d.images.background.backdrop import Backdrop, frame_mask
from triplane3d.images.background.candidates import (
    MAX_COVERAGE,
    MIN_COVERAGE,
    Candidate,
    find_candidates,
    main_parts,
    with_features,
)
from triplane3d.images.background.features import FeatureExtractor, agreement, overlap
from triplane3d.images.background.grabcut import grabcut
from triplane3d.images.background.resampling import resampled, shrunk_shape
from triplane3d.images.background.scoring import CANDIDATE_SCORE, CONFIDENCE, REFINED_SCORE, probability, weighted

# Candidates are made on a copy of this size, in pixels of the longer side.
SEARCH_SIDE = 192
# Number of candidates that are refined at the working size. Two of them overlap by at most `SAME`.
STARTS = 4
SAME = 0.93
# How far GrabCut may move an outline outwards, in pixels of the working size.
REACH = 20
# A candidate whose score is lower by this much has a weight that is lower by a factor of e.
TEMPERATURE = 0.25
# Pixels that more than this share of the candidates cover are left out of the second model of the backdrop.
COVERED = 0.3
# A mask with a lower confidence gets a warning.
WARN_BELOW = 0.8
# A mask with a lower confidence is discarded.
DISCARD_BELOW = 0.02


@dataclass(frozen=True)
class RefinedMask:
    """A mask at the working size.

    `features` are those of `FeatureExtractor` at the search size, with the "agreement" with all candidates, the score
    of the candidate at the "start", and whether GrabCut "refined" it (0 or 1).
    """

    mask: Mask
    features: dict[str, float]
    score: float


@dataclass(frozen=True)
class Search:
    """All masks that `segment` chooses from."""

    candidates: list[Candidate]
    """At the search size, the best first."""
    refined: list[RefinedMask]
    """Empty where nothing stands out from the backdrop."""
    consensus: Opacity
    """The mean of the candidates, weighted by their scores: how likely each pixel of the search size is object."""
    extractor: FeatureExtractor | None


@dataclass(frozen=True)
class Segmentation:
    """The mask at the working size, the probability that it is right, and the features that explain a low one."""

    mask: Mask
    confidence: float
    features: dict[str, float]
    see_through: bool
    """Whether the backdrop seems to show through the object, as through glass."""

    def warnings(self) -> list[str]:
        """What may be wrong and what to do, as sentences without a full stop."""
        found = []
        if self.confidence < WARN_BELOW:
            missing = max(self.features["parts lost"] ** 2, self.features["consensus outside"])
            surplus = self.features["dissent inside"]
            what = "object and background are hard to tell apart"
            if missing > max(0.1, surplus):
                what = "parts of the object may be missing from the mask"
            elif surplus > 0.1:
                what = "the mask may hold parts of the background"
            found.append(
                f"{what} (confidence {self.confidence:.2f}); take the photo before a plain background of "
                "another colour, or cut the object out (a PNG with transparency)"
            )
        if self.see_through:
            found.append(
                "the background seems to show through the object, and becomes part of its colours; glass is "
                "best cut out from a photo before a plain background"
            )
        return found


def segment(rgb: Rgb, *, refine: bool) -> Segmentation | None:
    """The object's mask and the confidence in it; None where nothing stands out from the backdrop.

    Args:
        rgb: the photo at the working size.
        refine: whether GrabCut refines masks, for which OpenCV (the extra `cv`) is needed.
    """
    search = search_masks(rgb, refine=refine)
    if not search.refined:
        return None
    best = max(search.refined, key=lambda refined: refined.score)
    features = confidence_features(best, search)
    confidence = probability(weighted(features, CONFIDENCE))
    if confidence < DISCARD_BELOW:
        return None
    see_through = search.extractor.is_see_through(resampled(best.mask, search.consensus.shape) > 0.5)
    return Segmentation(best.mask, confidence, features, see_through)


def search_masks(rgb: Rgb, *, refine: bool) -> Search:
    """Candidates, refined masks and what they have in common; see `segment` for the arguments."""
    lab = _lab(rgb)
    small = _lab(resampled(rgb, shrunk_shape(rgb.shape, SEARCH_SIDE)))
    nothing = Search([], [], np.zeros(small.shape[:2]), None)
    if min(small.shape[:2]) < 16:
        return nothing
    backdrop = Backdrop.of(small)
    differences = backdrop.differences(small)
    candidates = find_candidates(differences)
    if not candidates:
        return nothing

    # The candidates show roughly where the object is. Another model of the backdrop is fitted to all pixels around it,
    # and gives further candidates.
    covered = np.mean([candidate.mask for candidate in candidates], axis=0) > COVERED
    outside = ~ndimage.binary_dilation(covered, iterations=3) | frame_mask(small.shape)
    backdrop = backdrop.with_surroundings(small, outside)
    surroundings = backdrop.differences(small, ["surroundings"])
    extractor = FeatureExtractor(small, differences | surroundings)
    candidates = with_features(candidates + find_candidates(surroundings), extractor)
    candidates = [
        replace(candidate, features=candidate.features | {"score": weighted(candidate.features, CANDIDATE_SCORE)})
        for candidate in candidates
    ]
    candidates.sort(key=lambda candidate: -candidate.features["score"])
    scores = np.array([candidate.features["score"] for candidate in candidates])
    weights = np.exp((scores - scores[0]) / TEMPERATURE)
    consensus = np.tensordot(weights / weights.sum(), np.stack([candidate.mask for candidate in candidates]), 1)

    refined = []
    differences = backdrop.differences(lab)
    for start in _distinct(candidates):
        sharp = _at_working_size(start, differences[start.difference])
        masks = {"sharp": sharp}
        # The best candidate is also tried together with the unexplained parts beside it.
        wide = start.mask | extractor.beside(start.mask)
        if start is candidates[0] and wide.sum() > 1.02 * start.mask.sum() and wide.mean() < MAX_COVERAGE:
            masks["wide"] = main_parts((resampled(wide, lab.shape[:2]) > 0.5) | sharp)
        if refine:
            colors = backdrop.flattened(lab, start.difference)
            masks |= {
                f"{name}, refined": main_parts(grabcut(colors, mask, reach=REACH)) for name, mask in masks.items()
            }
        for name, mask in masks.items():
            reduced = resampled(mask, small.shape[:2]) > 0.5
            if MIN_COVERAGE < reduced.mean() < MAX_COVERAGE:
                features = extractor.features(reduced) | {
                    "agreement": agreement(reduced, consensus),
                    "start": start.features["score"],
                    "refined": float(name.endswith("refined")),
                }
                refined.append(RefinedMask(mask, features, weighted(features, REFINED_SCORE)))
    return Search(candidates, refined, consensus, extractor)


def confidence_features(chosen: RefinedMask, search: Search) -> dict[str, float]:
    """The features of the chosen mask, and how far the other masks differ from it.

    - "disagreement": the logarithm of one minus the mean overlap with all refined masks, weighted by their scores.
    - "consensus outside": the sum of the consensus outside of the mask, over the mask's area.
    - "dissent inside": the sum of one minus the consensus inside of the mask, over the mask's area.
    """
    scores = np.array([other.score for other in search.refined])
    weights = np.exp(scores - scores.max())
    reduced = resampled(chosen.mask, search.consensus.shape) > 0.5
    overlaps = [overlap(reduced, resampled(other.mask, search.consensus.shape) > 0.5) for other in search.refined]
    return chosen.features | {
        "constant": 1.0,
        "disagreement": float(np.log(1.02 - weights @ overlaps / weights.sum())),
        "log roughness": float(np.log(chosen.features["roughness"] + 0.0005)),
        "log like backdrop": float(np.log(chosen.features["like backdrop"] + 0.003)),
        "consensus outside": float(search.consensus[~reduced].sum() / reduced.sum()),
        "dissent inside": float((1 - search.consensus)[reduced].sum() / reduced.sum()),
    }


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best candidates, of which no two are nearly the same. `candidates` are sorted, the best first."""
    chosen: list[Candidate] = []
    for candidate in candidates:
        if all(overlap(candidate.mask, other.mask) <= SAME for other in chosen):
            chosen.append(candidate)
        if len(chosen) == STARTS:
            break
    return chosen


def _at_working_size(candidate: Candidate, difference: Difference) -> Mask:
    """The candidate at the size of `difference`: the same threshold, near the candidate's own outline."""
    near = resampled(ndimage.binary_dilation(candidate.mask, iterations=2), difference.shape) > 0.3
    mask = (difference > candidate.threshold) & near
    if not (ndimage.binary_fill_holes(candidate.mask) & ~candidate.mask).any():
        mask = ndimage.binary_fill_holes(mask)
    return main_parts(mask)


def _lab(rgb: Float[np.ndarray, "height width 3"]) -> Lab:
    return lab_from_srgb(torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float32))).numpy()
