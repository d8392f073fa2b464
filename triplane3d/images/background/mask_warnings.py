"""Warnings about a mask, from its shape and its outline, each with a suggested fix."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from triplane3d.images.background.arrays import Mask, Rgb
from triplane3d.images.background.features import outline_of

# Parts with at least this share of the largest part's area are objects of their own.
COMPARABLE = 0.25
# An object is cut off where it covers the photo's edge along more than this share of its own width or height.
CUT_OFF = 0.04
# Pictures with alpha are often trimmed to their object, which then touches an edge a little.
TRIMMED_CUT_OFF = 0.2


def shape_warnings(mask: Mask, *, trimmed: bool = False, see_through: bool = False) -> list[str]:
    """Warnings of several objects, of an object cut off by the photo's edge, and of a nearly empty or full mask.

    Args:
        mask: at the working size.
        trimmed: whether the mask came with the photo. Such a picture may touch all four edges and still be whole.
        see_through: whether the object looks like glass. Its mask is often in several parts, which are one object.
    """
    warnings = []
    parts = _comparable_parts(mask)
    if parts > 1 and not see_through:
        warnings.append(
            f"{parts} separate objects of similar size were found and become one mesh; crop the photo to one"
        )
    if sides := _cut_off_sides(mask, trimmed):
        where = " and ".join(sides)
        warnings.append(f"the object is cut off at the photo's {where}; take the photo from further away")
    if mask.mean() <= 0.002:
        warnings.append("hardly a pixel is opaque; check the alpha channel")
    elif mask.mean() > 0.9:
        remedy = "check the alpha channel" if trimmed else "a PNG with transparency is safer"
        warnings.append(f"nearly the whole photo was taken for the object; {remedy}")
    return warnings


def outline_contrast(rgb: Rgb, mask: Mask) -> float:
    """How much steeper the outline is than the rest of the photo, in 0..1.

    The result is 1 where one pixel in a thousand outside of the mask is as steep as the outline, 2/3 for one in a
    hundred, and 0 where all are.
    """
    channels = [ndimage.gaussian_gradient_magnitude(channel, 1.0) for channel in np.moveaxis(rgb, -1, 0)]
    steepness = np.linalg.norm(channels, axis=0)
    outline = outline_of(mask)
    outside = ~ndimage.binary_dilation(mask, iterations=4)
    if not outline.any() or not outside.any():
        return 0.0
    rank = np.searchsorted(np.sort(steepness[outside]), ndimage.maximum_filter(steepness, 3)[outline])
    return float(np.mean(-np.log10(np.maximum(1 - rank / outside.sum(), 1e-3)) / 3))


def _comparable_parts(mask: Mask) -> int:
    """The number of connected parts that are not small; parts with a gap of up to four pixels count as one."""
    labels, count = ndimage.label(ndimage.binary_dilation(mask, iterations=2))
    areas = ndimage.sum_labels(mask, labels, range(1, count + 1))
    return int((areas >= COMPARABLE * areas.max()).sum()) if count else 0


def _cut_off_sides(mask: Mask, trimmed: bool) -> list[str]:
    """The sides of the photo beyond which the object seems to continue: those whose outermost pixels it covers."""
    if min(mask.shape) < 2:
        return []
    edges = {"top": mask[0], "bottom": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}
    if trimmed and all(edge.any() for edge in edges.values()):
        return []
    extents = {"top": mask.any(axis=0).sum(), "left": mask.any(axis=1).sum()}
    extents |= {"bottom": extents["top"], "right": extents["left"]}
    share, least = (TRIMMED_CUT_OFF, 1) if trimmed else (CUT_OFF, 3)
    return [side for side, edge in edges.items() if edge.sum() > max(share * extents[side], least)]
