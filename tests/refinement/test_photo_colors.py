"""Colours of the photo on the visible surface."""

import torch
from refinement.test_refine import BallField

from triplane3d.geometry.color import linear_from_srgb
from triplane3d.geometry.framed_cameras import FramedCameras
from triplane3d.refinement.photo_colors import color_by_photo
from triplane3d.refinement.refine import field_grid
from triplane3d.refinement.silhouettes import NOTHING, silhouettes, visible_nearness

CAMERA = FramedCameras(torch.tensor([0.0]), torch.tensor([0.02]), torch.zeros(1, 2), torch.tensor([0.7]))
"""From the front, 50 units away."""


def photo_of(field: BallField, left: tuple, right: tuple) -> torch.Tensor:
    """A photo of one colour on its left half and another on its right; straight RGBA."""
    covered = silhouettes(field_grid(field), CAMERA.cameras, 192, num_samples=96).logits[0] > 0
    rgb = torch.tensor([left, right]).repeat_interleave(96, dim=0).T[:, None].expand(3, 192, 192)
    return torch.cat([rgb, covered.float()[None]])[None]


def test_visible_nearness_of_a_ball() -> None:
    nearness = visible_nearness(field_grid(BallField()), CAMERA.cameras, 96)
    assert abs(float(nearness[0, 48, 48]) - 0.6) < 0.02
    assert nearness[0, 2, 2] == NOTHING
    away = visible_nearness(field_grid(BallField(((0.0, 0.0, -0.3, 0.6),))), CAMERA.cameras, 96)
    assert abs(float(away[0, 48, 48]) - 0.3) < 0.02


def test_the_visible_surface_has_the_colours_of_the_photo() -> None:
    field = BallField()
    photo = photo_of(field, (0.9, 0.1, 0.1), (0.1, 0.1, 0.9))
    colored = color_by_photo(field, field_grid(field), CAMERA, photo)
    red, blue = linear_from_srgb(torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]))
    front = torch.tensor([[[-0.3, 0.0, 0.52], [0.3, 0.0, 0.52]]])
    assert torch.allclose(colored.color(front)[0], torch.stack([red, blue]), atol=0.01)
    # Hidden: half of the field's grey, half of the blurred photo at the same pixel.
    behind = colored.color(torch.tensor([[[-0.45, 0.0, -0.4], [0.45, 0.0, -0.4]]]))[0]
    assert torch.allclose(behind, torch.stack([red + 0.5, blue + 0.5]) / 2, atol=0.03)
    assert torch.equal(colored.occupancy(front), field.occupancy(front))
    assert torch.equal(colored[0].color(front), colored.color(front))


def test_a_surface_behind_another_one_is_hidden() -> None:
    field = BallField(((0.0, 0.0, 0.5, 0.3), (0.0, 0.0, -0.5, 0.3)))
    colored = color_by_photo(field, field_grid(field), CAMERA, photo_of(field, (0.9, 0.1, 0.1), (0.9, 0.1, 0.1)))
    in_front, behind = colored.color(torch.tensor([[[0.0, 0.0, 0.8], [0.0, 0.0, -0.2]]]))[0]
    red = linear_from_srgb(torch.tensor([0.9, 0.1, 0.1]))
    assert torch.allclose(in_front, red, atol=0.01) and torch.allclose(behind, (red + 0.5) / 2, atol=0.03)


def test_grazing_surfaces_and_the_masks_edge_keep_other_colours() -> None:
    field = BallField()
    colored = color_by_photo(field, field_grid(field), CAMERA, photo_of(field, (0.9, 0.1, 0.1), (0.9, 0.1, 0.1)))
    side = colored.color(torch.tensor([[[0.6, 0.0, 0.0]]]))[0, 0]
    assert side[1] > 0.1  # not the photo's pure red
