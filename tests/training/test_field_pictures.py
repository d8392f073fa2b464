"""Pictures of a field show the named sides."""

import torch

from triplane3d.models.triplane import TriplaneField
from triplane3d.training.field_pictures import field_pictures, first_crossing


class Ball(TriplaneField):
    """The field of a red ball off centre."""

    center = torch.tensor([0.5, 0.3, -0.2])

    def __init__(self):
        self.has_color = True

    def grid(self, x, y, z):
        points = torch.stack(torch.meshgrid(x, y, z, indexing="ij"), dim=-1)
        return (0.3 - (points - self.center).norm(dim=-1))[None]

    def color(self, points):
        return torch.tensor([1.0, 0.0, 0.0]).expand_as(points)


def test_each_column_shows_the_named_side():
    size = 64
    sheet = field_pictures(Ball(), torch.ones(1, 4, 16, 16), size=size)
    assert sheet.shape == (size, 5 * size, 3)
    x, y, z = Ball.center.tolist()
    expected = {"front": (x, -y), "right": (-z, -y), "back": (-x, -y), "top": (x, z)}
    for column, (across, down) in enumerate(expected.values(), start=1):
        picture = sheet[:, column * size : (column + 1) * size]
        rows, columns = (picture[..., 1] < 128).nonzero()
        assert abs((columns.mean() + 0.5) * 2 / size - 1 - across) < 0.03
        assert abs((rows.mean() + 0.5) * 2 / size - 1 - down) < 0.03
        assert abs(len(rows) * (2 / size) ** 2 - torch.pi * 0.3**2) < 0.02


def test_depth_is_interpolated_between_samples():
    depth = torch.arange(10.0)
    hit, found, index = first_crossing((depth - 3.7).expand(1, 1, 2, 10))
    assert hit.all() and torch.allclose(found, torch.tensor(3.7)) and (index == 4).all()


def test_an_empty_field_gives_a_white_picture():
    class EmptyField(Ball):
        def grid(self, x, y, z):
            return super().grid(x, y, z) - 10

    assert (field_pictures(EmptyField(), torch.ones(1, 4, 16, 16), size=16)[:, 16:] == 255).all()
