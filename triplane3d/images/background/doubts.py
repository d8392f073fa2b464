"""What may be wrong with a mask, read off its shape, and what to do about it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Mask = Bool[np.ndarray, "height width"]

# Parts at least this large, as a share of the largest, are objects of their own.
COMPARABLE = 0.25
# An object that meets the photo's border along this share of its own width or height is cut off there.
CUT_OFF = 0.04
# Pictures with alpha are often trimmed to their object, which then touches an edge a little.
TRIMMED_CUT_OFF = 0.2


def shape_doubts(mask: Mask, *, trimmed: bool = False) -> list[str]:
    """Several objects, an object cut off by the photo's edge, a mask of nearly nothing or nearly everything.

    `trimmed` is for masks that came with the photo: such a picture may touch all four edges and be whole.
    """
    doubts = []
    parts = _comparable_parts(mask)
    if parts > 1:
        doubts.append(f"{parts} separate objects of similar size were found and become one mesh; crop the photo to one")
    if sides := _cut_off(mask, trimmed):
        where = " and ".join(sides)
        doubts.append(f"the object is cut off at the photo's {where}; take the photo from further away")
    if mask.mean() <= 0.002:
        doubts.append("hardly a pixel is opaque; check the alpha channel")
    elif mask.mean() > 0.9:
        remedy = "check the alpha channel" if trimmed else "a PNG with transparency is safer"
        doubts.append(f"nearly the whole photo was taken for the object; {remedy}")
    return doubts


def outline_contrast(rgb: Float[np.ndarray, "height width 3"], mask: Mask) -> float:
    """How far the mask's outline stands out, in 0..1.

    It is 1 where one background pixel in a thousand is as steep, 2/3 where one in a hundred is, and 0 where all are.
    """
    channels = [ndimage.gaussian_gradient_magnitude(channel, 1.0) for channel in np.moveaxis(rgb, -1, 0)]
    steepness = np.linalg.norm(channels, axis=0)
    outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
    outside = ~ndimage.binary_dilation(mask, iterations=4)
    if not outline.any() or not outside.any():
        return 0.0
    rank = np.searchsorted(np.sort(steepness[outside]), ndimage.maximum_filter(steepness, 3)[outline])
    return float(np.mean(-np.log10(np.maximum(1 - rank / outside.sum(), 1e-3)) / 3))


def _comparable_parts(mask: Mask) -> int:
    """How many parts are at least `COMPARABLE` to the largest; a hairline gap does not part an object."""
    labels, count = ndimage.label(ndimage.binary_dilation(mask, iterations=2))
    areas = ndimage.sum_labels(mask, labels, range(1, count + 1))
    return int((areas >= COMPARABLE * areas.max()).sum()) if count else 0


def _cut_off(mask: Mask, trimmed: bool) -> list[str]:
    """The sides of the photo beyond which the object seems to go on: those whose outermost pixels it covers."""
    if min(mask.shape) < 2:
        return []
    edges = {"top": mask[0], "bottom": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}
    if trimmed and all(edge.any() for edge in edges.values()):
        return []
    extents = {"top": mask.any(axis=0).sum(), "left": mask.any(axis=1).sum()}
    extents |= {"bottom": extents["top"], "right": extents["left"]}
    share, least = (TRIMMED_CUT_OFF, 1) if trimmed else (CUT_OFF, 3)
    return [side for side, edge in edges.items() if edge.sum() > max(share * extents[side], least)]
