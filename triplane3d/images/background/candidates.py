"""Many masks that a photo's object may have, and what tells good ones from bad."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from triplane3d.images.background.backdrop import Departure, Lab, Mask, ring

# Departures from the backdrop (CIE76) beyond which a pixel may belong to the object.
THRESHOLDS = tuple(np.geomspace(2.5, 45, 12))
# Shares of the photo outside of which a mask is not believed to be the photo's object.
EMPTY, FULL = 0.002, 0.9
# Parts smaller than this share of the main one are specks.
SPECK = 0.05


@dataclass(frozen=True)
class Candidate:
    mask: Mask
    departure: str
    """Which of the backdrop's departures was cut at `threshold`."""
    threshold: float
    traits: dict[str, float]


class Judge:
    """Measures masks against the colours (L*a*b*) and edges of a photo and the departures from its backdrop."""

    def __init__(self, lab: Lab, departures: dict[str, Departure]) -> None:
        self.lab = lab
        self.frame = ring(lab.shape)
        self.margin = ring(lab.shape, 0.06)
        # The least departure from any description: with light as it is, and with shadows allowed for.
        self.plain = np.min([departure for name, departure in departures.items() if "shadow" not in name], axis=0)
        shaded = np.min(list(departures.values()), axis=0)
        level = max(4.0, 1.5 * float(np.quantile(shaded[self.frame], 0.95)))
        self.unexplained, self.parts = ndimage.label(shaded > level)
        self.explained = self.plain < max(2.0, float(np.quantile(self.plain[self.frame], 0.9)))
        channels = np.moveaxis(lab, -1, 0)
        self.steepness = np.linalg.norm(
            [ndimage.gaussian_gradient_magnitude(channel, 1.0) for channel in channels], axis=0
        )
        self.calm = max(1.0, float(np.quantile(self.steepness[self.margin], 0.99)))
        self.peak = ndimage.maximum_filter(self.steepness, 3)
        self.around = np.stack([ndimage.gaussian_filter(channel, 2.0) for channel in channels], axis=-1)

    def beside(self, mask: Mask) -> Mask:
        """What no description of the backdrop explains, outside of the mask but connected with it."""
        touched = np.zeros(self.parts + 1, dtype=bool)
        touched[self.unexplained[mask]] = True
        touched[0] = False
        return touched[self.unexplained] & ~mask

    def traits(self, mask: Mask) -> dict[str, float]:
        """What tells good masks from bad. Lengths are in pixels, contrasts and steepness are logarithms of CIE76.

        "contrast": between the colours on both sides of the outline, median. "weak steepness": of the gradient, at the
        weaker parts of the outline. "sharpness": steepness over contrast; a shadow's is low, a line's is high. "rank":
        the gradient's rank among those outside, in nines (0..1). "edges lost" and "edges beside": gradients outside as
        steep as half of the outline's, and steeper than the margin's. "parts lost": area that is `beside` the mask.
        "like backdrop": share of the mask that a description explains. "at border": share of the frame that the mask
        covers. "roughness": share that an opening removes. "raggedness": length of the outline squared over the area.
        "holes": their area over the mask's.
        """
        outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
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
        traits = {
            "contrast": np.log1p(np.median(contrast)),
            "weak steepness": np.log1p(np.quantile(steep, 0.2)),
            "sharpness": np.median(steep / np.maximum(contrast, 1)),
            "rank": np.mean(-np.log10(np.maximum(1 - ranks, 1e-3)) / 3),
            "edges lost": np.sqrt((elsewhere > 0.5 * np.median(steep)).sum() / length),
            "edges beside": np.sqrt((elsewhere > self.calm).sum() / length),
            "parts lost": np.sqrt(lost.sum() / area),
            "like backdrop": (mask & self.explained).sum() / area,
            "at border": (mask & self.frame).sum() / self.frame.sum(),
            "roughness": (mask ^ ndimage.binary_opening(mask)).sum() / area,
            "raggedness": np.log(length**2 / area),
            "holes": (ndimage.binary_fill_holes(mask).sum() - area) / area,
        }
        return {name: float(value) for name, value in traits.items()}

    def sees_through(self, mask: Mask) -> bool:
        """Whether the backdrop shows through the mask: its inside is nearer to the backdrop than its rim is."""
        depth = ndimage.distance_transform_edt(mask)
        inside, rim = self.plain[depth > 4], self.plain[(depth > 0) & (depth <= 2.5)]
        if len(inside) < 30:
            return False
        return bool(np.median(inside) < 18 and np.median(rim) > 1.35 * np.median(inside))


def find_candidates(departures: dict[str, Departure]) -> list[Candidate]:
    """One candidate for each description and threshold, and where it has holes, one without them."""
    found: list[Candidate] = []
    for name, departure in departures.items():
        for threshold in THRESHOLDS:
            mask = main_part(departure > threshold)
            if EMPTY < mask.mean() < FULL:
                found.append(Candidate(mask, name, threshold, {}))
                filled = ndimage.binary_fill_holes(mask)
                if filled.sum() > 1.01 * mask.sum() and filled.mean() < FULL:
                    found.append(Candidate(filled, name, threshold, {}))
    return found


def judged(candidates: list[Candidate], judge: Judge) -> list[Candidate]:
    """The candidates with their traits."""
    mean = np.mean([candidate.mask for candidate in candidates], axis=0)
    return [
        replace(
            candidate,
            traits=candidate.traits | judge.traits(candidate.mask) | {"agreement": agreement(candidate.mask, mean)},
        )
        for candidate in candidates
    ]


def main_part(mask: Mask) -> Mask:
    """The part that is largest and most central, and others that may belong to it: no specks, and nothing that
    reaches in from the border while the main part is clear of it."""
    labels, count = ndimage.label(without_spurs(mask))
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
    reaching = np.zeros(count + 1, dtype=bool)
    reaching[np.unique(labels[frame])] = True
    if not reaching[main]:
        kept &= ~reaching
    return kept[labels]


def without_spurs(mask: Mask) -> Mask:
    """The mask without the lines that run from it to the photo's border, such as a horizon's."""
    lines = mask & ~ndimage.binary_opening(mask, np.ones((3, 3)))
    labels, count = ndimage.label(lines, np.ones((3, 3)))
    at_border = np.zeros(count + 1, dtype=bool)
    at_border[np.unique(labels[ring(mask.shape)])] = True
    at_border[0] = False
    return mask & ~at_border[labels]


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 0.0


def agreement(mask: Mask, belief: np.ndarray) -> float:
    """Dice's coefficient of a mask and a map of beliefs in 0..1."""
    return float(2 * belief[mask].sum() / (mask.sum() + belief.sum()))
