"""The object of a photo without a network: many masks are drawn, the best are redrawn, the best of those is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage

from triplane3d.geometry.color import lab_from_srgb
from triplane3d.images.background.backdrop import Backdrop, Departure, Lab, Mask, ring
from triplane3d.images.background.candidates import (
    EMPTY,
    FULL,
    Candidate,
    Judge,
    agreement,
    find_candidates,
    judged,
    main_part,
    overlap,
)
from triplane3d.images.background.grabcut import grabcut
from triplane3d.images.background.resampling import fitted, resampled

# Candidates are drawn on a copy of this size.
SEARCH_SIDE = 192
# So many candidates, no two of them nearly the same, are drawn again at the working size.
STARTS = 4
SAME = 0.93
# How far GrabCut may move an outline, in pixels of the working size.
REACH = 20
# A candidate that is behind by this much in score counts e times less.
TEMPERATURE = 0.25
# What more than this share of the candidates cover is left out when the backdrop is described again.
COVERED = 0.3
# Below this probability of being right a mask is warned about.
DOUBTFUL = 0.8
# Below this one there is no object to be seen.
HOPELESS = 0.02

# Scores are linear in the traits of a mask. The weights were fitted on composites of benchmarks/background_scenes.py
# (rounds 1 to 8, and 101 to 104 with a contrast of 0.35).
FIRST_SCORE = {
    "agreement": 6.03,
    "like backdrop": -4.7,
    "rank": 3.53,
    "sharpness": -9.61,
    "weak steepness": 0.73,
    "edges lost": -0.58,
    "at border": -12.15,
}
SECOND_SCORE = {
    "start": 0.57,
    "redrawn": 1.67,
    "parts lost": -1.31,
    "sharpness": 3.3,
    "edges lost": -0.27,
    "holes": 0.68,
    "like backdrop": -1.74,
    "roughness": -16.48,
    "weak steepness": -0.19,
}
# The log-odds that a mask is right; fitted on rounds 1 to 10 and 101 to 104, 41 of whose 560 masks were wrong.
CONFIDENCE = {
    "dissent": -1.67,
    "log roughness": -1.0,
    "edges beside": -1.22,
    "log like backdrop": -0.69,
    "raggedness": -0.39,
    "constant": -9.69,
}


@dataclass(frozen=True)
class Drawing:
    """A mask at the working size with its traits (those of `Judge`, and how it came to be) and its score."""

    mask: Mask
    traits: dict[str, float]
    score: float


@dataclass(frozen=True)
class Search:
    """All candidates at the search size, the best of them drawn at the working size, and `belief`.

    The belief is how likely each pixel is to be the object's: the mean of the candidates, weighted by their scores.
    """

    candidates: list[Candidate]
    drawings: list[Drawing]
    belief: Float[np.ndarray, "rows columns"]
    judge: Judge | None


@dataclass(frozen=True)
class Segmentation:
    """The mask, the probability that it is right, the traits that explain a doubt, and whether one sees through it."""

    mask: Mask
    confidence: float
    traits: dict[str, float]
    see_through: bool

    def doubts(self) -> list[str]:
        doubts = []
        if self.confidence < DOUBTFUL:
            missing = max(self.traits["parts lost"] ** 2, self.traits["believed outside"])
            kept = self.traits["disbelieved inside"]
            what = "object and background are hard to tell apart"
            if missing > max(0.1, kept):
                what = "parts of the object may be missing from the mask"
            elif kept > 0.1:
                what = "the mask may hold parts of the background"
            doubts.append(
                f"{what} (confidence {self.confidence:.2f}); take the photo before a plain background of "
                "another colour, or cut the object out (a PNG with transparency)"
            )
        if self.see_through:
            doubts.append(
                "the background seems to show through the object, and becomes part of its colours; glass is "
                "best cut out from a photo before a plain background"
            )
        return doubts


def segment(rgb: Float[np.ndarray, "height width 3"], *, redraw: bool) -> Segmentation | None:
    """The object's mask and how surely it is right; None where nothing stands out.

    `redraw` runs GrabCut, from the optional extra `cv`.
    """
    search = search_masks(rgb, redraw=redraw)
    if not search.drawings:
        return None
    best = max(search.drawings, key=lambda drawing: drawing.score)
    traits = confidence_traits(best, search)
    confidence = 1 / (1 + np.exp(-_weighted(traits, CONFIDENCE)))
    if confidence < HOPELESS:
        return None
    clear = search.judge.sees_through(resampled(best.mask, search.belief.shape) > 0.5)
    return Segmentation(best.mask, float(confidence), traits, clear)


def search_masks(rgb: Float[np.ndarray, "height width 3"], *, redraw: bool) -> Search:
    """Everything that `segment` chooses from."""
    lab = _lab(rgb)
    small = _lab(resampled(rgb, fitted(rgb.shape, SEARCH_SIDE)))
    nothing = Search([], [], np.zeros(small.shape[:2]), None)
    if min(small.shape[:2]) < 16:
        return nothing
    backdrop = Backdrop.of(small)
    departures = backdrop.departures(small)
    candidates = find_candidates(departures)
    if not candidates:
        return nothing
    # Once it is known about where the object is, the light behind it is fitted to all that is around it.
    covered = np.mean([candidate.mask for candidate in candidates], axis=0) > COVERED
    outside = ~ndimage.binary_dilation(covered, iterations=3) | ring(small.shape)
    backdrop = backdrop.with_surroundings(small, outside)
    again = backdrop.departures(small, ["surroundings"])
    judge = Judge(small, departures | again)
    candidates = judged(candidates + find_candidates(again), judge)
    candidates = [
        replace(candidate, traits=candidate.traits | {"score": _weighted(candidate.traits, FIRST_SCORE)})
        for candidate in candidates
    ]
    candidates.sort(key=lambda candidate: -candidate.traits["score"])
    scores = np.array([candidate.traits["score"] for candidate in candidates])
    weights = np.exp((scores - scores[0]) / TEMPERATURE)
    belief = np.tensordot(weights / weights.sum(), np.stack([candidate.mask for candidate in candidates]), 1)

    drawings = []
    departures = backdrop.departures(lab)
    for start in _different(candidates):
        sharp = _sharpened(start, departures[start.departure])
        masks = {"sharp": sharp}
        wide = start.mask | judge.beside(start.mask)
        if start is candidates[0] and wide.sum() > 1.02 * start.mask.sum() and wide.mean() < FULL:
            masks["wide"] = main_part((resampled(wide, lab.shape[:2]) > 0.5) | sharp)
        if redraw:
            colors = backdrop.flattened(lab, start.departure)
            masks |= {f"{name}, redrawn": main_part(grabcut(colors, mask, reach=REACH)) for name, mask in masks.items()}
        for name, mask in masks.items():
            reduced = resampled(mask, small.shape[:2]) > 0.5
            if EMPTY < reduced.mean() < FULL:
                traits = judge.traits(reduced) | {
                    "agreement": agreement(reduced, belief),
                    "start": start.traits["score"],
                    "redrawn": float(name.endswith("redrawn")),
                }
                drawings.append(Drawing(mask, traits, _weighted(traits, SECOND_SCORE)))
    return Search(candidates, drawings, belief, judge)


def confidence_traits(drawing: Drawing, search: Search) -> dict[str, float]:
    """The traits of a drawing, and how far the others differ from it.

    "dissent" is the logarithm of one minus the mean overlap with all drawings, weighted by their scores. "believed
    outside" and "disbelieved inside" compare it with the candidates: areas over the mask's own.
    """
    scores = np.array([other.score for other in search.drawings])
    weights = np.exp(scores - scores.max())
    reduced = resampled(drawing.mask, search.belief.shape) > 0.5
    overlaps = [overlap(reduced, resampled(other.mask, search.belief.shape) > 0.5) for other in search.drawings]
    return drawing.traits | {
        "constant": 1.0,
        "dissent": float(np.log(1.02 - weights @ overlaps / weights.sum())),
        "log roughness": float(np.log(drawing.traits["roughness"] + 0.0005)),
        "log like backdrop": float(np.log(drawing.traits["like backdrop"] + 0.003)),
        "believed outside": float(search.belief[~reduced].sum() / reduced.sum()),
        "disbelieved inside": float((1 - search.belief)[reduced].sum() / reduced.sum()),
    }


def _different(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best candidates, no two of them nearly the same."""
    chosen: list[Candidate] = []
    for candidate in candidates:
        if all(overlap(candidate.mask, other.mask) <= SAME for other in chosen):
            chosen.append(candidate)
        if len(chosen) == STARTS:
            break
    return chosen


def _sharpened(candidate: Candidate, departure: Departure) -> Mask:
    """The candidate at the working size: the same threshold, near its own outline."""
    near = resampled(ndimage.binary_dilation(candidate.mask, iterations=2), departure.shape) > 0.3
    mask = (departure > candidate.threshold) & near
    if not (ndimage.binary_fill_holes(candidate.mask) & ~candidate.mask).any():
        mask = ndimage.binary_fill_holes(mask)
    return main_part(mask)


def _weighted(traits: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return float(sum(weight * traits[name] for name, weight in weights.items()))


def _lab(rgb: Float[np.ndarray, "height width 3"]) -> Lab:
    return lab_from_srgb(torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float32))).numpy()
