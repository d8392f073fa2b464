"""What the stages minimise, as functions of tensors."""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


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
