"""What a photo's backdrop looks like, judged from the photo's border, and how far each pixel departs from it.

All colours are CIE L*a*b*, so that departures are colour differences (CIE76): 1 is hardly visible, 10 is plain to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from triplane3d.images.background.resampling import resampled

Lab = Float[np.ndarray, "height width 3"]
Departure = Float[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]

# A shadow keeps a surface's hue and at most this much of its light is lost.
DARKEST_SHADOW = 0.45
# Pixels along the photo's edge that are averaged for the colour there.
EDGE = 6
PALETTE = 8


@dataclass(frozen=True)
class Backdrop:
    """Descriptions of a backdrop, read off the border of a photo.

    `surface` suits slow changes of light: a cubic polynomial of the place, fitted so that objects at the border count
    little. `edges` suits a horizon: the colours of the four edges, blended across the photo (a Coons patch). `palette`
    suits textures and several colours: whatever has a colour of the border is backdrop, wherever it is.
    `surroundings` is a polynomial of degree 4, fitted to all that lies around the object, once that is known.
    """

    surface: Lab
    edges: Lab
    palette: Float[np.ndarray, "colors 3"]
    surroundings: Lab | None = None

    @classmethod
    def of(cls, lab: Lab) -> Backdrop:
        soft = softened(lab)
        frame = ring(lab.shape)
        surface = _polynomial(soft, frame, 3)
        # Where the surface fits most of the border, what it does not fit there belongs to something else.
        distance = np.linalg.norm(soft - surface, axis=-1)[frame]
        usual = distance < max(6 * np.median(distance), 6.0)
        colors = soft[frame][usual] if usual.mean() > 0.7 else soft[frame]
        return cls(surface, _edges(soft), _palette(colors))

    def with_surroundings(self, lab: Lab, outside: Mask) -> Backdrop:
        return replace(self, surroundings=_polynomial(softened(lab), outside, 4))

    def departures(self, lab: Lab, names: Sequence[str] | None = None) -> dict[str, Departure]:
        """How far each pixel of the photo, at any size, is from each description: as it is, and "in shadow"."""
        soft = softened(lab)
        if names is None:
            names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        found = {}
        for name in names:
            expected = self.palette if name == "palette" else [resampled(getattr(self, name), lab.shape[:2])]
            found[name] = np.min([np.linalg.norm(soft - color, axis=-1) for color in expected], axis=0)
            found[f"{name} in shadow"] = np.min([_departure_in_shadow(soft, color) for color in expected], axis=0)
        return found

    def flattened(self, lab: Lab, departure: str) -> Lab:
        """The photo's colours less those that the description behind a departure expects: the backdrop is grey."""
        name = departure.removesuffix(" in shadow")
        return lab - (np.array([50, 0, 0]) if name == "palette" else resampled(getattr(self, name), lab.shape[:2]))


def ring(shape: tuple[int, ...], share: float = 0.02) -> Mask:
    """The photo's outermost frame, `share` of its shorter side wide."""
    width = max(1, round(share * min(shape[:2])))
    frame = np.ones(shape[:2], dtype=bool)
    frame[width:-width, width:-width] = False
    return frame


def softened(picture: Lab, sigma: float = 0.7) -> Lab:
    return np.stack([ndimage.gaussian_filter(channel, sigma) for channel in np.moveaxis(picture, -1, 0)], axis=-1)


def _departure_in_shadow(lab: Lab, expected: Float[np.ndarray, "*photo 3"]) -> Departure:
    """The distance to the nearest shade of the expected colour.

    A shadow scales L*, a* and b* alike, about: all three are cube roots of light, up to a constant in L*.
    """
    light = (lab * expected).sum(axis=-1) / np.maximum((expected * expected).sum(axis=-1), 1)
    return np.linalg.norm(lab - np.clip(light, DARKEST_SHADOW, 1)[..., None] * expected, axis=-1)


def _polynomial(lab: Lab, known: Mask, degree: int) -> Lab:
    """A polynomial in x and y, fitted to the `known` pixels by iteratively reweighted least squares.

    An object that meets the border is an outlier: the weights are Cauchy's, first about the median colour, then about
    polynomials of rising degree, so that none bends towards it.
    """
    y, x = np.mgrid[-1 : 1 : lab.shape[0] * 1j, -1 : 1 : lab.shape[1] * 1j]
    colors = lab[known]
    expected = np.median(colors, axis=0)
    for order in range(1, degree + 1):
        basis = np.stack([x**i * y**j for i in range(order + 1) for j in range(order + 1 - i)], axis=-1)
        for _ in range(3):
            distance = np.linalg.norm(colors - expected, axis=-1, keepdims=True)
            weights = 1 / (1 + (distance / (2 * max(np.median(distance), 0.3))) ** 2)
            coefficients = np.linalg.lstsq(basis[known] * weights, colors * weights, rcond=None)[0]
            expected = basis[known] @ coefficients
    return basis @ coefficients


def _edges(lab: Lab) -> Lab:
    """The Coons patch of the four edges: exact for a sum of one function of the row and one of the column."""
    strips = (
        lab[:, :EDGE].mean(axis=1),
        lab[:, -EDGE:].mean(axis=1),
        lab[:EDGE].mean(axis=0),
        lab[-EDGE:].mean(axis=0),
    )
    left, right, top, bottom = (ndimage.median_filter(strip, (9, 1), mode="nearest") for strip in strips)
    v = np.linspace(0, 1, lab.shape[0])[:, None, None]
    u = np.linspace(0, 1, lab.shape[1])[None, :, None]
    corners = (
        (1 - u) * (1 - v) * (left[0] + top[0])
        + u * (1 - v) * (right[0] + top[-1])
        + (1 - u) * v * (left[-1] + bottom[0])
        + u * v * (right[-1] + bottom[-1])
    ) / 2
    return left[:, None] * (1 - u) + right[:, None] * u + top[None] * (1 - v) + bottom[None] * v - corners


def _palette(colors: Float[np.ndarray, "pixels 3"]) -> Float[np.ndarray, "colors 3"]:
    """The centres of at most `PALETTE` clusters."""
    spread = np.unique(colors[::3].round(1), axis=0)
    if len(spread) <= PALETTE:
        return spread
    centers, labels = kmeans2(colors[::3], PALETTE, rng=np.random.default_rng(0), minit="++")
    return centers[np.unique(labels)]
