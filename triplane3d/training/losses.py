"""Losses and metrics of the training stages, as functions of tensors."""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
"""Corners of a regular tetrahedron around the origin, at distance √3."""

MIN_SLOPE = 0.1
"""Length of a `descent`, in logits, below which a point counts less in `normal_loss`."""


def soft_occupancy(distance: Float[Tensor, "*shape"], band: float) -> Float[Tensor, "*shape"]:
    """1 inside, 0 outside, linear within `band` of the surface; `distance` is signed, negative inside.

    Binary labels would not locate the surface between two sample points, which costs accuracy of normals.
    """
    return (0.5 - distance / (2 * band)).clamp(0, 1)


def occupancy_loss(
    logits: Float[Tensor, "batch labels"], distance: Float[Tensor, "batch labels"], *, band: float, near: float
) -> Float[Tensor, ""]:
    """Cross-entropy with soft occupancy.

    The first half of the labels, uniform in the cube, has the weight 1 − `near`. The second half, near the surface, has
    the weight `near`, in [0, 1].
    """
    # In float32: bfloat16 does not separate logits of 8 and 8.03.
    loss = functional.binary_cross_entropy_with_logits(logits.float(), soft_occupancy(distance, band), reduction="none")
    uniform, close = rearrange(loss, "batch (half labels) -> half (batch labels)", half=2).mean(dim=1)
    return (1 - near) * uniform + near * close


def soft_iou_loss(
    logits: Float[Tensor, "batch points"], distance: Float[Tensor, "batch points"], *, band: float
) -> Float[Tensor, ""]:
    """One minus the intersection over union of predicted probabilities and soft occupancy, the mean over the shapes.

    Where a shape is uncertain, the cross-entropy is lowest for its probability at each point, and the surface at
    probability 0.5 is then too small: the expected IoU is largest for the points above half of the Dice coefficient
    (Lipton et al. 2014, "Optimal thresholding of classifiers to maximize F1 measure", theorem 1).
    """
    probability, occupancy = logits.float().sigmoid(), soft_occupancy(distance, band)
    both = (probability * occupancy).sum(dim=1)
    either = (probability + occupancy).sum(dim=1) - both
    return (1 - both / either.clamp(min=1e-6)).mean()


def tetrahedra(points: Float[Tensor, "batch points 3"], size: float) -> Float[Tensor, "batch points*4 3"]:
    """Four points around each point, at distance `size`, for estimating the gradient of a field (see `descent`)."""
    corners = points[:, :, None] + size / 3**0.5 * points.new_tensor(CORNERS)
    return rearrange(corners, "batch points corner xyz -> batch (points corner) xyz")


def descent(logits: Float[Tensor, "batch corners"]) -> Float[Tensor, "batch corners//4 3"]:
    """The negative gradient of a field, times a constant, from its values at the `tetrahedra` of points.

    Finite differences are used instead of derivatives: a loss on derivatives needs second derivatives, and those of
    bilinear sampling are zero almost everywhere.
    """
    corners = rearrange(logits.float(), "batch (points corner) -> batch points corner 1", corner=4)
    # Not a matrix product: autocast would compute it in half precision, too coarse for differences of similar numbers.
    return -(corners * corners.new_tensor(CORNERS)).sum(dim=-2)


def normal_loss(
    logits: Float[Tensor, "batch corners"], normals: Float[Tensor, "batch corners//4 3"]
) -> Float[Tensor, ""]:
    """One minus the cosine between the outward normals of a surface and the `descent` of the occupancy logits there.

    Points whose descent is shorter than `MIN_SLOPE` count less: the cosine's gradient grows as 1 / length there and
    would dominate that of all other points.
    """
    return (1 - functional.cosine_similarity(descent(logits), normals, dim=-1, eps=MIN_SLOPE)).mean()


def occupancy_iou(
    logits: Float[Tensor, "batch points"], distance: Float[Tensor, "batch points"]
) -> Float[Tensor, " batch"]:
    """Intersection over union of predicted and true solid, estimated on the points; 1 if both are empty there."""
    predicted, true = logits > 0, distance < 0
    union = (predicted | true).sum(dim=1)
    return torch.where(union > 0, (predicted & true).sum(dim=1) / union.clamp(min=1), torch.ones_like(logits[:, 0]))


def drop_condition(
    tokens: Float[Tensor, "batch tokens channels"], dropped: Bool[Tensor, " batch"]
) -> Float[Tensor, "batch tokens channels"]:
    """Image tokens, set to zero for the `dropped` samples.

    This trains the unconditional model that classifier-free guidance needs (Ho & Salimans 2022).
    """
    return torch.where(repeat(dropped, "batch -> batch 1 1"), torch.zeros_like(tokens), tokens)
