"""Augmented photos show the same object."""

import torch

from triplane3d.config import AugmentConfig
from triplane3d.images.augmentation import augment_views, premultiply

NONE = AugmentConfig(brightness=0, contrast=0, color=0, scale=0, shift=0, blur=0, noise=0)


def disc(batch: int = 6, size: int = 32) -> torch.Tensor:
    """A disc of one colour on a transparent background."""
    across = (torch.arange(size) + 0.5) * (2 / size) - 1
    alpha = ((across[:, None] ** 2 + across**2) < 0.6**2).float().expand(batch, 1, size, size)
    return torch.cat([alpha * torch.tensor([0.6, 0.4, 0.2]).view(3, 1, 1), alpha], dim=1)


def test_without_changes_the_views_are_only_premultiplied():
    views = torch.rand(4, 4, 16, 16)
    assert torch.allclose(augment_views(views, NONE), premultiply(views), atol=1e-5)


def test_size_and_position_change_little_and_differ_between_photos():
    views = disc()
    changed = augment_views(views, AugmentConfig(scale=0.1, shift=0.05))
    assert changed.min() >= 0 and (changed[:, :3] <= changed[:, 3:] + 1e-5).all()  # premultiplied
    area = changed[:, 3].sum((1, 2)) / views[:, 3].sum((1, 2))
    assert (area > 0.78).all() and (area < 1.25).all()
    across = torch.linspace(-1, 1, 32)
    middle = (changed[:, 3].sum(1) * across).sum(1) / changed[:, 3].sum((1, 2))
    assert middle.abs().max() < 0.11 and middle.std() > 0
    assert changed[:, :3].mean((1, 2, 3)).std() > 0.005


def test_color_jitter_does_not_change_the_mask():
    views = disc()
    changed = augment_views(views, AugmentConfig(scale=0, shift=0, blur=0))
    assert torch.allclose(changed[:, 3], views[:, 3], atol=1e-5)
