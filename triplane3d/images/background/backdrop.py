"""A model of the backdrop, estimated from the photo's border, and how far each pixel differs from it.

All colours are CIE L*a*b*; see `arrays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from triplane3d.images.background.arrays import Difference, Lab, Mask
from triplane3d.images.background.resampling import resampled

# A surface in shadow keeps its hue and at least this share of its light.
DARKEST_SHADOW = 0.45
# Pixels along the photo's edge that are averaged for the colour there.
EDGE = 6
# Colours of the palette at most.
PALETTE = 8


@dataclass(frozen=True)
class Backdrop:
    """Models of a backdrop, each of which gives the expected colour of every pixel.

    No model fits all photos, so that several are kept:

    - `surface`: a cubic polynomial of the place, for slow changes of light. Its fit is robust against objects at the
      border.
    - `edges`: the colours of the photo's four edges, blended across the photo (a Coons patch), for a horizon.
    - `palette`: colours of the border, for textures and patterns. A pixel near any of them is backdrop, wherever it is.
    - `surroundings`: a polynomial of degree 4, fitted to everything around the object once its place is estimated.
    """

    surface: Lab
    edges: Lab
    palette: Float[np.ndarray, "colors 3"]
    surroundings: Lab | None = None

    @classmethod
    def of(cls, lab: Lab) -> Backdrop:
        """The models that the photo's border alone gives."""
        blurred = blur(lab)
        frame = frame_mask(lab.shape)
        surface = _polynomial(blurred, frame, 3)
        # Where the surface fits most of the border, the rest of the border belongs to other things.
        distance = np.linalg.norm(blurred - surface, axis=-1)[frame]
        fits = distance < max(6 * np.median(distance), 6.0)
        colors = blurred[frame][fits] if fits.mean() > 0.7 else blurred[frame]
        return cls(surface, _coons_patch(blurred), _palette(colors))

    def with_surroundings(self, lab: Lab, outside: Mask) -> Backdrop:
        """The same with `surroundings`, fitted to the pixels `outside` of the object."""
        return replace(self, surroundings=_polynomial(blur(lab), outside, 4))

    def differences(self, lab: Lab, names: Sequence[str] | None = None) -> dict[str, Difference]:
        """The difference of each pixel to the colours that the models expect.

        For each model of `names` (all by default) there are two entries: "name", and "name in shadow", where the
        expected colour may also be darker.

        Args:
            lab: the photo, of any size.
            names: fields of this class.
        """
        blurred = blur(lab)
        if names is None:
            names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        found = {}
        for name in names:
            expected = self.palette if name == "palette" else [resampled(getattr(self, name), lab.shape[:2])]
            found[name] = np.min([np.linalg.norm(blurred - color, axis=-1) for color in expected], axis=0)
            found[f"{name} in shadow"] = np.min([_shadow_difference(blurred, color) for color in expected], axis=0)
        return found

    def flattened(self, lab: Lab, difference: str) -> Lab:
        """The photo minus the colours that the model behind `difference` expects: the backdrop becomes grey."""
        name = difference.removesuffix(" in shadow")
        return lab - (np.array([50, 0, 0]) if name == "palette" else resampled(getattr(self, name), lab.shape[:2]))


def frame_mask(shape: tuple[int, ...], share: float = 0.02) -> Mask:
    """True in the photo's outermost frame, whose width is `share` of the shorter side and at least one pixel."""
    width = max(1, round(share * min(shape[:2])))
    frame = np.ones(shape[:2], dtype=bool)
    frame[width:-width, width:-width] = False
    return frame


def blur(picture: Lab, sigma: float = 0.7) -> Lab:
    """A Gaussian blur of `sigma` pixels in each channel."""
    return np.stack([ndimage.gaussian_filter(channel, sigma) for channel in np.moveaxis(picture, -1, 0)], axis=-1)


def _shadow_difference(lab: Lab, expected: Float[np.ndarray, "*photo 3"]) -> Difference:
    """The difference to the nearest darker shade of the expected colour.

    A shadow scales L*, a* and b* by about the same factor, since all three are cube roots of light, up to a constant in
    L*. The factor of least squares is <lab, expected> / <expected, expected>.
    """
    factor = (lab * expected).sum(axis=-1) / np.maximum((expected * expected).sum(axis=-1), 1)
    return np.linalg.norm(lab - np.clip(factor, DARKEST_SHADOW, 1)[..., None] * expected, axis=-1)


def _polynomial(lab: Lab, fitted_to: Mask, degree: int) -> Lab:
    """A polynomial in x and y over the whole photo, fitted by iteratively reweighted least squares.

    Pixels of an object at the border are outliers. Cauchy weights, 1 / (1 + (distance / scale)²), reduce their effect.
    The first distances are those to the median colour; the degree then rises one by one, so that the polynomial has no
    freedom to follow the outliers before they are recognised.
    """
    y, x = np.mgrid[-1 : 1 : lab.shape[0] * 1j, -1 : 1 : lab.shape[1] * 1j]
    colors = lab[fitted_to]
    expected = np.median(colors, axis=0)
    for order in range(1, degree + 1):
        basis = np.stack([x**i * y**j for i in range(order + 1) for j in range(order + 1 - i)], axis=-1)
        for _ in range(3):
            distance = np.linalg.norm(colors - expected, axis=-1, keepdims=True)
            weights = 1 / (1 + (distance / (2 * max(np.median(distance), 0.3))) ** 2)
            coefficients = np.linalg.lstsq(basis[fitted_to] * weights, colors * weights, rcond=None)[0]
            expected = basis[fitted_to] @ coefficients
    return basis @ coefficients


def _coons_patch(lab: Lab) -> Lab:
    """The four edges blended across the photo (Coons 1967).

    With edge curves c and corner values P, S(u, v) = (1-u) left(v) + u right(v) + (1-v) top(u) + v bottom(u) minus the
    bilinear blend of the four P. It is exact for the sum of a function of the row and a function of the column.
    """
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
    """The centres of at most `PALETTE` clusters (k-means++, with a fixed seed)."""
    distinct = np.unique(colors[::3].round(1), axis=0)
    if len(distinct) <= PALETTE:
        return distinct
    centers, labels = kmeans2(colors[::3], PALETTE, rng=np.random.default_rng(0), minit="++")
    return centers[np.unique(labels)]
