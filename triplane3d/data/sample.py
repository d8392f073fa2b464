"""`ShapeSample`: what training needs of one shape, whatever produced it. Every data set here uses these fields.

The fields of one shape, with the data type in which they are stored in shards and in the pools of streams:

| field | shape | stored | meaning |
|---|---|---|---|
| `surface_points` | points, 3 | float16 | points on the surface, nearly uniform by area |
| `surface_normals` | points, 3 | int8, × 127 | outward unit normals at these points |
| `surface_colors` | points, 3 | uint8, × 255 | linear RGB albedo at these points, 0..1 |
| `label_points` | labels, 3 | float16 | the first half uniform in [-1, 1]³, the second half near the surface |
| `label_distance` | labels | float16 | signed distance at these points, negative inside |
| `views` | views, 4, height, width | uint8, × 255 | rendered RGBA: sRGB, straight alpha, 0..1 |
| `cameras` | views, 2 | float32 | azimuth and elevation of each view in degrees |
| `windows` | views, 4 | float32 | distance of each camera; centre (right, up) and half side of its view |

Distances are from the origin. A view's centre and half side are measured on the plane at depth 1 before its camera.
Lengths are world units: the shape is centred, its longest side is 2, y points up. The camera of azimuth 0 stands on the
+z side, that of azimuth 90 on the +x side. Views with azimuth 0 come first. Each view is framed as the pipeline frames
a photo.

A batch has the same fields with one more leading axis. `pack` converts floating-point fields to the stored types,
`unpack` converts them back. A data set may lack fields that its user does not need; a stage adds fields of its own, for
example `latents`, and `view`: one of the `views`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Sample = dict[str, Tensor]
"""Named tensors of one example, or of a batch of examples."""
ShapeSample = Sample
"""A `Sample` whose fields are those of `FIELDS`, or some of them."""


@dataclass(frozen=True)
class Field:
    """How a field of a sample is stored."""

    axes: tuple[str | int, ...]
    """Names of the axes of one sample; a number is the size of that axis."""
    stored: torch.dtype
    scale: int = 1
    """Factor from the value to the stored value. Integer types are rounded."""


FIELDS: dict[str, Field] = {
    "surface_points": Field(("points", 3), torch.float16),
    "surface_normals": Field(("points", 3), torch.int8, 127),
    "surface_colors": Field(("points", 3), torch.uint8, 255),
    "label_points": Field(("labels", 3), torch.float16),
    "label_distance": Field(("labels",), torch.float16),
    "views": Field(("views", 4, "height", "width"), torch.uint8, 255),
    "cameras": Field(("views", 2), torch.float32),
    "windows": Field(("views", 4), torch.float32),
}

SURFACE_FIELDS = ("surface_points", "surface_normals", "surface_colors")
LABEL_FIELDS = ("label_points", "label_distance")


def pack(values: Mapping[str, Tensor]) -> ShapeSample:
    """The fields `values` in their stored types."""
    packed = {}
    for name, tensor in values.items():
        field = FIELDS[name]
        if field.stored.is_floating_point:
            packed[name] = tensor.to(field.stored)
        else:
            low = -1 if field.stored.is_signed else 0
            packed[name] = (tensor.clamp(low, 1) * field.scale).round().to(field.stored)
    return packed


def unpack(stored: Mapping[str, Tensor]) -> ShapeSample:
    """The fields `stored` as float32 values. Other fields are returned unchanged."""
    return {name: tensor.float() / FIELDS[name].scale if name in FIELDS else tensor for name, tensor in stored.items()}


def check_batch(batch: Mapping[str, Tensor]) -> int:
    """The number of shapes in a packed batch. Errors as in `check_layout`."""
    return check_layout({name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in batch.items()})


def check_layout(layout: Mapping[str, tuple[torch.dtype | str, tuple[int, ...]]]) -> int:
    """The number of shapes in a packed batch, from the types and shapes of its fields.

    Raises `ValueError` if a field is unknown or has another type or shape than `FIELDS` requires, or if two fields
    disagree about the size of an axis of the same name.
    """
    sizes: dict[str, int] = {}
    for name, (dtype, shape) in layout.items():
        field = FIELDS.get(name)
        if field is None:
            raise ValueError(f"{name} is not a field of a shape sample; the fields are {', '.join(FIELDS)}")
        axes = ("shapes", *field.axes)
        if dtype != field.stored or len(shape) != len(axes):
            raise ValueError(
                f"{name} must be {field.stored} with axes ({', '.join(map(str, axes))}), got {dtype} of shape {shape}"
            )
        for axis, size in zip(axes, shape, strict=True):
            expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            if size != expected:
                place = f"axis {axis}" if isinstance(axis, str) else f"axis after {axes[axes.index(axis) - 1]}"
                raise ValueError(f"{name} has shape {shape}, but the {place} must be {expected}")
    if not sizes.get("shapes"):
        raise ValueError("a batch without shapes")
    return sizes["shapes"]
