"""What the stages minimise, as functions of tensors."""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
"""Of a tetrahedron about the origin."""

FLAT = 0.1
"""A `descent`, in logits, that is hardly one."""


def soft_occupancy(distance: Float[Tensor, "*shape"], band: float) -> Float[Tensor, "*shape"]:
    """1 inside, 0 outside, and linear where the surface is nearer than `band`; `distance` is negative inside.

    Binary labels cost normals: they do not say where between two samples the surface lies.
    """
    return (0.5 - distance / (2 * band)).clamp(0, 1)


def occupancy_loss(
    logits: Float[Tensor, "batch labels"], distance: Float[Tensor, "batch labels"], *, band: float, near: float
) -> Float[Tensor, ""]:
    """Cross-entropy against soft occupancy; the second half of the labels, near the surface, weighs `near`."""
    # bf16 cannot tell a logit of 8 from one of 8.03.
    loss = functional.binary_cross_entropy_with_logits(logits.float(), soft_occupancy(distance, band), reduction="none")
    uniform, close = rearrange(loss, "batch (half labels) -> half (batch labels)", half=2).mean(dim=1)
    return (1 - near) * uniform + near * close


def tetrahedra(points: Float[Tensor, "batch points 3"], size: float) -> Float[Tensor, "batch points*4 3"]:
    """Four places about each point, `size` away along the corners of a tetrahedron: four answers there tell a slope."""
    places = points[:, :, None] + size / 3**0.5 * points.new_tensor(CORNERS)
    return rearrange(places, "batch points corner xyz -> batch (points corner) xyz")


def descent(logits: Float[Tensor, "batch corners"]) -> Float[Tensor, "batch corners//4 3"]:
    """Which way, and how steeply, a field falls about points that it was asked about at their `tetrahedra`.

    Differences, not derivatives: bilinear sampling has no second derivative to learn from.
    """
    corners = rearrange(logits.float(), "batch (points corner) -> batch points corner 1", corner=4)
    # Not a product of matrices, which autocast would do in half precision: differences of near numbers.
    return -(corners * corners.new_tensor(CORNERS)).sum(dim=-2)


def normal_loss(
    logits: Float[Tensor, "batch corners"], normals: Float[Tensor, "batch corners//4 3"]
) -> Float[Tensor, ""]:
    """One minus the cosine between a surface's outward normals and the `descent` of the occupancy there.

    Where the field is all but flat, the cosine counts for less: its gradient would drown that of all other points.
    """
    return (1 - functional.cosine_similarity(descent(logits), normals, dim=-1, eps=FLAT)).mean()


def occupancy_iou(
    logits: Float[Tensor, "batch points"], distance: Float[Tensor, "batch points"]
) -> Float[Tensor, " batch"]:
    """Intersection over union of the solids as the points saw them; 1 where no point fell into either."""
    predicted, true = logits > 0, distance < 0
    union = (predicted | true).sum(dim=1)
    return torch.where(union > 0, (predicted & true).sum(dim=1) / union.clamp(min=1), torch.ones_like(logits[:, 0]))


def drop_condition(
    tokens: Float[Tensor, "batch tokens channels"], dropped: Bool[Tensor, " batch"]
) -> Float[Tensor, "batch tokens channels"]:
    """Image tokens, all zero for the `dropped` samples: the unconditional model that guidance needs."""
    return torch.where(repeat(dropped, "batch -> batch 1 1"), torch.zeros_like(tokens), tokens)
