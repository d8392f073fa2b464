"""Shapes from seeds."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np
import torch

from triplane3d.data.procedural.families import FAMILIES, HOLDOUT_FAMILIES
from triplane3d.data.procedural.shape_batch import ShapeBatch

FIRST_EVALUATION_SEED = 2**30
"""Training uses seeds below this one. Evaluation uses this one and the seeds above it."""


def generate_shapes(
    seeds: Sequence[int],
    *,
    families: Sequence[str] | None = None,
    azimuths: Sequence[float] | str | None = None,
    device: str | torch.device = "cpu",
) -> ShapeBatch:
    """The shapes of `seeds`, normalised: centred, longest side 2.

    A seed chooses a family among `families` (by default the names of `FAMILIES`, sorted), then the parameters of the
    shape. The result depends on the seed and on `families` only, not on the other seeds of the batch.

    `azimuths` turn the shapes about y: one angle in radians for each shape, or "random" for angles that depend on the
    seeds. By default shapes are not turned. Raises `ValueError` for an unknown family.
    """
    return generate_unnormalized(seeds, families=families, azimuths=azimuths).to(device).normalized()


def generate_unnormalized(
    seeds: Sequence[int], *, families: Sequence[str] | None = None, azimuths: Sequence[float] | str | None = None
) -> ShapeBatch:
    """The part of `generate_shapes` that is plain Python and needs no device: worker processes run it ahead of time.

    `.to(device).normalized()` completes the result.
    """
    available = FAMILIES | HOLDOUT_FAMILIES
    names = sorted(FAMILIES) if families is None else list(families)
    unknown = [name for name in names if name not in available]
    if unknown or not names:
        raise ValueError(f"unknown shape families {unknown}; choose from {sorted(available)}")
    chosen, shapes, turns = [], [], []
    for seed in seeds:
        # In another order, these calls would give other shapes for the same seeds.
        rng = np.random.default_rng(int(seed))
        turns.append(rng.uniform(-pi, pi))
        chosen.append(names[rng.integers(len(names))])
        shapes.append(available[chosen[-1]](rng))
    if azimuths is not None and not isinstance(azimuths, str):
        turns = list(azimuths)
    return ShapeBatch.unnormalized(shapes, azimuths=None if azimuths is None else turns, names=chosen)
